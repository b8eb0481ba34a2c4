"""One character device: where a monitor or a serial port meets the outside.

`Chardev` is the side that frontends see; a driver (one module a kind) is the side that touches the
host. The driver tells its Chardev what happened (`connected`, `receive`, `lost`, `drained`).
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from qapi.error import QmpError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from vmd.clock import Clock


def strerror(error: OSError) -> str:
    """The C library's word for it, as QEMU ends its messages."""
    return os.strerror(error.errno) if error.errno else str(error)


class Frontend(Protocol):
    """Who uses a chardev.

    One that also has `focus(has_it: bool)` is told of a mux's choice; one with `move(backend)` can
    go on with another device; one whose `listens` is False is as good as not there. One whose
    `screen_changed` is callable hears when the terminal has another size or was drawn on by others;
    one whose `beside` is callable shows what other users of its mux write while it has the focus.
    """

    def opened(self) -> None: ...
    def received(self, data: bytes) -> None: ...
    def closed(self) -> None: ...
    def drained(self) -> None: ...


class Driver(Protocol):
    """What a kind of chardev does; `backlog` counts bytes that the peer has not taken yet."""

    @property
    def filename(self) -> str: ...
    @property
    def backlog(self) -> int: ...
    @property
    def threaded(self) -> bool:
        """QEMU can serve it from the monitor thread, so QMP offers oob on it."""
        ...

    async def open(self, chardev: Chardev) -> None: ...
    def write(self, data: bytes) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def take_fd(self) -> int | None: ...
    def abort(self) -> None: ...
    def set_echo(self, echo: bool) -> None: ...
    def close(self) -> None: ...


class Host(NamedTuple):
    """What drivers ask of the process around them.

    `info` and `error` print a line of stderr, `announce` one of stdout; `open_file` opens a path
    (so that /dev/fdset can be served); `terminate` ends the process (a mux's `^A x`);
    `find_object` knows the objects that a user has made, by their ids.
    """

    clock: Clock
    info: Callable[[str], None]
    error: Callable[[str], None]
    announce: Callable[[str], None]
    terminate: Callable[[], None]
    open_file: Callable[[str, int, int], int] = os.open
    find_object: Callable[[str], object] = lambda name: None


class Chardev:
    """A named character device. Until a frontend is attached nothing is read from the peer."""

    __slots__ = (
        "_driver",
        "_frontend",
        "_log",
        "_made",
        "_paused",
        "is_open",
        "kind",
        "label",
        "shared_by",
    )

    def __init__(self, label: str, kind: str, driver: Driver, log: int | None = None) -> None:
        self.label = label
        self.kind = kind
        self.is_open = False
        self._driver = driver
        self._frontend: Frontend | None = None
        self._paused = False
        self._made = False
        self._log = log
        self.shared_by = 0  # frontends on a mux's places

    async def open(self) -> None:
        """Bring the device up, once; QmpError with QEMU's text. Waits for a peer if told to."""
        if not self._made:
            self._made = True
            await self._driver.open(self)

    def close(self) -> None:
        """Let go of everything on the host; the frontend is told if a peer was there."""
        self._driver.close()
        self.lost()
        if self._log is not None:
            os.close(self._log)
            self._log = None

    # The side of the frontend

    @property
    def filename(self) -> str:
        """The device as query-chardev tells it."""
        return self._driver.filename

    @property
    def backlog(self) -> int:
        return self._driver.backlog

    @property
    def threaded(self) -> bool:
        """Whether QMP on this device offers oob."""
        return self._driver.threaded

    @property
    def in_use(self) -> bool:
        """Whether it has a frontend: a monitor, a port, a mux."""
        return self._frontend is not None or self.shared_by > 0

    @property
    def frontend_open(self) -> bool:
        """Whether its frontend listens, as query-chardev tells it: an idle mux does not."""
        return self.in_use and getattr(self._frontend, "listens", True)

    @property
    def mover(self) -> Callable[[Any], None] | None:
        """How its frontend takes another device for this one, if it can."""
        return getattr(self._frontend, "move", None)

    @property
    def driver(self) -> Driver:
        """The kind's own side, for what only it can do (ringbuf, mux)."""
        return self._driver

    def claim(self) -> Chardev:
        """The device for one frontend; QmpError if another has it."""
        if self._frontend is not None:
            raise QmpError(f"chardev '{self.label}' is already in use")
        return self

    def attach(self, frontend: Frontend) -> None:
        """Give the device to a frontend; it is told `opened` at once if a peer is there."""
        self._frontend = frontend
        self._paused = False
        if self.is_open:
            frontend.opened()
            if not self._paused and self.is_open:
                self._driver.resume()

    def detach(self) -> None:
        """Take the device back from its frontend."""
        self._frontend = None
        self._driver.pause()

    def write(self, data: bytes) -> None:
        if self._log is not None:
            with suppress(OSError):  # a log on a full disk has holes, and nobody suffers
                os.write(self._log, data)
        self._driver.write(data)

    def pause_reading(self) -> None:
        self._paused = True
        self._driver.pause()

    def resume_reading(self) -> None:
        self._paused = False
        if self.is_open and self._frontend is not None:
            self._driver.resume()

    def take_fd(self) -> int | None:
        """The first descriptor of the last set that came with the input; the rest is closed."""
        return self._driver.take_fd()

    def abort(self) -> None:
        """Close the present connection at once; what the peer has not taken is dropped.

        Where there is no connection to close (a terminal, a pipe) only the output is dropped. The
        frontend is told `closed` before this returns, and `opened` again if the peer stays.
        """
        self._driver.abort()

    def add_client(self, peer: socket.socket) -> bool:
        """Give it a connection that somebody else has made; False if it takes none (now)."""
        add = getattr(self._driver, "add_client", None)
        return add is not None and add(peer)

    def set_echo(self, echo: bool) -> None:
        """On a terminal: cooked and echoing (as QMP wants it), or raw. Elsewhere nothing."""
        self._driver.set_echo(echo)

    def catch_interrupt(self, catch: bool) -> None:
        """On a terminal: Ctrl-C is a byte to read and no signal. Elsewhere nothing."""
        catch_interrupt = getattr(self._driver, "catch_interrupt", None)
        if catch_interrupt is not None:
            catch_interrupt(catch)

    # The side of the driver

    def screen_changed(self) -> None:
        """The terminal has another size, or somebody else has drawn on it."""
        tell = getattr(self._frontend, "screen_changed", None)
        if tell is not None:
            tell()

    def connected(self) -> None:
        """A peer is there: the frontend hears of it, then input flows."""
        self.is_open = True
        self._paused = False
        if self._frontend is not None:
            self._frontend.opened()
            # It may have paused, closed or left the device meanwhile.
            if not self._paused and self.is_open and self._frontend is not None:
                self._driver.resume()

    def receive(self, data: bytes) -> None:
        if self._frontend is not None:
            self._frontend.received(data)

    def drained(self) -> None:
        if self._frontend is not None:
            self._frontend.drained()

    def lost(self) -> None:
        """The peer is gone; unsent output is gone with it."""
        if self.is_open:
            self.is_open = False
            if self._frontend is not None:
                self._frontend.closed()
