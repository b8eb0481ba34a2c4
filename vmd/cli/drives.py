"""The drives of the command line (`-drive`, `-hda`, `-cdrom`, `-fda`): named media, and devices.

Observed from blockdev.c. A drive is opened before devices are made; IDE drives and floppies are
plugged as the board's, virtio ones after the devices that users wrote.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from qapi.error import QmpError
from vmd.devices.drives import Reserved
from vmd.devices.furniture import DRIVE, FLOPPIES, FLOPPY, paths
from vmd.options import parse_boolean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vmd.block.nodes import Node
    from vmd.cli.config import Config
    from vmd.cli.report import Report
    from vmd.machine import Machine
    from vmd.options import Options

INTERFACES = ("none", "ide", "scsi", "floppy", "pflash", "mtd", "sd", "virtio", "xen")
_CACHE = ("writeback", "direct", "no-flush")
_CACHES = {
    "none": (True, True, False),
    "off": (True, True, False),
    "directsync": (False, True, False),
    "writeback": (True, False, False),
    "writethrough": (False, False, False),
    "unsafe": (True, False, True),
}
_AIO = ("threads", "native", "io_uring")
_DISCARD = ("ignore", "off", "unmap", "on")
_DETECT = ("off", "on", "unmap")
_ERRORS = {"werror": ("ignore", "stop", "report", "enospc"), "rerror": ("ignore", "stop", "report")}
_GUESSED = """WARNING: Image format was not specified for '{}' and probing guessed raw.
         Automatically detecting the format is dangerous for raw images, write operations on block 0 will be restricted.
         Specify the 'raw' format explicitly to remove the restrictions.
