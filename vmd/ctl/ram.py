"""RAM of a state file, counted instead of loaded.

The engine's own loader reads the records; the blocks that it fills only note which page came and
how. In a mapped-ram file there are no records: there the bitmaps say which pages have data, and the
data is passed over.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, NamedTuple, cast

from vmd.memory.dirty import PAGE_SIZE
from vmd.migration.ram import MEM_SIZE, SECTION_VERSION
from vmd.migration.ram_load import RamLoader
from vmd.migration.source import invalid, io_error, text

if TYPE_CHECKING:
    from collections.abc import Collection

    from vmd.memory import RamBlock
    from vmd.migration.source import Parse, Source

MOST_RAM = 1 << 44  # bytes; what a stream claims beyond that is not believed
_PIECE = 1 << 20
_ABSENT, _ZERO, _NORMAL = 0, 1, 2
_MAPPED_VERSION = 1
_STATES_OF_BITS = [
    bytes(_NORMAL if byte >> bit & 1 else _ZERO for bit in range(8)) for byte in range(256)
]


class Pages(NamedTuple):
    """How the pages of a block came; the last word on each page counts. `sent`: records."""

    zero: int
    normal: int
    absent: int
    sent: int
    xbzrle: int


class Mapped(NamedTuple):
    """Where a block lies in a mapped-ram file: offsets of its bitmap and of its first page."""

    bitmap: int
    pages: int


class CountedBlock:
    """What the loader needs of a RAM block, without its memory: one byte a page."""

    shared = named_file = readonly = resizable = False

    def __init__(self, idstr: str, size: int, gpa: int | None) -> None:
        self.idstr = idstr
        self.size = self.max_size = size
        self.gpa = gpa
        self.mapped: Mapped | None = None
        self.view = self  # the loader writes single pages through it
        self._sent = self._xbzrle = 0
        # Pages of memory that nothing is written to cost nothing.
        self._states = mmap.mmap(-1, max(size // PAGE_SIZE, 1), flags=mmap.MAP_PRIVATE)

    def _note(self, address: int, count: int, state: int) -> None:
        first = address // PAGE_SIZE
        self._states[first : first + count] = bytes((state,)) * count
        self._sent += count

    def put_pages(self, address: int, pages: list[memoryview]) -> None:
        self._note(address, len(pages), _NORMAL)

    def clear(self, address: int, length: int) -> None:
        self._note(address, length // PAGE_SIZE, _ZERO)

    def mark(self, address: int, length: int) -> None:
        pass

    def __setitem__(self, where: slice, data: bytes) -> None:
        self._note(where.start, 1, _NORMAL)

    def __getitem__(self, where: slice) -> bytes:
        """What a page held before: only XBZRLE asks, and any content tells whether it decodes."""
        self._xbzrle += 1
        return bytes(PAGE_SIZE)

    def map(self, at: int, bitmap: bytes) -> None:
        """A piece of a mapped-ram file's bitmap: bit by bit, a page that has data or is zero."""
        states = b"".join([_STATES_OF_BITS[byte] for byte in bitmap])
        count = min(len(states), self.size // PAGE_SIZE - at)
        self._states[at : at + count] = states[:count]

    def count(self) -> Pages:
        total, numbers = self.size // PAGE_SIZE, [0, 0, 0]
        for start in range(0, total, _PIECE):
            piece = self._states[start : min(start + _PIECE, total)]
            numbers = [n + piece.count(state) for state, n in enumerate(numbers)]
        return Pages(numbers[_ZERO], numbers[_NORMAL], numbers[_ABSENT], self._sent, self._xbzrle)


class CountedRam:
    """The `ram` section: a loader for any stream, whose blocks are those that its table names.

    With both capabilities QEMU writes what it cannot load again: it forgets the addresses. With
    `strict` they are forgotten here too.
    """

    def __init__(self, capabilities: Collection[str], *, strict: bool = False) -> None:
        self.mapped = "mapped-ram" in capabilities
        self._with_gpa = "x-ignore-shared" in capabilities and not (strict and self.mapped)
        self.total: int | None = None
        self.blocks: list[CountedBlock] = []
        self._named: dict[str, CountedBlock] = {}
        self._loader = RamLoader([])

    def load(self, source: Source, version: int) -> Parse[None]:
        """One section's payload."""
        if version == SECTION_VERSION:
            word = int.from_bytes((yield from source.peek(8)), "big")
            if word % PAGE_SIZE == MEM_SIZE and not source.failed:
                yield from source.take(8)
                yield from self._table(source, word - MEM_SIZE)
        yield from self._loader.load(source, version)

    def give_up(self) -> None:
        """What was counted so far stays."""

    def _table(self, source: Source, total: int) -> Parse[None]:
        if total > MOST_RAM:
            raise invalid(f"The table tells of 0x{total:x} bytes of RAM")
        self.total = left = total
        while left:
            name = text((yield from source.string()))
            length = yield from source.be64()
            gpa = (yield from source.be64()) if self._with_gpa else None
            if not name.isprintable() or not name:
                raise invalid(f'Unknown ramblock "{name}", cannot accept migration')
            if not 0 < length <= left or length % PAGE_SIZE:
                raise invalid(f"Block {name} of 0x{length:x} bytes, where 0x{left:x} are left")
            if source.failed:
                raise io_error()
            left -= length
            block = self._block(name, length, gpa)
            if self.mapped:
                yield from self._mapped(source, block)

    def _block(self, name: str, length: int, gpa: int | None) -> CountedBlock:
        found = self._named.get(name)
        if found is not None:
            if found.size != length:
                raise invalid(f"Size mismatch: {name}: 0x{length:x} != 0x{found.size:x}")
            return found
        block = self._named[name] = CountedBlock(name, length, gpa)
        self.blocks.append(block)
        self._loader.blocks.append(cast("RamBlock", block))
        return block

    def _mapped(self, source: Source, block: CountedBlock) -> Parse[None]:
        """A block's own header and bitmap; its pages are left out (QEMU's migration/ram.c)."""
        version = yield from source.be32()
        yield from source.be64()  # the page size: nobody compares it
        bitmap = yield from source.be64()
        pages = yield from source.be64()
        if source.failed:
            raise io_error()
        if version > _MAPPED_VERSION:
            raise invalid(
                "Migration mapped-ram capability version not supported"
                f" (expected <= {_MAPPED_VERSION}, got {version})"
            )
        if pages % PAGE_SIZE:
            raise invalid(f"Error reading ramblock {block.idstr} pages, region has bad alignment")
        words = -(-block.size // (64 * PAGE_SIZE))
        if bitmap < source.position or pages < bitmap + words * 8:
            raise invalid(f"Block {block.idstr} overlaps its own header")
        block.mapped = Mapped(bitmap, pages)
        yield from source.skip(bitmap - source.position)
        for done in range(0, words * 8, _PIECE):
            piece = yield from source.take(min(_PIECE, words * 8 - done))
            if source.failed:
                raise io_error()
            block.map(done * 8, piece)
        source.leave_out(pages + block.size - source.position)
