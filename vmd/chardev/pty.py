"""A pseudo terminal whose other side anybody may open. Observed from chardev/char-pty.c.

The kernel does not say when the other side is opened, so a pty without a peer is looked at once a
second, and whenever something is to be written.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
from typing import TYPE_CHECKING, Any

from qapi.error import QmpError
from vmd.chardev.chardev import strerror
from vmd.chardev.files import READ_SIZE
from vmd.chardev.stream import Stream
from vmd.clock import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmd.chardev.chardev import Chardev, Host
    from vmd.clock import Timer


class PtyDriver:
    """`options` is the schema's ChardevPty: `path` names a symbolic link to make."""

    threaded = True

    def __init__(self, options: Mapping[str, Any], host: Host) -> None:
        self._host = host
        self._link: str | None = options.get("path")
        self._linked = False
        self._master = -1
        self._stream: Stream | None = None
        self._timer: Timer | None = None
        self.path = ""
        self.filename = "pty"

    async def open(self, chardev: Chardev) -> None:
        self._chardev = chardev
        self._loop = asyncio.get_running_loop()
        import tty

        try:
            self._master, slave = os.openpty()
        except OSError as error:
            raise QmpError(f"Failed to create PTY: {strerror(error)}") from None
        tty.setraw(slave)
        self.path = os.ttyname(slave)
        os.close(slave)
        os.set_blocking(self._master, False)
        self.filename = f"pty:{self.path}"
        self._host.announce(f"char device redirected to {self.path} (label {chardev.label})")
        if self._link is not None:
            try:
                os.symlink(self.path, self._link)
            except OSError as error:
                self.close()
                text = strerror(error)
                raise QmpError(f"Failed to create PTY symlink: {text}") from None
            self._linked = True
        self._look()

    def _is_open(self) -> bool:
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        return not any(event & select.POLLHUP for _, event in poll.poll(0))

    def _look(self) -> None:
        """Connect if somebody opened the other side; else look again in a second."""
        self._timer = None
        if self._master < 0 or self._stream is not None:
            return
        if self._is_open():
            self._connect()
        else:
            self._timer = self._host.clock.call_later(NS_PER_S, self._look)

    def _connect(self) -> None:
        master = self._master
        self._stream = Stream(
            self,
            master,
            lambda: os.read(master, READ_SIZE),
            master,
            lambda data: os.write(master, data),
        )
        self._chardev.connected()

    # The sink of the stream

    def receive(self, data: bytes) -> None:
        self._chardev.receive(data)

    def drained(self) -> None:
        self._chardev.drained()

    def ended(self) -> None:
        if self._stream is not None:
            self._stream.stop()
            self._stream = None
        self._chardev.lost()
        self._look()

    # The side of the chardev

    @property
    def backlog(self) -> int:
        return self._stream.backlog if self._stream is not None else 0

    def write(self, data: bytes) -> None:
        if self._stream is None and self._master >= 0 and self._is_open():
            if self._timer is not None:
                self._timer.cancel()
            self._look()
        if self._stream is not None:
            self._stream.write(data)

    def pause(self) -> None:
        if self._stream is not None:
            self._stream.pause()

    def resume(self) -> None:
        if self._stream is not None:
            self._stream.resume()

    def take_fd(self) -> int | None:
        return None

    def abort(self) -> None:
        if self._stream is not None:
            self.ended()

    def set_echo(self, echo: bool) -> None:
        pass

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._stream is not None:
            self._stream.stop()
            self._stream = None
        if self._master >= 0:
            os.close(self._master)
            self._master = -1
        if self._linked and self._link is not None:
            self._linked = False
            with contextlib.suppress(OSError):
                os.unlink(self._link)
