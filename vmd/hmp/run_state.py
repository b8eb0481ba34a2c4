"""Starting, stopping, and the buttons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from monitor.hmp import HmpCommand
from vmd.qmp import control, dump, misc
from vmd.qmp import machine as machine_commands

if TYPE_CHECKING:
    from monitor.hmp import Hmp
    from monitor.server import QmpMonitor
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


def getfd(machine: Machine, hmp: Hmp, fdname: str) -> None:
    misc.getfd(machine, _asker(hmp), fdname)


def closefd(machine: Machine, hmp: Hmp, fdname: str) -> None:
    misc.closefd(machine, _asker(hmp), fdname)


def _asker(hmp: Hmp) -> QmpMonitor:
    """All that these want of the asking monitor is its descriptors."""
    return cast("QmpMonitor", hmp)


async def dump_guest_memory(
    machine: Machine,
    hmp: Hmp,
    filename: str,
    begin: int | None = None,
    length: int | None = None,
    paging: bool = False,
    detach: bool = False,
) -> None:
    await dump.dump_guest_memory(
        machine, _asker(hmp), paging, f"file:{filename}", detach, begin, length
    )


def info_dump(machine: Machine, hmp: Hmp) -> None:
    """Observed from dump/dump-hmp-cmds.c."""
    result: Any = dump.query_dump(machine)
    hmp.print(f"Status: {result['status']}\n")
    if result["status"] == "active":
        part = 100.0 * result["completed"] / result["total"] if result["total"] else 0.0
        hmp.print(f"Finished: {part:.2f} %\n")


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
    HmpCommand(
        "getfd",
        "fdname:s",
        "getfd name",
        "keep the descriptor that was sent along, under a name",
        getfd,
        preconfig=True,
    ),
    HmpCommand(
        "closefd", "fdname:s", "closefd name", "close a descriptor that is kept", closefd, True
    ),
    HmpCommand(
        "dump-guest-memory",
        "paging:-p,detach:-d,filename:F,begin:l?,length:l?",
        "[-p] [-d] filename [begin length]",
        "write guest memory into a core file\n"
        "\t\t\t-p: with the guest's paging\n"
        "\t\t\t-d: do not wait for the end\n"
        "\t\t\tbegin: first physical address\n"
        "\t\t\tlength: number of bytes",
        dump_guest_memory,
    ),
]

INFO = [
    HmpCommand("dump", "", "", "show how the last dump of memory goes", info_dump),
]
