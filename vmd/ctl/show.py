"""What a survey found, for people and for programs: both from the same plain data."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Any

from vmd.ctl.fields import plain
from vmd.migration import stream
from vmd.migration.sections import format_uuid
from vmd.migration.stream import FOOTER, be32

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from vmd.ctl.bitmaps import CountedBitmap
    from vmd.ctl.files import StateFile
    from vmd.ctl.ram import CountedBlock
    from vmd.ctl.survey import Break, DeviceSection, Survey

COMMANDS = {
    stream.OPEN_RETURN_PATH: "OPEN_RETURN_PATH",
    stream.PING: "PING",
    stream.POSTCOPY_ADVISE: "POSTCOPY_ADVISE",
    stream.POSTCOPY_LISTEN: "POSTCOPY_LISTEN",
    stream.POSTCOPY_RUN: "POSTCOPY_RUN",
    stream.POSTCOPY_RAM_DISCARD: "POSTCOPY_RAM_DISCARD",
    stream.PACKAGED: "PACKAGED",
    stream.ENABLE_COLO: "ENABLE_COLO",
    stream.POSTCOPY_RESUME: "POSTCOPY_RESUME",
    stream.RECV_BITMAP: "RECV_BITMAP",
    stream.SWITCHOVER_START: "SWITCHOVER_START",
}
EXPECTED = {
    "header": "the header of a migration stream: 51 45 56 4d 00 00 00 03",
    "configuration": "a configuration section (07) that can be read",
    "section type": "a section (01 to 04), a command (08) or the end (00)",
    "section header": "a section's number, name, instance and version",
    "command": "a command that is known, with its own length",
}
WIDTH = 100


# For programs


def document(path: str, file: StateFile, found: Survey) -> dict[str, Any]:
    """Everything, as JSON tells it: sizes and offsets in bytes, bytes in hex."""
    configuration, state = found.configuration, found.runstate
    return {
        "file": path,
        "size": file.size,
        "container": _container(file),
        "compression": file.compression,
        "offset": file.offset,
        "end": found.end,
        "machine": configuration.machine if configuration else None,
        "capabilities": list(configuration.capabilities) if configuration else [],
        "uuid": format_uuid(configuration.uuid) if configuration and configuration.uuid else None,
        "runstate": state.runstate if state else None,
        "was-suspended": state.was_suspended if state else None,
        "guest-time-ns": found.guest_time_ns,
        "ram": {
            "total": found.ram.total,
            "mapped": found.ram.mapped,
            "sections": found.ram_sections,
            "blocks": [_block(block) for block in found.ram.blocks],
        },
        "dirty-bitmaps": [_bitmap(bitmap) for bitmap in found.dirty_bitmaps.bitmaps],
        "commands": {
            COMMANDS.get(number, str(number)): count for number, count in found.commands.items()
        },
        "devices": [_device(device) for device in found.devices],
        "description-size": len(found.description) if found.description else 0,
        "notices": found.notices,
        "error": None if found.broken is None else broken(found.broken),
    }


def _container(file: StateFile) -> dict[str, Any] | None:
    container = file.container
    if container is None:
        return None
    return {
        "kind": "libvirt",
        "version": container.version,
        "complete": container.complete,
        "domain": container.domain,
        "was-running": container.was_running,
        "format": container.format,
        "xml": container.xml,
        "cookie": container.cookie,
    }


def _block(block: CountedBlock) -> dict[str, Any]:
    told: dict[str, Any] = {"name": block.idstr, "size": block.size}
    if block.gpa is not None:
        told["gpa"] = block.gpa
    if block.mapped is not None:
        told |= {"bitmap-offset": block.mapped.bitmap, "pages-offset": block.mapped.pages}
    return told | block.count()._asdict()


def _bitmap(bitmap: CountedBitmap) -> dict[str, Any]:
    return {
        "node": bitmap.node,
        "name": bitmap.name,
        "granularity": bitmap.granularity,
        "enabled": bitmap.enabled,
        "persistent": bitmap.persistent,
        "dirty": bitmap.dirty * bitmap.granularity,
        "complete": bitmap.complete,
    }


def _device(device: DeviceSection) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": device.idstr,
        "instance-id": device.instance_id,
        "section-id": device.section_id,
        "version": device.version,
        "offset": device.offset,
        "length": device.length,
        "early": device.early,
    }
    if device.fields is None:
        return told | {"payload": device.payload.hex()}
    return told | {"fields": plain(device.fields)}


def broken(error: Break) -> dict[str, Any]:
    """Where a stream breaks, as plain data."""
    place, section = error.place, error.place.section
    told: dict[str, Any] = {"offset": place.item, "in": place.part}
    if section is not None:
        told["section"] = {
            "name": section.idstr,
            "instance-id": section.instance_id,
            "section-id": section.section_id,
            "offset": section.offset,
        }
    told |= {"lines": error.lines, "reason": error.reason, "expected": expected(error)}
    if error.found is not None:
        told["found"] = error.found.hex()
    return told


def expected(error: Break) -> str:
    """What should have stood where the stream breaks."""
    part, section = error.place.part, error.place.section
    if section is None or part not in ("payload", "footer"):
        return EXPECTED.get(part, "")
    footer = _hex(bytes((FOOTER,)) + be32(section.section_id))
    if part == "footer":
        return f"the section's footer: {footer}"
    if section.idstr == "ram":
        return "a block table or pages, up to the mark that ends a section's records"
    return f"the state of {section.idstr}, and the section's footer behind it: {footer}"


# For people


def report(told: dict[str, Any]) -> Iterator[str]:
    """A document as lines, without the devices' fields."""
    yield from _about_file(told)
    yield from _about_source(told)
    yield from _about_ram(told["ram"])
    if told["dirty-bitmaps"]:
        yield "dirty bitmaps:"
        yield from _about_bitmaps(told["dirty-bitmaps"])
    if told["commands"]:
        words = (f"{name}{f' x {n}' if n > 1 else ''}" for name, n in told["commands"].items())
        yield f"commands: {', '.join(words)}"
    if told["devices"]:
        yield "devices:"
        head = ("offset", "bytes", "id", "version", "name", "")
        rows = [
            (
                f"0x{device['offset']:x}",
                str(device["length"]),
                str(device["section-id"]),
                str(device["version"]),
                _name(device),
                "" if "fields" in device else "(not described)",
            )
            for device in told["devices"]
        ]
        yield from _table(head, rows, left=(0, 4, 5))
    yield from told["notices"]


