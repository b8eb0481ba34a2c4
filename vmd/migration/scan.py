"""Which pages are to be sent next: one walk over all blocks, round after round.

`sync` runs on the event loop (it takes over the dirty log), everything else may run in a worker
thread; the two never at the same time.
"""

from __future__ import annotations

from vmd.memory.dirty import PAGE_BITS, PAGE_SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from vmd.memory import RamBlock

    Runs = list[tuple[int, int]]

LARGE_HOLE = 256
"""Pages; a smaller hole is looked at like data."""


class RamScan:
    """The blocks that are sent, in their order, and how far the walk has come."""

    def __init__(self, blocks: Iterable[RamBlock]) -> None:
        self._blocks = list(blocks)
        self._at = 0  # index of the block that the walk is in
        self._extent: tuple[int, bool] | None = None  # (first page behind it, has data)
        self.rounds = 0  # how often the walk has been through all blocks
        self.total = sum(block.size for block in self._blocks)

    @property
    def pending(self) -> int:
        """Bytes of RAM that wait to be sent (the dirty log not looked at)."""
        return sum(b.pending.count for b in self._blocks if b.pending is not None) << PAGE_BITS

    def start(self) -> None:
        """From now on writes to the blocks are logged; all pages are pending."""
        for block in self._blocks:
            block.start_dirty_log()

    def sync(self) -> int:
        """Take over the dirty log; returns how many pages were not pending before."""
        self._extent = None  # holes may have been filled; what fills one later is in the log
        return sum(block.sync_dirty() for block in self._blocks)

    def close(self) -> None:
        """Stop logging."""
        for block in self._blocks:
            block.stop_dirty_log()

    def take(self, limit: int, hole_limit: int = 0) -> tuple[RamBlock, Runs, bool] | None:
        """At most `limit` pages of one block, as (first, count) runs; None: a whole round is empty.

        With `hole_limit` so many pages of a large hole come at once. The last value says whether
        they belong to the first round; pages of a later one have all been written to.
        """
        for _ in range(len(self._blocks) + 1):
            if not self._blocks:
                return None
            block = self._blocks[self._at]
            pending = block.pending
            assert pending is not None
            first_round = pending.first_round
            runs = pending.take(self._limit(block, limit, hole_limit))
            if runs:
                return block, runs, first_round
            self._next_block()
        return None

    def _limit(self, block: RamBlock, limit: int, hole_limit: int) -> int:
        pending = block.pending
        assert pending is not None
        if hole_limit and pending.first_round and pending.cursor < pending.pages:
            end, has_data = self.extent_at(block, pending.cursor)
            if not has_data and end - pending.cursor > LARGE_HOLE:
                return min(hole_limit, end - pending.cursor)
        return limit

    def _next_block(self) -> None:
        self._at = (self._at + 1) % len(self._blocks)
        self.rounds += not self._at
        self._extent = None
        pending = self._blocks[self._at].pending
        assert pending is not None
        pending.rewind()

    def extent_at(self, block: RamBlock, page: int) -> tuple[int, bool]:
        """Where the extent that `page` is in ends, and whether it may hold data.

        The last answer is kept until the dirty log is taken over: what has data since is in it.
        """
        if self._extent is None or page >= self._extent[0]:
            found = next(block.data_extents(page << PAGE_BITS, block.size), None)
            if found is None:
                self._extent = (block.pages, False)
            elif found[0] >> PAGE_BITS > page:
                self._extent = (found[0] >> PAGE_BITS, False)
            else:
                self._extent = ((found[1] + PAGE_SIZE - 1) >> PAGE_BITS, True)
        return self._extent

    def find_untouched(self, block: RamBlock, first: int, untouched: Any) -> None:
        """Set in the array which of the pages from `first` on hold nothing."""
        page = first
        while page < first + len(untouched):
            end, has_data = self.extent_at(block, page)
            untouched[page - first : end - first] = not has_data
            page = end
