"""Several frontends on one chardev; `^A c` gives the input to the next. From chardev/char-mux.c.

A frontend that has `focus(has_it)` (a human monitor) is silent while another has the focus: it is
opened when it first gets it, and what it writes meanwhile waits. Others (a serial port) write
whenever they like.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qapi.error import QmpError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmd.chardev.chardev import Chardev, Frontend, Host
    from vmd.clock import Clock

MAX_FRONTENDS = 4
MAX_WAITING = 32  # bytes kept for a paused frontend before reading stops
ESCAPE = 0x01  # ^A
HELP = (
    "\n\r"
    "C-a h    print this help\n\r"
    "C-a x    exit emulator\n\r"
    "C-a s    save disk data back to file (if -snapshot)\n\r"
    "C-a t    toggle console timestamps\n\r"
    "C-a b    send break (magic sysrq)\n\r"
    "C-a c    switch between console and monitor\n\r"
    "C-a C-a  sends C-a\n\r"
)


class MuxPort:
    """One frontend's place on a mux; to the frontend it is a chardev like any other."""

    __slots__ = ("_frontend", "_held", "_mux", "_opened", "_paused", "_waiting", "is_open")

    def __init__(self, mux: MuxDriver) -> None:
        self._mux = mux
        self._frontend: Frontend | None = None
        self._held = bytearray()  # output of a monitor without the focus
        self._waiting = bytearray()  # input for a paused frontend
        self._opened = False
        self._paused = False
        self.is_open = False

    @property
    def label(self) -> str:
        return self._mux.label

    @property
    def threaded(self) -> bool:
        return False

    @property
    def backlog(self) -> int:
        return self._mux.backlog + len(self._held)

    def attach(self, frontend: Frontend) -> None:
        self._frontend = frontend
        self._mux.attached(self)

    def write(self, data: bytes) -> None:
        if self._mux.focused is self:
            self._mux.emit(data)
        elif self.is_monitor:
            self._held += data
        else:
            self._mux.emit_beside(data)

    def pause_reading(self) -> None:
        # The mux reads on: it has to see its own commands.
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        waiting, self._waiting = bytes(self._waiting), bytearray()
        if waiting:
            self.receive(waiting)
        if not self._paused:
            self._mux.hold_input(False)

    def take_fd(self) -> int | None:
        return self._mux.base.take_fd()

    def abort(self) -> None:
        self._mux.base.abort()

    def set_echo(self, echo: bool) -> None:
        self._mux.base.set_echo(echo)

    def catch_interrupt(self, catch: bool) -> None:
        if self._mux.focused is self:
            self._mux.base.catch_interrupt(catch)

    # The side of the mux

    @property
    def beside(self) -> Callable[[bytes], None] | None:
        """How its frontend, which has the focus, shows what others write."""
        return getattr(self._frontend, "beside", None) if self._opened else None

    def screen_changed(self) -> None:
        tell = getattr(self._frontend, "screen_changed", None)
        if tell is not None:
            tell()

    @property
    def is_monitor(self) -> bool:
        return hasattr(self._frontend, "focus")

    def base_opened(self) -> None:
        self.is_open = True
        if not self.is_monitor or self._mux.focused is self:
            self._open()

    def base_closed(self) -> None:
        self.is_open = False
        self._held.clear()
        self._waiting.clear()
        if self._opened and self._frontend is not None:
            self._opened = False
            self._frontend.closed()

    def _open(self) -> None:
        if self._frontend is not None and not self._opened:
            self._opened = True
            self._frontend.opened()

    def focus(self, has_it: bool) -> None:
        if not self.is_open or self._frontend is None:
            return
        if has_it and not self._opened:
            self._open()
        elif self.is_monitor:
            getattr(self._frontend, "focus")(has_it)  # noqa: B009 (optional, so not in Frontend)
        if has_it and self._held:
            held, self._held = bytes(self._held), bytearray()
            self._mux.emit(held)

    def receive(self, data: bytes) -> None:
        if self._paused:
            self._waiting += data
            if len(self._waiting) >= MAX_WAITING:
                self._mux.hold_input(True)
        elif self._frontend is not None:
            self._frontend.received(data)

    def drained(self) -> None:
        if self._frontend is not None:
            self._frontend.drained()