def _about_bitmaps(bitmaps: list[dict[str, Any]]) -> Iterator[str]:
    for bitmap in bitmaps:
        words = [f"{bitmap['dirty']} bytes dirty", f"granularity {bitmap['granularity']}"]
        words += [] if bitmap["enabled"] else ["disabled"]
        words += ["persistent"] if bitmap["persistent"] else []
        words += [] if bitmap["complete"] else ["not complete"]
        yield f"  {bitmap['node']}/{bitmap['name']}: {', '.join(words)}"


def _about_file(told: dict[str, Any]) -> Iterator[str]:
    size = "" if told["size"] is None else f": {told['size']} bytes"
    yield f"{told['file']}{size}"
    container = told["container"]
    if container is not None:
        state = "running" if container["was-running"] else "not running"
        unfinished = "" if container["complete"] else ", never finished"
        yield (
            f"libvirt save container: domain {container['domain']!r}, {state},"
            f" format {container['format']}{unfinished}"
        )
    place = f"at 0x{told['offset']:x}"
    if told["compression"]:
        place = f"compressed ({told['compression']}; offsets are of what is decompressed)"
    end = "" if told["end"] is None else f", up to 0x{told['end']:x}"
    yield f"migration stream {place}{end}"


def _about_source(told: dict[str, Any]) -> Iterator[str]:
    if told["machine"] is not None:
        yield f"machine: {told['machine']}"
    if told["capabilities"]:
        yield f"capabilities: {', '.join(told['capabilities'])}"
    if told["uuid"] is not None:
        yield f"uuid: {told['uuid']}"
    if told["runstate"] is not None:
        yield f"run state: {told['runstate']}{', was suspended' * bool(told['was-suspended'])}"
    if told["guest-time-ns"] is not None:
        yield f"guest time: {told['guest-time-ns'] / 1e9:.3f} s"


