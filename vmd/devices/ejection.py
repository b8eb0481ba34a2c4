"""PCI slots that the guest is asked to give up: what goes with a slot, and who hears of it later.

A guest is asked for a whole slot. What it has not given up yet stands in its RAM and travels with
it, as the status of ACPI's hot-plug registers does in QEMU; who asked does not: the machine that
it comes to may be asked again. Observed from hw/acpi/pcihp.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmd.devices.bus import Bus, Device
    from vmd.guest.guest import Guest

_FUNCTION_BITS = 3
_DEEPEST = 7  # bytes of a slot's name


def asked_slots(root: Bus) -> Iterator[list[Device]]:
    """The functions of each slot that is asked for, in the order in which they go."""
    for bus in _pci_buses(root):
        for slot in sorted({_slot(device) for device in bus.devices if device.asked}):
            yield [device for device in reversed(bus.devices) if _slot(device) == slot]


def can_go(device: Device) -> bool:
    """Whether a function goes with its slot: not a bridge that was there from the start."""
    is_bridge = any(bus.is_a("PCI") for bus in device.buses)
    return device.type.hotpluggable and (device.hotplugged or not is_bridge)


def note(root: Bus, guest: Guest) -> None:
    """Let the guest's RAM tell what is asked for now."""
    names = [_name(functions[0]) for functions in asked_slots(root)]
    guest.is_asked_for([name for name in names if len(name) <= _DEEPEST])


def recall(root: Bus, guest: Guest) -> None:
    """A guest has come: what it was asked for elsewhere, it is still asked for."""
    names = guest.asked_for
    for bus in _pci_buses(root) if names else ():
        for device in bus.devices:
            device.asked = device.asked or _name(device) in names


def _pci_buses(bus: Bus) -> Iterator[Bus]:
    """A bus before those behind it, of which the newest is the first."""
    if bus.is_a("PCI"):
        yield bus
    for device in reversed(bus.devices):
        for child in device.buses:
            yield from _pci_buses(child)


def _slot(device: Device) -> int:
    return int(device.place["devfn"]) >> _FUNCTION_BITS


def _name(device: Device) -> bytes:
    """Where a slot is: the functions that are passed on the way to it, and its number."""
    way = [_slot(device)]
    bus = device.bus
    while bus is not None and bus.parent is not None and "devfn" in bus.parent.place:
        way.insert(0, int(bus.parent.place["devfn"]))
        bus = bus.parent.bus
    return bytes(way)
