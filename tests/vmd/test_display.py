"""The screen, and the pictures made of it."""

import struct
import zlib

import pytest

from vmd.display import CELL_HEIGHT, CELL_WIDTH, Picture, Screen, png, ppm


@pytest.fixture
def screen() -> Screen:
    screen = Screen()
    screen.lit = True
    return screen


def lit_cells(picture: Picture) -> set[tuple[int, int]]:
    """Column and row of each character cell that is not blank."""
    return {
        (at // 3 % picture.width // CELL_WIDTH, at // 3 // picture.width // CELL_HEIGHT)
        for at in range(0, len(picture.pixels), 3)
        if picture.pixels[at]
    }


def test_lines_are_what_was_said(screen: Screen) -> None:
    screen.write(b"one\r\ntwo\tx\r\nthreee\b\r\n")
    assert screen.lines() == ["one", "two     x", "three", ""]


def test_a_long_line_goes_on_in_the_next(screen: Screen) -> None:
    screen.write(b"x" * 100)
    assert [len(line) for line in screen.lines()] == [80, 20]


def test_the_last_25_lines_stay_on_the_screen(screen: Screen) -> None:
    for number in range(1000):
        screen.write(b"%d\r\n" % number)
    assert screen.lines() == [str(number) for number in range(976, 1000)] + [""]


def test_what_is_remembered_is_bounded(screen: Screen) -> None:
    for _ in range(1000):
        screen.write(b"A" * 1000)
    assert screen.lines() == ["A" * 80] * 24 + [screen.lines()[-1]]


def test_a_cleared_screen_is_blank(screen: Screen) -> None:
    screen.write(b"hello")
    screen.clear()
    assert lit_cells(screen.picture()) == set()


def test_each_character_is_seen_at_its_place(screen: Screen) -> None:
    screen.write(b"a b\r\n c\xff")
    assert lit_cells(screen.picture()) == {(0, 0), (2, 0), (1, 1), (2, 1)}


def test_every_printable_character_looks_different(screen: Screen) -> None:
    looks = set()
    for character in range(0x20, 0x7F):
        screen.clear()
        screen.write(bytes((character,)))
        looks.add(screen.picture().pixels)
    assert len(looks) == 0x7F - 0x20


def test_the_sizes_are_those_of_a_vga() -> None:
    screen = Screen()
    assert screen.picture()[:2] == (640, 480)
    screen.lit = True
    assert screen.picture()[:2] == (720, 400)


def test_a_ppm_is_a_header_and_the_pixels() -> None:
    assert ppm(Picture(2, 1, b"abcdef")) == b"P6\n2 1\n255\nabcdef"


def test_a_png_can_be_taken_apart() -> None:
    data = png(Picture(2, 2, b"abcdefghijkl"))
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        name, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        assert struct.unpack_from(">I", data, at + 8 + size)[0] == zlib.crc32(name + content)
        chunks[name] = content
        at += 12 + size
    assert struct.unpack(">IIBBBBB", chunks[b"IHDR"]) == (2, 2, 8, 2, 0, 0, 0)
    assert zlib.decompress(chunks[b"IDAT"]) == b"\0abcdef\0ghijkl"
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
