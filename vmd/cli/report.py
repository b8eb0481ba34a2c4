"""What the daemon says on stderr, in QEMU's form: `PROG: OPTION VALUE: warning: text`.

Observed from util/error-report.c.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from qapi.error import QmpError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from vmd.clock import Clock


class Quit(Exception):
    """The process ends here with `status`, after printing `output` on stdout."""

    def __init__(self, status: int, output: str = "") -> None:
        super().__init__(status)
        self.status = status
        self.output = output


class Report:
    """One process's line to its user. `timestamps` and `guest_name` are `-msg`'s doing."""

    def __init__(self, program: str, clock: Clock | None = None) -> None:
        self.program = program
        self.timestamps = False
        self.guest_name = ""
        self.named = True  # False while a monitor's command runs: QEMU then leaves its name out
        self.place = ""
        self.divert: Callable[[str], bool] | None = None
        """Who shows text on stderr's terminal without breaking a prompt; False if it cannot now."""
        self._clock = clock

    def error(self, text: str, where: str = "", hint: str = "") -> None:
        self._say(text, where, hint)

    def warning(self, text: str, where: str = "", hint: str = "", line: str = "") -> None:
        """`line` is the place in a file (`FILE:NUMBER`) that the warning is about."""
        self._say(f"warning: {text}", where, hint, line)

    def info(self, text: str, where: str = "", hint: str = "") -> None:
        """What is said inside an `at` block belongs to its place."""
        self._say(f"info: {text}", where or self.place, hint)

    def at(self, where: str) -> Place:
        """With-block in which a QmpError is reported as `where`'s and ends the process."""
        return Place(self, where)

    def refuse(self, error: QmpError, where: str = "") -> Quit:
        """Say what is wrong; the caller raises what it gets back."""
        self.error(error.desc, where, error.hint)
        return Quit(1)

    def _say(self, text: str, where: str, hint: str, line: str = "") -> None:
        stamp = self._stamp() if self.timestamps else ""
        guest = f"{self.guest_name} " if self.guest_name else ""
        place = f"{line}: " if line else f" {where}: " if where else " "
        head = f"{self.program}:{place}" if self.named else place.lstrip()
        self.write(f"{stamp}{guest}{head}{text}\n" + (f"{hint}\n" if hint else ""))

    def write(self, text: str) -> None:
        """Put text on stderr; a stderr that is gone is no reason to fail."""
        if self.divert is not None and self.divert(text):
            return
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, ValueError):
            pass

    def _stamp(self) -> str:
        from datetime import UTC, datetime

        if self._clock is None:
            from vmd.clock import RealClock

            self._clock = RealClock()
        microseconds = self._clock.wall_ns() // 1000
        moment = datetime.fromtimestamp(microseconds // 1_000_000, UTC)
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{microseconds % 1_000_000:06d}Z "


class Place:
    """See Report.at."""

    __slots__ = ("_outer", "_report", "_where")

    def __init__(self, report: Report, where: str) -> None:
        self._report = report
        self._where = where

    def __enter__(self) -> None:
        self._outer, self._report.place = self._report.place, self._where

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._report.place = self._outer
        if isinstance(error, QmpError):
            raise self._report.refuse(error, self._where) from None
