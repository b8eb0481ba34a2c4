"""XBZRLE: of a page that was sent before only the changed bytes are sent again.

A cache keeps what was sent last. Encoding, the cache's rules and what is counted observed from
migration/xbzrle.c, migration/page_cache.c and migration/ram.c (save_xbzrle_page).
"""

from __future__ import annotations

import mmap

from qapi.error import QmpError
from vmd.memory.dirty import PAGE_BITS, PAGE_SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_INDEX_ENTRY = 24  # bytes for each page
LIFETIME = 2
"""Rounds for which a cached page is not replaced by another."""

UNCHANGED = b""


def encode(old: bytes, new: bytes) -> bytes | None:
    """What turns page `old` into `new`: runs of (bytes kept, bytes replaced, the new bytes).

    UNCHANGED if they are equal, None if it would be longer than a page. Lengths are small ULEB128
    numbers; a last run of kept bytes is not told.
    """
    if old == new:
        return UNCHANGED
    changed = int.from_bytes(old, "little") ^ int.from_bytes(new, "little")
    flags = changed.to_bytes(PAGE_SIZE, "little").translate(_IS_CHANGED)
    made = bytearray()
    at = 0
    while (start := flags.find(1, at)) >= 0:
        end = flags.find(0, start)
        end = PAGE_SIZE if end < 0 else end
        if len(made) + 2 > PAGE_SIZE:
            return None
        made += _uleb128(start - at)
        if len(made) + 2 + end - start > PAGE_SIZE:
            return None
        made += _uleb128(end - start)
        made += new[start:end]
        at = end
    return bytes(made)


_IS_CHANGED = bytes((0, *(1,) * 255))


def _uleb128(number: int) -> bytes:
    """A number of at most 14 bits."""
    if number < 0x80:
        return bytes((number,))
    return bytes((number & 0x7F | 0x80, number >> 7))


def check_room(size: int) -> None:
    """QmpError if the host has no room for the index of so large a cache: QEMU makes that first."""
    try:
        mmap.mmap(-1, size // PAGE_SIZE * _INDEX_ENTRY, mmap.MAP_PRIVATE).close()
    except (OSError, OverflowError, ValueError):
        raise QmpError("Failed to allocate page cache") from None


class PageCache:
    """The pages sent last, each at the one place that its address allows."""

    def __init__(self, size: int) -> None:
        """`size` in bytes, a power of two of at least a page; memory is taken as pages come."""
        self.size = size
        self._last = (size >> PAGE_BITS) - 1
        self._items: dict[int, tuple[int, int, bytes]] = {}  # place → address, age, page

    def get(self, address: int, age: int) -> bytes | None:
        """The page that is cached for an address; from now on it is as young as `age`."""
        place = address >> PAGE_BITS & self._last
        item = self._items.get(place)
        if item is None or item[0] != address:
            return None
        self._items[place] = (address, age, item[2])
        return item[2]

    def insert(self, address: int, page: bytes, age: int) -> bool:
        """Cache a page, unless another one that is still young has its place."""
        place = address >> PAGE_BITS & self._last
        item = self._items.get(place)
        if item is not None and item[0] != address and item[1] + LIFETIME > age:
            return False
        self._items[place] = (address, age, page)
        return True


class XbzrleCounters:
    """What `xbzrle-cache` of query-migrate tells. Rates are those of the last whole period."""

    def __init__(self) -> None:
        self.bytes = 0
        self.pages = 0
        self.cache_miss = 0
        self.overflow = 0
        self.cache_miss_rate = 0.0
        self.encoding_rate = 0.0
        self._before = (0, 0, 0)

    def measure(self, pages_sent: int) -> None:
        """A period is over, in which so many pages of all kinds were sent."""
        if not pages_sent:
            return
        size, pages, misses = self._before
        self.cache_miss_rate = (self.cache_miss - misses) / pages_sent
        encoded = self.bytes - size
        self.encoding_rate = (self.pages - pages) * PAGE_SIZE / encoded if encoded else 0.0
        self._before = (self.bytes, self.pages, self.cache_miss)

    def query(self, cache_size: int) -> dict[str, object]:
        """The schema's XBZRLECacheStats."""
        return {
            "cache-size": cache_size,
            "bytes": self.bytes,
            "pages": self.pages,
            "cache-miss": self.cache_miss,
            "cache-miss-rate": self.cache_miss_rate,
            "encoding-rate": self.encoding_rate,
            "overflow": self.overflow,
        }


class Xbzrle:
    """The encoder of one migration. `cache_size()` may change on the way: then all is forgotten."""

    def __init__(self, cache_size: Callable[[], int], counters: XbzrleCounters) -> None:
        self._cache_size = cache_size
        self._cache = PageCache(cache_size())
        self._counters = counters

    def change(self, address: int, page: bytes, age: int, *, last: bool) -> bytes | None:
        """How `page` differs from what was sent of this address; None: it must be sent whole.

        `address` is unique among all blocks, `age` counts rounds. In the `last` round nothing is
        cached any more.
        """
        counters = self._counters
        cached = self._current_cache().get(address, age)
        if cached is None:
            counters.cache_miss += 1
            if not last:
                self._cache.insert(address, page, age)
            return None
        counters.pages += 1
        encoded = encode(cached, page)
        if encoded is None:
            counters.overflow += 1
            counters.bytes += PAGE_SIZE
        else:
            # The record's first word does not count.
            counters.bytes += len(encoded) + 3 if encoded else 0
        if encoded != UNCHANGED and not last:
            self._cache.insert(address, page, age)
        return encoded

    def zero(self, address: int, age: int) -> None:
        """A zero page was sent for this address."""
        self._current_cache().insert(address, bytes(PAGE_SIZE), age)

    def _current_cache(self) -> PageCache:
        if self._cache_size() != self._cache.size:
            self._cache = PageCache(self._cache_size())
        return self._cache
