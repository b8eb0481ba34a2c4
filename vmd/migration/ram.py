"""RAM on its way out: the `ram` section's records, made in big slices with numpy.

The records are those of QEMU's migration/ram.c: a page that is all zero is nine bytes, any other
is a header and its 4096 bytes; CONTINUE says that the block is still the same. Untouched memory
is never read: the host knows where a block's file has holes.

`sync` runs on the event loop (it takes over the dirty log), everything else may run in a worker
thread; the two never at the same time.
"""

from __future__ import annotations

from itertools import accumulate

from vmd.memory.dirty import PAGE_BITS, PAGE_SIZE
from vmd.memory.ramblock import is_ignored
from vmd.migration.scan import RamScan
from vmd.migration.stream import (
    SECTION_END,
    SECTION_PART,
    SECTION_START,
    be16,
    be64,
    cstr,
    footer,
    section_again,
    section_header,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, Protocol

    from vmd.memory import RamBlock
    from vmd.migration.xbzrle import Xbzrle

    Buffer = bytes | bytearray | memoryview

    class Channel(Protocol):
        """Where the stream goes."""

        def write(self, buffers: Sequence[Buffer]) -> int: ...


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
FULL_PAGES = 32
FULL_ZEROS = (32 << 10) // ZERO_RECORD + 1
"""Records that fill QEMU's buffer (64 pieces or 32 KiB, migration/qemu-file.c). It looks at its
limit only when that is full: so many are sent together, however low the limit is."""


def table_head(blocks: Iterable[RamBlock], section_id: int) -> bytes:
    """What a START section begins with; the blocks' entries follow."""
    head = section_header(SECTION_START, section_id, IDSTR, 0, SECTION_VERSION)
    return head + be64(sum(block.size for block in blocks) | MEM_SIZE)


class RamSaver:
    """One machine's RAM being saved as records in the stream.

    Blocks are sent largest first. With `ignore_shared` the table tells guest addresses and
    shared files are left out. With `send_pages` off only the table is sent (cpr-transfer). With
    `detect_zero` off zero pages are sent like any other. With `xbzrle` the rounds after the first
    send only what has changed in a page.

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
        xbzrle: Xbzrle | None = None,
    ) -> None:
        self._table = sorted(blocks, key=lambda block: -block.max_size)
        self._scan = RamScan(
            block for block in self._table if send_pages and not is_ignored(block, ignore_shared)
        )
        self._ignore_shared = ignore_shared
        self._detect_zero = detect_zero
        self._section_id = section_id
        self._named: RamBlock | None = None  # the block that CONTINUE refers to
        # Buffers are used again for every part: large ones are fresh memory every time.
        self._page_pool = _Pool(SLICE_PAGES, PAGE_RECORD)
        self._zero_pool = _Pool(SLICE_ZEROS, ZERO_RECORD)
        self._offsets: Any = None  # of the pages of a slice of zeros
        self._is_ending = False
        self._xbzrle = xbzrle
        self._syncs = 0
        ends = accumulate((block.max_size for block in self._table), initial=0)
        # Of the blocks' first pages, for XBZRLE's cache
        self._addresses = {b.idstr: start for b, start in zip(self._table, ends, strict=False)}
        self.total = self._scan.total
        self.duplicate = 0
        self.normal = 0
        self.ram_bytes = 0

    @property
    def pending(self) -> int:
        """Bytes of RAM that wait to be sent (the dirty log not looked at)."""
        return self._scan.pending

    # To a channel

    def start(self, channel: Channel, before: bytes, after: bytes) -> int:
        """Write the START section with what stands around it; the bytes written, as ever."""
        return channel.write([before, self.setup(), after])

    def send(self, channel: Channel, max_bytes: int) -> int:
        """Write a PART section with about so many bytes of records; 0 if none wait."""
        part = self.part(max_bytes)
        return 0 if part is None else channel.write(part)

    def send_last(self, channel: Channel, max_bytes: int) -> int:
        """Write records into the END section, which the first call opens; 0 if none wait."""
        made = [*self._opening(), *(self.pages(max_bytes) or ())]
        return channel.write(made) if made else 0

    def finish(self, channel: Channel) -> int:
        """Write the end of the END section."""
        return channel.write([*self._opening(), self._section_end()])

    def _opening(self) -> list[bytes]:
        was, self._is_ending = self._is_ending, True
        return [] if was else [section_again(SECTION_END, self._section_id)]

    # As bytes

    def setup(self) -> bytes:
        """The START section; from now on writes to the blocks are logged."""
        self._scan.start()
        table = b"".join(
            cstr(block.idstr) + be64(block.size) + (be64(block.gpa) if self._ignore_shared else b"")
            for block in self._table
        )
        return table_head(self._table, self._section_id) + table + self._section_end()

    def sync(self) -> int:
        """Take over the dirty log; returns how many pages were not pending before."""
        self._syncs += 1
        return self._scan.sync()

    def part(self, max_bytes: int) -> list[Buffer] | None:
        """A whole PART section with up to about `max_bytes` of records; None if none wait.

        The buffers are good until the next call that makes records.
        """
        pages = self.pages(max_bytes)
        if pages is None:
            return None
        self.ram_bytes += 8
        return [section_again(SECTION_PART, self._section_id), *pages, self._section_end()]

    def close(self) -> None:
        """Stop logging; to be called whatever becomes of the migration."""
        self._scan.close()
        self._page_pool.clear()
        self._zero_pool.clear()

    def complaint(self, reason: str) -> str:
        """What else QEMU says on stderr when RAM cannot be written because of `reason`."""
        return f"failed to save SaveStateEntry with id(name): {self._section_id}(ram): -5"

    def _section_end(self) -> bytes:
        return be64(EOS) + footer(self._section_id)

    # Records

    def pages(self, max_bytes: int) -> list[Buffer] | None:
        """Records of pending pages, at least a buffer full of them; None if no page is pending."""
        self._page_pool.begin()
        self._zero_pool.begin()
        left = min(max_bytes, PART_BYTES)
        made: list[Buffer] = []
        while left > 0 or not made:
            found = self._scan.take(
                min(_full(left, PAGE_RECORD, FULL_PAGES), SLICE_PAGES),
                min(_full(left, ZERO_RECORD, FULL_ZEROS), SLICE_ZEROS) if self._detect_zero else 0,
            )
            if found is None:
                break
            pieces = self._records(*found)
            made += pieces
            left -= sum(map(len, pieces))
        self.ram_bytes += sum(map(len, made))
        return made or None

    def _records(
        self, block: RamBlock, runs: list[tuple[int, int]], first_round: bool
    ) -> list[Buffer]:
        """Records of the pages in `runs`. A later round's pages have all been written to."""
        import numpy as np

        if self._xbzrle is not None and self._scan.rounds:
            return self._changes(self._xbzrle, block, runs)
        if first_round and self._named is block and (extent := self._extent(block, runs)):
            return [extent]
        index = np.concatenate([np.arange(p, p + n, dtype=np.uint64) for p, n in runs])
        untouched = np.zeros(len(index), bool)
        if first_round:
            self._scan.find_untouched(block, runs[0][0], untouched)
        made: list[Buffer] = []
        if self._named is not block:
            made.append(self._named_record(block, int(index[0]), bool(untouched[0])))
            index, untouched = index[1:], untouched[1:]
        if len(index):
            made.append(self._unnamed_records(block, index, untouched))
        return made

    def _changes(
        self, xbzrle: Xbzrle, block: RamBlock, runs: list[tuple[int, int]]
    ) -> list[Buffer]:
        """Records of pages of which something may have been sent before; of some there is none."""
        made: list[Buffer] = []
        base = self._addresses[block.idstr]
        for page in (page for first, count in runs for page in range(first, first + count)):
            start = page << PAGE_BITS
            # One copy, for the guest goes on writing: what is encoded, cached and sent is the same.
            data = bytes(block.view[start : start + PAGE_SIZE])
            if self._detect_zero and not any(data):
                self.duplicate += 1
                xbzrle.zero(base + start, self._syncs)
                made += [self._head(block, start, ZERO), b"\0"]
                continue
            change = xbzrle.change(base + start, data, self._syncs, last=self._is_ending)
            if change is None:
                self.normal += 1
                made += [self._head(block, start, PAGE), data]
            elif change:
                head = self._head(block, start, XBZRLE)
                made.append(head + b"\1" + be16(len(change)) + change)
        return made

    def _head(self, block: RamBlock, start: int, kind: int) -> bytes:
        """What a record begins with; it names its block if the last one was about another."""
        if self._named is block:
            return be64(start | kind | CONTINUE)
        self._named = block
        return be64(start | kind) + cstr(block.idstr)

    def _named_record(self, block: RamBlock, page: int, untouched: bool) -> bytes:
        """A record that names its block, as the first one of a block does."""
        start = page << PAGE_BITS
        data = bytes(PAGE_SIZE) if untouched else bytes(block.view[start : start + PAGE_SIZE])
        if self._detect_zero and not any(data):
            self.duplicate += 1
            return self._head(block, start, ZERO) + b"\0"
        self.normal += 1
        return self._head(block, start, PAGE) + data

    def _unnamed_records(self, block: RamBlock, index: Any, untouched: Any) -> memoryview:
        """Records of the pages `index`; those that are `untouched` are not read."""

        memory = _memory(block)
        zero = untouched
        if self._detect_zero:
            zero = untouched.copy()
            zero[~untouched] = zero_pages(_pick(memory, index[~untouched]))
        if not self._detect_zero or not zero.any():
            return self._unread(memory, index, untouched)
        return self._mixed(memory, index, zero)

    def _extent(self, block: RamBlock, runs: list[tuple[int, int]]) -> memoryview | None:
        """Records of a run that is all hole or all data, as most are; None if it is neither."""
        first, count = runs[0]
        end, has_data = self._scan.extent_at(block, first)
        if not self._detect_zero or len(runs) > 1 or first + count > end:
            return None
        if not has_data:
            return self._zeros(first, count)
        pages = _memory(block)[first : first + count]
        return None if zero_pages(pages).any() else self._normal(first, pages)

    def _zeros(self, first: int, count: int) -> memoryview:
        """Zero records of consecutive pages."""
        self.duplicate += count
        out = self._zero_pool.take()[:count]
        self._number(out, first, ZERO)
        return memoryview(out).cast("B")

    def _normal(self, first: int, pages: Any) -> memoryview:
        """Page records of consecutive pages."""
        self.normal += len(pages)
        out = self._page_pool.take()[: len(pages)]
        self._number(out, first, PAGE)
        out[:, 8:] = pages
        return memoryview(out).cast("B")

    def _number(self, records: Any, first: int, kind: int) -> None:
        """Write the records' first words, which count up from the page `first`."""
        import numpy as np

        if self._offsets is None:
            self._offsets = np.arange(SLICE_ZEROS, dtype=np.uint64) << PAGE_BITS
        count, length = records.shape
        words: Any = np.ndarray((count,), ">u8", records, 0, (length,))
        np.add(self._offsets[:count], np.uint64(first << PAGE_BITS | kind | CONTINUE), words)

    def _unread(self, memory: Any, index: Any, untouched: Any) -> memoryview:
        """Page records; some pages may be known to be zero but must be sent in full."""
        self.normal += len(index)
        out = self._page_pool.take()[: len(index)]
        out[:, :8] = _words(index, PAGE)
        out[untouched, 8:] = 0
        out[~untouched, 8:] = _pick(memory, index[~untouched])
        return memoryview(out).cast("B")

    def _mixed(self, memory: Any, index: Any, zero: Any) -> memoryview:
        """Records of both kinds, in the order of the pages."""
        import numpy as np

        sizes = np.where(zero, ZERO_RECORD, PAGE_RECORD)
        ends = np.cumsum(sizes)
        starts = ends - sizes
        out = self._page_pool.take().reshape(-1)[: int(ends[-1])]
        # Windows at every byte: indexing with the records' starts scatters into all of them.
        heads = np.ndarray((len(out) - 7, 8), np.uint8, out, 0, (1, 1))
        heads[starts] = _words(index, np.where(zero, ZERO, PAGE))
        out[starts[zero] + 8] = 0
        if not zero.all():
            bodies = np.ndarray((len(out) - PAGE_SIZE + 1, PAGE_SIZE), np.uint8, out, 0, (1, 1))
            bodies[starts[~zero] + 8] = memory[index[~zero]]
        count = int(np.count_nonzero(zero))
        self.duplicate += count
        self.normal += len(index) - count
        return memoryview(out)


class _Pool:
    """Buffers of `count` records each, zero at first; all are free again at `begin`."""

    def __init__(self, count: int, length: int) -> None:
        self._shape = (count, length)
        self._buffers: list[Any] = []
        self._used = 0

    def begin(self) -> None:
        self._used = 0

    def take(self) -> Any:
        import numpy as np

        if self._used == len(self._buffers):
            self._buffers.append(np.zeros(self._shape, np.uint8))
        self._used += 1
        return self._buffers[self._used - 1]

    def clear(self) -> None:
        self._buffers.clear()


def _full(budget: int, record: int, many: int) -> int:
    """How many records use the budget up, which are sent so many at a time."""
    return max(-(-budget // (record * many)), 1) * many


def _memory(block: RamBlock) -> Any:
    """The block's pages, as rows."""
    import numpy as np

    return np.frombuffer(block.view, np.uint8, block.size).reshape(-1, PAGE_SIZE)


def _words(index: Any, flags: Any) -> Any:
    """The first words of the records of the pages `index`, as rows of eight bytes."""
    import numpy as np

    words = (index << PAGE_BITS) | (np.asarray(flags, np.uint64) | CONTINUE)
    return words.astype(">u8").view(np.uint8).reshape(-1, 8)


def _pick(memory: Any, index: Any) -> Any:
    """The pages `index` (ascending); without a copy if they are neighbours."""
    if len(index) and int(index[-1]) - int(index[0]) + 1 == len(index):
        return memory[int(index[0]) : int(index[-1]) + 1]
    return memory[index]


def zero_pages(pages: Any) -> Any:
    """Which pages are all zero, as an array of bool.

    A word decides about most pages, three about nearly every one; the rest is read whole. Each
    word that is looked at is fetched from far away.
    """
    import numpy as np

    words = pages.view(np.uint64)
    zero = words[:, 0] == 0
    suspects = np.flatnonzero(zero)
    if len(suspects):
        some = _pick(words, suspects)
        zero[suspects] = (some[:, 256] | some[:, 511]) == 0
        suspects = np.flatnonzero(zero)
    if len(suspects):
        zero[suspects] = np.bitwise_or.reduce(_pick(words, suspects), axis=1) == 0
    return zero