class MuxDriver:
    """The mux as a chardev (`chardev.driver`), and at once the frontend of its base chardev."""

    filename = "mux"
    threaded = False

    def __init__(self, base: Chardev, host: Host) -> None:
        self.base = base
        self.label = ""
        self._terminate = host.terminate
        self._clock: Clock = host.clock
        self._ports: list[MuxPort] = []
        self.focused: MuxPort | None = None
        self._escaped = False
        self._stamps = False
        self._stamps_from: int | None = None  # set by the first stamp
        self._line_start = True
        self._started = False
        self._attached = False

    async def open(self, chardev: Chardev) -> None:
        self._chardev = chardev
        self.label = chardev.label
        await self.base.open()
        self.base.claim().attach(self)
        self._attached = True

    def claim(self) -> MuxPort:
        """A place for one more frontend; QmpError when all are taken."""
        if len(self._ports) == MAX_FRONTENDS:
            raise QmpError(
                f"too many uses of multiplexed chardev '{self.label}' (maximum is {MAX_FRONTENDS})"
            )
        port = MuxPort(self)
        self._ports.append(port)
        self._chardev.shared_by = len(self._ports)
        return port

    def attached(self, port: MuxPort) -> None:
        """The newest frontend gets the focus; nobody hears anything before `start`."""
        if not self._started:
            self.focused = port
        elif self.base.is_open:
            port.base_opened()

    def start(self) -> None:
        """All frontends are there: tell them of the base's peer, and let input flow."""
        if not self._started:
            self._started = True
            if self.base.is_open:
                self.opened()
                self.base.resume_reading()

    # The frontend of the base

    @property
    def listens(self) -> bool:
        return bool(self._ports)

    def opened(self) -> None:
        if not self._started:
            self.base.pause_reading()
            return
        self._chardev.connected()
        for port in self._ports:
            port.base_opened()

    def closed(self) -> None:
        for port in self._ports:
            port.base_closed()
        self._chardev.lost()

    def drained(self) -> None:
        for port in self._ports:
            port.drained()

    def screen_changed(self) -> None:
        if self.focused is not None:
            self.focused.screen_changed()

    def received(self, data: bytes) -> None:
        plain = bytearray()
        for byte in data:
            if self._escaped:
                self._escaped = False
                if byte == ESCAPE:
                    plain.append(byte)
                else:
                    self._pass_on(plain)
                    self._command(chr(byte))
            elif byte == ESCAPE:
                self._escaped = True
            else:
                plain.append(byte)
        self._pass_on(plain)

    def _pass_on(self, plain: bytearray) -> None:
        if plain and self.focused is not None:
            self.focused.receive(bytes(plain))
        plain.clear()

    def _command(self, letter: str) -> None:
        if letter in "h?":
            self.emit(HELP.encode())
        elif letter == "x":
            self.emit(b"QEMU: Terminated\n\r")
            self._terminate()
        elif letter == "c":
            self._next_focus()
        elif letter == "t":
            self._stamps = not self._stamps
            self._stamps_from = None
            self._line_start = False

    def _next_focus(self) -> None:
        if self.focused is None:
            return
        at = (self._ports.index(self.focused) + 1) % len(self._ports)
        # It may say goodbye while it still has the focus.
        self.focused.focus(False)
        self.focused = self._ports[at]
        self.focused.focus(True)

    # What ports ask for

    def hold_input(self, hold: bool) -> None:
        if hold:
            self.base.pause_reading()
        else:
            self.base.resume_reading()

    def emit_beside(self, data: bytes) -> None:
        """What a user without the focus writes."""
        beside = self.focused.beside if self.focused is not None else None
        if beside is not None and data:
            beside(self._stamped(data) if self._stamps else data)
        else:
            self.emit(data)

    def emit(self, data: bytes) -> None:
        self.base.write(self._stamped(data) if self._stamps else data)

    def _stamped(self, data: bytes) -> bytes:
        """The data with the time in front of each line, as soon as the line has a first byte."""
        out = bytearray()
        at = 0
        while at < len(data):
            end = data.find(b"\n", at) + 1 or len(data)
            if self._line_start:
                out += self._stamp()
            out += data[at:end]
            self._line_start = data[end - 1] == ord("\n")
            at = end
        return bytes(out)

    def _stamp(self) -> bytes:
        now = self._clock.now_ns()
        if self._stamps_from is None:
            self._stamps_from = now
        ms = (now - self._stamps_from) // 1_000_000
        seconds = ms // 1000
        return b"[%02d:%02d:%02d.%03d] " % (
            seconds // 3600,
            seconds // 60 % 60,
            seconds % 60,
            ms % 1000,
        )

    # The side of the chardev: ports do its work, so a frontend on the mux itself hears nothing

    @property
    def backlog(self) -> int:
        return self.base.backlog

    def write(self, data: bytes) -> None:
        self.emit(data)

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass

    def take_fd(self) -> int | None:
        return self.base.take_fd()

    def abort(self) -> None:
        self.base.abort()

    def set_echo(self, echo: bool) -> None:
        self.base.set_echo(echo)

    def close(self) -> None:
        # The base has a label, and an end, of its own.
        if self._attached:
            self.base.detach()
