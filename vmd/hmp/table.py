"""The command table of the human monitor, put together from the desks' own."""

from __future__ import annotations

from monitor.hmp import HmpCommand, hmp_help, hmp_info_help
from vmd.hmp import (
    block,
    char,
    debug,
    device,
    dirty_rate,
    info,
    inside,
    machine,
    migration,
    misc,
    run_state,
)
from vmd.hmp import trace as trace_commands


def commands() -> list[HmpCommand]:
    """All commands."""
    return [
        *run_state.COMMANDS,
        *block.COMMANDS,
        *debug.COMMANDS,
        *inside.COMMANDS,
        *device.COMMANDS,
        *migration.COMMANDS,
        *dirty_rate.COMMANDS,
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
                *dirty_rate.INFO,
                *trace_commands.INFO,
                *block.INFO,
                *debug.INFO,
                *inside.INFO,
                *device.INFO,
                *misc.INFO,
                *run_state.INFO,
                HmpCommand("usbhost", "", "", "show the USB devices of the host"),
            ],
        ),
    ]


def log_help() -> str:
    """What `help log` prints."""
    return trace_commands.LOG_HELP
