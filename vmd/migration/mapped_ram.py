"""mapped-ram: every page has its own place in the state file, which is sparse.

A block's entry in the table is followed by a header, a bitmap of the pages that are there, and room
for all of its pages; the stream goes on behind that. A page sent again overwrites itself, so the
file never grows beyond RAM. Layout observed from migration/ram.c (mapped_ram_setup_ramblock) and
docs/devel/migration/mapped-ram.rst.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from qapi.error import QmpError
from vmd.memory.dirty import PAGE_BITS, PAGE_SIZE
from vmd.memory.ramblock import is_ignored
from vmd.migration.ram import EOS, table_head, zero_pages
from vmd.migration.scan import RamScan
from vmd.migration.stream import (
    SECTION_END,
    SECTION_PART,
    be32,
    be64,
    cstr,
    footer,
    section_again,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, Protocol

    from vmd.memory import RamBlock

    Buffer = bytes | bytearray | memoryview

    class Channel(Protocol):
        """A file: the stream has a position in it, and pages are written beside it."""

        def write(self, buffers: Sequence[Buffer]) -> int: ...
        def write_at(self, position: int, data: Buffer) -> int: ...
        def bypass_cache(self) -> None: ...
        def write_pages(self, position: int, pages: memoryview) -> int: ...
        def tell(self) -> int: ...
        def seek(self, position: int) -> None: ...


VERSION = 1
HEADER_SIZE = 28
ALIGNMENT = 1 << 20
SLICE_PAGES = 1024
MOST_SLICES = 64  # of one PART: holes cost nothing, but looking for them does
ALL_OF_IT = 1 << 62
FEW_PAGES = 16
ZERO_PAGE = bytes(PAGE_SIZE)
BITMAP_PIECE = 1 << 23  # pages, a MiB of bitmap


class Region(NamedTuple):
    """Where a block's pages are: both offsets count from the beginning of the file."""

    bitmap_offset: int
    pages_offset: int

    @classmethod
    def behind(cls, header_at: int, pages: int) -> Region:
        """The region of a block whose header begins at this offset."""
        bitmap = header_at + HEADER_SIZE
        return cls(bitmap, -(-(bitmap + bitmap_size(pages)) // ALIGNMENT) * ALIGNMENT)

    def encode(self) -> bytes:
        head = be32(VERSION) + be64(PAGE_SIZE)
        return head + be64(self.bitmap_offset) + be64(self.pages_offset)


def bitmap_size(pages: int) -> int:
    """Bytes of a bitmap: whole words of 64 bits."""
    return (pages + 63) // 64 * 8


class MappedRamSaver:
    """One machine's RAM being saved to its places in a file; made and used like a RamSaver.

    With `direct` pages go past the host's page cache.

    Counters: `duplicate` pages (zero, and not written), `normal` ones, and `ram_bytes` as QEMU
    counts them (pages, 8 bytes for each PART, and the bitmaps).
    """

    def __init__(
        self,
        blocks: Iterable[RamBlock],
        *,
        ignore_shared: bool = False,
        detect_zero: bool = True,
        section_id: int = 1,
        direct: bool = False,
    ) -> None:
        self._table = sorted(blocks, key=lambda block: -block.max_size)
        self._ignored = [block for block in self._table if is_ignored(block, ignore_shared)]
        self._scan = RamScan(block for block in self._table if block not in self._ignored)
        self._ignore_shared = ignore_shared
        self._detect_zero = detect_zero
        self._section_id = section_id
        self._direct = direct
        self._regions: dict[str, Region] = {}
        self._present: dict[str, Any] = {}  # a flag a page; untouched memory costs nothing
        self._is_ending = False
        self.total = self._scan.total
        self.duplicate = 0
        self.normal = 0
        self.ram_bytes = 0

    @property
    def pending(self) -> int:
        """Bytes of RAM that wait to be sent (the dirty log not looked at)."""
        return self._scan.pending

    def sync(self) -> int:
        """Take over the dirty log; returns how many pages were not pending before."""
        return self._scan.sync()

    def close(self) -> None:
        """Stop logging; to be called whatever becomes of the migration."""
        self._scan.close()
        self._present.clear()

    def complaint(self, reason: str) -> str:
        """What else QEMU says on stderr when RAM cannot be written because of `reason`."""
        if self._is_ending and not self.pending:
            return f"Failed to write bitmap to file: {reason}"
        return f"failed to save SaveStateEntry with id(name): {self._section_id}(ram): -5"

    # To a channel. Everything returns the bytes written.

    def start(self, channel: Channel, before: bytes, after: bytes) -> int:
        """Write the START section with what stands around it, and lay the regions out."""
        import numpy as np

        if self._direct:
            channel.bypass_cache()
        self._scan.start()
        written = channel.write([before, table_head(self._table, self._section_id)])
        for block in self._table:
            gpa = be64(block.gpa) if self._ignore_shared else b""
            entry = cstr(block.idstr) + be64(block.size) + gpa
            region = Region.behind(channel.tell() + len(entry), block.pages)
            self._regions[block.idstr] = region
            self._present[block.idstr] = np.zeros(block.pages, bool)
            written += channel.write([entry, region.encode()])
            channel.seek(region.pages_offset + block.size)
        return written + channel.write([self._eos(), after])

    def send(self, channel: Channel, max_bytes: int) -> int:
        """Write pages, about so many bytes of them, and the PART that stands for them; 0: none."""
        if not self.pending:
            return 0
        self.ram_bytes += 8
        frame = [section_again(SECTION_PART, self._section_id), self._eos()]
        return self._put_some(channel, max_bytes) + channel.write(frame)

    def send_last(self, channel: Channel, max_bytes: int) -> int:
        """Write pages that belong to the END section, which the first call opens; 0: none."""
        return self._open_end(channel) + self._put_some(channel, max_bytes)

    def finish(self, channel: Channel) -> int:
        """Write the bitmaps, and the end of the END section."""
        import numpy as np

        written = self._open_end(channel)
        if self._ignored:  # QEMU has no bitmap for such a block, and tries to write it
            raise QmpError(f"Unable to write to file: {os.strerror(14)}")
        for name, present in self._present.items():
            at = self._regions[name].bitmap_offset
            for first in range(0, len(present), BITMAP_PIECE):
                flags = present[first : first + BITMAP_PIECE]
                bits = np.packbits(flags, bitorder="little").tobytes()
                bits = bits.ljust(bitmap_size(len(flags)), b"\0")
                written += channel.write_at(at + first // 8, bits)
            self.ram_bytes += bitmap_size(len(present))
        return written + channel.write([self._eos()])

    def _open_end(self, channel: Channel) -> int:
        was, self._is_ending = self._is_ending, True
        return 0 if was else channel.write([section_again(SECTION_END, self._section_id)])

    def _eos(self) -> bytes:
        return be64(EOS) + footer(self._section_id)

    # Pages

    def _put_some(self, channel: Channel, max_bytes: int) -> int:
        written = 0
        for _ in range(MOST_SLICES):
            limit = min(max((max_bytes - written) // PAGE_SIZE, 1), SLICE_PAGES)
            found = self._scan.take(limit, ALL_OF_IT if self._detect_zero else 0)
            if found is None:
                break
            written += self._put(channel, *found)
            if written >= max_bytes:
                break
        self.ram_bytes += written
        return written

    def _put(
        self, channel: Channel, block: RamBlock, runs: list[tuple[int, int]], first_round: bool
    ) -> int:
        """Write the pages in `runs`. A later round's pages have all been written to."""
        written = 0
        for first, count in runs:
            page, end = first, first + count
            while page < end:
                behind, has_data = self._scan.extent_at(block, page) if first_round else (end, True)
                behind = min(behind, end)
                if has_data:
                    written += self._put_data(channel, block, page, behind)
                else:
                    self._put_hole(block, page, behind)
                page = behind
        return written

    def _put_hole(self, block: RamBlock, first: int, end: int) -> None:
        """Pages that were never touched: in the file they are a hole too."""
        if self._detect_zero:
            self.duplicate += end - first
        else:
            self._present[block.idstr][first:end] = True
            self.normal += end - first

    def _put_data(self, channel: Channel, block: RamBlock, first: int, end: int) -> int:
        present = self._present[block.idstr][first:end]
        if not self._detect_zero:
            present.fill(True)
            runs = [(0, end - first)]
        elif end - first <= FEW_PAGES:
            runs = _runs_of_few(block.view[first << PAGE_BITS : end << PAGE_BITS])
            present.fill(False)
            for one, other in runs:
                present[one:other] = True
        else:
            runs = _runs_of_many(block.view[first << PAGE_BITS : end << PAGE_BITS], present)
        normal = sum(other - one for one, other in runs)
        self.normal += normal
        self.duplicate += len(present) - normal
        base = self._regions[block.idstr].pages_offset
        for one, other in runs:
            begin, behind = (first + one) << PAGE_BITS, (first + other) << PAGE_BITS
            channel.write_pages(base + begin, block.view[begin:behind])
        return normal << PAGE_BITS


def _runs_of_few(pages: memoryview) -> list[tuple[int, int]]:
    """Runs (first, behind) of the pages that are not zero; numpy would only be set up for more."""
    runs: list[tuple[int, int]] = []
    for page in range(len(pages) >> PAGE_BITS):
        if bytes(pages[page << PAGE_BITS : (page + 1) << PAGE_BITS]) == ZERO_PAGE:
            continue
        if runs and runs[-1][1] == page:
            runs[-1] = (runs[-1][0], page + 1)
        else:
            runs.append((page, page + 1))
    return runs


def _runs_of_many(pages: memoryview, present: Any) -> list[tuple[int, int]]:
    """The same, and set in the array which they are."""
    import numpy as np

    np.logical_not(zero_pages(np.frombuffer(pages, np.uint8).reshape(-1, PAGE_SIZE)), out=present)
    edges = np.flatnonzero(np.diff(present, prepend=False, append=False)).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))
