"""Clusters of a qcow2 image that are taken and given back: its reference counts.

Format: docs/interop/qcow2 of QEMU. What was changed is written by `flush`.
"""

from __future__ import annotations

import re
import struct
import sys
from array import array
from typing import TYPE_CHECKING

from qapi.error import QmpError

if TYPE_CHECKING:
    from vmd.block.image import Qcow2
    from vmd.block.node import Node

_ENTRY = 8
_OFFSET = 0xFFFF_FFFF_FFFF_FE00
_CODES = {8: "B", 16: "H", 32: "I", 64: "Q"}
_MOST_TABLE = 8 << 20  # bytes, as QEMU's


class Clusters:
    """Those of one image, in `file`."""

    def __init__(self, file: Node, header: Qcow2) -> None:
        self._file = file
        self._size = header.cluster_size
        self._bits = header.refcount_bits
        self._per_block = header.cluster_size * 8 // self._bits
        length = min(header.refcounts_clusters * header.cluster_size, _MOST_TABLE)
        data = file.read(header.refcounts_offset, length).ljust(length, b"\0")
        self._table = [entry & _OFFSET for (entry,) in struct.iter_unpack(">Q", data)]
        self._table_offset = header.refcounts_offset
        self._blocks: dict[int, Counts] = {}
        self._changed: set[int] = set()
        self._new_entries: set[int] = set()
        self._first_free = 0
        self._judge(header)

    def _judge(self, header: Qcow2) -> None:
        """QmpError if what is surely in use is counted as free."""
        ranges = (
            (0, self._size),
            (header.refcounts_offset, len(self._table) * _ENTRY),
            (header.l1_offset, header.l1_size * _ENTRY),
        )
        for offset, length in ranges:
            first, end = offset // self._size, -(-(offset + length) // self._size)
            if any(not self._count(number) for number in range(first, end)):
                raise QmpError("The reference counts of the image are not in order")

    def _count(self, cluster: int) -> int:
        number, inside = divmod(cluster, self._per_block)
        known = number < len(self._table) and self._table[number]
        return self._block(number)[inside] if known else 0

    def allocate(self, length: int) -> int:
        """The offset of as many clusters in a row as hold so many bytes, which are now in use.

        QmpError if there are none.
        """
        wanted = -(-length // self._size)
        index, found = self._first_free, 0
        while found < wanted:
            block = self._block(index // self._per_block)
            inside = index % self._per_block
            if found and block[inside]:
                found = 0
            elif found or not block[inside]:
                found += 1
                index += 1
            else:
                index += block.free_from(inside) - inside
        first = index - wanted
        if wanted == 1:
            self._first_free = index
        for number in range(first, index):
            self._set(number, 1)
        return first * self._size

    def free(self, offset: int, length: int) -> None:
        """Somebody uses so many bytes no longer."""
        first = offset // self._size
        for number in range(first, first + -(-length // self._size)):
            if count := self._count(number):
                self._set(number, count - 1)
        self._first_free = min(self._first_free, first)

    def flush(self) -> None:
        """Write what was changed; a block is there before the table leads to it."""
        for number in sorted(self._changed):
            self._file.write(self._table[number], self._blocks[number].encoded())
        for number in sorted(self._new_entries):
            entry = struct.pack(">Q", self._table[number])
            self._file.write(self._table_offset + number * _ENTRY, entry)
        self._changed.clear()
        self._new_entries.clear()

    def _set(self, cluster: int, count: int) -> None:
        number = cluster // self._per_block
        self._block(number)[cluster % self._per_block] = count
        self._changed.add(number)

    def _block(self, number: int) -> Counts:
        """The counts of one block; one that is not there yet is made, in its own first cluster."""
        block = self._blocks.get(number)
        if block is not None:
            return block
        if number >= len(self._table):
            raise QmpError("File too large")
        if self._table[number]:
            block = self._decoded(self._file.read(self._table[number], self._size))
        else:
            block = self._decoded(b"")
            block[0] = 1
            self._table[number] = number * self._per_block * self._size
            self._changed.add(number)
            self._new_entries.add(number)
        self._blocks[number] = block
        return block

    def _decoded(self, data: bytes) -> Counts:
        data = data.ljust(self._size, b"\0")
        return _Narrow(data, self._bits) if self._bits < 8 else _Wide(data, self._bits)


class _Wide:
    """Counts of whole bytes each, big-endian."""

    def __init__(self, data: bytes, bits: int) -> None:
        self._counts = array(_CODES[bits], data)
        self._swap(self._counts)

    def __getitem__(self, index: int) -> int:
        return self._counts[index]

    def __setitem__(self, index: int, count: int) -> None:
        self._counts[index] = count

    def free_from(self, start: int) -> int:
        """Where the first count of 0 is, or where they end."""
        try:
            return self._counts.index(0, start)
        except ValueError:
            return len(self._counts)

    def encoded(self) -> bytes:
        copy = self._counts[:]
        self._swap(copy)
        return copy.tobytes()

    @staticmethod
    def _swap(counts: array[int]) -> None:
        if sys.byteorder == "little":
            counts.byteswap()


class _Narrow:
    """Counts of several in a byte, from its low end."""

    def __init__(self, data: bytes, bits: int) -> None:
        self._data = bytearray(data)
        self._bits = bits
        self._in_a_byte = 8 // bits
        self._mask = (1 << bits) - 1
        free = (byte for byte in range(256) if any(self._fields(byte, 0)))
        self._with_free = re.compile(b"[" + b"".join(re.escape(bytes((n,))) for n in free) + b"]")

    def _fields(self, byte: int, wanted: int) -> list[bool]:
        """Which of its counts are so many."""
        places = range(0, 8, self._bits)
        return [byte >> place & self._mask == wanted for place in places]

    def __getitem__(self, index: int) -> int:
        at, place = divmod(index, self._in_a_byte)
        return self._data[at] >> place * self._bits & self._mask

    def __setitem__(self, index: int, count: int) -> None:
        at, place = divmod(index, self._in_a_byte)
        kept = self._data[at] & ~(self._mask << place * self._bits)
        self._data[at] = kept | count << place * self._bits

    def free_from(self, start: int) -> int:
        """Where the first count of 0 is, or where they end."""
        index = start
        while index % self._in_a_byte:
            if not self[index]:
                return index
            index += 1
        found = self._with_free.search(self._data, index // self._in_a_byte)
        if found is None:
            return len(self._data) * self._in_a_byte
        fields = self._fields(self._data[found.start()], 0)
        return found.start() * self._in_a_byte + fields.index(True)

    def encoded(self) -> bytes:
        return bytes(self._data)


Counts = _Wide | _Narrow
