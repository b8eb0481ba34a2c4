"""The section `dirty-bitmap` on its way in: its chunks, and the bitmaps that come of them.

What is not understood of names and sizes only keeps the bitmaps out: a line says so, the rest of
the section is passed over, and the machine arrives without them. Format, order of checks and texts
observed from migration/block-dirty-bitmap.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from qapi.error import QmpError
from vmd.block.bitmaps import SECTOR, DirtyBitmap, create
from vmd.block.bits import WORD, Bits
from vmd.migration.bitmap_mapping import Other, Translation, translations
from vmd.migration.dirty_bitmaps import (
    BITMAP_NAME,
    BITS,
    BUFFER_ALIGN,
    CHUNK,
    COMPLETE,
    ENABLED,
    EOS,
    MORE_FLAGS,
    NODE_NAME,
    PERSISTENT,
    START,
    UNKNOWN_FLAGS,
    ZEROES,
)
from vmd.migration.source import Source, invalid, io_error, text

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmd.block.node import Node
    from vmd.migration.bitmap_mapping import Mapping
    from vmd.migration.source import Parse

_MOST_BUFFER = 10 * CHUNK
_ADDRESSES = 1 << 64
MOST_BITMAPS = 4096
"""Of one stream; beyond it nobody means well."""


def read_flags(source: Source) -> Parse[int]:
    """What a chunk is, and which names it tells."""
    flags = yield from source.byte()
    if flags & MORE_FLAGS:
        # QEMU keeps a byte of them, however many there are.
        flags = yield from source.byte()
        if flags & MORE_FLAGS:
            flags = (yield from source.be16()) & 0xFF
    return flags


def read_name(source: Source, what: str) -> Parse[str]:
    """The name of a node or of a bitmap; LoadError if it is not there."""
    name = yield from source.string()
    if not name or source.failed:
        raise invalid(f"Unable to read {what} alias string")
    return text(name)


class Piece(NamedTuple):
    """Bits of a bitmap: of which bytes of the node, and the bits (None: all of them are 0)."""

    first: int
    length: int
    data: bytes | None


def read_bits(source: Source, flags: int) -> Parse[Piece]:
    """LoadError if there are too many, or not all of them."""
    first = (yield from source.be64()) * SECTOR % _ADDRESSES
    length = (yield from source.be32()) * SECTOR
    if flags & ZEROES:
        return Piece(first, length, None)
    size = yield from source.be64()
    if size > _MOST_BUFFER:
        raise io_error("Bitmap migration stream buffer allocation request is too large")
    data = yield from source.skip(size, keep=size)
    if len(data) < size:
        raise io_error("Failed to read bitmap bits")
    return Piece(first, length, data)


class _Arriving:
    """A bitmap that the stream has announced."""

    def __init__(self, node: Node, bitmap: DirtyBitmap, *, enabled: bool) -> None:
        self.node = node
        self.bitmap = bitmap
        self.enabled = enabled
        self.is_whole = False


def _nobody(name: str) -> None:
    return None


class BitmapsLoader:
    """The bitmaps of one incoming migration.

    `node_of` finds a node by its name or by that of its drive, `named` by its name only, `mapping`
    tells the parameter block-bitmap-mapping. `warn` gets lines for stderr.
    """

    def __init__(
        self,
        node_of: Callable[[str], Node | None] = _nobody,
        named: Callable[[str], Node | None] = _nobody,
        mapping: Callable[[], Mapping | None] = lambda: None,
    ) -> None:
        self._node_of = node_of
        self._named = named
        self._mapping = mapping
        self.warn: Callable[[str], object] = _nobody
        self._arriving: list[_Arriving] = []
        self._bits: dict[DirtyBitmap, Bits] = {}  # of those that are not whole
        self._given_up = False
        self._began = False  # the machine lives on
        self._aliases: dict[str, Translation] | None = None
        # What the last chunk was about
        self._node_alias = ""
        self._node: Node | None = None
        self._name = ""
        self._bitmap: DirtyBitmap | None = None
        self._other: Other | None = None

    def load(self, source: Source, version: int) -> Parse[None]:
        """One section's payload; LoadError if the stream itself is broken."""
        if version != 1:
            self.give_up()
            raise invalid()
        mapping = self._mapping()
        self._aliases = None if mapping is None else translations(mapping, outgoing=False)
        flags = 0
        try:
            while not flags & EOS:
                flags = yield from self._chunk(source)
        except BaseException:
            self.give_up()
            raise

    def begin(self) -> None:
        """The machine lives on: what was enabled at the source records from now on."""
        self._began = True
        for one in self._arriving:
            if one.enabled and one.is_whole:
                one.bitmap.enabled = True
            elif one.enabled and one.bitmap.successor is not None:
                one.bitmap.successor.enabled = True
        self._arriving = [one for one in self._arriving if not one.is_whole]

    def give_up(self) -> None:
        """Let none of them come, also not those that are here already."""
        if self._given_up:
            return
        self._given_up = True
        self._node = self._bitmap = None
        for one in self._arriving:
            _release(one.bitmap, one.node)
            one.node.bitmaps.remove(one.bitmap)
        self._arriving = []
        self._bits.clear()

    def _chunk(self, source: Source) -> Parse[int]:
        flags = yield from read_flags(source)
        yield from self._turn_to(source, flags)
        if flags & START:
            granularity = yield from source.be32()
            kind = yield from source.byte()
            if not self._given_up:
                self._start(granularity, kind)
        elif flags & COMPLETE:
            if not self._given_up:
                self._complete()
        elif flags & BITS:
            piece = yield from read_bits(source, flags)
            if not self._given_up:
                self._put(piece)
        if source.failed:
            raise io_error()
        return flags

    # Whom a chunk is about

    def _turn_to(self, source: Source, flags: int) -> Parse[None]:
        says_something = flags & ~EOS
        if flags & NODE_NAME:
            self._node_alias = yield from read_name(source, "node")
            if not self._given_up:
                self._find_node(self._node_alias)
        elif self._node is None and says_something and not self._given_up:
            self._warn_and_give_up("Error: block device name is not set")
        if flags & BITMAP_NAME:
            alias = yield from read_name(source, "bitmap")
            if not self._given_up:
                self._find_bitmap(alias, is_new=bool(flags & START))
        elif self._bitmap is None and says_something and not self._given_up:
            self._warn_and_give_up("Error: block device name is not set")

    def _find_node(self, alias: str) -> None:
        if self._aliases is None:
            self._node = self._node_of(alias)
            missing = f"Cannot find device='{alias}' nor node-name='{alias}'"
        elif alias in self._aliases:
            name = self._aliases[alias].node
            self._node = self._named(name)
            missing = f"Cannot find device='' nor node-name='{name}'"
        else:
            self._node = None
            missing = f"Error: Unknown node alias '{alias}'"
        if self._node is None:
            self._warn_and_give_up(missing)

    def _find_bitmap(self, alias: str, *, is_new: bool) -> None:
        assert self._node is not None
        self._name = alias
        if self._aliases is not None:
            translation = self._aliases.get(self._node_alias)
            self._other = translation.bitmaps.get(alias) if translation else None
            if self._other is None:
                self._warn_and_give_up(
                    f"Error: Unknown bitmap alias '{alias}' on node"
                    f" '{self._node.name}' (alias '{self._node_alias}')"
                )
                return
            self._name = self._other.name
        self._bitmap = next((one for one in self._node.bitmaps if one.name == self._name), None)
        if self._bitmap is None and not is_new:
            self._warn_and_give_up(
                f"Error: unknown dirty bitmap '{self._name}' for block device '{self._node.name}'"
            )

    def _warn_and_give_up(self, line: str) -> None:
        self.warn(line)
        self.give_up()

    # What a chunk says

    def _start(self, granularity: int, flags: int) -> None:
        assert self._node is not None
        if self._bitmap is not None:
            raise invalid(
                f"Bitmap with the same name ('{self._bitmap.name}') already exists on destination"
            )
        if granularity < SECTOR or granularity & (granularity - 1):
            raise invalid("Granularity must be power of 2 and at least 512")  # QEMU aborts
        if len(self._arriving) == MOST_BITMAPS:
            raise invalid(f"More than {MOST_BITMAPS} dirty bitmaps")
        try:
            self._bitmap = bitmap = create(self._node, self._name, granularity)
        except QmpError as error:
            raise invalid(error.desc) from None
        if flags & UNKNOWN_FLAGS:
            raise invalid(f"Unknown flags in migrated dirty bitmap header: {flags:x}")
        bitmap.persistent = bool(flags & PERSISTENT)
        if self._other is not None and self._other.persistent is not None:
            bitmap.persistent = self._other.persistent
        bitmap.enabled, bitmap.busy = False, True
        if flags & ENABLED:
            bitmap.successor = create(self._node, None, granularity)
            bitmap.successor.enabled = False
        self._arriving.append(_Arriving(self._node, bitmap, enabled=bool(flags & ENABLED)))

    def _complete(self) -> None:
        assert self._node is not None and self._bitmap is not None
        if self._bitmap in self._bits:
            self._bitmap.bits = self._bits.pop(self._bitmap)
        for one in self._arriving:
            if one.bitmap is self._bitmap:
                one.is_whole = True
                _release(one.bitmap, one.node)
                return
        self._bitmap.busy = False

    def _put(self, piece: Piece) -> None:
        bitmap = self._bitmap
        assert bitmap is not None
        granule = bitmap.granularity
        if not piece.length:
            needed = 0
        else:
            end, aligned = bitmap.bits.length, granule * WORD
            last = (piece.first + piece.length - 1) // granule
            ends = last == end - 1 or not piece.length % aligned
            if piece.first % aligned or last >= end or not ends:  # QEMU aborts
                raise invalid(f"Migrated bits lie outside of the bitmap '{bitmap.name}'")
            needed = (last // WORD - piece.first // aligned + 1) * WORD // 8
        first = piece.first // granule
        bits = self._bits.setdefault(bitmap, bitmap.bits.copy())
        if piece.data is None:
            bits.clear_from(first, first + needed * 8 - 1)
            return
        most = -(-needed // BUFFER_ALIGN) * BUFFER_ALIGN
        if not needed <= len(piece.data) <= most:
            self._warn_and_give_up(
                "Migrated bitmap granularity doesn't match the destination bitmap"
                f" '{bitmap.name}' granularity"
            )
            return
        bits.put_bytes(first, piece.data[:needed])


def _release(bitmap: DirtyBitmap, node: Node) -> None:
    """Nothing works with it any more; it takes over what was recorded for it meanwhile."""
    successor, bitmap.successor = bitmap.successor, None
    bitmap.busy = False
    if successor is not None:
        bitmap.unite(successor)
        bitmap.enabled = successor.enabled
        node.bitmaps.remove(successor)
