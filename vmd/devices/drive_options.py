"""What is said of a drive, on the command line or at the monitor: its place, its medium, its cache.

Observed from blockdev.c (drive_new).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from qapi.error import QmpError
from vmd.devices.drives import Reserved
from vmd.options import parse_boolean

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from vmd.block.node import Node
    from vmd.machine import Machine
    from vmd.options import Options

    Tell = Callable[[str], None]

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


class Opened(NamedTuple):
    """A drive that is there now, by this name."""

    place: Place
    is_cdrom: bool
    name: str


def open_drive(machine: Machine, options: Options, tell: Tell) -> Opened:
    """Make a drive of the schema-less words of `-drive`; QmpError with QEMU's text.

    `tell` gets what else there is to say, whole lines.
    """
    media = options.get("media", "disk")
    if media not in ("disk", "cdrom"):
        raise QmpError(f"'{media}' invalid media")
    interface = options.get("if", "ide" if machine.board.has_cpus else "none")
    if interface not in INTERFACES:
        raise QmpError(f"unsupported bus type '{interface}'")
    is_cdrom = media == "cdrom"
    units = 2 if machine.board.alias == "pc" else 1
    reserved = machine.devices.reserved
    taken = {drive.place for drive in reserved.values()}
    place = _place(options, str(interface), units, taken)
    name = options.id or _name(place, is_cdrom)
    if name in reserved:
        raise QmpError(f"Duplicate ID '{name}' for drive")
    cache = _cache(options)
    node = _medium(machine, options, cache, is_cdrom, tell)
    number = machine.devices.number_drive()
    writeback = cache.get("writeback", True)
    reserved[name] = Reserved(number, name, node, place, writeback=writeback)
    return Opened(place, is_cdrom, name)


def _place(
    options: Options, interface: str, units: int, taken: Collection[tuple[str, int, int]]
) -> Place:
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
        raise QmpError(f"drive with bus={bus}, unit={unit} (index={index}) exists")
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
    machine: Machine, options: Options, cache: dict[str, bool], is_cdrom: bool, tell: Tell
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
    wrong = ""
    if options.get("aio") == "native" and not cache.get("direct"):
        text = "it requires cache.direct=on, which was not specified."
        wrong = f"aio=native was specified, but {text}"
    elif strange:
        wrong = f"Block format '{node.driver}' does not support the option '{strange[0]}'"
    if wrong:
        machine.nodes.release(node)
        raise QmpError(wrong)
    if driver is None and node.driver == "raw" and not read_only:
        tell(_GUESSED.format(filename))
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
