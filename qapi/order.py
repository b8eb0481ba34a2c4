"""In what order hash tables give up their keys; needed only to name the first of several.

QEMU's objects are tables of 512 buckets (qdict.c); its input visitors keep the members not yet
seen in a GLib GHashTable. Both are imitated exactly, growing and shrinking included, so that the
member which a message names is the one that QEMU names.
"""

from __future__ import annotations

from functools import lru_cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

BUCKETS = 512
_MASK32 = 0xFFFFFFFF


@lru_cache(maxsize=4096)  # members' names, mostly
def bucket(key: str) -> int:
    """The bucket of QEMU's object in which a key lies."""
    raw = _as_c(key)
    value = 0x238F13AF * len(raw)
    for place, byte in enumerate(raw):
        value += byte << (place * 5 % 24)
    return (1103515243 * (value & _MASK32) + 12345) % (1 << 32) % BUCKETS


def object_order(keys: Iterable[str]) -> list[str]:
    """Keys, given in the order of their insertion, as QEMU's object walks them."""
    latest_first = reversed(list(keys))
    return sorted(latest_first, key=bucket)


def first_left(keys: Iterable[str], removed: Iterable[str]) -> str:
    """Of a GHashTable with these keys inserted, then those removed, the first key."""
    table = _HashTable()
    for key in keys:
        table.insert(key)
    for key in removed:
        table.remove(key)
    return table.first()


def table_order(keys: Iterable[str]) -> list[str]:
    """Keys, given in the order of their insertion, as a GHashTable walks them."""
    table = _HashTable()
    for key in keys:
        table.insert(key)
    return [slot for slot in table.slots if isinstance(slot, str)]


def _as_c(key: str) -> bytes:
    """A string as QEMU holds it: modified UTF-8."""
    try:
        data = key.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        data = key.encode("utf-8", "surrogatepass")
    return data.replace(b"\0", b"\xc0\x80")


def _string_hash(key: str) -> int:
    value = 5381
    for byte in _as_c(key):
        value = (value * 33 + (byte - 256 if byte > 127 else byte)) & _MASK32
    return value if value > 1 else 2  # 0 and 1 mark empty and removed slots


# GLib's primes: the modulus of a table with 2**index slots.
_PRIMES = (
    *(1, 2, 3, 7, 13, 31, 61, 127, 251, 509, 1021, 2039, 4093, 8191, 16381, 32749),
    *(65521, 131071, 262139, 524287, 1048573, 2097143, 4194301),
)
_SMALLEST = 3
_REMOVED = object()


class _HashTable:
    """GHashTable with strings for keys: open addressing with triangular steps."""

    def __init__(self) -> None:
        self.shift = _SMALLEST
        self.slots: list[object] = [None] * 8
        self.used = 0  # slots with a key
        self.taken = 0  # slots with a key or the mark of a removed one

    def _search(self, key: str) -> int:
        size = len(self.slots)
        index = _string_hash(key) * 11 % (1 << 32) % _PRIMES[self.shift]
        step = 0
        grave = -1
        while self.slots[index] is not None:
            if self.slots[index] == key:
                return index
            if self.slots[index] is _REMOVED and grave < 0:
                grave = index
            step += 1
            index = (index + step) % size
        return index if grave < 0 else grave

    def insert(self, key: str) -> None:
        index = self._search(key)
        if self.slots[index] is None:
            self.taken += 1
        elif self.slots[index] == key:
            return
        self.slots[index] = key
        self.used += 1
        self._resize_if_due()

    def remove(self, key: str) -> None:
        index = self._search(key)
        if self.slots[index] == key:
            self.slots[index] = _REMOVED
            self.used -= 1
            self._resize_if_due()

    def first(self) -> str:
        return next(slot for slot in self.slots if isinstance(slot, str))

    def _resize_if_due(self) -> None:
        size = len(self.slots)
        sparse = size > max(self.used * 4, 1 << _SMALLEST)
        if sparse or size <= self.taken + self.taken // 16:
            self._resize()

    def _resize(self) -> None:
        """Rehash in place: each key goes to its slot and drives out the one that it finds there."""
        self.shift = max(int(self.used * 1.333).bit_length(), _SMALLEST)
        old_size = len(self.slots)
        size = 1 << self.shift
        slots = self.slots + [None] * (size - old_size)
        settled: set[int] = set()
        for start in range(old_size):
            if start in settled:
                continue
            moving, slots[start] = slots[start], None
            while isinstance(moving, str):
                index = _string_hash(moving) * 11 % (1 << 32) % _PRIMES[self.shift]
                step = 0
                while index in settled:
                    step += 1
                    index = (index + step) % size
                settled.add(index)
                moving, slots[index] = slots[index], moving
        self.slots = slots[:size]
        self.taken = self.used
