"""USB buses and what is on them, as `info usb` tells it. Observed from hw/usb/bus.c.

No guest of ours gives an address to a device: all have 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qapi.error import QmpError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmd.devices.bus import Bus, Device
    from vmd.machine import Machine

LOW, FULL, HIGH, SUPER = "1.5", "12", "480", "5000"
PRODUCTS = {
    "usb-hub": "QEMU USB Hub",
    "usb-kbd": "QEMU USB Keyboard",
    "usb-mouse": "QEMU USB Mouse",
    "usb-storage": "QEMU USB MSD",
    "usb-tablet": "QEMU USB Tablet",
}
# From the slowest to the fastest that a device can, by what its usb_version says.
_SPEEDS = {"usb-hub": (FULL,), "usb-storage": (FULL, HIGH, SUPER)}
_CONTROLLERS = {"ehci": (HIGH,), "xhci": (FULL, HIGH, SUPER), "uhci": (FULL,), "ohci": (FULL,)}


def text(machine: Machine) -> str:
    """QmpError if there is no USB at all."""
    found = list(buses(machine))
    if not found:
        raise QmpError("USB support not enabled")
    rows = []
    for number, bus in enumerate(found):
        for device in sorted(bus.devices, key=_port):
            name = f", ID: {device.id}" if device.id is not None else ""
            product = PRODUCTS[device.type.name]
            rows.append(
                f"  Device {number}.0, Port {device.place['port']}, Speed {speed(device, bus)}"
                f" Mb/s, Product {product}{name}\n"
            )
    return "".join(rows)


def buses(machine: Machine) -> Iterator[Bus]:
    """The buses, in the order of the tree; hubs have none of their own."""
    for device in machine.devices.all():
        yield from (bus for bus in device.buses if bus.type == "usb-bus")


def _port(device: Device) -> list[int]:
    return [int(part) for part in str(device.place["port"]).split(".")]


def speed(device: Device, bus: Bus) -> str | None:
    """The fastest that both ends can, None if there is none; behind a hub all are slow."""
    assert bus.parent is not None
    kind = device.type.name
    own = _SPEEDS.get(kind)
    if own is None:
        own = (FULL,) if device.values.get("usb_version") == 1 else (FULL, HIGH)
    if "." in str(device.place["port"]):
        return FULL
    there = next((v for word, v in _CONTROLLERS.items() if word in bus.parent.type.name), (FULL,))
    return next((speed for speed in reversed(own) if speed in there), None)


def check_speed(device: Device, bus: Bus) -> None:
    """Refuse a device that is too slow for its port, as usb_device_attach does."""
    if speed(device, bus) is None:
        product = PRODUCTS[device.type.name]
        raise QmpError(
            f'Warning: speed mismatch trying to attach usb device "{product}" (full speed) to bus'
            f' "{bus.name}", port "{device.place["port"]}" (high speed)'
        )
