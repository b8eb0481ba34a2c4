"""Trace events: lines in a log that tell what the process does, each kind switched by its name.

Names and lines are QEMU's (observed from trace/control.c, util/log.c and the log backend of its
trace tool). The log is stderr, or a file that `-D`, `-trace file=` or `logfile` names.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING

from qapi.error import QmpError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from vmd.clock import Clock

EVENTS = (
    *("handle_hmp_command", "monitor_qmp_cmd_in_band", "monitor_qmp_err_in_band"),
    *("monitor_qmp_cmd_out_of_band", "monitor_qmp_respond", "handle_qmp_command"),
    *("migrate_set_state", "qemu_announce_self_iter", "qemu_announce_timer_del"),
    *("vm_state_notify", "runstate_set", "system_wakeup_request", "qemu_system_shutdown_request"),
    *("qemu_system_powerdown_request", "input_event_key_qcode", "input_event_btn"),
    *("input_event_rel", "input_event_abs", "input_event_sync"),
)
"""All but those that each QMP command has, in QEMU's order."""

UNTRACED = ("device_add",)
"""Commands whose arguments the schema does not describe have no events."""


class Log:
    """Where trace lines go.

    With `timestamps` (`-msg timestamp=on`) each line begins with thread and wall time.
    """

    __slots__ = ("_clock", "_fd", "_owned", "timestamps")

    def __init__(self, clock: Clock | None = None) -> None:
        self.timestamps = False
        self._clock = clock
        self._fd = 2
        self._owned = False

    def open(self, path: str) -> None:
        """Go on in a file, emptied first; QmpError if it cannot be opened. `%d` is our pid."""
        if path.count("%") and (path.count("%") > 1 or "%d" not in path):
            raise QmpError(f"Bad logfile template: {path}")
        from vmd.fdset import open_at_once

        real = path.replace("%d", str(os.getpid()))
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        try:
            fd = open_at_once(real, flags, 0o666)
        except OSError as error:
            text = os.strerror(error.errno or 0)
            raise QmpError(f"Error opening logfile {real}: {text}") from None
        if self._owned:
            os.close(self._fd)
        self._fd, self._owned = fd, True

    @property
    def file(self) -> int | None:
        """The descriptor of the file, if it is one."""
        return self._fd if self._owned else None

    def write(self, line: str) -> None:
        """Add a line; what cannot be written is lost."""
        stamp = ""
        if self.timestamps:
            seconds, nanoseconds = divmod(self._time(), 1_000_000_000)
            stamp = f"{os.getpid()}@{seconds}.{nanoseconds // 1000:06d}:"
        with contextlib.suppress(OSError):
            os.write(self._fd, f"{stamp}{line}\n".encode(errors="backslashreplace"))

    def _time(self) -> int:
        if self._clock is None:
            from vmd.clock import RealClock

            self._clock = RealClock()
        return self._clock.wall_ns()


class Tracer:
    """Which events are on. `commands` gives the names of the QMP commands, when first needed.

    `active`: some are; whoever might `emit` asks that first.
    """

    __slots__ = ("_commands", "_names", "_on", "active", "log")

    def __init__(
        self, log: Log | None = None, commands: Callable[[], Iterable[str]] | None = None
    ) -> None:
        self.log = log or Log()
        self.active = False
        self._commands = commands or (lambda: ())
        self._names: tuple[str, ...] = ()
        self._on: set[str] = set()

    def names(self) -> tuple[str, ...]:
        """All events, in QEMU's order."""
        if not self._names:
            self._names = (*EVENTS, *_of_commands(self._commands()))
        return self._names

    def matching(self, pattern: str) -> list[str]:
        """The events that a name or a pattern (`*` and `?`) stands for."""
        if not _is_pattern(pattern) and "?" not in pattern:
            return [pattern] if pattern in self.names() else []
        words = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
        fits = re.compile(words, re.DOTALL).fullmatch
        return [name for name in self.names() if fits(name)]

    def is_on(self, name: str) -> bool:
        return name in self._on

    def states(self, name: str) -> list[tuple[str, bool]]:
        """(event, whether it is on), last one first as QEMU lists; QmpError if a name is unknown.

        Here only a `*` makes a pattern.
        """
        return [(event, event in self._on) for event in reversed(self._named(name))]

    def set(self, name: str, on: bool) -> None:
        """Switch what a name or a pattern with `*` stands for; QmpError if a name is unknown."""
        self._switch(self._named(name), on)

    def _named(self, name: str) -> list[str]:
        if not _is_pattern(name) and name not in self.names():
            raise QmpError(f'unknown event "{name}"')
        return self.matching(name)

    def enable(self, pattern: str) -> str | None:
        """Switch on, or off with a `-` in front, as `-trace` does. The warning, if there is one."""
        on = not pattern.startswith("-")
        pattern = pattern if on else pattern[1:]
        found = self.matching(pattern)
        self._switch(found, on)
        if found or _is_pattern(pattern):
            return None
        return f"trace event '{pattern}' does not exist"

    def _switch(self, names: Iterable[str], on: bool) -> None:
        (self._on.update if on else self._on.difference_update)(names)
        self.active = bool(self._on)

    def emit(self, name: str, text: str) -> None:
        """Tell that it happened, if the event is on."""
        if name in self._on:
            self.log.write(f"{name} {text}")


def _is_pattern(name: str) -> bool:
    return "*" in name


def _of_commands(commands: Iterable[str]) -> Iterator[str]:
    for command in commands:
        if command not in UNTRACED:
            name = command.replace("-", "_")
            yield f"qmp_enter_{name}"
            yield f"qmp_exit_{name}"
