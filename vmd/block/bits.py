"""A row of bits of which few are set: sparse, so that a bitmap of an empty disk takes no room.

As bytes it is what QEMU's bitmaps are on the wire, in images and for their hash: words of 64 bits,
little-endian (util/hbitmap.c).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE = 1 << 18
"""Bits that are kept in one number."""

WORD = 64
_FULL = (1 << PIECE) - 1
_RUN = re.compile("1+")


class Bits:
    """So many bits, of which at first none is set.

    One thread changes it at a time; others may look meanwhile.
    """

    __slots__ = ("_pieces", "length")

    def __init__(self, length: int) -> None:
        self.length = length
        self._pieces: dict[int, int] = {}

    def count(self) -> int:
        """How many are set."""
        return sum(
            PIECE if piece is _FULL else piece.bit_count() for piece in list(self._pieces.values())
        )

    def set(self, first: int, last: int) -> None:
        """Set the bits from `first` to `last`, both of them included, as far as they exist."""
        last = min(last, self.length - 1)
        if first > last:
            return
        for number in range(first // PIECE, last // PIECE + 1):
            low = max(first - number * PIECE, 0)
            high = min(last - number * PIECE, PIECE - 1)
            if high - low == PIECE - 1:
                self._pieces[number] = _FULL
            else:
                self._add(number, ((1 << high - low + 1) - 1) << low)

    def clear(self) -> None:
        """Have none set."""
        self._pieces = {}

    def clear_from(self, first: int, last: int) -> None:
        """Clear the bits from `first` to `last`, both of them included."""
        for number in list(self._pieces):
            low = max(first - number * PIECE, 0)
            high = min(last - number * PIECE, PIECE - 1)
            if low <= high:
                mask = (1 << high - low + 1) - 1 << low
                if piece := self._pieces[number] & ~mask:
                    self._pieces[number] = piece
                else:
                    del self._pieces[number]

    def resize(self, length: int) -> None:
        """Have so many bits; those behind a smaller end are forgotten."""
        if length < self.length:
            end, rest = divmod(length, PIECE)
            kept = {number: piece for number, piece in self._pieces.items() if number < end}
            if piece := self._pieces.get(end, 0) & (1 << rest) - 1:
                kept[end] = piece
            self._pieces = kept
        self.length = length

    def unite(self, other: Bits) -> None:
        """Set all that `other`, of the same length, has set."""
        for number, piece in other._pieces.items():
            self._add(number, piece)

    def _add(self, number: int, piece: int) -> None:
        if piece is not _FULL:
            piece |= self._pieces.get(number, 0)
        # All that are full are one number, however many there are.
        self._pieces[number] = _FULL if piece == _FULL else piece

    def copy(self) -> Bits:
        made = Bits(self.length)
        made._pieces = dict(self._pieces)
        return made

    def runs(self) -> Iterator[tuple[int, int]]:
        """Where bits are set: (first, last), neighbours in one but for the ends of pieces."""
        for number in sorted(self._pieces):
            base, piece = number * PIECE, self._pieces[number]
            if piece is _FULL:
                yield base, base + PIECE - 1
                continue
            for run in _RUN.finditer(f"{piece:b}"[::-1]):
                yield base + run.start(), base + run.end() - 1

    def to_bytes(self, first: int, length: int) -> bytes:
        """So many bytes from bit `first` on, which begins a byte; zeros behind the end."""
        found = bytearray(length)
        for number in range(first // PIECE, (first + length * 8 - 1) // PIECE + 1):
            if piece := self._pieces.get(number, 0):
                start = number * PIECE - first
                data = piece.to_bytes(PIECE // 8, "little")[max(-start // 8, 0) :]
                at = max(start // 8, 0)
                found[at : at + len(data)] = data[: length - at]
        return bytes(found)

    def put_bytes(self, first: int, data: bytes) -> None:
        """Set and clear bits from `first` on, which begins a byte, as `data` says."""
        at = 0
        while at < len(data) and first + at * 8 < self.length:
            number, start = divmod(first + at * 8, PIECE)
            part = data[at : at + (PIECE - start) // 8]
            mask = (1 << len(part) * 8) - 1 << start
            own = (1 << min(self.length - number * PIECE, PIECE)) - 1
            piece = self._pieces.get(number, 0) & ~mask
            piece = (piece | int.from_bytes(part, "little") << start) & own
            if piece:
                self._pieces[number] = _FULL if piece == _FULL else piece
            else:
                self._pieces.pop(number, None)
            at += len(part)

    def words(self) -> Iterator[bytes]:
        """All of it in slices: whole words, at least one."""
        total = max(-(-self.length // WORD), 1) * WORD // 8
        for at in range(0, total, PIECE // 8):
            yield self.to_bytes(at * 8, min(total - at, PIECE // 8))
