"""Commands of run-state.json."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmd.runstate import RunState

if TYPE_CHECKING:
    from vmd.machine import Machine


def query_status(machine: Machine) -> dict[str, object]:
    state = machine.runstate.state
    return {"running": state is RunState.RUNNING, "status": state.value}


def set_action(machine: Machine, **actions: str) -> None:
    machine.actions |= actions


def watchdog_set_action(machine: Machine, action: str) -> None:
    set_action(machine, watchdog=action)


HANDLERS = {
    "query-status": query_status,
    "set-action": set_action,
    "watchdog-set-action": watchdog_set_action,
}
