"""The drives of a machine: devices with a node as their medium, or with an empty tray.

Observed from block/qapi.c and hw/core/qdev-properties-system.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qapi.error import DEVICE_NOT_FOUND, QmpError
from vmd.block.describe import counters, node_info, node_stats
from vmd.devices import values

if TYPE_CHECKING:
    from vmd.block.node import Node
    from vmd.devices.bus import Device
    from vmd.devices.throttle import Group
    from vmd.machine import Machine

_DISKS = ("virtio-blk-pci", "ide-hd", "ide-cd", "scsi-hd", "scsi-cd", "usb-storage", "floppy")

_CYLINDER, _MOST_CYLINDERS, _OF_A_BIOS = 16 * 63 * 512, 16383, 1024


class Drive:
    """What a device sees of its medium; `node` is None where there is none."""

    __slots__ = (
        *("device", "group", "name", "node", "number", "tells_errors", "tray_open"),
        "writeback",
    )
    works = True

    def __init__(
        self, device: Device, number: int, *, name: str = "", writeback: bool = True
    ) -> None:
        self.device = device
        self.number = number
        self.tells_errors = True
        self.name = name  # given by -drive
        self.node: Node | None = None
        self.tray_open = False
        wish = device.values.get("write-cache", "auto")
        self.writeback = writeback if wish == "auto" else wish == "on"
        self.group: Group | None = None  # whose limits it obeys

    @property
    def removable(self) -> bool:
        return self.has_tray or self.device.type.name == "floppy"

    @property
    def has_tray(self) -> bool:
        return self.device.type.name.endswith("-cd")

    @property
    def shares_writes(self) -> bool:
        """Whether others may write its medium."""
        return bool(self.device.values.get("share-rw", False))

    @property
    def keeps_size(self) -> bool:
        """Whether it wants a medium that stays as large as it is."""
        return self.removable or self.device.type.name == "nvme"

    @property
    def place(self) -> str:
        """The path of the object that has the medium: often a part of the device."""
        device = self.device
        if device.type.backend is not None:
            return f"{device.path}/virtio-backend"
        if device.type.name == "usb-storage" and device.id is not None:
            return f"{device.path}/{device.id}.0/legacy[0]"
        return device.path

    @property
    def qdev(self) -> str:
        """What clients know it by."""
        return self.place if self.place != self.device.path else self.device.id or self.place


def attach(machine: Machine, device: Device, name: str) -> None:
    """Make a node the device's medium; QmpError if it is not there, or another's."""
    reserved = machine.devices.reserved.get(name)
    if reserved is not None and not reserved.deleted:
        _claim(machine, device, reserved)
        return
    node = machine.nodes.by_name.get(name)
    if node is None:
        raise values.not_there(device.type, "drive", name)
    device.drive = drive = Drive(device, machine.devices.number_drive())
    take(drive, node)
    device.releases.append(lambda: let_go(machine, drive))


class Reserved:
    """A drive of `-drive`: it has a name and a medium before a device takes it.

    A `deleted` one has only its place and its name left, until its device goes.
    """

    read_only = False
    shares_writes = False
    keeps_size = False
    removable = False
    works = False
    qdev = ""

    def __init__(
        self,
        number: int,
        name: str,
        node: Node | None,
        place: tuple[str, int, int],
        *,
        writeback: bool,
    ) -> None:
        self.number = number
        self.name = name
        self.node = node
        self.place = place
        self.writeback = writeback
        self.deleted = False
        self.drive: Drive | None = None
        if node is not None:
            node.gain(self)


def _claim(machine: Machine, device: Device, reserved: Reserved) -> None:
    """A device takes a drive that waits for one."""
    if reserved.drive is not None:
        raise QmpError(f"Drive '{reserved.name}' is already in use by another device")
    if reserved.node is None and not device.type.name.endswith(("-cd", "floppy")):
        raise QmpError("Device needs media, but drive is empty")
    drive = Drive(device, reserved.number, name=reserved.name, writeback=reserved.writeback)
    device.drive = reserved.drive = drive
    if reserved.node is not None:
        reserved.node.lose(reserved)
        try:
            take(drive, reserved.node)
        except QmpError:
            reserved.drive = None
            reserved.node.gain(reserved)
            raise
    device.values["drive"] = reserved.name

    def release() -> None:
        if drive.node is not None:
            let_go(machine, drive)
        machine.devices.reserved.pop(reserved.name, None)

    device.releases.append(release)


def equip(machine: Machine, device: Device) -> None:
    """A drive that was given no medium has an empty tray."""
    if device.drive is None and device.type.name.startswith(_DISKS):
        device.drive = drive = Drive(device, machine.devices.number_drive())
        device.releases.append(lambda: let_go(machine, drive))


def take(drive: Drive, node: Node) -> None:
    """Make a node a drive's medium."""
    node.gain(drive)
    drive.node = node
    drive.device.values["drive"] = node.name
    if "cyls" in drive.device.type.properties and "cyls" not in drive.device.given:
        _guess_geometry(drive.device, node.size)


