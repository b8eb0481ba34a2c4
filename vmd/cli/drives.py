"""The drives of the command line (`-drive`, `-hda`, `-cdrom`, `-fda`): named media, and devices.

Observed from blockdev.c. A drive is opened before devices are made; IDE drives and floppies are
plugged as the board's, virtio ones after the devices that users wrote.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from qapi.error import QmpError
from vmd.devices.drive_options import Opened, open_drive
from vmd.devices.furniture import DRIVE, FLOPPIES, FLOPPY, paths

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vmd.cli.config import Config
    from vmd.cli.report import Report
    from vmd.machine import Machine


class Wanted(NamedTuple):
    """A drive that is there, and the device that it wants; `where` it was asked for."""

    where: str
    drive: Opened


def open_drives(machine: Machine, config: Config, report: Report) -> list[Wanted]:
    """Open all media; Quit where one cannot be had."""
    found = []
    for request in config.drives:
        with report.at(request.where):
            drive = open_drive(machine, request.options, report.write)
            found.append(Wanted(request.where, drive))
    places = paths(machine)
    free = {kind: iter(places.get(kind, ())) for kind in (DRIVE, FLOPPY)}
    if machine.board.alias == "q35" and FLOPPIES in places:
        controller = {"driver": FLOPPIES}
        machine.devices.add(controller, hotplug=False, path=places[FLOPPIES][0])
    for wanted in sorted(found, key=lambda wanted: wanted.drive.place):
        with report.at(wanted.where):
            _plug(machine, wanted, free, report)
    return found


def _plug(
    machine: Machine, wanted: Wanted, free: Mapping[str, Iterator[str]], report: Report
) -> None:
    """Plug in a drive as the board's; `free` are places for those of each kind."""
    place, is_cdrom, name = wanted.drive
    if place.interface in ("none", "virtio"):
        return
    if place.interface == "floppy" and machine.board.has_cpus:
        options = {"driver": "floppy", "unit": place.unit, "drive": name}
        with report.at(""):
            machine.devices.add(options, hotplug=False, path=next(free[FLOPPY]))
        return
    bus = f"ide.{place.bus}"
    has_bus = any(each.name == bus for device in machine.devices.all() for each in device.buses)
    if not has_bus and not wanted.where:
        return  # nobody asked for it: it stays without a device
    if place.interface != "ide" or not has_bus:
        raise QmpError(
            f"machine type does not support if={place.interface},bus={place.bus},unit={place.unit}"
        )
    driver = "ide-cd" if is_cdrom else "ide-hd"
    options = {"driver": driver, "bus": bus, "unit": place.unit, "drive": name}
    with report.at(""):  # the board's own doing
        machine.devices.add(options, hotplug=False, path=next(free[DRIVE]))


def plug_virtio(machine: Machine, wanted: list[Wanted], report: Report) -> None:
    """The devices of virtio drives."""
    for where, drive in wanted:
        if drive.place.interface == "virtio":
            with report.at(where):
                options = {"driver": "virtio-blk-pci", "drive": drive.name}
                machine.devices.add(options, hotplug=False)
