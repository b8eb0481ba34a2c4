"""What devices hold of other parts of the machine: character devices, drives, networks, objects.

Each property that names such a thing is resolved here when the device is realized, and let go of
when it goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qapi.error import DEVICE_NOT_FOUND, QmpError
from vmd.devices import values

if TYPE_CHECKING:
    from vmd.devices.bus import Device
    from vmd.machine import Machine

_NEED_CHARDEV = {
    "isa-parallel": "Can't create parallel device, empty char device",
    "isa-debugcon": "Can't create debugcon device, empty char device",
}

_HOST_HINT = (
    "Use -device vfio-pci,host=DDDD:BB:DD.F or -device vfio-pci,fd=DEVICE_FD"
    " or -device vfio-pci,sysfsdev=PATH_TO_DEVICE"
)


def attach(machine: Machine, device: Device) -> None:
    """Take hold of everything that the device's properties name; QmpError if something is wrong.

    What was taken before an error is in `device.releases`.
    """
    for name in [name for name in device.type.properties if name in device.given]:
        kind, value = device.type.properties[name].type, device.values[name]
        if not value:
            continue
        if kind.startswith("link<"):
            _attach_object(machine, device, name, kind[5:-1], str(value))
        elif name == "chardev":
            _attach_chardev(machine, device, str(value))
        elif name == "drive":
            from vmd.devices import drives

            drives.attach(machine, device, str(value))
        elif name == "netdev":
            machine.networks.attach(device, str(value))
    if "drive" in device.type.properties:
        from vmd.devices import drives

        drives.equip(machine, device)


def demand(device: Device) -> None:
    """Refuse a device that lacks what it cannot be without."""
    name = device.type.name
    if "chardev" not in device.given and (text := _NEED_CHARDEV.get(name)) is not None:
        raise QmpError(text)
    if name == "nvme" and "serial" not in device.given:
        raise QmpError("serial property not set")
    if name == "vhost-scsi-pci" and not device.values.get("wwpn"):
        raise QmpError("vhost-scsi: missing wwpn")
    if name == "vfio-pci" and not device.values.get("host"):
        raise QmpError("No provided host device", hint=_HOST_HINT)
    if "drive" in device.given:
        return
    if name.startswith(("virtio-blk-pci", "usb-storage", "scsi-hd")):
        raise QmpError("drive property not set")
    if name == "ide-hd":
        raise QmpError("No drive specified")


def _attach_object(machine: Machine, device: Device, name: str, kind: str, value: str) -> None:
    from vmd.devices import types

    found = machine.backends.get(value) or machine.objects.get(value)
    if found is None:
        raise QmpError(f"Device '{value}' not found", DEVICE_NOT_FOUND)
    if not types.is_a(found.qom_type, kind):
        raise QmpError(f"Invalid parameter type for '{name}', expected: {kind}")
    device.values[name] = f"/objects/{value}"


def _attach_chardev(machine: Machine, device: Device, label: str) -> None:
    from vmd.chardev import claim
    from vmd.chardev.line import Line

    chardev = machine.chardevs.get(label) if machine.chardevs is not None else None
    if chardev is None:
        raise values.not_there(device.type, "chardev", label)
    try:
        line = Line(claim(chardev))
    except QmpError:
        raise values.taken(device.type, "chardev", label) from None
    line.listens = device.type.name != "virtserialport"  # a guest would have to open it
    device.releases.append(chardev.detach)
    device.state = line
