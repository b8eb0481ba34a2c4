"""The machine types and what `-machine TYPE,…` may set on them. Constant data.

A property is listed only if it can be taken at its word by a machine without real hardware: the
ones that name firmware or kernels to run are not. Observed from `-machine TYPE,help`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

MIB = 1 << 20


class MachineType(NamedTuple):
    """One type. `levels` are the CPU topology levels beside sockets, cores and threads."""

    name: str
    description: str
    alias: str | None
    default: bool
    max_cpus: int
    default_ram: int
    levels: tuple[str, ...]
    has_serial: bool
    has_parallel: bool
    has_numa: bool
    has_vga: bool
    properties: Mapping[str, tuple[str, str]]  # name: (kind, description)

    @property
    def type_name(self) -> str:
        """The QOM type."""
        return f"{self.name}-machine"


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


def _pc(name: str, description: str, alias: str, default: bool, max_cpus: int) -> MachineType:
    return MachineType(
        name=name,
        description=description,
        alias=alias,
        default=default,
        max_cpus=max_cpus,
        default_ram=128 * MIB,
        levels=("dies", "modules"),
        has_serial=True,
        has_parallel=True,
        has_numa=True,
        has_vga=True,
        properties=_PC,
    )


NONE = MachineType(
    name="none",
    description="empty machine",
    alias=None,
    default=False,
    max_cpus=1,
    default_ram=0,
    levels=(),
    has_serial=False,
    has_parallel=False,
    has_numa=False,
    has_vga=False,
    properties=_COMMON,
)
MACHINES = (
    NONE,
    _pc("pc-i440fx-10.0", "Standard PC (i440FX + PIIX, 1996)", "pc", True, 255),
    _pc("pc-q35-10.0", "Standard PC (Q35 + ICH9, 2009)", "q35", False, 4096),
)


def find_machine(tree: Mapping[str, object]) -> MachineType | None:
    """The type that a `-machine` tree names, by name or alias, or the default one."""
    name = tree.get("type")
    for machine in MACHINES:
        if name in (machine.name, machine.alias) if name is not None else machine.default:
            return machine
    return None
