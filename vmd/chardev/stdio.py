"""The process's own terminal or pipes as a chardev. Observed from chardev/char-stdio.c.

On a terminal the input is raw until a frontend asks for echo; how the terminal was is put back
when the chardev closes, and after a crash when the interpreter exits.
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
    from collections.abc import Mapping

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

    async def open(self, chardev: Chardev) -> None:
        self._chardev = chardev
        for fd in (INPUT, OUTPUT):
            try:
                self._blocking[fd] = os.get_blocking(fd)
                os.set_blocking(fd, False)
            except OSError as error:
                raise QmpError(f"stdio: {strerror(error)}") from None
        atexit.register(self._restore)
        if os.isatty(INPUT):
            import termios

            self._terminal = termios.tcgetattr(INPUT)
            self.set_echo(False)
            # A shell that had us stopped gives the terminal back as it likes it.
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGCONT, self._apply)
        self._stream = Stream(
            self,
            INPUT,
            lambda: os.read(INPUT, READ_SIZE),
            OUTPUT,
            lambda data: os.write(OUTPUT, data),
        )
        chardev.connected()

    def set_echo(self, echo: bool) -> None:
        self._echo = echo
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
            asyncio.get_running_loop().remove_signal_handler(signal.SIGCONT)
        self._stream.stop()
        self._stream = None
        self._restore()
        atexit.unregister(self._restore)
