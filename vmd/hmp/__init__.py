"""The human desk: the command table. A handler calls its QMP twin and prints.

Nothing is computed here that QMP could not tell. Help texts are our own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.hmp import HmpCommand, HmpRegistry, discard, hmp_help, hmp_info_help
from vmd.hmp import info, migration, misc, run_state

if TYPE_CHECKING:
    from collections.abc import Callable


def registry(
    *, console: Callable[[str], None] = discard, report: Callable[[str], None] = discard
) -> HmpRegistry:
    """All commands of the human monitor; `console` and `report` print on stdout and stderr."""
    commands = [
        *run_state.COMMANDS,
        *migration.COMMANDS,
        *misc.COMMANDS,
        HmpCommand("help|?", "name:S?", "[cmd]", "show what commands there are", hmp_help, True),
        HmpCommand(
            "info",
            "item:s?",
            "[subcommand]",
            "show various information about the system state",
            hmp_info_help,
            preconfig=True,
            subcommands=[*info.COMMANDS, *migration.INFO],
        ),
    ]
    return HmpRegistry(commands, console=console, report=report)
