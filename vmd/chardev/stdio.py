"""The process's own terminal or pipes as a chardev. Observed from chardev/char-stdio.c.

On a terminal the input is raw until a frontend asks for echo; how the terminal was is put back
when the chardev closes, when a key suspends or aborts the process, and after a crash when the
interpreter exits.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any

from qapi.error import QmpError
from vmd.chardev.chardev import strerror
from vmd.chardev.files import READ_SIZE
from vmd.chardev.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vmd.chardev.chardev import Chardev, Host

INPUT, OUTPUT = 0, 1


class StdioDriver:
    """`options` is the schema's ChardevStdio: `signal` lets Ctrl-C and its like through."""

    threaded = True
    filename = "stdio"

    def __init__(self, options: Mapping[str, Any], host: Host) -> None:
        self._signal: bool = options.get("signal", True)
        self._echo = False
        self._stream: Stream | None = None
        self._blocking: dict[int, bool] = {}
        self._terminal: list[Any] | None = None
        self._interrupts = True
        self._opened: list[int] = []

    async def open(self, chardev: Chardev) -> None:
        self._chardev = chardev
        source, target = (self._non_blocking(fd) for fd in (INPUT, OUTPUT))
        atexit.register(self._restore)
        if os.isatty(INPUT):
            import termios

            self._terminal = termios.tcgetattr(INPUT)
            self.set_echo(False)
            loop = asyncio.get_running_loop()
            for number, handle in self._handlers().items():
                loop.add_signal_handler(number, handle)
        self._stream = Stream(
            self,
            source,
            lambda: os.read(source, READ_SIZE),
            target,
            lambda data: os.write(target, data),
        )
        chardev.connected()

    def _non_blocking(self, fd: int) -> int:
        """The same file, without waiting. A terminal is opened anew where that can be done.

        For this is a property of the open file, which stderr and the shell share.
        """
        if os.isatty(fd):
            with contextlib.suppress(OSError):
                flags = os.O_RDONLY if fd == INPUT else os.O_WRONLY
                opened = os.open(os.ttyname(fd), flags | os.O_NOCTTY | os.O_NONBLOCK)
                self._opened.append(opened)
                return opened
        try:
            self._blocking[fd] = os.get_blocking(fd)
            os.set_blocking(fd, False)
        except OSError as error:
            raise QmpError(f"stdio: {strerror(error)}") from None
        return fd

    def _handlers(self) -> dict[signal.Signals, Callable[[], None]]:
        """What a terminal's signals do besides what they do elsewhere."""
        return {
            # A shell that had us stopped gives the terminal back as it likes it.
            signal.SIGCONT: self._continued,
            signal.SIGWINCH: lambda: self._chardev.screen_changed(),
            signal.SIGTSTP: lambda: self._die_of(signal.SIGTSTP),
            signal.SIGQUIT: lambda: self._die_of(signal.SIGQUIT),
        }

    def _continued(self) -> None:
        self._apply()
        self._chardev.screen_changed()

    def _die_of(self, number: signal.Signals) -> None:
        """What the signal does by itself, with the terminal as it was found."""
        import termios

        with contextlib.suppress(termios.error):
            termios.tcsetattr(INPUT, termios.TCSANOW, self._terminal or [])
        asyncio.get_running_loop().remove_signal_handler(number)
        os.kill(os.getpid(), number)
        # Here we are again when a suspended process goes on, or could not be suspended.
        asyncio.get_running_loop().add_signal_handler(number, self._handlers()[number])
        self._continued()

    def set_echo(self, echo: bool) -> None:
        self._echo = echo
        self._apply()

    def catch_interrupt(self, catch: bool) -> None:
        self._interrupts = not catch
        self._apply()

    def _apply(self) -> None:
        if self._terminal is None:
            return
        import termios

        mode = self._terminal[:]
        mode[6] = mode[6][:]
        if not self._echo:
            mode[0] &= ~(
                termios.IGNBRK
                | termios.BRKINT
                | termios.PARMRK
                | termios.ISTRIP
                | termios.INLCR
                | termios.IGNCR
                | termios.ICRNL
                | termios.IXON
            )
            mode[1] |= termios.OPOST
            mode[2] = mode[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
            mode[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.IEXTEN)
            mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        if not self._signal:
            mode[3] &= ~termios.ISIG
        if not self._interrupts:
            mode[6][termios.VINTR] = os.fpathconf(INPUT, "PC_VDISABLE").to_bytes(1, "little")
        with contextlib.suppress(termios.error):  # it may be gone
            termios.tcsetattr(INPUT, termios.TCSANOW, mode)

    def _restore(self) -> None:
        if self._terminal is not None:
            import termios

            with contextlib.suppress(termios.error):
                termios.tcsetattr(INPUT, termios.TCSANOW, self._terminal)
            self._terminal = None
        for fd, blocking in self._blocking.items():
            with contextlib.suppress(OSError):
                os.set_blocking(fd, blocking)
        self._blocking = {}

    # The sink of the stream

    def receive(self, data: bytes) -> None:
        self._chardev.receive(data)

    def drained(self) -> None:
        self._chardev.drained()

    def ended(self) -> None:
        # The end of stdin is no reason to end, nor to stop writing.
        pass

    # The side of the chardev

    @property
    def backlog(self) -> int:
        return self._stream.backlog if self._stream is not None else 0

    def write(self, data: bytes) -> None:
        if self._stream is not None:
            self._stream.write(data)

    def pause(self) -> None:
        if self._stream is not None:
            self._stream.pause(watch_hangup=False)

    def resume(self) -> None:
        if self._stream is not None:
            self._stream.resume()

    def take_fd(self) -> int | None:
        return None

    def abort(self) -> None:
        if self._stream is not None:
            self._stream.discard_output()
            self._chardev.lost()
            self._chardev.connected()

    def close(self) -> None:
        if self._stream is None:
            return
        if self._terminal is not None:
            for number in self._handlers():
                asyncio.get_running_loop().remove_signal_handler(number)
        self._stream.stop()
        self._stream = None
        while self._opened:
            os.close(self._opened.pop())
        self._restore()
        atexit.unregister(self._restore)
