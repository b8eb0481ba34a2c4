"""The QMP desk: what each command does to the machine. One module a schema file.

Each module has a table HANDLERS (command name → function of the machine and the arguments) and, if
some of its commands must know who asks, MONITOR_HANDLERS (the asking monitor is the second
argument). The registry made from them refuses to exist when schema and tables differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.registry import Handler, QmpRegistry
from vmd.qmp import (
    acpi,
    block,
    block_core,
    char,
    control,
    dump,
    introspect,
    job,
    machine,
    machine_target,
    migration,
    misc,
    misc_target,
    net,
    pci,
    qdev,
    qom,
    run_state,
    stats,
    trace,
    ui,
    yank,
)

if TYPE_CHECKING:
    from qapi.schema import Schema

_MODULES = (
    *(
        acpi,
        block,
        block_core,
        char,
        control,
        dump,
        introspect,
        job,
        machine,
        machine_target,
        migration,
        misc,
    ),
    *(misc_target, net, pci, qdev, qom, run_state, stats, trace, ui, yank),
)


def registry(
    schema: Schema, run_human_line: misc.RunLine, *, check_returns: bool = False
) -> QmpRegistry:
    """All commands of the schema, joined with their handlers.

    `run_human_line(machine, line, cpu_index=…)` gives what the human monitor prints for a line.
    """
    handlers: dict[str, Handler] = {
        name: call for module in _MODULES for name, call in module.HANDLERS.items()
    }
    asking: dict[str, Handler] = {
        name: call
        for module in _MODULES
        for name, call in getattr(module, "MONITOR_HANDLERS", {}).items()
    }
    asking["human-monitor-command"] = misc.human_monitor_command(run_human_line)
    return QmpRegistry(schema, handlers, asking, check_returns=check_returns)
