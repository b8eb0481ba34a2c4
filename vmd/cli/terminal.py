"""The human monitor on the terminal that vmd was started on: `-vmd history=…,events=…`.

Imported only where there is such a terminal.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from monitor.terminal import TerminalMonitor, describe_event
from qapi.error import QmpError
from vmd.chardev.chardev import strerror
from vmd.options import parse_boolean
from vmd.version import QEMU_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from monitor.dispatcher import Dispatcher
    from monitor.hmp import HmpRegistry
    from monitor.server import CharBackend
    from vmd.events import Event
    from vmd.machine import Machine

EDITORS = ("rich", "qemu")
HISTORY_LINES = 64  # what QEMU's history holds
LONGEST_HISTORY = 1 << 20  # bytes of which the end is read


def open_terminal(
    options: Mapping[str, str],
    backend: CharBackend,
    commands: HmpRegistry,
    machine: Machine,
    dispatcher: Dispatcher,
) -> TerminalMonitor:
    """A monitor with prompt_toolkit's editing; QmpError for an option that cannot be followed."""
    editor = options.get("editor", "rich")
    if editor not in EDITORS:
        raise QmpError(f"Parameter 'editor' does not accept value '{editor}'")
    given = options.get("history") or os.environ.get("VMD_HISTORY")
    lines, remember = _history(given) if given else ([], None)
    monitor = TerminalMonitor(
        backend,
        commands,
        machine,
        dispatcher,
        term=os.environ.get("TERM", ""),
        rich=editor == "rich",
        version=QEMU_VERSION,
        shows_events=parse_boolean("events", options.get("events", "off")),
        bar=parse_boolean("bar", options.get("bar", "on")),
        lines=lines,
        remember=remember,
    )

    def show(event: Event) -> None:
        if monitor.shows_events:
            seconds, rest = divmod(event.wall_ns, 1_000_000_000)
            monitor.event(describe_event(event.name, event.data, seconds, rest // 1000))

    machine.events.subscribe(show)
    return monitor


def _history(path: str) -> tuple[list[bytes], Callable[[bytes], None]]:
    """The last lines of the file, and who adds one to it.

    It is opened once, so that a history that cannot be kept is told at the start, and only its
    owner may read it: passwords are not among the lines, but names of files and hosts are.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = os.fstat(fd).st_size
        text = os.pread(fd, LONGEST_HISTORY, max(size - LONGEST_HISTORY, 0))
    except OSError as error:
        raise QmpError(f"Could not open '{path}': {strerror(error)}") from None

    def remember(line: bytes) -> None:
        if line.strip():
            with suppress(OSError):  # a full disk is no reason to disturb who types
                os.write(fd, line + b"\n")

    return [line for line in text.split(b"\n") if line][-HISTORY_LINES:], remember
