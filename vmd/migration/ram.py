"""RAM on its way out: the `ram` section's records, made in big slices with numpy.

The records are those of QEMU's migration/ram.c: a page that is all zero is nine bytes, any other
is a header and its 4096 bytes; CONTINUE says that the block is still the same. Untouched memory
is never read: the host knows where a block's file has holes.

`sync` runs on the event loop (it takes over the dirty log), everything else may run in a worker
thread; the two never at the same time.
"""

from __future__ import annotations

from vmd.memory.dirty import PAGE_BITS, PAGE_SIZE
from vmd.migration.stream import (
    SECTION_END,
    SECTION_PART,
    SECTION_START,
    be64,
    cstr,
    footer,
    section_again,
    section_header,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from vmd.memory import RamBlock

    Buffer = bytes | bytearray | memoryview

IDSTR = "ram"
SECTION_VERSION = 4

# Flags in the low bits of a record's first word
ZERO = 0x002
MEM_SIZE = 0x004
PAGE = 0x008
EOS = 0x010
CONTINUE = 0x020
XBZRLE = 0x040
HOOK = 0x080
MULTIFD_FLUSH = 0x200

ZERO_RECORD = 9
PAGE_RECORD = 8 + PAGE_SIZE
SLICE_PAGES = 256  # about a MiB: it stays in the cache until it is written
SLICE_ZEROS = 1 << 15
PART_BYTES = 4 << 20


def is_ignored(block: RamBlock, ignore_shared: bool) -> bool:
    """Whether x-ignore-shared leaves a block out: shared, and a file that has a name."""
    return ignore_shared and block.shared and block.named_file


class RamSaver:
    """One machine's RAM being saved.

    Blocks are sent largest first. With `ignore_shared` the table tells guest addresses and
    shared files are left out. With `send_pages` off only the table is sent (cpr-transfer). With
    `detect_zero` off zero pages are sent like any other.

    Counters, all of them of what was made so far: `duplicate` and `normal` pages, and `ram_bytes`
    as QEMU counts them (records, and 8 bytes for each PART).
    """

    def __init__(
        self,
        blocks: Iterable[RamBlock],
        *,
        ignore_shared: bool = False,
        detect_zero: bool = True,
        send_pages: bool = True,
        section_id: int = 1,
    ) -> None:
        self._table = sorted(blocks, key=lambda block: -block.max_size)
        self._sent = [
            block for block in self._table if send_pages and not is_ignored(block, ignore_shared)
        ]
        self._ignore_shared = ignore_shared
        self._detect_zero = detect_zero
        self._section_id = section_id
        self._at = 0  # index of the block that the scan is in
        self._named: RamBlock | None = None  # the block that CONTINUE refers to
        self._extent: tuple[int, bool] | None = None  # (first page behind it, has data)
        self._pool: list[Any] = []  # buffers, used again for every part
        self._pool_used = 0
        self.total = sum(block.size for block in self._sent)
        self.duplicate = 0
        self.normal = 0
        self.ram_bytes = 0

    @property
    def pending(self) -> int:
        """Bytes of RAM that wait to be sent (the dirty log not looked at)."""
        return sum(b.pending.count for b in self._sent if b.pending is not None) << PAGE_BITS

    def setup(self) -> bytes:
        """The START section; from now on writes to the blocks are logged."""
        for block in self._sent:
            block.start_dirty_log()
        total = sum(block.size for block in self._table)
        table = b"".join(
            cstr(block.idstr) + be64(block.size) + (be64(block.gpa) if self._ignore_shared else b"")
            for block in self._table
        )
        head = section_header(SECTION_START, self._section_id, IDSTR, 0, SECTION_VERSION)
        return head + be64(total | MEM_SIZE) + table + self._section_end()

    def sync(self) -> int:
        """Take over the dirty log; returns how many pages were not pending before."""
        self._extent = None  # holes may have been filled; what fills one later is in the log
        return sum(block.sync_dirty() for block in self._sent)

    def part(self, max_bytes: int) -> list[Buffer] | None:
        """A whole PART section with up to about `max_bytes` of records; None if none wait.

        The buffers are good until the next call that makes records.
        """
        pages = self.pages(max_bytes)
        if pages is None:
            return None
        self.ram_bytes += 8
        return [section_again(SECTION_PART, self._section_id), *pages, self._section_end()]

    def end(self) -> bytes:
        """The END section without records."""
        return self.end_head() + self.end_tail()

    def end_head(self) -> bytes:
        """What opens an END section; `pages` and `end_tail` follow."""
        return section_again(SECTION_END, self._section_id)

    def end_tail(self) -> bytes:
        return self._section_end()

    def close(self) -> None:
        """Stop logging; to be called whatever becomes of the migration."""
        for block in self._sent:
            block.stop_dirty_log()
        self._pool.clear()

    def _section_end(self) -> bytes:
        return be64(EOS) + footer(self._section_id)

    # Records

    def pages(self, max_bytes: int) -> list[Buffer] | None:
        """Records of pending pages, at least one page's; None if no page is pending."""
        self._pool_used = 0
        left = min(max_bytes, PART_BYTES)
        made: list[Buffer] = []
        while left > 0 or not made:
            pieces = self._slice(max(left, 1))
            if pieces is None:
                break
            made += pieces
            left -= sum(map(len, pieces))
        self.ram_bytes += sum(map(len, made))
        return made or None

    def _slice(self, budget: int) -> list[Buffer] | None:
        """The records of some pages of one block; None when a whole round found nothing."""
        for _ in range(len(self._sent) + 1):
            if not self._sent:
                return None
            block = self._sent[self._at]
            assert block.pending is not None
            hole = block.pending.first_round and self._in_hole(block)
            runs = block.pending.take(self._limit(block, budget, hole))
            if runs:
                return self._records(block, runs, hole)
            self._at = (self._at + 1) % len(self._sent)
            self._extent = None
            pending = self._sent[self._at].pending
            assert pending is not None
            pending.rewind()
        return None

    def _limit(self, block: RamBlock, budget: int, hole: bool) -> int:
        """How many pages to take now: of a hole many, of data what fits."""
        small = hole and self._detect_zero
        record, most = (ZERO_RECORD, SLICE_ZEROS) if small else (PAGE_RECORD, SLICE_PAGES)
        limit = min(max(budget // record, 1), most)
        if self._extent is not None and block.pending is not None and block.pending.first_round:
            limit = min(limit, self._extent[0] - block.pending.cursor)
        return limit

    def _in_hole(self, block: RamBlock) -> bool:
        """Whether the cursor is in memory that was never touched. Finds the extent it is in."""
        assert block.pending is not None
        cursor = block.pending.cursor
        if self._extent is None or cursor >= self._extent[0]:
            found = next(block.data_extents(cursor << PAGE_BITS, block.size), None)
            start, end = (
                (block.pages, 0)
                if found is None
                else (
                    found[0] >> PAGE_BITS,
                    (found[1] + PAGE_SIZE - 1) >> PAGE_BITS,
                )
            )
            self._extent = (start, False) if start > cursor else (end, True)
        return not self._extent[1]

    def _records(self, block: RamBlock, runs: list[tuple[int, int]], hole: bool) -> list[Buffer]:
        import numpy as np

        if len(runs) == 1:
            index = np.arange(runs[0][0], runs[0][0] + runs[0][1], dtype=np.uint64)
        else:
            index = np.concatenate([np.arange(p, p + n, dtype=np.uint64) for p, n in runs])
        made: list[Buffer] = []
        if self._named is not block:
            made.append(self._named_record(block, int(index[0]), hole))
            index = index[1:]
            if not len(index):
                return made
        if not hole:
            made.append(self._data(block, index))
        elif self._detect_zero:
            made.append(self._zeros(index))
        else:  # a hole that must be sent as data is still not read
            made.append(self._normal(index, 0))
        return made

    def _named_record(self, block: RamBlock, page: int, hole: bool) -> bytes:
        """A record that names its block, as the first one of a block does."""
        self._named = block
        start = page << PAGE_BITS
        data = bytes(PAGE_SIZE) if hole else bytes(block.view[start : start + PAGE_SIZE])
        if self._detect_zero and not any(data):
            self.duplicate += 1
            return be64(start | ZERO) + cstr(block.idstr) + b"\0"
        self.normal += 1
        return be64(start | PAGE) + cstr(block.idstr) + data

    def _zeros(self, index: Any) -> memoryview:
        """Zero records of the pages `index`."""
        import numpy as np

        self.duplicate += len(index)
        out: Any = np.zeros((len(index), ZERO_RECORD), np.uint8)
        words = (index << PAGE_BITS) | (ZERO | CONTINUE)
        out[:, :8] = words.astype(">u8").view(np.uint8).reshape(-1, 8)
        return memoryview(out).cast("B")

    def _data(self, block: RamBlock, index: Any) -> memoryview:
        """Records of the pages `index`, that may or may not be zero."""
        import numpy as np

        memory = np.frombuffer(block.view, np.uint8, block.size).reshape(-1, PAGE_SIZE)
        first, last = int(index[0]), int(index[-1])
        contiguous = last - first + 1 == len(index)
        pages = memory[first : last + 1] if contiguous else memory[index]
        zero = _zero_pages(pages) if self._detect_zero else None
        if zero is None:
            return self._normal(index, pages)
        return self._zeros(index) if zero.all() else self._mixed(index, pages, zero)

    def _normal(self, index: Any, pages: Any) -> memoryview:
        """Page records of the pages `index`, whose bytes are `pages` (or 0 for zeros)."""
        self.normal += len(index)
        out = self._buffer()[: len(index)]
        out[:, :8] = _words(index, PAGE).reshape(-1, 8)
        out[:, 8:] = pages
        return memoryview(out).cast("B")

    def _mixed(self, index: Any, pages: Any, zero: Any) -> memoryview:
        """Records of both kinds, in the order of the pages."""
        import numpy as np

        sizes = np.where(zero, ZERO_RECORD, PAGE_RECORD)
        ends = np.cumsum(sizes)
        starts = ends - sizes
        out = self._buffer().reshape(-1)[: int(ends[-1])]
        # Windows at every byte: indexing with the records' starts scatters into all of them.
        heads = np.ndarray((len(out) - 7, 8), np.uint8, out, 0, (1, 1))
        bodies = np.ndarray((len(out) - PAGE_SIZE + 1, PAGE_SIZE), np.uint8, out, 0, (1, 1))
        normal = ~zero
        heads[starts] = _words(index, np.where(zero, ZERO, PAGE)).reshape(-1, 8)
        out[starts[zero] + 8] = 0
        bodies[starts[normal] + 8] = pages[normal]
        count = int(np.count_nonzero(zero))
        self.duplicate += count
        self.normal += len(index) - count
        return memoryview(out)

    def _buffer(self) -> Any:
        """Room for a slice of page records, from the pool."""
        import numpy as np

        if self._pool_used == len(self._pool):
            self._pool.append(np.empty((SLICE_PAGES, PAGE_RECORD), np.uint8))
        self._pool_used += 1
        return self._pool[self._pool_used - 1]


def _words(index: Any, flags: Any) -> Any:
    """The first words of the records of the pages `index`, as bytes."""
    import numpy as np

    words = (index << PAGE_BITS) | (np.asarray(flags, np.uint64) | CONTINUE)
    return words.astype(">u8").view(np.uint8)


def _zero_pages(pages: Any) -> Any:
    """Which pages are all zero, as an array of bool; None if none is.

    Three words decide about nearly every page; only those that pass are read whole.
    """
    import numpy as np

    words = pages.view(np.uint64)
    suspects = np.flatnonzero((words[:, 0] | words[:, 256] | words[:, 511]) == 0)
    if not len(suspects):
        return None
    if len(suspects) < len(pages):
        words = words[suspects]
    empty = np.bitwise_or.reduce(words, axis=1) == 0
    if not empty.any():
        return None
    zero = np.zeros(len(pages), bool)
    zero[suspects[empty]] = True
    return zero