def _guess_geometry(device: Device, size: int) -> None:
    """What a BIOS would take a disk for (hw/block/hd-geometry.c)."""
    cylinders = min(max(size // _CYLINDER, 2), _MOST_CYLINDERS)
    translation = "none" if cylinders <= _OF_A_BIOS else "lba"
    device.values |= {"cyls": cylinders, "bios-chs-trans": translation}


def delete(machine: Machine, name: str) -> None:
    """Take a named drive away, also from the device that has it; QmpError if there is none."""
    reserved = machine.devices.reserved.get(name)
    if reserved is None or reserved.deleted:
        raise QmpError(f"Device '{name}' not found", DEVICE_NOT_FOUND)
    if reserved.drive is not None:
        reserved.deleted = True
        reserved.drive.name = ""
        reserved.drive.tells_errors = False
        let_go(machine, reserved.drive)
        return
    del machine.devices.reserved[name]
    if reserved.node is not None:
        reserved.node.lose(reserved)
        machine.nodes.release(reserved.node)


def _named(machine: Machine) -> list[Reserved]:
    return [drive for drive in machine.devices.reserved.values() if not drive.deleted]


def let_go(machine: Machine, drive: Drive) -> None:
    """Leave a drive without a medium."""
    node, drive.node = drive.node, None
    drive.device.values["drive"] = ""
    if node is not None:
        node.lose(drive)
        machine.nodes.release(node)


def of(machine: Machine) -> list[Drive]:
    """All drives that devices have, in the order in which they were made."""
    plugged = (device.drive for device in machine.devices.plugged())
    return sorted((drive for drive in plugged if drive is not None), key=_age)


def _everything(machine: Machine) -> list[Drive | Reserved]:
    """Those too that no device has taken."""
    waiting = [reserved for reserved in _named(machine) if reserved.drive is None]
    return sorted([*waiting, *of(machine)], key=_age)


def _age(drive: Drive | Reserved) -> int:
    return drive.number


def described(machine: Machine) -> list[dict[str, Any]]:
    """The schema's BlockInfo of all drives, also of those that no device has taken."""
    return [
        describe(drive) if isinstance(drive, Drive) else _described_waiting(drive)
        for drive in _everything(machine)
    ]


def _described_waiting(reserved: Reserved) -> dict[str, Any]:
    told: dict[str, Any] = {"device": reserved.name, "type": "unknown"}
    told |= {"removable": True, "locked": False}
    if reserved.node is not None:
        told["inserted"] = node_info(reserved.node, writeback=reserved.writeback)
    return told


def medium(machine: Machine, name: str) -> Node | None:
    """What is in the drive of that name, also in one that no device has taken."""
    found = machine.devices.reserved.get(name)
    if found is None or found.deleted:
        return None
    return found.node if found.drive is None else found.drive.node


def node_of(machine: Machine, name: str) -> Node | None:
    """What is in the drive of that name, else the node of that name."""
    return medium(machine, name) or machine.nodes.by_name.get(name)


def named_media(machine: Machine) -> list[tuple[str, Node]]:
    """What is in each drive that has a name."""
    found = ((name, medium(machine, name)) for name in machine.devices.reserved)
    return [(name, node) for name, node in found if node is not None]


def find(machine: Machine, name: str | None, identifier: str | None) -> Drive:
    """The drive of that name, or of the device with that id or path: one of both is None."""
    if (name is None) == (identifier is None):
        raise QmpError("Need exactly one of 'device' and 'id'")
    if identifier is None:
        for drive in of(machine):
            if name and drive.name == name:
                return drive
        raise QmpError(f"Device '{name}' not found", DEVICE_NOT_FOUND)
    path = identifier if identifier.startswith("/") else f"/machine/peripheral/{identifier}"
    for drive in of(machine):
        if drive.place == path:
            return drive
    _refuse(machine, identifier, path)
    raise QmpError("Device does not have a block device backend")


def _refuse(machine: Machine, identifier: str, path: str) -> None:
    """QmpError if the path does not lead to a device."""
    from vmd.devices import composition, qom, types

    found = qom.resolve(composition.compose(machine), path)
    if found is None:
        raise QmpError(f"Device '{identifier}' not found", DEVICE_NOT_FOUND)
    if not types.is_a(found.type, "device"):
        raise QmpError(f"{identifier} is not a device")


def describe(drive: Drive) -> dict[str, Any]:
    """The schema's BlockInfo."""
    told: dict[str, Any] = {
        "device": drive.name,
        "type": "unknown",
        "removable": drive.removable,
        "locked": False,
        "qdev": drive.qdev,
    }
    if drive.tells_errors and drive.device.type.name != "floppy":
        told["io-status"] = "ok"
    if drive.has_tray:
        told["tray_open"] = drive.tray_open
    if drive.node is not None:
        told["inserted"] = node_info(drive.node, writeback=drive.writeback)
        if drive.group is not None:
            told["inserted"] |= drive.group.describe()
    return told


def all_stats(machine: Machine) -> list[dict[str, Any]]:
    """The schema's BlockStats of all drives, also of those that no device has taken."""
    return [
        _stats(drive.name, drive.qdev if isinstance(drive, Drive) else None, drive.node)
        for drive in _everything(machine)
    ]


def _stats(name: str, qdev: str | None, node: Node | None) -> dict[str, Any]:
    told = {} if node is None else node_stats(node)
    where = {} if qdev is None else {"qdev": qdev}
    return told | where | {"device": name, "stats": counters(accounted=True)}
