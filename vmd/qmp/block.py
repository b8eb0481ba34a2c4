"""Commands of block.json: media that come and go, limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmd.machine import Machine


def eject(
    machine: Machine, device: str | None = None, id: str | None = None, force: bool = False
) -> None:
    from vmd.devices import trays

    drive = trays.find(machine, device, id)
    trays.move(machine, drive, is_open=True)
    trays.empty(machine, drive, device or str(id))


def blockdev_open_tray(
    machine: Machine, device: str | None = None, id: str | None = None, force: bool = False
) -> None:
    from vmd.devices import trays

    trays.move(machine, trays.find(machine, device, id), is_open=True)


def blockdev_close_tray(machine: Machine, device: str | None = None, id: str | None = None) -> None:
    from vmd.devices import trays

    trays.move(machine, trays.find(machine, device, id), is_open=False)


def blockdev_remove_medium(machine: Machine, id: str) -> None:
    from vmd.devices import trays

    trays.empty(machine, trays.find(machine, None, id), id)


def blockdev_insert_medium(machine: Machine, id: str, node_name: str) -> None:
    from vmd.devices import trays

    trays.fill(machine, id, node_name)


def blockdev_change_medium(
    machine: Machine,
    filename: str,
    device: str | None = None,
    id: str | None = None,
    format: str | None = None,
    force: bool = False,
    read_only_mode: str = "retain",
) -> None:
    from vmd.devices import trays

    drive = trays.find(machine, device, id)
    trays.change(machine, drive, filename, format, read_only_mode)


def block_set_io_throttle(
    machine: Machine,
    device: str | None = None,
    id: str | None = None,
    group: str | None = None,
    **limits: int,
) -> None:
    from vmd.devices import throttle

    throttle.limit(machine, device, id, group, limits)


HANDLERS = {
    "block_set_io_throttle": block_set_io_throttle,
    "blockdev-change-medium": blockdev_change_medium,
    "blockdev-close-tray": blockdev_close_tray,
    "blockdev-insert-medium": blockdev_insert_medium,
    "blockdev-open-tray": blockdev_open_tray,
    "blockdev-remove-medium": blockdev_remove_medium,
    "eject": eject,
}
