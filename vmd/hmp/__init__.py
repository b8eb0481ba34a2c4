"""The human desk: the command table. A handler calls its QMP twin and prints.

Nothing is computed here that QMP could not tell. Help texts are our own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.hmp import HmpCommand, HmpRegistry, discard, hmp_help, hmp_info_help
from vmd.hmp import block, char, debug, device, info, machine, migration, misc, run_state
from vmd.hmp import trace as trace_commands
from vmd.qmp import block_core

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    from monitor.hmp import Hints
    from monitor.trace import Trace
    from vmd.machine import Machine


def registry(
    *,
    console: Callable[[str], None] = discard,
    report: Callable[[str], None] = discard,
    trace: Trace | None = None,
) -> HmpRegistry:
    """All commands of the human monitor; `console` and `report` print on stdout and stderr."""
    commands = [
        *run_state.COMMANDS,
        *debug.COMMANDS,
        *device.COMMANDS,
        *migration.COMMANDS,
        *misc.COMMANDS,
        *char.COMMANDS,
        *machine.COMMANDS,
        *trace_commands.COMMANDS,
        HmpCommand("help|?", "name:S?", "[cmd]", "show what commands there are", hmp_help, True),
        HmpCommand(
            "info",
            "item:s?",
            "[subcommand]",
            "show various information about the system state",
            hmp_info_help,
            preconfig=True,
            subcommands=[
                *info.COMMANDS,
                *machine.INFO,
                *migration.INFO,
                *trace_commands.INFO,
                *block.INFO,
                *debug.INFO,
                *device.INFO,
                *misc.INFO,
                *run_state.INFO,
                HmpCommand("usbhost", "", "", "show the USB devices of the host"),
            ],
        ),
    ]
    topics = {"log": lambda: trace_commands.LOG_HELP}
    return HmpRegistry(
        commands,
        topics=topics,
        register=_register,
        block_names=_block_names,
        option_ids=_option_ids,
        hints=_hints,
        console=console,
        report=report,
        trace=trace,
    )


def _hints() -> Hints:
    from vmd.hmp.hints import HINTS

    return HINTS


def _register(machine: Machine, cpu_index: int | None, name: str) -> int | None:
    from vmd.devices import registers

    return registers.read(machine, cpu_index, name)


def _block_names(machine: Machine) -> Iterable[str]:
    """Those of drives that have a name of their own."""
    return [str(drive["device"]) for drive in block_core.query_block(machine) if drive["device"]]


def _option_ids(machine: Machine, group: str) -> Container[str]:
    """The ids that options of the group have taken."""
    return machine.networks.by_name if group == "netdev" else ()
