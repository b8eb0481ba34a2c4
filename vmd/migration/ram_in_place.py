"""A long run of pages, read straight into RAM: neither copied nor looked at one by one.

Where pages come one behind the other, chances are that they go on so. The next bytes are then
read into scattered buffers: a record's first word into one of ours, its page into its place. If
the guess was wrong, the places are made zero again, as they were, and the bytes are parsed.
"""

from __future__ import annotations

import struct

from vmd.memory.dirty import PAGE_SIZE
from vmd.migration.ram import CONTINUE, PAGE, PAGE_RECORD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmd.memory import RamBlock

WORD = 8
MOST_PAGES = 500  # two buffers each: a system call takes 1024


class Words:
    """Room for the first words of records, as a whole and in pieces; for one guess at a time."""

    __slots__ = ("all", "pieces")

    def __init__(self) -> None:
        self.all = bytearray(WORD * (MOST_PAGES - 1))
        view = memoryview(self.all)
        self.pieces = [view[i : i + WORD] for i in range(0, len(view), WORD)]


class InPlace:
    """One guess: pages of `block` from `address` on. `begun` is what of the first record is here.

    `buffers` are to be filled in order; `settle` then says what came of it. The attribute `begun`
    is a number of bytes.
    """

    __slots__ = ("_address", "_block", "_first", "_words", "begun", "buffers")

    def __init__(
        self, words: Words, block: RamBlock, address: int, begun: bytes, most: int = MOST_PAGES
    ) -> None:
        count = min((block.size - address) // PAGE_SIZE, most)
        self._block = block
        self._address = address
        self.begun = len(begun)
        self._first = bytearray(begun).ljust(PAGE_RECORD, b"\0")
        self._words = words
        buffers = [memoryview(b"")] * (2 * count - 1)
        buffers[0] = memoryview(self._first)[self.begun :]
        buffers[1::2] = words.pieces[: count - 1]
        view, start, end = block.view, address + PAGE_SIZE, address + count * PAGE_SIZE
        buffers[2::2] = [view[i : i + PAGE_SIZE] for i in range(start, end, PAGE_SIZE)]
        self.buffers = buffers

    @staticmethod
    def is_worth_it(block: RamBlock, address: int) -> bool:
        """Whether there is room for a run, and nothing in it that a wrong guess would destroy."""
        end = min(address + MOST_PAGES * PAGE_SIZE, block.size)
        return end - address > MOST_PAGES // 2 * PAGE_SIZE and block.is_fresh(address, end)

    def settle(self, count: int) -> tuple[int, bytes]:
        """After `count` bytes were read: how many pages are in place, and what is to be parsed."""
        first = bytes(self._first[: self.begun + count])
        rest = count - (PAGE_RECORD - self.begun)
        if rest < 0:
            return 0, first
        expected = self._expected(1 + rest // PAGE_RECORD)
        if first[:WORD] == expected[:WORD]:
            good = (
                1 + length_alike(self._words.all[: len(expected) - WORD], expected[WORD:]) // WORD
            )
            self._block.view[self._address : self._address + PAGE_SIZE] = first[WORD:]
            first = b""
        else:
            good = 0
        return good, first + self._take_back(max(good - 1, 0), rest)

    def _expected(self, count: int) -> bytes:
        word = self._address | PAGE | CONTINUE
        return struct.pack(f">{count}Q", *range(word, word + count * PAGE_SIZE, PAGE_SIZE))

    def _take_back(self, good: int, rest: int) -> bytes:
        """What was read behind `good` records out of `rest` bytes; its places are zero again."""
        wrong = self.buffers[1 + 2 * good : 1 + 2 * -(-rest // PAGE_RECORD)]
        data = b"".join(wrong)[: rest - good * PAGE_RECORD]
        for place in wrong[1::2]:
            place[:] = bytes(PAGE_SIZE)
        return data


def length_alike(some: bytes | bytearray | memoryview, other: bytes) -> int:
    """At how many bytes two strings of one length begin alike."""
    difference = int.from_bytes(some, "big") ^ int.from_bytes(other, "big")
    return len(other) - (difference.bit_length() + 7) // 8
