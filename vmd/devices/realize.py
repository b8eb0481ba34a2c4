"""What is special about single types of devices: what they ask for, bring about, and allow.

Observed from the realize functions of QEMU 10.0.2's devices.
"""

from __future__ import annotations

import os
from functools import cache as once
from typing import TYPE_CHECKING

from qapi.error import QmpError
from vmd.devices import dimms, processors, slots, values

if TYPE_CHECKING:
    from vmd.devices.bus import Device
    from vmd.devices.plugging import Devices
    from vmd.machine import Machine

_ONE_OF_A_KIND = {
    "vmcoreinfo": "at most one vmcoreinfo device is permitted",
    "vmgenid": "at most one vmgenid device is permitted",
    "pvpanic": "duplicate fw_cfg file name: etc/pvpanic-port",
}
# Those that take what a client presses and moves, and how they are called there.
_INPUTS = {
    "usb-kbd": ("QEMU HID Keyboard", ("key",)),
    "usb-mouse": ("QEMU HID Mouse", ("btn", "rel")),
    "usb-tablet": ("QEMU HID Tablet", ("btn", "abs")),
    "virtio-keyboard-pci": ("QEMU Virtio Keyboard", ("key",)),
    "virtio-mouse-pci": ("QEMU Virtio Mouse", ("btn", "rel")),
    "virtio-tablet-pci": ("QEMU Virtio Tablet", ("btn", "abs")),
}
WATCHDOGS = ("i6300esb", "ib700")
_CHASSIS = ("pcie-root-port", "ioh3420", "xio3130-downstream")


@once
def ancestors(name: str) -> frozenset[str]:
    """The names of all types that a type is a kind of."""
    from vmd.devices import types

    return frozenset(kind.name for kind in types.ancestors(name))


def check(machine: Machine, devices: Devices, device: Device) -> None:
    """Refuse a device that cannot be beside the others; QmpError with QEMU's text."""
    name = device.type.name
    if processors.is_cpu(device):
        processors.check(machine, device)
    elif dimms.is_dimm(device):
        dimms.check(machine, device, hotplug=device.hotplugged)
    same = [other for other in devices.all() if other.type.name == name]
    if name in _ONE_OF_A_KIND and same:
        raise QmpError(_ONE_OF_A_KIND[name])
    if name.startswith("virtio-balloon-pci"):
        if any(other.type.name.startswith("virtio-balloon-pci") for other in devices.all()):
            raise QmpError("Only one balloon device is supported")
    elif name in _CHASSIS:
        mine = (device.values["chassis"], device.values["slot"])
        others = [other for other in devices.all() if other.type.name in _CHASSIS]
        if any(mine == (other.values["chassis"], other.values["slot"]) for other in others):
            raise QmpError("Can't add chassis slot, error -16")
    elif name == "pci-bridge" and not device.values.get("chassis_nr"):
        raise QmpError(
            "Bridge chassis not specified. Each bridge is required to be assigned a unique chassis"
            " id > 0."
        )


def finish(machine: Machine, devices: Devices, device: Device) -> None:
    """What plugging a device brings about in the machine."""
    if processors.is_cpu(device):
        machine.processors.add(device)
    elif dimms.is_dimm(device):
        dimms.plug(machine, device)
    elif (
        device.type.name == "isa-serial" and device.place["index"] == 0 and device.state is not None
    ):
        machine.serial = device.state.write
        device.state.hears = machine.guest_side.hears
    elif device.type.name.startswith("virtio-balloon-pci"):
        from vmd.devices.balloon import Balloon

        devices.balloon = Balloon(machine)
        device.own = devices.balloon.properties()
    elif "netdev" in device.type.properties:
        machine.networks.plug(device)
    elif device.type.name in _INPUTS:
        machine.input.add(*_INPUTS[device.type.name], device)
    elif device.type.name == "vmgenid":
        if "guid" not in device.given or device.values["guid"] == values.AUTO:
            device.values["guid"] = _some_guid()
    elif device.type.name in WATCHDOGS:
        from vmd.devices.watchdog import Watchdog

        device.state = Watchdog(machine)


def _some_guid() -> str:
    """A random one, marked as such."""
    digits = bytearray(os.urandom(16))
    digits[6] = digits[6] & 0x0F | 0x40
    digits[8] = digits[8] & 0x3F | 0x80
    text = digits.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def undo(machine: Machine, devices: Devices, device: Device) -> None:
    """What taking it out does."""
    if processors.is_cpu(device):
        machine.processors.remove(device)
    elif dimms.is_dimm(device):
        dimms.unplug(machine, device)
    elif device.type.name == "isa-serial" and device.place["index"] == 0:
        machine.serial = lambda data: None
    elif device.type.name.startswith("virtio-balloon-pci"):
        if devices.balloon is not None:
            devices.balloon.close()
        devices.balloon = None
    elif "netdev" in device.type.properties:
        machine.networks.unplug(device)
    elif device.type.name in _INPUTS:
        machine.input.remove(device)
    elif device.type.name in WATCHDOGS:
        device.state.stop()


def refuse_removal(machine: Machine, path: str) -> None:
    """QmpError if the path is that of something in the machine that is no device to unplug."""
    from vmd.devices import composition, qom, types
    from vmd.devices.processors import unpluggable

    found = qom.resolve(composition.compose(machine), path)
    if found is None:
        return
    if not types.is_a(found.type, "device"):
        raise QmpError(f"{path} is not a device")
    if types.is_a(found.type, "cpu"):
        first = path == composition.cpu_path(0)
        raise QmpError("Boot CPU is unpluggable") if first else unpluggable(found.type)


def is_hotpluggable_bus(device: Device, type_: str) -> bool:
    """Whether devices may come and go on a bus of this device while the machine runs."""
    if type_ in ("PCI", "PCIE"):
        if device.type.name in slots.DOWNSTREAM_PORTS:
            return bool(device.values.get("hotplug", True))
        return device.type.name in ("pci-bridge", "pcie-pci-bridge") and not device.hotplugged
    return type_ in ("usb-bus", "virtio-serial-bus", "SCSI")


def most_devices(type_: str) -> int | None:
    """How many devices a bus of this type takes, by number alone."""
    return 2 if type_ == "IDE" else None
