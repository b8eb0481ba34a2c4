"""The drives of a machine: devices with a node as their medium, or with an empty tray.

Observed from block/qapi.c and hw/core/qdev-properties-system.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vmd.block.describe import counters, node_info, node_stats
from vmd.devices import values

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmd.block.nodes import Node
    from vmd.devices.bus import Device
    from vmd.machine import Machine

_DISKS = ("virtio-blk-pci", "ide-hd", "ide-cd", "scsi-hd", "scsi-cd", "usb-storage")


class Drive:
    """What a device sees of its medium; `node` is None where there is none."""

    __slots__ = ("device", "node")

    def __init__(self, device: Device, node: Node | None) -> None:
        self.device = device
        self.node = node

    @property
    def removable(self) -> bool:
        return self.device.type.name.endswith("-cd")

    @property
    def shares_writes(self) -> bool:
        """Whether others may write its medium."""
        return bool(self.device.values.get("share-rw", False))

    @property
    def qdev(self) -> str:
        device = self.device
        if device.type.backend is not None:
            return f"{device.path}/virtio-backend"
        return device.id or device.path


def attach(machine: Machine, device: Device, name: str) -> None:
    """Make a node the device's medium; QmpError if it is not there, or another's."""
    node = machine.nodes.by_name.get(name)
    if node is None:
        raise values.not_there(device.type, "drive", name)
    drive = Drive(device, node)
    node.parents.append(drive)
    device.drive = drive
    device.releases.append(lambda: node.parents.remove(drive))


def of(machine: Machine) -> Iterator[Drive]:
    """All drives, in the order in which they were plugged."""
    for device in machine.devices.users():
        if device.drive is not None:
            yield device.drive
        elif device.type.name.startswith(_DISKS):
            yield Drive(device, None)


def describe(drive: Drive) -> dict[str, Any]:
    """The schema's BlockInfo."""
    told: dict[str, Any] = {
        "device": "",
        "type": "unknown",
        "removable": drive.removable,
        "locked": False,
        "qdev": drive.qdev,
        "io-status": "ok",
    }
    if drive.removable:
        told["tray_open"] = False
    if drive.node is not None:
        told["inserted"] = node_info(drive.node)
    return told


def stats(drive: Drive) -> dict[str, Any]:
    """The schema's BlockStats of a drive."""
    told = {} if drive.node is None else node_stats(drive.node)
    return told | {"device": "", "qdev": drive.qdev, "stats": counters(accounted=True)}
