"""How many records at the head of the bytes are one run: the same kind, about consecutive pages.

A record is known by its first word, and the next one's must be greater by a page. Many words are
compared at once, with numpy where there is so much RAM that it is worth its import.
"""

from __future__ import annotations

import struct
from functools import cache

from vmd.memory.dirty import PAGE_BITS, PAGE_SIZE
from vmd.migration.ram import PAGE_RECORD, ZERO_RECORD
from vmd.migration.ram_in_place import length_alike
from vmd.migration.stream import be64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST_ZEROS = 4096
MOST_ZEROS_LARGE = 1 << 15  # with numpy
_FEW_ZEROS = 256


def pages_alike(head: memoryview, pos: int, word: int, most: int) -> int:
    """How many of `most` page records from `pos` on follow each other; `word` begins the first."""
    words = b"".join([head[i : i + 8] for i in range(pos, pos + most * PAGE_RECORD, PAGE_RECORD)])
    return _words_alike(words, word, most)


def zeros_alike(head: memoryview, pos: int, word: int, most: int) -> int:
    """The same of at most MOST_ZEROS zero records; one that is not zero ends the run."""
    if most > _FEW_ZEROS:
        expected = _zero_records(word, most)
        return length_alike(head[pos : pos + len(expected)], expected) // ZERO_RECORD
    records = bytes(head[pos : pos + most * ZERO_RECORD])
    words = b"".join([records[i : i + 8] for i in range(0, len(records), ZERO_RECORD)])
    fills = records[8::ZERO_RECORD]
    zeros = len(fills) - len(fills.lstrip(b"\0"))
    return min(_words_alike(words, word, most), zeros)


class Vectors:
    """The same with numpy, for at most MOST_ZEROS_LARGE records at once.

    Its arrays are made once: large ones are fresh memory every time.
    """

    __slots__ = ("_differ", "_expected", "_offsets", "_records", "_words")

    def __init__(self) -> None:
        import numpy as np

        count = MOST_ZEROS_LARGE
        self._offsets: Any = np.arange(count, dtype=np.uint64) << PAGE_BITS
        self._words: Any = np.empty(count, np.uint64)
        self._expected: Any = np.zeros(count * ZERO_RECORD, np.uint8)
        self._records: Any = np.ndarray((count,), ">u8", self._expected, 0, (ZERO_RECORD,))
        self._differ: Any = np.empty(count * ZERO_RECORD, bool)

    def pages_alike(self, head: memoryview, pos: int, word: int, most: int) -> int:
        import numpy as np

        words: Any = np.ndarray((most,), ">u8", head, pos, (PAGE_RECORD,))
        return _first(words != self._count_up(word, most))

    def zeros_alike(self, head: memoryview, pos: int, word: int, most: int) -> int:
        import numpy as np

        self._records[:most] = self._count_up(word, most)
        length = most * ZERO_RECORD
        found = np.frombuffer(head, np.uint8, length, pos)
        differ = np.not_equal(found, self._expected[:length], self._differ[:length])
        return _first(differ) // ZERO_RECORD

    def _count_up(self, word: int, count: int) -> Any:
        import numpy as np

        return np.add(self._offsets[:count], np.uint64(word), self._words[:count])


def _first(differ: Any) -> int:
    """The index of the first that is True; how many there are if none is."""
    index = int(differ.argmax())
    return index if differ[index] else len(differ)


def _words_alike(words: bytes, word: int, count: int) -> int:
    expected = struct.pack(f">{count}Q", *range(word, word + count * PAGE_SIZE, PAGE_SIZE))
    return length_alike(words, expected) // 8


def _zero_records(word: int, count: int) -> bytes:
    """Records of zero pages whose first words count up from `word`, by arithmetic on one number."""
    steps, ones = _steps()
    return (steps + word * ones).to_bytes(MOST_ZEROS * ZERO_RECORD, "big")[: count * ZERO_RECORD]


@cache
def _steps() -> tuple[int, int]:
    """As many records as are looked at together: each with its page's offset, and each with 1."""
    offsets = b"".join([be64(i * PAGE_SIZE) + b"\0" for i in range(MOST_ZEROS)])
    return int.from_bytes(offsets, "big"), int.from_bytes((be64(1) + b"\0") * MOST_ZEROS, "big")
