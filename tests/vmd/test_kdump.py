"""Compressed kernel dumps: which pages there are, and that each is found where it is told to be."""

import struct
import zlib

import pytest

from vmd.kdump import PAGE, Pages, bitmap, count

MIB = 1 << 20


@pytest.mark.parametrize(
    "places",
    [
        [(0, PAGE)],
        [(0, 9 * PAGE)],
        [(3 * PAGE, 2 * PAGE)],
        [(3 * PAGE, 20 * PAGE)],
        [(0, 16 * PAGE), (100 * PAGE, 7 * PAGE)],
        [(5 * PAGE, 3 * PAGE), (8 * PAGE, 8 * PAGE), (21 * PAGE, 300 * PAGE)],
    ],
)
def test_a_bit_stands_for_each_page(places: list[tuple[int, int]]) -> None:
    bits = bitmap(places, 64 * MIB)
    there = {n for n in range(8 * len(bits)) if bits[n // 8] >> n % 8 & 1}
    pages = [range(start // PAGE, (start + length) // PAGE) for start, length in places]
    assert there == {n for some in pages for n in some}
    assert count(places) == len(there)
    assert len(bits) % PAGE == 0


def test_every_page_is_found_again() -> None:
    random = bytes(zlib.crc32(n.to_bytes(4, "big")) & 0xFF for n in range(PAGE))
    text = b"many words ".ljust(PAGE, b".")
    file = bytearray(MIB * 4)

    def write(offset: int, data: bytes) -> None:
        file[offset : offset + len(data)] = data

    pages = Pages(write, PAGE, 3 + 700)
    pages.add(random + bytes(PAGE) + text)
    pages.add(700 * PAGE)
    pages.end()
    found = []
    for number in range(703):
        offset, size, flags, _ = struct.unpack_from("<QIIQ", file, PAGE + 24 * number)
        data = bytes(file[offset : offset + size])
        found.append(zlib.decompress(data) if flags else data)
    assert found == [random, bytes(PAGE), text, *[bytes(PAGE)] * 700]
