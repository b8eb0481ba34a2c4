"""The machine types and what `-machine TYPE,…` may set on them. Constant data.

A property is listed only if it can be taken at its word by a machine without real hardware: the
ones that name firmware or kernels to run are not. Observed from `-machine TYPE,help`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vmd.devices.board import BOARDS, Board

if TYPE_CHECKING:
    from collections.abc import Mapping


class MachineType(NamedTuple):
    """A board and what the command line may say of it.

    `levels` are the CPU topology levels beside sockets, cores and threads; `properties` map a name
    to (kind, description).
    """

    board: Board
    levels: tuple[str, ...]
    properties: Mapping[str, tuple[str, str]]

    @property
    def is_pc(self) -> bool:
        """It has CPUs, NUMA nodes, VGA, a serial and a parallel port."""
        return self.board.has_cpus

    @property
    def type_name(self) -> str:
        """The QOM type."""
        return f"{self.board.name}-machine"


_COMMON = {
    "aux-ram-share": ("bool", "Share auxiliary RAM, so that it survives a CPR transfer"),
    "dump-guest-core": ("bool", "Put guest memory into core dumps"),
    "graphics": ("bool", "Have graphics"),
    "mem-merge": ("bool", "Let the host merge equal pages"),
    "memory-backend": ("string", "Id of the memory backend that is the main RAM"),
    "suppress-vmdesc": ("bool", "Leave the description out of migration streams"),
    "usb": ("bool", "Have a USB controller"),
}
_PC = {
    **_COMMON,
    "acpi": ("OnOffAuto", "Have ACPI"),
    "default-bus-bypass-iommu": ("bool", "Bypass the IOMMU on the root bus"),
    "fd-bootchk": ("bool", "Check the signature of boot sectors"),
    "hpet": ("bool", "Have an HPET"),
    "i8042": ("bool", "Have a PS/2 controller"),
    "max-fw-size": ("size", "Largest firmware"),
    "max-ram-below-4g": ("size", "Largest RAM below 4 GiB"),
    "nvdimm": ("bool", "Allow NVDIMMs"),
    "hmat": ("bool", "Have an ACPI HMAT table"),
    "pic": ("OnOffAuto", "Have i8259 interrupt controllers"),
    "pit": ("OnOffAuto", "Have an i8254 timer"),
    "sata": ("bool", "Have a SATA controller"),
    "smbus": ("bool", "Have an SMBus controller"),
    "smm": ("OnOffAuto", "Have System Management Mode"),
    "vmport": ("OnOffAuto", "Have the vmport"),
    "x-oem-id": ("string", "OEM id in the ACPI tables"),
    "x-oem-table-id": ("string", "OEM table id in the ACPI tables"),
}


MACHINES = tuple(
    MachineType(board, ("dies", "modules"), _PC)
    if board.has_cpus
    else MachineType(board, (), _COMMON)
    for board in BOARDS
)


def find_machine(tree: Mapping[str, object]) -> MachineType | None:
    """The type that a `-machine` tree names, by name or alias, or the default one."""
    name = tree.get("type")
    for machine in MACHINES:
        board = machine.board
        if board.is_default if name is None else name in (board.name, board.alias):
            return machine
    return None
