"""Starting, stopping, and the buttons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.hmp import HmpCommand
from vmd.qmp import control, misc
from vmd.qmp import machine as machine_commands

if TYPE_CHECKING:
    from monitor.hmp import Hmp
    from vmd.machine import Machine


def quit_(machine: Machine, hmp: Hmp) -> None:
    control.quit_(machine)
    hmp.suspend()


def stop(machine: Machine, hmp: Hmp) -> None:
    misc.stop(machine)


def cont(machine: Machine, hmp: Hmp) -> None:
    misc.cont(machine)


def system_reset(machine: Machine, hmp: Hmp) -> None:
    machine_commands.system_reset(machine)


def system_powerdown(machine: Machine, hmp: Hmp) -> None:
    machine_commands.system_powerdown(machine)


def system_wakeup(machine: Machine, hmp: Hmp) -> None:
    machine_commands.system_wakeup(machine)


async def exit_preconfig(machine: Machine, hmp: Hmp) -> None:
    await misc.x_exit_preconfig(machine)


COMMANDS = [
    HmpCommand(
        "exit_preconfig",
        "",
        "",
        "make the machine, after a start with -preconfig",
        exit_preconfig,
        preconfig=True,
    ),
    HmpCommand("quit|q", "", "", "end the emulator", quit_, preconfig=True),
    HmpCommand("stop|s", "", "", "hold the guest", stop),
    HmpCommand("cont|c", "", "", "let the guest go on", cont),
    HmpCommand("system_reset", "", "", "press the reset button", system_reset),
    HmpCommand("system_powerdown", "", "", "press the power button", system_powerdown),
    HmpCommand("system_wakeup", "", "", "wake a sleeping guest", system_wakeup),
]
