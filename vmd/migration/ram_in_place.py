"""A long run of pages, read straight into RAM: neither copied nor looked at one by one.

Where pages come one behind the other, chances are that they go on so. The next bytes are then
read into scattered places: a record's first word into a room of ours, its page where it belongs.
If the guess was wrong, the places are made zero again, as they were, and the bytes are parsed.

The kernel's list of the places counts up, so arithmetic on one large number makes it: an object
for each page would cost more than the page.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from vmd.memory.dirty import PAGE_SIZE
from vmd.migration.ram import CONTINUE, PAGE, PAGE_RECORD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmd.memory import RamBlock

WORD = 8
MOST_PAGES = 512  # two places each: a system call takes 1024
_VECTOR = struct.Struct("=QQ")  # struct iovec: address and length
_LANE = 2 * _VECTOR.size  # of a record: its word's, and its page's


class Room:
    """First words of records, and the kernel's list of places; for one guess at a time."""

    __slots__ = (
        *("_held", "_ones", "_readv", "_steps"),
        *("at_vectors", "at_words", "vectors", "words"),
    )

    def __init__(self) -> None:
        self.words = bytearray(WORD * MOST_PAGES)
        self.vectors = bytearray(_LANE * MOST_PAGES)
        # Who holds a piece of a bytearray keeps it from moving.
        self._held = [ctypes.c_char.from_buffer(room) for room in (self.words, self.vectors)]
        self.at_words, self.at_vectors = map(ctypes.addressof, self._held)
        lanes = [(256 * i, i) for i in range(MOST_PAGES)]
        self._ones = sum(1 << at for at, _ in lanes)
        self._steps = sum((WORD | PAGE_SIZE << 128) * i << at for at, i in lanes)
        readv = ctypes.CDLL(None, use_errno=True).readv
        readv.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
        readv.restype = ctypes.c_ssize_t
        self._readv = readv

    def aim(self, pages: int) -> None:
        """Let the list tell the words' room, and consecutive pages from that address on."""
        lane = self.at_words | WORD << 64 | pages << 128 | PAGE_SIZE << 192
        made = lane * self._ones + self._steps
        self.vectors[:] = made.to_bytes(len(self.vectors), "little")

    def read(self, fd: int, first: int, count: int) -> int:
        """readv(2) into so many of the list's places; OSError as os.readv would have it."""
        while True:
            done: int = self._readv(fd, self.at_vectors + first * _VECTOR.size, count)
            if done >= 0:
                return done
            number = ctypes.get_errno()
            if number != errno.EINTR:
                raise OSError(number, os.strerror(number))


class InPlace:
    """One guess: pages of `block` from `address` on. `begun` is what of the first record is here.

    `read` is to be called until it has read enough; `settle` then says what came of it.
    """

    __slots__ = ("_address", "_at_pages", "_begun", "_room", "_view", "done", "pages")

    def __init__(self, room: Room, block: RamBlock, address: int, begun: bytes) -> None:
        self.pages = min((block.size - address) // PAGE_SIZE, MOST_PAGES)
        self._address = address
        # As long as somebody may read into the memory it stays mapped.
        self._view = block.view[address : address + self.pages * PAGE_SIZE]
        self._at_pages = block.address() + address
        self._room = room
        room.aim(self._at_pages)
        room.words[: len(begun[:WORD])] = begun[:WORD]
        self._view[: len(begun[WORD:])] = begun[WORD:]
        self._begun = self.done = len(begun)

    @staticmethod
    def is_worth_it(block: RamBlock, address: int) -> bool:
        """Whether there is room for a run, and nothing in it that a wrong guess would destroy."""
        end = min(address + MOST_PAGES * PAGE_SIZE, block.size)
        return end - address > MOST_PAGES // 2 * PAGE_SIZE and block.is_fresh(address, end)

    @property
    def left(self) -> int:
        """How many bytes may still be read."""
        return self.pages * PAGE_RECORD - self.done

    def read(self, fd: int) -> int:
        """Read on, if any is left, in one system call: how many bytes, 0 at the end; OSError."""
        page, begun = divmod(self.done, PAGE_RECORD)
        room = self._room
        if begun < WORD:
            first, place, length = 2 * page, room.at_words + page * WORD, WORD
        else:
            begun -= WORD
            first, place, length = 2 * page + 1, self._at_pages + page * PAGE_SIZE, PAGE_SIZE
        _VECTOR.pack_into(room.vectors, first * _VECTOR.size, place + begun, length - begun)
        count = room.read(fd, first, 2 * self.pages - first)
        self.done += count
        return count

    def settle(self) -> tuple[int, bytes]:
        """How many pages are in place, and what is to be parsed of what was begun and read."""
        whole = self.done // PAGE_RECORD
        word = self._address | PAGE | CONTINUE
        words = range(word, word + whole * PAGE_SIZE, PAGE_SIZE)
        expected = struct.pack(f">{whole}Q", *words)
        good = length_alike(self._room.words[: len(expected)], expected) // WORD
        return good, self._take_back(good)

    def _take_back(self, good: int) -> bytes:
        """What stands behind `good` records; its places are zero again."""
        data = bytearray()
        for page in range(good, -(-self.done // PAGE_RECORD)):
            there = min(self.done - page * PAGE_RECORD, PAGE_RECORD)
            data += self._room.words[page * WORD :][: min(there, WORD)]
            place = self._view[page * PAGE_SIZE :][: max(there - WORD, 0)]
            data += place
            place[:] = bytes(len(place))
        return bytes(data)


def length_alike(some: bytes | bytearray | memoryview, other: bytes) -> int:
    """At how many bytes two strings of one length begin alike."""
    difference = int.from_bytes(some, "big") ^ int.from_bytes(other, "big")
    return len(other) - (difference.bit_length() + 7) // 8
