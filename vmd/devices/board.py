"""The machine types, as data: what a management layer can see of a board without a guest in it.

Names, aliases and auxiliary RAM blocks observed from `query-machines` and `info ramblock` of QEMU
10.0.2. A simulated board has the same RAM blocks, so that its stream has the same table; nothing
executes from them.
"""

from __future__ import annotations

from typing import NamedTuple

from qapi.error import QmpError

MIB = 1 << 20
KIB = 1 << 10


class AuxBlock(NamedTuple):
    """A RAM block that belongs to a device or to the firmware. Sizes in bytes."""

    idstr: str
    size: int
    max_size: int


class Rom(NamedTuple):
    """An image that a board brings: at a guest address, or in a folder of the firmware's files."""

    name: str
    size: int
    address: int | None = None
    folder: str = ""


class Board(NamedTuple):
    """One machine type."""

    name: str
    alias: str | None
    description: str
    default_ram_id: str
    default_ram_size: int
    max_cpus: int
    has_cpus: bool
    wakeup_support: bool
    carries_devices: bool
    is_default: bool = False
    bios: tuple[AuxBlock, ...] = ()
    acpi: tuple[AuxBlock, ...] = ()
    roms: tuple[Rom, ...] = ()
    rtc_place: int = 0  # of the bridge with the real-time clock, behind the CPUs
    compat_props: tuple[tuple[str, str, str], ...] = ()  # type, property, value


_BIOS = (
    AuxBlock("pc.bios", 256 * KIB, 256 * KIB),
    AuxBlock("pc.rom", 128 * KIB, 128 * KIB),
)
_ROMS = (
    Rom("kvmvapic.bin", 9 * KIB, folder="genroms"),
    Rom("bios-256k.bin", 256 * KIB, address=(4 << 30) - 256 * KIB),
)
_ACPI = (
    AuxBlock("/rom@etc/acpi/tables", 128 * KIB, 2 * MIB),
    AuxBlock("/rom@etc/table-loader", 4 * KIB, 64 * KIB),
    AuxBlock("/rom@etc/acpi/rsdp", 4 * KIB, 4 * KIB),
)


BOARDS = (
    Board(
        name="none",
        alias=None,
        description="empty machine",
        default_ram_id="ram",
        default_ram_size=0,
        max_cpus=1,
        has_cpus=False,
        wakeup_support=False,
        carries_devices=False,
    ),
    Board(
        name="pc-i440fx-10.0",
        alias="pc",
        description="Standard PC (i440FX + PIIX, 1996)",
        default_ram_id="pc.ram",
        default_ram_size=128 * MIB,
        max_cpus=255,
        has_cpus=True,
        wakeup_support=True,
        carries_devices=True,
        is_default=True,
        bios=_BIOS,
        roms=_ROMS,
        acpi=_ACPI,
        rtc_place=2,
    ),
    Board(
        name="pc-q35-10.0",
        alias="q35",
        description="Standard PC (Q35 + ICH9, 2009)",
        default_ram_id="pc.ram",
        default_ram_size=128 * MIB,
        max_cpus=4096,
        has_cpus=True,
        wakeup_support=True,
        carries_devices=True,
        bios=_BIOS,
        roms=_ROMS,
        acpi=_ACPI,
        rtc_place=1,
        compat_props=(("virtio-iommu-pci", "aw-bits", "39"),),
    ),
)


def find(name: str) -> Board:
    """The board of that name or alias."""
    for board in BOARDS:
        if name in (board.name, board.alias):
            return board
    raise QmpError(
        f'unsupported machine type: "{name}"',
        hint="Use -machine help to list supported machines",
    )


def is_device_block(idstr: str) -> bool:
    """Whether a RAM block of this name belongs to a device or the firmware of a PC.

    Device blocks are named after a PCI path or a firmware file, or `pc.*`; main memory never is,
    except `pc.ram` itself.
    """
    return "/" in idstr or (idstr.startswith("pc.") and idstr != "pc.ram")


def is_rom(idstr: str) -> bool:
    """Whether a RAM block holds what the guest cannot write: firmware, and tables for it."""
    return idstr in ("pc.bios", "pc.rom") or idstr.startswith("/rom@") or idstr.endswith(".rom")
