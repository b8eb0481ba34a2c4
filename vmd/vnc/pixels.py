"""Pixels as a VNC client wants them: 8, 16 or 32 bits, colours where it says (RFC 6143, 7.4)."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from vmd.display import Picture

_WIRE = struct.Struct(">BBBBHHHBBB3x")


class PixelFormat(NamedTuple):
    """`maxima` and `shifts` are those of red, green and blue."""

    bits: int
    depth: int
    big_endian: bool
    maxima: tuple[int, int, int]
    shifts: tuple[int, int, int]

    @classmethod
    def unpack(cls, data: bytes) -> PixelFormat | None:
        """The format that a client asks for; None if there can be no such pixels."""
        bits, depth, big, true_colour, *rest = _WIRE.unpack(data)
        maxima, shifts = (rest[0], rest[1], rest[2]), (rest[3], rest[4], rest[5])
        if not true_colour:  # a palette: red, green and blue have three, three and two bits
            bits, depth, maxima, shifts = 8, 8, (7, 7, 3), (0, 3, 6)
        if bits not in (8, 16, 32) or any(shift >= bits for shift in shifts):
            return None
        return cls(bits, depth, bool(big), maxima, shifts)

    def packed(self) -> bytes:
        return _WIRE.pack(self.bits, self.depth, self.big_endian, True, *self.maxima, *self.shifts)

    def row(self, picture: Picture, y: int, width: int) -> bytes:
        """One row, cut or filled up to a width; all colours of the screen are shades of grey."""
        step = 3 * picture.width
        shades = picture.pixels[y * step : (y + 1) * step : 3].ljust(width, b"\0")[:width]
        tables = _tables(self)
        data = bytearray(width * len(tables))
        for place, table in enumerate(tables):
            data[place :: len(tables)] = shades.translate(table)
        return bytes(data)


@lru_cache(maxsize=8)
def _tables(wanted: PixelFormat) -> list[bytes]:
    """For each byte of a pixel what becomes of each shade."""
    size = wanted.bits // 8
    pixels = []
    for shade in range(256):
        value = 0
        for most, shift in zip(wanted.maxima, wanted.shifts, strict=True):
            value |= (shade * most // 255) << shift
        value %= 1 << wanted.bits
        pixels.append(value.to_bytes(size, "big" if wanted.big_endian else "little"))
    return [bytes(pixel[place] for pixel in pixels) for place in range(size)]


DEFAULT_FORMAT = PixelFormat(32, 24, False, (255, 255, 255), (16, 8, 0))
