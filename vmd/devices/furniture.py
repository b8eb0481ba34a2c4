"""What a board has beside its own parts: ports, drives, a VGA adapter, network devices; and the
numbers that all of them have among the unattached objects.

Observed from hw/i386/pc.c, pc_q35.c and pc_piix.c of QEMU 10.0.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vmd.devices.board import KIB, MIB, AuxBlock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmd.machine import Machine

SERIAL, PARALLEL, DRIVE, FLOPPY, VGA, NIC = "serial", "parallel", "drive", "floppy", "vga", "nic"
FLOPPIES = "isa-fdc"
_PICS = ("isa-i8259", "isa-i8259")
_TIMERS = ("hpet", "isa-pit", "isa-pcspk")
_KEYBOARD = ("i8042", "vmport", "vmmouse", "port92")
_EEPROMS = ("smbus-eeprom",) * 8
# In the order in which they are made, behind the CPUs: parts of a board, and kinds of furniture.
_ORDER = {
    "q35": (
        *("ICH9-LPC", *_PICS, *_TIMERS, SERIAL, PARALLEL, FLOPPIES, FLOPPY, *_KEYBOARD),
        *("ich9-ahci", DRIVE, "ICH9-SMB", *_EEPROMS, VGA, NIC),
    ),
    "pc": (
        *("i440FX", "PIIX3", DRIVE, *_PICS, VGA, *_TIMERS, SERIAL, PARALLEL, FLOPPIES, FLOPPY),
        *(*_KEYBOARD, NIC, *_EEPROMS),
    ),
}
VGA_TYPES = {"std": "VGA", "cirrus": "cirrus-vga", "virtio": "virtio-vga"}
# Video memory, and the name of the firmware's block.
_VIDEO = {
    "VGA": (16 * MIB, "vga"),
    "cirrus-vga": (4 * MIB, "cirrus_vga"),
    "virtio-vga": (8 * MIB, "virtio-vga"),
}
_VGA_ROM, _NIC_ROM = 64 * KIB, 256 * KIB
_ROM_NAMES = {"ne2k_pci": "ne2000"}
_FIRST_SLOT = {"q35": 1, "pc": 2}
DEFAULT_NIC = {"q35": "e1000e", "pc": "e1000"}


class Nic(NamedTuple):
    """A network device that the board plugs in: its type, and what it is told."""

    type: str
    options: Mapping[str, object]


class Furniture(NamedTuple):
    """How many ports and drives there are, the type of the VGA adapter, the network devices."""

    serials: int = 0
    parallels: int = 0
    drives: int = 0
    floppies: int = 0
    vga: str | None = None
    nics: tuple[Nic, ...] = ()

    def count(self, kind: str) -> int:
        """How many there are of a kind; 1 of what is a board's own part."""
        counts = {
            SERIAL: self.serials,
            PARALLEL: self.parallels,
            DRIVE: self.drives,
            FLOPPY: self.floppies,
            VGA: int(self.vga is not None),
            NIC: len(self.nics),
        }
        return counts.get(kind, 1)


def blocks(board: str | None, furniture: Furniture) -> list[AuxBlock]:
    """The RAM blocks that the adapter and the network devices bring, in order of creation."""
    found = []
    slot = _FIRST_SLOT.get(board or "", 0)
    if furniture.vga is not None:
        size, name = _VIDEO[furniture.vga]
        found.append(AuxBlock(f"0000:00:{slot:02x}.0/vga.vram", size, size))
        found.append(AuxBlock(f"0000:00:{slot:02x}.0/{name}.rom", _VGA_ROM, _VGA_ROM))
        slot += 1
    for nic in furniture.nics:
        name = _ROM_NAMES.get(nic.type, nic.type)
        found.append(AuxBlock(f"0000:00:{slot:02x}.0/{name}.rom", _NIC_ROM, _NIC_ROM))
        slot += 1
    return found


def kinds(machine: Machine) -> tuple[str, ...]:
    """What is not a part of the board."""
    own = () if machine.board.alias == "pc" else (FLOPPIES,)
    return (SERIAL, PARALLEL, DRIVE, FLOPPY, VGA, NIC, *own)


def paths(machine: Machine) -> dict[str, list[str]]:
    """Where the devices of each kind are, of parts and of furniture."""
    from vmd.devices.trees import absent

    gone = absent(machine)
    furniture = machine.furniture or Furniture()
    if machine.board.alias == "q35" and not furniture.floppies:
        gone.add(FLOPPIES)
    if "ich9-ahci" in gone and machine.board.alias == "q35":
        gone.add(DRIVE)
    number = machine.cpus + 1 + (machine.kvm is not None)  # KVM's clock has a number, too
    found: dict[str, list[str]] = {}
    for kind in _ORDER.get(machine.board.alias or "", ()):
        for _ in range(0 if kind in gone else furniture.count(kind)):
            found.setdefault(kind, []).append(f"/machine/unattached/device[{number}]")
            number += 1
    return found
