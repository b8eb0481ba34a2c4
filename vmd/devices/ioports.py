"""The I/O ports of a PC that have an effect: those that a guest tells of its end with.

Power management (PM1 control of ICH9 and PIIX4, where firmware puts it), the reset register of the
chipset, the keyboard controller's reset line, and the port of a pvpanic. The others are as if
nothing were there. Observed from hw/acpi/core.c, hw/isa/lpc_ich9.c, hw/pci-host/i440fx.c,
hw/input/pckbd.c and hw/misc/pvpanic.c. A watchdog has ports of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmd.devices import watchdog

if TYPE_CHECKING:
    from vmd.devices.bus import Device
    from vmd.machine import Machine

PM1_CONTROL = 0x604
CHIPSET_RESET = 0xCF9
KEYBOARD = 0x64
PVPANIC = ("pvpanic", "pvpanic-pci")

_SLEEP = 1 << 13
_HARD_RESET = 1 << 2
_RESET_LINE = 0xFE
_PANICKED, _CRASH_LOADED, _OFF = 1, 2, 4
_TO_DISK = 2  # the kind of sleep that firmware calls S4


def read(machine: Machine, port: int, size: int) -> int:
    """What `size` bytes from a port on say."""
    if machine.board.has_cpus:
        if port == PM1_CONTROL and machine.firmware_ran:
            return 0 if size < 4 else 0xFFFF_0000
        panic = _at(machine, port)
        if panic is not None:
            return int.from_bytes(bytes((panic.values["events"],)) * size)
    return (1 << 8 * size) - 1


def write(machine: Machine, port: int, size: int, value: int) -> None:
    """What a guest, or somebody in its place, writes to a port."""
    if not machine.board.has_cpus:
        return
    if port == PM1_CONTROL and size >= 2 and machine.firmware_ran:
        if value & _SLEEP:
            _sleep(machine, value >> 10 & 7)
    elif port == CHIPSET_RESET and size == 1:
        if value & _HARD_RESET:
            machine.guest_side.resets()
    elif port == KEYBOARD and size == 1:
        if value & 0xFF == _RESET_LINE:
            machine.guest_side.resets()
    elif _at(machine, port) is not None:
        tell(machine, value & 0xFF)
    elif size == 1:
        watchdog.write_port(machine, port, value)


def tell(machine: Machine, what: int) -> None:
    """What a pvpanic device hears from its guest: the first of these bits that is set."""
    if what & _PANICKED:
        machine.guest_side.panicked()
    elif what & _CRASH_LOADED:
        machine.events.emit("GUEST_CRASHLOADED", {"action": "run"})
    elif what & _OFF:
        machine.events.emit("GUEST_PVSHUTDOWN")
        machine.guest_side.powers_off()


def has_pvpanic(machine: Machine) -> bool:
    """Whether a guest could tell of its panic."""
    return any(device.type.name in PVPANIC for device in machine.devices.users())


def _at(machine: Machine, port: int) -> Device | None:
    for device in machine.devices.users():
        if device.type.name == PVPANIC[0] and device.values["ioport"] == port:
            return device
    return None


def _sleep(machine: Machine, kind: int) -> None:
    if kind == 0:
        machine.guest_side.powers_off()
    elif kind == 1:
        machine.guest_side.suspends()
    elif kind == _TO_DISK:
        machine.events.emit("SUSPEND_DISK")
        machine.guest_side.powers_off()
