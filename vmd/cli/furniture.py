"""What a PC has without being told: ports, a CD-ROM and a floppy drive, a VGA adapter, a network.

A device that users bring takes the place of its like. Observed from system/vl.c, blockdev.c and
net/net.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmd.cli.config import Request
from vmd.cli.plug import MAX_SERIAL_PORTS, Port
from vmd.devices.furniture import (
    DEFAULT_NIC,
    NIC,
    PARALLEL,
    SERIAL,
    VGA,
    VGA_TYPES,
    Furniture,
    Nic,
    paths,
)
from vmd.devices.network import DEFAULT_PORT
from vmd.options import Options

if TYPE_CHECKING:
    from vmd.cli.config import Config
    from vmd.cli.report import Report
    from vmd.devices.board import Board
    from vmd.machine import Machine

_CDROM, _DISKETTE = "cdrom", "floppy"
# What a user's device makes superfluous.
_INSTEAD = {
    **dict.fromkeys(("ide-cd", "ide-hd", "scsi-cd", "scsi-hd"), _CDROM),
    **dict.fromkeys(("isa-fdc", "floppy"), _DISKETTE),
    **dict.fromkeys(("VGA", "cirrus-vga", "virtio-vga"), VGA),
}
_UNITS = {"pc": 2, "q35": 1}  # of an IDE bus
_SECOND = 2  # the index of the drive that is a CD-ROM


def furnish(config: Config, board: Board, report: Report) -> Furniture:
    """Choose what the board has; drives that nobody asked for join those of the command line."""
    superfluous = {_INSTEAD.get(str(device.options.get("driver"))) for device in config.devices}
    places = []
    for drive in config.drives:
        with report.at(drive.where):
            places.append(_place(drive.options, board))
    if config.defaults:
        if _CDROM not in superfluous and ("ide", _SECOND) not in places:
            pairs = (("media", "cdrom"), ("index", str(_SECOND)))
            config.drives.append(Request("", Options(None, pairs)))
            places.append(("ide", _SECOND))
        if board.alias == "pc" and _DISKETTE not in superfluous and ("floppy", 0) not in places:
            pairs = (("if", "floppy"), ("index", "0"))
            config.drives.append(Request("", Options(None, pairs)))
            places.append(("floppy", 0))
    has_vga = config.defaults and VGA not in superfluous
    vga = config.vga or ("std" if has_vga else "none")
    nics = [wish.nic for wish in config.wishes if wish.nic is not None]
    if config.has_default_network:
        nics.append(Nic(DEFAULT_NIC[board.alias or ""], {"netdev": DEFAULT_PORT}))
    return Furniture(
        serials=sum(port.text != "none" for port in config.serials[:MAX_SERIAL_PORTS]),
        parallels=sum(port.text != "none" for port in config.parallels),
        drives=sum(interface == "ide" for interface, _ in places),
        floppies=sum(interface == "floppy" for interface, _ in places),
        vga=VGA_TYPES.get(vga),
        nics=tuple(nics),
    )


def _place(options: Options, board: Board) -> tuple[str, int]:
    """The kind of a drive, and its index so far as it is given."""
    interface = options.get("if", "ide") or ""
    units = _UNITS[board.alias or ""] if interface == "ide" else 1
    unit = options.number("bus") * units + options.number("unit")
    return interface, options.number("index", unit)


def plug(machine: Machine, ports: list[Port], report: Report) -> None:
    """Plug in everything but the drives."""
    places = paths(machine)
    furniture = machine.furniture or Furniture()
    free = {kind: iter(places.get(kind, ())) for kind in (SERIAL, PARALLEL, VGA, NIC)}
    for port in ports:
        with report.at(port.request.where):
            options = {"driver": f"isa-{port.kind}", "index": port.number, "chardev": port.label}
            machine.devices.add(options, hotplug=False, path=next(free[port.kind]))
    if furniture.vga is not None:
        machine.devices.add({"driver": furniture.vga}, hotplug=False, path=next(free[VGA]))
    for nic in furniture.nics:
        options = {"driver": nic.type, **nic.options}
        machine.devices.add(options, hotplug=False, path=next(free[NIC]))
