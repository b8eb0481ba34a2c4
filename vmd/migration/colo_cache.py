"""The primary's RAM at a secondary, whose own guest writes to another (migration/ram.c).

What a checkpoint brings goes here first. Once it is whole, every page that has come or that the
guest has written to since the last one is made what it is here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vmd.memory import RamBlock, is_ignored
from vmd.memory.dirty import PAGE_BITS
from vmd.memory.extents import union

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmd.memory.dirty import DirtyLog

COPY = 1 << 20  # it stays in the processor's cache


class _Pair(NamedTuple):
    """A block of the guest and its copy, and what was written to either since they were equal."""

    own: RamBlock
    copy: RamBlock
    own_log: DirtyLog
    copy_log: DirtyLog


class RamCache:
    """A copy of these blocks, but for shared files that no stream has. `blocks` are the copies."""

    def __init__(self, blocks: Iterable[RamBlock], *, ignore_shared: bool) -> None:
        """To be made in a thread, while nobody writes to the blocks."""
        self._pairs: list[_Pair] = []
        for own in blocks:
            if is_ignored(own, ignore_shared):
                continue
            copy = RamBlock.anonymous(own.idstr, own.size, max_size=own.max_size, gpa=own.gpa)
            copy.readonly = own.readonly
            for start, end in own.data_extents(0, own.size):
                _copy(own, copy, start, end)
            self._pairs.append(_Pair(own, copy, own.start_meter(), copy.start_meter()))

    @property
    def blocks(self) -> list[RamBlock]:
        return [pair.copy for pair in self._pairs]

    def flush(self) -> None:
        """Make the guest's RAM what this is; in a thread, while the guest stands still.

        OSError if the host has no room for it.
        """
        for index, (own, copy, own_log, copy_log) in enumerate(self._pairs):
            own.size = copy.size
            for start, end in _written(copy.size, own_log, copy_log):
                for first, last in copy.data_extents(start, end):
                    own.clear(start, first - start)
                    _copy(copy, own, first, last)
                    start = last
                own.clear(start, end - start)
            own.stop_meter(own_log)
            copy.stop_meter(copy_log)
            self._pairs[index] = _Pair(own, copy, own.start_meter(), copy.start_meter())

    def close(self) -> None:
        for pair in self._pairs:
            pair.own.stop_meter(pair.own_log)
            pair.copy.close()
        self._pairs.clear()


def _written(size: int, one: DirtyLog, other: DirtyLog) -> list[tuple[int, int]]:
    """The bytes that either log has, as ascending ranges."""
    pages = size >> PAGE_BITS
    runs = union(one.runs(0, pages), other.runs(0, pages))
    return [(first << PAGE_BITS, last << PAGE_BITS) for first, last in runs]


def _copy(source: RamBlock, target: RamBlock, start: int, end: int) -> None:
    for first in range(start, end, COPY):
        last = min(first + COPY, end)
        target.put(first, source.view[first:last])
    target.mark(start, end - start)
