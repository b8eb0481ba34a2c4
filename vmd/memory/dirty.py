"""Which pages changed: a log that the guest fills, and the pages a migration still has to send.

Both are kept in chunks of one flag byte a page, made when first needed, so that a block of a
terabyte that nobody touches costs nothing. Everything here is plain bytes: no numpy.

Threads: a `DirtyLog` is filled on the event loop, and while a guest arrives by its loader's thread
too; any may read it meanwhile, but `take` is the event loop's alone. `PendingPages` is merged into
on the event loop and taken from on the sender's thread, never both at once: the migration
alternates them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import islice

PAGE_BITS = 12
PAGE_SIZE = 1 << PAGE_BITS
CHUNK = 4096  # pages in a chunk of flags: 16 MiB of guest memory
_ALL = b"\1" * CHUNK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Flags = dict[int, bytes | bytearray]


class DirtyLog:
    """Pages written since the log was last taken. A writer marks after it has written."""

    __slots__ = ("_chunks", "_order")

    def __init__(self) -> None:
        self._chunks: Flags = {}
        self._order: list[int] = []  # the keys of _chunks, sorted, as of the last question

    def mark(self, page: int, count: int) -> None:
        """Mark `count` pages from `page` on."""
        chunk, index = divmod(page, CHUNK)
        while count > 0:
            n = min(count, CHUNK - index)
            if n == CHUNK:
                self._chunks[chunk] = _ALL
            else:
                flags = self._chunks.get(chunk)
                if flags is None:
                    flags = self._chunks.setdefault(chunk, bytearray(CHUNK))
                if isinstance(flags, bytearray):
                    flags[index : index + n] = _ALL[:n]
            count -= n
            chunk, index = chunk + 1, 0

    def runs(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The marked pages of [start, end) as (first, behind the last), ascending, not touching.

        What is marked meanwhile may or may not be among them.
        """
        first, last = start // CHUNK, (end - 1) // CHUNK
        numbers: Iterable[int] = range(first, last + 1)
        if last - first >= len(self._chunks):
            numbers = self._numbers(first, last)
        begun: tuple[int, int] | None = None
        for number in numbers:
            flags, base = self._chunks.get(number, b""), number * CHUNK
            behind, stop = max(start - base, 0), min(end - base, CHUNK)
            while (found := flags.find(1, behind, stop)) >= 0:
                behind = flags.find(0, found, stop)
                if behind < 0:
                    behind = stop
                if begun is not None and begun[1] != base + found:
                    yield begun
                    begun = None
                begun = (begun[0] if begun is not None else base + found, base + behind)
        if begun is not None:
            yield begun

    def _numbers(self, first: int, last: int) -> Iterable[int]:
        """The chunks that there are from `first` to `last`, ascending."""
        order = self._order
        if len(order) != len(self._chunks):  # they only ever come
            order = self._order = sorted(self._chunks)
        at = bisect_left(order, first)
        return islice(order, at, bisect_right(order, last, at))

    def count(self) -> int:
        """How many pages are marked."""
        return sum(flags.count(1) for flags in list(self._chunks.values()))

    def take(self) -> Flags:
        """The flags by chunk number; the log is empty afterwards."""
        taken, self._chunks, self._order = self._chunks, {}, []
        return taken


class PendingPages:
    """Pages of one block that are still to be sent, in the order in which they will be.

    The first round sends everything: all pages from `_bulk` on are pending without being
    written down. Pages dirtied behind it are flags. A cursor goes round like QEMU's
    (migration/ram.c): it does not jump back when new dirty pages arrive.
    """

    __slots__ = ("_bulk", "_chunks", "_cursor", "_order", "count", "pages")

    def __init__(self, pages: int) -> None:
        self.pages = pages
        self.count = pages  # pages pending
        self._bulk = 0
        self._cursor = 0
        self._chunks: Flags = {}
        self._order: list[int] = []  # the keys of _chunks, sorted; may name used-up chunks

    def rewind(self) -> None:
        """Start again at the block's first page."""
        self._cursor = 0

    def merge(self, log: Flags) -> int:
        """Add logged pages; returns how many were not pending already."""
        before = self.count
        for number, flags in log.items():
            behind = min(self._bulk - number * CHUNK, CHUNK)
            if behind <= 0:
                continue
            mine = self._chunks.get(number)
            if mine is None:
                merged = flags
                if behind < CHUNK:
                    merged = flags[:behind] + bytes(CHUNK - behind)
                self.count += merged.count(1)
            else:
                both = int.from_bytes(flags[:behind], "little") | int.from_bytes(mine, "little")
                merged = both.to_bytes(CHUNK, "little")
                self.count += merged.count(1) - mine.count(1)
            self._chunks[number] = merged
        self._order = sorted(self._chunks)
        return self.count - before

    @property
    def cursor(self) -> int:
        """The page from which the next pages will be taken."""
        return self._cursor

    @property
    def first_round(self) -> bool:
        """Whether the next pages belong to the first round, that sends everything."""
        return self._cursor >= self._bulk

    def take(self, limit: int) -> list[tuple[int, int]]:
        """Take at most `limit` pages as (first, count) runs, ascending from the cursor.

        An empty list: nothing is pending between the cursor and the end of the block. Pages of
        the first round and later ones never come together.
        """
        runs: list[tuple[int, int]] = []
        while limit > 0 and not self.first_round:
            run = self._take_flagged(limit)
            if run is None:
                self._cursor = self._bulk
                break
            self._took(run, runs)
            limit -= run[1]
        if not runs and self.first_round and self._bulk < self.pages:
            run = (self._bulk, min(limit, self.pages - self._bulk))
            self._bulk += run[1]
            self._took(run, runs)
        return runs

    def _took(self, run: tuple[int, int], runs: list[tuple[int, int]]) -> None:
        runs.append(run)
        self._cursor = run[0] + run[1]
        self.count -= run[1]

    def _take_flagged(self, limit: int) -> tuple[int, int] | None:
        first, index = divmod(self._cursor, CHUNK)
        for i in range(bisect_left(self._order, first), len(self._order)):
            number = self._order[i]
            flags = self._chunks.get(number)
            if flags is not None:
                start = flags.find(1, index if number == first else 0)
                if start >= 0:
                    return self._clear_run(number, flags, start, limit)
        return None

    def _clear_run(
        self, number: int, flags: bytes | bytearray, start: int, limit: int
    ) -> tuple[int, int]:
        end = flags.find(0, start)
        if end < 0:
            end = CHUNK
        end = min(end, start + limit)
        if not isinstance(flags, bytearray):
            flags = self._chunks[number] = bytearray(flags)
        flags[start:end] = bytes(end - start)
        if flags.find(1) < 0:
            del self._chunks[number]
        return number * CHUNK + start, end - start
