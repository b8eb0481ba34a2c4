"""A person at a terminal: types keys into a program and looks at the screen."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pexpect
import pyte

ROWS, COLUMNS = 24, 80
DEMO = [sys.executable, "-X", "dev", "-W", "error", "-m", "tests.monitor.terminal_demo"]
ROOT = Path(__file__).parents[2]


class Screen:
    """A program on a terminal of 24 x 80."""

    def __init__(self, argv: list[str], directory: str | None = None, **environment: str) -> None:
        self.child: pexpect.spawn[bytes] = pexpect.spawn(
            argv[0],
            argv[1:],
            dimensions=(ROWS, COLUMNS),
            cwd=directory,
            env={**os.environ, "TERM": "xterm", "PYTHONPATH": str(ROOT), **environment},
            timeout=30,
            echo=True,
        )
        self.child.delaybeforesend = None
        self.raw = b""
        self._screen = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.ByteStream(self._screen)

    def type(self, keys: bytes) -> None:
        self.child.send(keys)

    def resize(self, rows: int, columns: int) -> None:
        self.child.setwinsize(rows, columns)
        self._screen.resize(rows, columns)

    def lines(self) -> list[str]:
        """The screen as far as something is on it, without trailing blanks."""
        lines = [line.rstrip() for line in self._screen.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    @property
    def cursor(self) -> tuple[int, int]:
        """Its row and column."""
        return self._screen.cursor.y, self._screen.cursor.x

    def wait_for(self, condition: Callable[[Screen], Any]) -> None:
        """Read until the screen is as wanted."""
        while not condition(self):
            self._read()

    def at_prompt(self) -> bool:
        """Whether the last line is a prompt with nothing typed, and the cursor behind it."""
        return self.lines()[-1:] == ["(qemu)"] and self.cursor == (len(self.lines()) - 1, 7)

    def wait_for_line(self, line: str) -> None:
        """Read until the last line is this one, or the one in which the cursor is."""
        wanted = line.rstrip()
        self.wait_for(lambda screen: wanted in (*screen.lines()[-1:], screen.line_at_cursor))

    @property
    def line_at_cursor(self) -> str:
        return self._screen.display[self._screen.cursor.y].rstrip()

    def wait_for_end(self) -> int:
        """Read until the program ends; its exit code, or minus the signal that ended it."""
        try:
            while True:
                self._read()
        except pexpect.EOF:
            self.child.wait()
        status: int | None = self.child.exitstatus
        return status if status is not None else -int(self.child.signalstatus or 0)

    def _read(self) -> None:
        try:
            data = self.child.read_nonblocking(4096, 30)
        except pexpect.TIMEOUT:
            raise AssertionError("\n".join(self.lines())) from None
        self.raw += data
        self._stream.feed(data)