"""  # noqa: E501


class Place(NamedTuple):
    """Which drive of its kind it is."""

    interface: str
    bus: int
    unit: int


class Wanted(NamedTuple):
    """A drive that is there, and the device that it wants; `where` it was asked for."""

    where: str
    place: Place
    is_cdrom: bool
    name: str


def open_drives(machine: Machine, config: Config, report: Report) -> list[Wanted]:
    """Open all media; Quit where one cannot be had."""
    units = 2 if machine.board.alias == "pc" else 1
    taken: set[Place] = set()
    found = []
    for request in config.drives:
        with report.at(request.where):
            found.append(_open(machine, request.where, request.options, units, taken, report))
    places = paths(machine)
    free = {kind: iter(places.get(kind, ())) for kind in (DRIVE, FLOPPY)}
    if machine.board.alias == "q35" and FLOPPIES in places:
        controller = {"driver": FLOPPIES}
        machine.devices.add(controller, hotplug=False, path=places[FLOPPIES][0])
    for wanted in sorted(found, key=lambda wanted: wanted.place):
        with report.at(wanted.where):
            _plug(machine, wanted, free, report)
    return found


def _open(
    machine: Machine,
    where: str,
    options: Options,
    units: int,
    taken: set[Place],
    report: Report,
) -> Wanted:
    media = options.get("media", "disk")
    if media not in ("disk", "cdrom"):
        raise QmpError(f"'{media}' invalid media")
    interface = options.get("if", "ide" if machine.board.has_cpus else "none")
    if interface not in INTERFACES:
        raise QmpError(f"unsupported bus type '{interface}'")
    is_cdrom = media == "cdrom"
    place = _place(options, str(interface), units, taken)
    taken.add(place)
    name = options.id or _name(place, is_cdrom)
    if name in machine.devices.reserved:
        raise QmpError(f"Duplicate ID '{name}' for drive")
    cache = _cache(options)
    node = _medium(machine, options, cache, is_cdrom, report)
    machine.devices.reserved[name] = Reserved(name, node, cache.get("writeback", True))
    return Wanted(where, place, is_cdrom, name)


def _place(options: Options, interface: str, units: int, taken: set[Place]) -> Place:
    bus, unit, index = (options.number(name, -1) for name in ("bus", "unit", "index"))
    most = {"ide": units, "scsi": 7}.get(interface, 0)
    if index != -1:
        if bus != -1 or unit != -1:
            raise QmpError("index cannot be used with bus and unit")
        bus, unit = divmod(index, most) if most else (0, index)
    bus = max(bus, 0)
    if unit == -1:
        unit = 0
        while Place(interface, bus, unit) in taken:
            unit += 1
            if most and unit >= most:
                bus, unit = bus + 1, 0
    if most and unit >= most:
        raise QmpError(f"unit {unit} too big (max is {most - 1})")
    place = Place(interface, bus, unit)
    if place in taken:
        number = bus * most + unit if most else unit
        raise QmpError(f"drive with bus={bus}, unit={unit} (index={number}) exists")
    return place


def _name(place: Place, is_cdrom: bool) -> str:
    kind = "-cd" if is_cdrom else "-hd"
    if place.interface == "ide":
        return f"ide{place.bus}{kind}{place.unit}"
    if place.interface == "scsi":
        return f"scsi{place.bus}{kind}{place.unit}"
    return f"{place.interface}{place.unit}"


def _cache(options: Options) -> dict[str, bool]:
    """What is said of caching, by the names in _CACHE; each said by itself counts more."""
    mode = options.get("cache")
    if mode is not None and mode not in _CACHES:
        raise QmpError("invalid cache option")
    cache = {} if mode is None else dict(zip(_CACHE, _CACHES[mode], strict=True))
    for name in _CACHE:
        if (value := options.get(f"cache.{name}")) is not None:
            cache[name] = parse_boolean(f"cache.{name}", value)
    return cache


def _medium(
    machine: Machine, options: Options, cache: dict[str, bool], is_cdrom: bool, report: Report
) -> Node | None:
    """The node of a drive; nothing if no file is named."""
    more = _judged(options)
    if cache:
        more["cache"] = {name: cache[name] for name in _CACHE[1:] if name in cache}
    strange = [name for name, _ in options.pairs if name not in _KNOWN]
    filename = options.get("file")
    driver = options.get("format", options.get("driver"))
    if filename is None:
        if more or strange:
            raise QmpError("Must specify either driver or file")
        return None
    read_only = is_cdrom or any(
        parse_boolean("read-only", str(options.get(name)))
        for name in ("readonly", "read-only")
        if name in options
    )
    node = machine.nodes.open(filename, driver, read_only=read_only, more=more)
    if options.get("aio") == "native" and not cache.get("direct"):
        machine.nodes.release(node)
        text = "it requires cache.direct=on, which was not specified."
        raise QmpError(f"aio=native was specified, but {text}")
    if strange:
        text = f"Block format '{node.driver}' does not support the option '{strange[0]}'"
        raise QmpError(text)
    if driver is None and node.driver == "raw" and not read_only:
        report.write(_GUESSED.format(filename))
    return node


_KNOWN = (
    *("file", "if", "bus", "unit", "index", "media", "format", "driver", "cache", "aio"),
    *("readonly", "read-only", "discard", "detect-zeroes", "werror", "rerror", "node-name"),
    *(f"cache.{name}" for name in _CACHE),
)


def _judged(options: Options) -> dict[str, object]:
    """The members of BlockdevOptions that a drive's other words make; QmpError if one is wrong."""
    more: dict[str, object] = {}
    for name, value in options.pairs:
        if name == "aio" and value not in _AIO:
            raise QmpError("invalid aio option")
        if name == "discard":
            if value not in _DISCARD:
                raise QmpError("Invalid discard option")
            more[name] = "unmap" if value in ("unmap", "on") else "ignore"
        elif name == "detect-zeroes":
            if value not in _DETECT:
                raise QmpError(f"invalid parameter value: {value}")
            more[name] = value
        elif name in _ERRORS and value not in _ERRORS[name]:
            raise QmpError(
                f"'{value}' invalid {'write' if name == 'werror' else 'read'} error action"
            )
        elif name == "node-name":
            more[name] = value
    return more


def _plug(
    machine: Machine, wanted: Wanted, free: Mapping[str, Iterator[str]], report: Report
) -> None:
    """Plug in a drive as the board's; `free` are places for those of each kind."""
    place = wanted.place
    if place.interface in ("none", "virtio"):
        return
    if place.interface == "floppy" and machine.board.has_cpus:
        options = {"driver": "floppy", "unit": place.unit, "drive": wanted.name}
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
    driver = "ide-cd" if wanted.is_cdrom else "ide-hd"
    options = {"driver": driver, "bus": bus, "unit": place.unit, "drive": wanted.name}
    with report.at(""):  # the board's own doing
        machine.devices.add(options, hotplug=False, path=next(free[DRIVE]))


def plug_virtio(machine: Machine, wanted: list[Wanted], report: Report) -> None:
    """The devices of virtio drives."""
    for each in wanted:
        if each.place.interface == "virtio":
            with report.at(each.where):
                options = {"driver": "virtio-blk-pci", "drive": each.name}
                machine.devices.add(options, hotplug=False)
