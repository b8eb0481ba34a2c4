"""Drives whose medium can be taken out: trays that open and close. No guest of ours holds one.

A floppy drive has no tray: it is as if it were always open. Which trays are open stands in the
guest's RAM and travels with it.

Observed from block/qapi-sysemu.c and hw/ide/core.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qapi.error import QmpError
from vmd.devices import drives

if TYPE_CHECKING:
    from vmd.devices.drives import Drive
    from vmd.machine import Machine


def find(machine: Machine, device: str | None, identifier: str | None) -> Drive:
    """A drive with a tray; QmpError if there is none."""
    drive = drives.find(machine, device, identifier)
    if not drive.removable:
        raise QmpError(f"Device '{device or identifier}' is not removable")
    return drive


def move(machine: Machine, drive: Drive, *, is_open: bool) -> None:
    """Open or close the tray, and tell of it if it was not so already."""
    if drive.has_tray and drive.tray_open is not is_open:
        drive.tray_open = is_open
        note(machine)
        told = {"device": drive.name, "id": drive.qdev, "tray-open": is_open}
        machine.events.emit("DEVICE_TRAY_MOVED", told)


def with_trays(machine: Machine) -> list[Drive]:
    """The drives that have one, in their order."""
    return [drive for drive in drives.of(machine) if drive.has_tray]


def note(machine: Machine) -> None:
    """Let the guest's RAM tell which are open."""
    bits = sum(drive.tray_open << at for at, drive in enumerate(with_trays(machine)))
    machine.guest.sees_trays(bits)


def recall(machine: Machine) -> None:
    """A guest has come, with trays that are as it left them."""
    bits = machine.guest.open_trays
    for at, drive in enumerate(with_trays(machine) if bits else ()):
        drive.tray_open = bool(bits >> at & 1)


def empty(machine: Machine, drive: Drive, name: str) -> None:
    """Take the medium out of an open tray; `name` is what the client calls the drive."""
    if drive.has_tray and not drive.tray_open:
        raise QmpError(f"Tray of device '{name}' is not open")
    drives.let_go(machine, drive)


def fill(machine: Machine, identifier: str, name: str) -> None:
    """Put a node into an open tray that is empty."""
    node = machine.nodes.by_name.get(name)
    drive = drives.find(machine, None, identifier)
    if node is None:
        raise QmpError(f"Node '{name}' not found")
    if any(isinstance(parent, drives.Drive) for parent in node.parents):
        raise QmpError(f"Node '{name}' is already in use")
    if not drive.removable:
        raise QmpError("Device is not removable")
    if drive.has_tray and not drive.tray_open:
        raise QmpError("Tray of the device is not open")
    if drive.node is not None:
        raise QmpError("There already is a medium in the device")
    drives.take(drive, node)


def change(
    machine: Machine,
    drive: Drive,
    filename: str,
    driver: str | None,
    mode: str,
) -> None:
    """Put a file in the place of what is in the drive; the tray is closed in the end.

    `mode` is the schema's BlockdevChangeReadOnlyMode. An empty drive takes discs, which cannot be
    written to, unless that is asked for.
    """
    was_read_only = drive.node is None or drive.node.read_only
    read_only = was_read_only if mode == "retain" else mode == "read-only"
    node = machine.nodes.open(filename, driver, read_only=read_only)
    move(machine, drive, is_open=True)
    drives.let_go(machine, drive)
    drives.take(drive, node)
    move(machine, drive, is_open=False)
