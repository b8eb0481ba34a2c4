"""The human desk: the command table. A handler calls its QMP twin and prints.

Nothing is computed here that QMP could not tell. Help texts are our own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.hmp import HmpRegistry, discard

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    from monitor.hmp import Hints, HmpCommand
    from monitor.trace import Trace
    from vmd.machine import Machine


def registry(
    *,
    console: Callable[[str], None] = discard,
    report: Callable[[str], None] = discard,
    trace: Trace | None = None,
) -> HmpRegistry:
    """All commands of the human monitor; `console` and `report` print on stdout and stderr.

    A prompt needs no command, so their modules come with the first line.
    """
    return HmpRegistry(
        _commands,
        topics={"log": _log_help},
        register=_register,
        block_names=_block_names,
        option_ids=_option_ids,
        hints=_hints,
        console=console,
        report=report,
        trace=trace,
    )


def _commands() -> list[HmpCommand]:
    from vmd.hmp import table

    return table.commands()


def _log_help() -> str:
    from vmd.hmp import table

    return table.log_help()


def _hints() -> Hints:
    from vmd.hmp.hints import HINTS

    return HINTS


def _register(machine: Machine, cpu_index: int | None, name: str) -> int | None:
    from vmd.devices import registers

    return registers.read(machine, cpu_index, name)


def _block_names(machine: Machine) -> Iterable[str]:
    """Those of drives that have a name of their own."""
    from vmd.qmp import block_core

    return [str(drive["device"]) for drive in block_core.query_block(machine) if drive["device"]]


def _option_ids(machine: Machine, group: str) -> Container[str]:
    """The ids that options of the group have taken."""
    return machine.networks.by_name if group == "netdev" else ()
