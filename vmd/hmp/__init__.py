"""The human desk: the command table. A handler calls its QMP twin and prints.

Nothing is computed here that QMP could not tell. Help texts are our own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.hmp import HmpCommand, HmpRegistry, discard, hmp_help, hmp_info_help
from vmd.hmp import char, info, machine, migration, misc, run_state
from vmd.hmp import trace as trace_commands

if TYPE_CHECKING:
    from collections.abc import Callable

    from monitor.trace import Trace


def registry(
    *,
    console: Callable[[str], None] = discard,
    report: Callable[[str], None] = discard,
    trace: Trace | None = None,
) -> HmpRegistry:
    """All commands of the human monitor; `console` and `report` print on stdout and stderr."""
    commands = [
        *run_state.COMMANDS,
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
            subcommands=[*info.COMMANDS, *machine.INFO, *migration.INFO, *trace_commands.INFO],
        ),
    ]
    topics = {"log": lambda: trace_commands.LOG_HELP}
    return HmpRegistry(commands, topics=topics, console=console, report=report, trace=trace)
