"""Trace events and the log at the human monitor. Observed from trace/trace-hmp-cmds.c."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.hmp import HmpCommand
from qapi.error import QmpError
from vmd.options import HELP_WORDS
from vmd.qmp import trace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from monitor.hmp import Hmp
    from vmd.machine import Machine

LOG_HELP = (
    "Log items (comma separated):\n"
    "none            remove all logs\n"
    "trace:PATTERN   enable trace events\n\n"
    'Use "log trace:help" to get a list of trace events.\n\n'
)


def trace_event(machine: Machine, hmp: Hmp, name: str, option: bool, vcpu: int = 0) -> None:
    """The CPU does not matter: no event belongs to one."""
    try:
        trace.trace_event_set_state(machine, name, option)
    except QmpError as error:
        hmp.print(f"{error.desc}\n")


def info_trace_events(machine: Machine, hmp: Hmp, name: str = "*", vcpu: int = 0) -> None:
    try:
        for event in trace.trace_event_get_state(machine, name):
            hmp.print(f"{event['name']} : state {event['state'] == 'enabled':d}\n")
    except QmpError as error:
        hmp.print(f"{error.desc}\n")


def log(machine: Machine, hmp: Hmp, items: str) -> None:
    """The only items are traces, which `none` does not end: in QEMU neither."""
    tracer = machine.tracer
    asked = [item.partition(":") for item in items.split(",")] if items != "none" else []
    warnings = []
    for kind, _, pattern in asked:
        if kind != "trace" or not pattern:
            hmp.print(LOG_HELP)
            return
        if pattern in HELP_WORDS:
            hmp.print("".join(f"{name}\n" for name in tracer.names()))
            return
        warnings.append(tracer.enable(pattern))
    hmp.print("".join(f"warning: {text}\n" for text in warnings if text is not None))


def logfile(machine: Machine, hmp: Hmp, filename: str) -> None:
    try:
        machine.tracer.log.open(filename)
    except QmpError as error:
        hmp.print(f"{error.desc}\n")


def _events(machine: Machine, prefix: str) -> Iterable[str]:
    return machine.tracer.names()


COMMANDS = [
    HmpCommand("log", "items:s", "item1[,...]", "log these items", log),
    HmpCommand("logfile", "filename:F", "filename", "log to a file", logfile),
    HmpCommand(
        "trace-event",
        "name:s,option:b,vcpu:i?",
        "name on|off [vcpu]",
        "switch the logging of a trace event",
        trace_event,
        complete={1: _events, 2: lambda machine, prefix: ("off", "on")},
    ),
]

INFO = [
    HmpCommand(
        "trace-events",
        "name:s?,vcpu:i?",
        "[name] [vcpu]",
        "show the trace events and whether they are logged",
        info_trace_events,
        complete={1: _events},
    ),
]
