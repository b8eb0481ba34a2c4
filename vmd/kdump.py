"""Guest memory as a compressed kernel dump: what `crash` and makedumpfile read. Pure.

The order is: header, CPU notes, which pages there are (twice), a description of each page, pages.
A page of zeros is there once, and a page that deflate makes no smaller stays as it is. Format
"kdump-zlib" is made for pipes: pieces of the file, each with its place in front. Observed from
dump/dump.c, byte by byte up to the pages.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Write = Callable[[int, bytes], None]

FORMATS = ("kdump-zlib", "kdump-raw-zlib")
PAGE = 4096
FLAT_HEAD = struct.pack(">16sqq", b"makedumpfile", 1, 1).ljust(PAGE, b"\0")
FLAT_END = struct.pack(">qq", -1, -1)

_HEADER = struct.Struct("<8sI390s22s10I")
_SUB_HEADER = struct.Struct("<QIIQQQQQQQQQQQ")
_PAGE = struct.Struct("<QIIQ")
_MACHINE_AT = 4 * 65
_ZLIB = 1
_FASTEST = 1
_FLUSH = 1 << 20
_ZEROS = bytes(PAGE)


def piece(offset: int, data: bytes) -> bytes:
    """A piece of a flat file."""
    return struct.pack(">qq", offset, len(data)) + data


def head(cpus: int, notes: bytes, end: int) -> bytes:
    """What comes before the bitmaps; `end` is where guest memory ends."""
    own = -(-(_SUB_HEADER.size + len(notes)) // PAGE)
    names = (bytes(_MACHINE_AT) + b"Unknown").ljust(6 * 65, b"\0")
    pages = -(-end // PAGE)
    most = min(pages, (1 << 32) - 1)
    blocks = 2 * (_bitmap_size(end) // PAGE)
    header = _HEADER.pack(
        *(b"KDUMP   ", 6, names, bytes(22), _ZLIB, PAGE, own, blocks, most, 0, 0, 0, 0, cpus)
    )
    notes_at = PAGE + _SUB_HEADER.size
    sub = _SUB_HEADER.pack(0, 1, 0, 0, 0, 0, 0, notes_at, len(notes), 0, 0, 0, 0, pages)
    return (header.ljust(PAGE, b"\0") + sub + notes).ljust((1 + own) * PAGE, b"\0")


def bitmap(places: Sequence[tuple[int, int]], end: int) -> bytes:
    """A bit for each page of the pieces (guest address, length), the lowest bit first."""
    bits = bytearray(_bitmap_size(end))
    for start, length in places:
        first, last = start // PAGE, -(-(start + length) // PAGE)
        while first < last and (first % 8 or last - first < 8):
            bits[first // 8] |= 1 << first % 8
            first += 1
        bits[first // 8 : last // 8] = b"\xff" * (last // 8 - first // 8)
        for page in range(last // 8 * 8, last) if first < last else ():
            bits[page // 8] |= 1 << page % 8
    return bytes(bits)


def _bitmap_size(end: int) -> int:
    return -(-end // (8 * PAGE * PAGE)) * PAGE


class Pages:
    """Puts pages and their descriptions to their places; `write(offset, data)` takes them."""

    def __init__(self, write: Write, offset: int, count: int) -> None:
        self._write = write
        self._table_at = offset
        self._data_at = offset + count * _PAGE.size
        self._table = bytearray()
        self._data = bytearray()
        self._zero = _PAGE.pack(self._data_at, PAGE, 0, 0)
        self._data += _ZEROS

    def add(self, data: bytes | int) -> None:
        """Whole pages, or so many bytes of zeros."""
        if isinstance(data, int):
            for done in range(0, data, _FLUSH):
                self._table += self._zero * (min(_FLUSH, data - done) // PAGE)
                self._flush()
            return
        for at in range(0, len(data), PAGE):
            self._add(data[at : at + PAGE])
        self._flush()

    def _add(self, page: bytes) -> None:
        if page == _ZEROS:
            self._table += self._zero
            return
        packed = zlib.compress(page, _FASTEST)
        smaller = len(packed) < PAGE
        stored = packed if smaller else page
        self._table += _PAGE.pack(self._data_at + len(self._data), len(stored), int(smaller), 0)
        self._data += stored

    def _flush(self, *, least: int = _FLUSH) -> None:
        if len(self._table) >= least:
            self._write(self._table_at, bytes(self._table))
            self._table_at += len(self._table)
            self._table.clear()
        if len(self._data) >= least:
            self._write(self._data_at, bytes(self._data))
            self._data_at += len(self._data)
            self._data.clear()

    def end(self) -> None:
        self._flush(least=1)


def count(places: Iterable[tuple[int, int]]) -> int:
    """How many pages the pieces have."""
    return sum(-(-(start + length) // PAGE) - start // PAGE for start, length in places)
