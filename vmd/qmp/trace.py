"""Commands of trace.json."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmd.machine import Machine


def trace_event_get_state(machine: Machine, name: str) -> list[dict[str, object]]:
    return [
        {"name": event, "state": "enabled" if on else "disabled"}
        for event, on in machine.tracer.states(name)
    ]


def trace_event_set_state(
    machine: Machine, name: str, enable: bool, ignore_unavailable: bool = False
) -> None:
    machine.tracer.set(name, enable)


HANDLERS = {
    "trace-event-get-state": trace_event_get_state,
    "trace-event-set-state": trace_event_set_state,
}
