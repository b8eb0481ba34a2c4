"""Where a file has data: the holes of a sparse file are read by nobody."""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def file_extents(fd: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Ranges of [start, end) of a file that may hold other bytes than zero, ascending.

    Bytes past the end of the file count as hole. A file whose file system (or kind) cannot tell
    holes from data is all data. The position of `fd` is moved.
    """
    position = start
    while position < end:
        try:
            data = os.lseek(fd, position, os.SEEK_DATA)
            hole = os.lseek(fd, data, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            yield position, end
            return
        if data >= end:
            return
        yield data, min(hole, end)
        position = hole


def union(
    one: Iterator[tuple[int, int]], other: Iterator[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """The union of two ascending streams of ranges, as ascending disjoint ranges."""
    from heapq import merge

    current: tuple[int, int] | None = None
    for start, end in merge(one, other):
        if current is None:
            current = (start, end)
        elif start <= current[1]:
            current = (current[0], max(current[1], end))
        else:
            yield current
            current = (start, end)
    if current is not None:
        yield current
