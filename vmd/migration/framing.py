"""What stands around a section: its header and its footer (QEMU's migration/savevm.c)."""

from __future__ import annotations

from vmd.migration.carry import Head, early_end
from vmd.migration.source import invalid, io_error, text
from vmd.migration.stream import FOOTER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmd.migration.source import Parse, Source

MOST_EARLY = 16 << 20  # bytes of an unknown section in front of RAM


def take_head(source: Source, kind: int) -> Parse[Head]:
    """The header of a START or FULL section, behind its type."""
    section_id = yield from source.be32()
    name = yield from source.string()
    if source.failed or not name:
        raise invalid(f"Unable to read ID string for section {section_id}")
    instance_id = yield from source.be32()
    version = yield from source.be32()
    if source.failed:
        raise io_error("qemu_loadvm_section_start_full: Failed to read instance/version ID: -5")
    return Head(kind, section_id, text(name), instance_id, version)


def take_footer(source: Source, section_id: int, idstr: str) -> Parse[None]:
    """The footer of this section; LoadError if something else stands there."""
    mark = yield from source.byte()
    if source.failed:
        raise invalid("check_section_footer: Read section footer failed: -5")
    if mark != FOOTER:
        raise invalid(f"Missing section footer for {idstr}")
    read = yield from source.be32()
    if read != section_id:
        raise invalid(
            f"Mismatched section id in footer for {idstr}"
            f" - read 0x{read:x} expected 0x{section_id:x}"
        )


def until_footer(source: Source, head: Head) -> Parse[bytes]:
    """The payload of an unknown section in front of RAM: up to the first footer that fits."""
    data, looked = bytearray(), 0
    while True:
        data += source.rest()
        found, looked = early_end(data, head, looked, ended=source.ended)
        if found:
            source.push_back(bytes(data[looked:]))
            return bytes(data[:looked])
        if source.ended or len(data) > MOST_EARLY:
            raise invalid(f"Missing section footer for {head.idstr}")
        yield
