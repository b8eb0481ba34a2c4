"""What is inside the machine, in the words of QMP's x-query-… commands; the accelerator's switch.

Observed from accel/tcg/monitor.c and monitor/hmp-cmds.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.hmp import HmpCommand
from qapi.error import QmpError
from vmd.qmp import machine as commands

if TYPE_CHECKING:
    from collections.abc import Callable

    from monitor.hmp import Hmp
    from vmd.machine import Machine


def _printed(query: Callable[[Machine], dict[str, str]]) -> Callable[[Machine, Hmp], None]:
    """The handler that prints what a query tells."""

    def handler(machine: Machine, hmp: Hmp) -> None:
        hmp.print(query(machine)["human-readable-text"])

    return handler


def one_insn_per_tb(machine: Machine, hmp: Hmp, option: str = "on") -> None:
    if machine.accel != "tcg":
        raise QmpError("This accelerator does not support setting one-insn-per-tb")
    if option not in ("on", "off"):
        hmp.print(f"unexpected option {option}\n")
        return
    machine.accel_properties["one-insn-per-tb"] = option == "on"


def dumpdtb(machine: Machine, hmp: Hmp, filename: str) -> None:
    commands.dumpdtb(machine, filename)


COMMANDS = [
    HmpCommand(
        "one-insn-per-tb",
        "option:s?",
        "[on|off]",
        "have blocks of one translated instruction each",
        one_insn_per_tb,
    ),
    HmpCommand("dumpdtb", "filename:F", "filename", "save the device tree in a file", dumpdtb),
]

INFO = [
    HmpCommand(name, "", "", text, _printed(query))
    for name, text, query in (
        ("irq", "show how often interrupt lines went up", commands.x_query_irq),
        (
            "pic",
            "show what is in the interrupt controllers",
            commands.x_query_interrupt_controllers,
        ),
        ("jit", "show the buffer of translated code", commands.x_query_jit),
        ("opcount", "show how often operations were translated", commands.x_query_opcount),
        ("usb", "show the guest's USB devices", commands.x_query_usb),
        ("roms", "show the images that firmware and devices bring", commands.x_query_roms),
        ("numa", "show the nodes of memory and CPUs", commands.x_query_numa),
        ("ramblock", "show the blocks that RAM consists of", commands.x_query_ramblock),
    )
]
