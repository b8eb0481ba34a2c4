"""Dirty bitmaps as a stream tells of them, for whoever only looks: counted, and not kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmd.migration.dirty_bitmaps import (
    BITMAP_NAME,
    BITS,
    COMPLETE,
    ENABLED,
    EOS,
    NODE_NAME,
    PERSISTENT,
    START,
    UNKNOWN_FLAGS,
)
from vmd.migration.dirty_bitmaps_load import MOST_BITMAPS, read_bits, read_flags, read_name
from vmd.migration.source import Source, invalid, io_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmd.migration.source import Parse


class CountedBitmap:
    """A bitmap that is announced. `dirty`: how many bits were set when they were sent."""

    def __init__(self, node: str, name: str, granularity: int, kind: int) -> None:
        self.node = node
        self.name = name
        self.granularity = granularity
        self.enabled = bool(kind & ENABLED)
        self.persistent = bool(kind & PERSISTENT)
        self.dirty = 0
        self.complete = False


class CountedBitmaps:
    """All bitmaps of a stream; any node and any name is as good as another."""

    def __init__(self) -> None:
        self.warn: Callable[[str], object] = str
        self._found: dict[tuple[str, str], CountedBitmap] = {}
        self._named = ("", "")
        self._warned = False

    @property
    def bitmaps(self) -> list[CountedBitmap]:
        return list(self._found.values())

    def load(self, source: Source, version: int) -> Parse[None]:
        """One section's payload; LoadError if it is broken."""
        if version != 1:
            raise invalid()
        flags = 0
        while not flags & EOS:
            flags = yield from read_flags(source)
            yield from self._turn_to(source, flags)
            yield from self._chunk(source, flags)
            if source.failed:
                raise io_error()

    def _turn_to(self, source: Source, flags: int) -> Parse[None]:
        node, name = self._named
        if flags & NODE_NAME:
            node = yield from read_name(source, "node")
        elif flags & ~EOS and not node:
            self._warn_once("Error: block device name is not set")
        if flags & BITMAP_NAME:
            name = yield from read_name(source, "bitmap")
        self._named = (node, name)
        if flags & ~EOS and not flags & START and self._named not in self._found:
            text = f"Error: unknown dirty bitmap '{name}' for block device '{node}'"
            self._warn_once(text)

    def _warn_once(self, line: str) -> None:
        """As in a receiver, who then looks at bitmaps no longer."""
        if not self._warned:
            self._warned = True
            self.warn(line)

    def _chunk(self, source: Source, flags: int) -> Parse[None]:
        found = self._found.get(self._named)
        if flags & START:
            granularity = yield from source.be32()
            kind = yield from source.byte()
            self._start(granularity, kind)
        elif flags & COMPLETE and found is not None:
            found.complete = True
        elif flags & BITS:
            piece = yield from read_bits(source, flags)
            if found is not None and piece.data is not None:
                found.dirty += int.from_bytes(piece.data, "big").bit_count()

    def _start(self, granularity: int, kind: int) -> None:
        if self._named in self._found:
            name = self._named[1]
            raise invalid(f"Bitmap with the same name ('{name}') already exists on destination")
        if kind & UNKNOWN_FLAGS:
            raise invalid(f"Unknown flags in migrated dirty bitmap header: {kind:x}")
        if len(self._found) == MOST_BITMAPS:
            raise invalid(f"More than {MOST_BITMAPS} dirty bitmaps")
        self._found[self._named] = CountedBitmap(*self._named, granularity, kind)
