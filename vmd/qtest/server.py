"""The qtest protocol on a character device: lines, their answers in order, and a log of both."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from vmd.qtest.requests import MOST_BYTES, answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmd.chardev import Chardev
    from vmd.chardev.mux import MuxPort
    from vmd.machine import Machine
    from vmd.qtest.requests import Steps

LONGEST = 2 * MOST_BYTES + 4096  # a line that writes the most that can be written
HIGH_WATER = 1 << 20  # of a client that does not read its answers nothing more is read
TURN = 64  # requests that are answered before others have their turn
NS = 1_000_000_000


class QtestServer:
    """Serves one client at a time. `log` takes lines; None for nobody who reads them."""

    def __init__(
        self, backend: Chardev | MuxPort, machine: Machine, log: Callable[[str], None] | None
    ) -> None:
        self._backend = backend
        self._machine = machine
        self._log = log
        self._since: int | None = None  # when the client came
        self._input = bytearray()
        self._looked = 0  # no line ends before this
        self._overlong = False
        self._steps: Steps | None = None
        self._next: asyncio.Handle | None = None
        self._paused = False
        backend.attach(self)

    # What the backend calls

    def opened(self) -> None:
        self._forget()
        self._since = self._machine.clock.now_ns()
        self._note("[I 0.000000] OPENED")

    def received(self, data: bytes) -> None:
        self._input += data
        if self._next is None:
            self._turn()

    def closed(self) -> None:
        self._note(f"[I +{self._elapsed()}] CLOSED")
        self._forget()

    def drained(self) -> None:
        self._regulate()
        self._go_on()

    # The rest is its own

    def _forget(self) -> None:
        """Whoever was there is gone, and with it what was asked and not answered."""
        self._since = None
        self._input.clear()
        self._looked = 0
        self._overlong = False
        if self._steps is not None:
            self._steps.close()
            self._steps = None
        if self._next is not None:
            self._next.cancel()
            self._next = None
        self._paused = False

    def _turn(self) -> None:
        """Answer some requests; what is left has its turn when others have had theirs."""
        self._next = None
        for _ in range(TURN):
            if self._steps is not None:
                self._advance(self._steps)
                if self._steps is not None:
                    break
            line = self._line()
            if line is None:
                break
            self._note(f"[R +{self._elapsed()}] {line}")
            reply = answer(self._machine, line)
            if isinstance(reply, str):
                self._send(reply)
            else:
                self._steps = reply
        self._regulate()
        self._go_on()

    def _go_on(self) -> None:
        waiting = self._steps is not None or self._input.find(b"\n", self._looked) >= 0
        if waiting and self._next is None and self._backend.backlog <= HIGH_WATER:
            self._next = asyncio.get_running_loop().call_soon(self._turn)

    def _advance(self, steps: Steps) -> None:
        try:
            next(steps)
        except StopIteration as stop:
            self._steps = None
            self._send(str(stop.value))

    def _line(self) -> str | None:
        """The next line that is complete."""
        end = self._input.find(b"\n", self._looked)
        if end < 0:
            self._looked = len(self._input)
            if self._looked > LONGEST:  # its end will come, but nobody can have meant it
                self._overlong = True
                self._input.clear()
                self._looked = 0
            return None
        line = bytes(self._input[:end]).split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
        del self._input[: end + 1]
        self._looked = 0
        if self._overlong:
            self._overlong = False
            return ""
        return line

    def _send(self, reply: str) -> None:
        self._note(f"[S +{self._elapsed()}] {reply}")
        self._backend.write(f"{reply}\n".encode("utf-8", "surrogateescape"))

    def _regulate(self) -> None:
        """Leave in the device what would only pile up here."""
        pause = self._backend.backlog > HIGH_WATER or len(self._input) > LONGEST
        pause = pause or (self._steps is not None and bool(self._input))
        if pause != self._paused:
            self._paused = pause
            (self._backend.pause_reading if pause else self._backend.resume_reading)()

    def _elapsed(self) -> str:
        since = self._since
        elapsed = 0 if since is None else self._machine.clock.now_ns() - since
        return f"{elapsed / NS:.6f}"

    def _note(self, line: str) -> None:
        if self._log is not None:
            self._log(f"{line}\n")


def file_log(path: str) -> Callable[[str], None] | None:
    """A log in a file, None for `none`; one that cannot be opened or written is done without."""
    if path == "none":
        return None
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    except OSError:
        return None

    def write(line: str) -> None:
        with suppress(OSError):
            os.write(fd, line.encode("utf-8", "surrogateescape"))

    return write
