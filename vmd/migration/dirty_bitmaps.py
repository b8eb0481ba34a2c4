"""The section `dirty-bitmap` on its way out: which bitmaps travel, and what is sent of each.

All of them are announced at the start, and their bits sent when the guest has stopped. Format,
order and texts observed from migration/block-dirty-bitmap.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from qapi.error import QmpError
from vmd.block.bitmaps import SECTOR, check
from vmd.block.bits import WORD
from vmd.migration.bitmap_mapping import MOST_ALIAS, Other, Translation, translations
from vmd.migration.stream import (
    SECTION_END,
    SECTION_PART,
    SECTION_START,
    be32,
    be64,
    cstr,
    footer,
    section_again,
    section_header,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    from vmd.block.bitmaps import DirtyBitmap
    from vmd.block.node import Node
    from vmd.migration.parameters import MigrationOptions
    from vmd.migration.vm import Vm

    class Channel(Protocol):
        def write(self, buffers: list[bytes]) -> int: ...


IDSTR = "dirty-bitmap"
VERSION = 1

# What a chunk is, and what its header names
EOS, ZEROES, BITMAP_NAME, NODE_NAME, START, COMPLETE, BITS, MORE_FLAGS = (1 << n for n in range(8))
# What a bitmap is
ENABLED, PERSISTENT, _OLD_AUTOLOAD = 1, 2, 4
UNKNOWN_FLAGS = 0xFF & ~(ENABLED | PERSISTENT | _OLD_AUTOLOAD)

BUFFER_ALIGN = 32
CHUNK = 1024
"""Bytes of bits that are sent together."""

_BATCH = 1 << 20
_MOST_SECTORS = (1 << 32) - 1


class Passenger(NamedTuple):
    """One bitmap that travels, with its names on the wire."""

    bitmap: DirtyBitmap
    node: str
    name: str
    flags: int


class BitmapsSaver:
    """The bitmaps of one machine's migrations. They are busy from `choose` to `release`."""

    def __init__(self, vm: Vm, options: MigrationOptions, section_id: int) -> None:
        self._vm = vm
        self._options = options
        self._section_id = section_id
        # As in QEMU a machine that once had none to send never looks again.
        self.is_active = True
        self._passengers: list[Passenger] = []
        self._named: tuple[str | None, str | None] = (None, None)

    def choose(self) -> None:
        """Take all that are to travel; QmpError if one of them cannot. On the event loop."""
        mapping = self._options.bitmap_mapping
        aliases = None if mapping is None else translations(mapping, outgoing=True)
        self._named = (None, None)
        found: list[Passenger] = []
        seen: list[Node] = []
        for name, node in self._vm.named_media() if aliases is None else ():
            found += _of_node(node, name, None)
            seen.append(node)
        for node in self._vm.nodes.by_name.values():
            if node not in seen:
                found += _of_node(node, node.name, aliases)
        for passenger in found:
            passenger.bitmap.busy = passenger.bitmap.skip_store = True
        self._passengers = found

    @property
    def pending(self) -> int:
        """What waits, as QEMU counts it: a byte for each bit."""
        return sum(passenger.bitmap.bits.length for passenger in self._passengers)

    def release(self) -> None:
        """Whatever became of it: they can be worked with again."""
        for passenger in self._passengers:
            passenger.bitmap.busy = False
        self._passengers = []

    # What is written. The bits may be read in a worker: nobody writes to bitmaps that are busy.

    def start(self) -> bytes:
        """The START section: each bitmap's name and kind. It is the only one if there is none."""
        self.is_active = bool(self._passengers)
        made = section_header(SECTION_START, self._section_id, IDSTR, 0, VERSION)
        for each in self._passengers:
            made += self._header(each, START) + be32(each.bitmap.granularity)
            made += bytes((each.flags,))
        return made + self._end()

    def part(self) -> bytes:
        """A PART section, which says nothing."""
        return section_again(SECTION_PART, self._section_id) + self._end()

    def write_end(self, channel: Channel) -> None:
        """The END section: the bits."""
        batch = bytearray(section_again(SECTION_END, self._section_id))
        for each in self._passengers:
            for chunk in self._chunks(each):
                batch += chunk
                if len(batch) >= _BATCH:
                    channel.write([bytes(batch)])
                    batch.clear()
        for each in self._passengers:
            batch += self._header(each, COMPLETE)
        channel.write([bytes(batch), self._end()])

    def _chunks(self, each: Passenger) -> Iterator[bytes]:
        bitmap = each.bitmap
        total, of_bit = bitmap.size // SECTOR, bitmap.granularity // SECTOR
        most = CHUNK * 8 * of_bit
        while most > _MOST_SECTORS:
            most //= 2
        at = 0
        while at < total or at == 0:
            count = min(total - at, most)
            data = bitmap.bits.to_bytes(at // of_bit, buffer_size(count, of_bit))
            flags = BITS if any(data) else BITS | ZEROES
            chunk = self._header(each, flags) + be64(at) + be32(count)
            yield chunk + (be64(len(data)) + data if flags == BITS else b"")
            at += most

    def _header(self, each: Passenger, flags: int) -> bytes:
        """What a chunk begins with; it names what the one before it was not about."""
        names = b""
        if self._named[0] != each.node:
            flags, names = flags | NODE_NAME, cstr(each.node)
        if self._named != (each.node, each.name):
            flags, names = flags | BITMAP_NAME, names + cstr(each.name)
        self._named = (each.node, each.name)
        return bytes((flags,)) + names

    def _end(self) -> bytes:
        return bytes((EOS,)) + footer(self._section_id)


def buffer_size(sectors: int, of_bit: int) -> int:
    """Bytes that the bits of so many sectors take on the wire: whole words, rounded up."""
    words = -(-sectors // (of_bit * WORD))
    return -(-words * (WORD // 8) // BUFFER_ALIGN) * BUFFER_ALIGN


def _of_node(node: Node, name: str, aliases: dict[str, Translation] | None) -> Iterator[Passenger]:
    """Those of a node that travel; `name` is what it is called without a mapping."""
    bitmaps = [bitmap for bitmap in node.bitmaps if bitmap.name is not None]
    if not bitmaps or (aliases is not None and name not in aliases):
        return
    translation = None if aliases is None else aliases[name]
    alias = name if translation is None else translation.node
    if alias.startswith("#"):
        raise QmpError(
            f"Bitmap '{bitmaps[0].name}' in a node with auto-generated name '{alias}'"
            " can't be migrated"
        )
    for bitmap in bitmaps:
        check(bitmap)
        assert bitmap.name is not None
        other = Other(bitmap.name, None)
        if translation is not None:
            if bitmap.name not in translation.bitmaps:
                continue
            other = translation.bitmaps[bitmap.name]
        elif len(bitmap.name.encode(errors="surrogateescape")) > MOST_ALIAS:
            raise QmpError(
                f"Cannot migrate bitmap '{bitmap.name}' on node '{name}':"
                f" Name is longer than {MOST_ALIAS} bytes"
            )
        persistent = bitmap.persistent if other.persistent is None else other.persistent
        flags = ENABLED * bitmap.enabled | PERSISTENT * persistent
        yield Passenger(bitmap, alias, other.name, flags)
