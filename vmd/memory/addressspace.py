"""The guest's address space: where its RAM blocks are, and access across their borders."""

from __future__ import annotations

from bisect import bisect_right, insort

from vmd.memory.ramblock import RamBlock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

FOUR_GIB = 1 << 32


class Range:
    """`length` bytes of `block` from `offset` appear at the guest address `start`."""

    __slots__ = ("block", "length", "offset", "start")

    def __init__(self, start: int, length: int, block: RamBlock, offset: int) -> None:
        self.start = start
        self.length = length
        self.block = block
        self.offset = offset


def split_ram(size: int, *, q35: bool) -> list[tuple[int, int, int]]:
    """How a PC lays out its RAM, as (guest address, length, offset in the block).

    From a certain size on, room for PCI is made below 4 GiB and the rest goes above (seen in
    `info mtree` of pc-q35-10.0 and pc-i440fx-10.0; hw/i386/pc_q35.c, pc_piix.c).
    """
    limit, below = (0xB0000000, 0x80000000) if q35 else (0xE0000000, 0xC0000000)
    if size < limit:
        return [(0, size, 0)]
    return [(0, below, 0), (FOUR_GIB, size - below, below)]


class AddressSpace:
    """Guest physical memory: reads of nothing give zeros, writes to nothing are lost."""

    __slots__ = ("_ranges", "_starts")

    def __init__(self) -> None:
        self._ranges: list[Range] = []
        self._starts: list[int] = []

    @property
    def ranges(self) -> tuple[Range, ...]:
        """What is mapped, ascending."""
        return tuple(self._ranges)

    def map(self, start: int, block: RamBlock, offset: int = 0, length: int | None = None) -> None:
        """Let a piece of `block` appear at `start`; ValueError if something is there already."""
        length = block.size - offset if length is None else length
        if any(True for _ in self._overlaps(start, length)):
            raise ValueError(f"0x{start:x} is mapped already")
        insort(self._starts, start)
        self._ranges.insert(self._starts.index(start), Range(start, length, block, offset))

    def unmap(self, block: RamBlock) -> None:
        """Take all pieces of `block` out."""
        self._ranges = [r for r in self._ranges if r.block is not block]
        self._starts = [r.start for r in self._ranges]

    def read(self, address: int, length: int) -> bytes:
        pieces: list[bytes] = []
        position = address
        for r, start, end in self._overlaps(address, length):
            pieces.append(bytes(start - position))
            pieces.append(r.block.read(r.offset + start - r.start, end - start))
            position = end
        pieces.append(bytes(address + length - position))
        return b"".join(pieces)

    def covers(self, address: int, length: int) -> bool:
        """Whether there is memory at each of these addresses."""
        return sum(end - start for _, start, end in self._overlaps(address, length)) == length

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        data = memoryview(data)
        for r, start, end in self._overlaps(address, len(data)):
            r.block.write(r.offset + start - r.start, data[start - address : end - address])

    def fill(self, address: int, length: int, byte: int) -> None:
        """Set `length` bytes to `byte` (the qtest memset)."""
        for r, start, end in self._overlaps(address, length):
            r.block.fill(r.offset + start - r.start, end - start, byte)

    def find(self, address: int) -> tuple[RamBlock, int] | None:
        """The block at a guest address and the offset in it."""
        for r, start, _ in self._overlaps(address, 1):
            return r.block, r.offset + start - r.start
        return None

    def _overlaps(self, address: int, length: int) -> Iterator[tuple[Range, int, int]]:
        """The mapped ranges in [address, address + length) with what they cover of it."""
        end = address + length
        for i in range(max(bisect_right(self._starts, address) - 1, 0), len(self._ranges)):
            r = self._ranges[i]
            start, stop = max(address, r.start), min(end, r.start + r.length)
            if start < stop:
                yield r, start, stop
            elif r.start >= end:
                return
