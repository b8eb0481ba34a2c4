"""Rows of bits and dirty bitmaps, beside a number that is as long as they are."""

from __future__ import annotations

import random
from hashlib import sha256

import pytest

from vmd.block.bitmaps import DirtyBitmap
from vmd.block.bits import PIECE, Bits

LENGTHS = (0, 1, 63, 64, 65, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 77)


def number(bits: Bits) -> int:
    """Its bits as one number."""
    return int.from_bytes(b"".join(bits.words()), "little")


def scattered(length: int, seed: int = 0) -> tuple[Bits, int]:
    """A row with runs of all sizes, and the same as a number."""
    chance, bits, expected = random.Random(seed), Bits(length), 0
    for _ in range(20 if length else 0):
        first = chance.randrange(length)
        last = min(first + chance.choice((0, 1, 70, PIECE, 2 * PIECE)), length - 1)
        bits.set(first, last)
        expected |= (1 << last - first + 1) - 1 << first
    return bits, expected


@pytest.mark.parametrize("length", LENGTHS)
def test_bits_that_were_set_are_set_and_counted(length: int) -> None:
    bits, expected = scattered(length)
    assert number(bits) == expected
    assert bits.count() == expected.bit_count()


@pytest.mark.parametrize("length", LENGTHS)
def test_runs_cover_what_is_set_and_nothing_else(length: int) -> None:
    bits, expected = scattered(length)
    again = Bits(length)
    for first, last in bits.runs():
        again.set(first, last)
    assert number(again) == expected


@pytest.mark.parametrize("length", LENGTHS)
def test_bytes_come_back_from_where_they_were_taken(length: int) -> None:
    bits, expected = scattered(length)
    size = -(-length // 8)
    again, _ = scattered(length, seed=1)
    for at in range(0, size, 1000):
        piece = bits.to_bytes(at * 8, min(1000, size - at))
        assert int.from_bytes(piece, "little") == expected >> at * 8 & (1 << len(piece) * 8) - 1
        again.put_bytes(at * 8, piece)
    assert number(again) == expected


@pytest.mark.parametrize("length", LENGTHS)
def test_what_lies_behind_a_smaller_end_is_forgotten(length: int) -> None:
    bits, expected = scattered(4 * PIECE)
    bits.resize(length)
    bits.resize(4 * PIECE)
    assert number(bits) == expected & (1 << length) - 1


def test_bytes_set_no_bit_behind_the_end() -> None:
    bits = Bits(9)
    bits.put_bytes(0, b"\xff" * 8)
    assert (bits.count(), number(bits)) == (9, 0x1FF)


def test_a_copy_stays_as_it_was() -> None:
    bits, expected = scattered(PIECE + 1)
    copy = bits.copy()
    bits.clear()
    assert (bits.count(), number(copy)) == (0, expected)


def test_an_empty_row_hashes_as_one_word() -> None:
    assert DirtyBitmap("b", 0, 512).sha256() == sha256(bytes(8)).hexdigest()


def test_a_large_bitmap_that_is_empty_takes_no_room_and_one_that_is_full_takes_little() -> None:
    bitmap = DirtyBitmap("b", 1 << 45, 512)
    assert bitmap.count == 0
    full = DirtyBitmap("f", 1 << 45, 1 << 31)
    full.mark(0, 1 << 45)
    bitmap.unite(full)
    assert bitmap.count == 1 << 45


@pytest.mark.parametrize(("own", "other"), [(512, 65536), (65536, 512), (4096, 4096)])
def test_a_merge_marks_every_granule_that_the_other_touches(own: int, other: int) -> None:
    target, source = DirtyBitmap("t", 1_000_448, own), DirtyBitmap("s", 1_000_448, other)
    for offset in (0, 700, 70_000, 131_071, 1_000_447):
        source.mark(offset, 1)
    target.unite(source)
    expected = 0
    for first, last in source.bits.runs():
        low, high = first * other, min((last + 1) * other, 1_000_448) - 1
        expected |= (1 << high // own - low // own + 1) - 1 << low // own
    assert number(target.bits) == expected


def test_a_disabled_bitmap_records_nothing() -> None:
    bitmap = DirtyBitmap("b", 1 << 20, 65536)
    bitmap.enabled = False
    bitmap.mark(0, 1 << 20)
    assert bitmap.count == 0