def _about_ram(ram: dict[str, Any]) -> Iterator[str]:
    if ram["total"] is None:
        return
    how = "mapped into the file" if ram["mapped"] else f"{ram['sections']} sections"
    yield f"RAM: {_size(ram['total'])}, {how}"
    if not ram["blocks"]:
        return
    head = ["block", "size", "zero", "normal", "absent"]
    keys = ["zero", "normal", "absent"]
    more = (("sent", "sent"), ("xbzrle", "xbzrle"), ("gpa", "at"), ("pages-offset", "pages at"))
    for key, title in more:
        if any(block.get(key) or (key == "gpa" and key in block) for block in ram["blocks"]):
            head.append(title)
            keys.append(key)
    rows = []
    for block in ram["blocks"]:
        cells = [
            f"0x{block[key]:x}" if key in ("gpa", "pages-offset") else str(block[key])
            for key in keys
        ]
        rows.append((block["name"], _size(block["size"]), *cells))
    yield from _table(head, rows, left=(0,))


def fields(told: dict[str, Any], pattern: str) -> Iterator[str]:
    """The fields of the sections whose name matches a shell pattern."""
    for device in told["devices"]:
        if fnmatch.fnmatchcase(device["name"], pattern):
            yield f"{_name(device)} (version {device['version']}):"
            if "fields" in device:
                yield from _values(device["fields"], 2)
            else:
                yield from _bytes("payload", device["payload"], 2)


def _values(values: dict[str, Any], depth: int) -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield f"{' ' * depth}{name}:"
            yield from _values(value, depth + 2)
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            for number, item in enumerate(value):
                inner = item if isinstance(item, dict) else {"": item}
                yield f"{' ' * depth}{name}[{number}]:"
                yield from _values(inner, depth + 2)
        elif isinstance(value, list):
            yield f"{' ' * depth}{name}: [{', '.join(map(str, value))}]"
        elif isinstance(value, str):
            yield from _bytes(name, value, depth)
        else:
            yield f"{' ' * depth}{name}: {_scalar(value)}"


def _bytes(name: str, digits: str, depth: int) -> Iterator[str]:
    """Bytes as text if they are one, else in hex, over as many lines as they need."""
    data = bytes.fromhex(digits)
    words = data.rstrip(b"\0")
    if not words:
        yield f"{' ' * depth}{name}: {len(data)} bytes of zero" if data else f"{' ' * depth}{name}:"
    elif words.isascii() and words.decode().isprintable() and len(words) > 1:
        yield f"{' ' * depth}{name}: {words.decode()!r}"
    elif len(data) <= 16:
        yield f"{' ' * depth}{name}: {_hex(data)}"
    else:
        yield f"{' ' * depth}{name}: {len(data)} bytes"
        for start in range(0, len(data), 32):
            yield f"{' ' * depth}  {_hex(data[start : start + 32])}"


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) > 9:
        return f"{value} (0x{value:x})"
    return str(value)


def explain(path: str, error: Break) -> Iterator[str]:
    """Where a stream breaks, in words."""
    place, section = error.place, error.place.section
    where = f"in the {place.part}" if place.part not in ("payload", "footer") else ""
    if section is not None:
        named = f"section '{section.idstr}' (id {section.section_id}, from 0x{section.offset:x})"
        what = "footer of " if place.part == "footer" else ""
        where = f"in the {what}{named}" if what else f"in {named}"
    yield f"{path}: breaks at 0x{place.item:x}, {where}"
    yield from (f"  {line}" for line in error.lines)
    yield f"  load of migration failed: {error.reason}"
    yield f"  expected: {expected(error)}"
    if error.found is not None:
        yield f"  found:    {_hex(error.found) if error.found else 'the end of the file'}"


def _name(device: dict[str, Any]) -> str:
    instance = f" #{device['instance-id']}" if device["instance-id"] else ""
    return f"{device['name']}{instance}"


def _hex(data: bytes) -> str:
    return data.hex(" ")


def _size(size: int) -> str:
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >= 1 << shift and size % (1 << shift) == 0:
            return f"{size >> shift} {unit}"
    return f"{size} bytes"


def _table(
    head: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[int]
) -> Iterator[str]:
    """Rows under a head, columns aligned."""
    rows = [head, *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    for row in rows:
        cells = [
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield f"  {'  '.join(cells)}".rstrip()
