"""What a VNC client is shown, and what becomes of its words."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from vmd.display import Picture, Screen
from vmd.vnc import des
from vmd.vnc.keys import key_of
from vmd.vnc.pixels import DEFAULT_FORMAT, PixelFormat
from vmd.vnc.rfb import Key, Pointer, Session, Stage

WANT = struct.pack(">BBHHHH", 3, 0, 0, 0, 640, 480)
WANT_NEWS = struct.pack(">BBHHHH", 3, 1, 0, 0, 640, 480)
SMALL = (4, 2)


def greeted(size: tuple[int, int] = SMALL) -> Session:
    """A session without a password that has come to life; nothing of it is left to read."""
    session = Session("QEMU", size, bytes(16), None)
    session.feed(b"RFB 003.008\n\1\1")
    assert session.stage is Stage.LIVE
    session.out.clear()
    return session


def picture(*shades: int, width: int = 4) -> Picture:
    return Picture(width, len(shades) // width, b"".join(bytes([s]) * 3 for s in shades))


DARK = picture(*[0] * 8)
LIT = picture(*[0] * 4, *[0xAA] * 4)


def test_words_may_come_in_any_pieces() -> None:
    whole = b"RFB 003.008\n\1\1" + WANT + struct.pack(">BBxxI", 4, 1, 0x61)
    one, many = Session("QEMU", SMALL, bytes(16), None), Session("QEMU", SMALL, bytes(16), None)
    told = one.feed(whole)
    assert told == [thing for at in range(len(whole)) for thing in many.feed(whole[at : at + 1])]
    assert told[-1] == Key(0x61, True)
    assert one.out == many.out and one.wanted


def test_a_picture_is_shown_to_those_who_wait_for_one() -> None:
    session = greeted()
    session.show(LIT)
    assert not session.out
    session.feed(WANT)
    session.show(LIT)
    head = struct.pack(">BxHHHHHi", 0, 1, 0, 0, 4, 2, 0)
    assert bytes(session.out) == head + b"\0\0\0\0" * 4 + b"\xaa\xaa\xaa\0" * 4
    assert not session.wanted


def test_of_news_only_the_rows_that_changed_are_sent() -> None:
    session = greeted()
    session.feed(WANT)
    session.show(DARK)
    session.out.clear()
    session.feed(WANT_NEWS)
    session.show(DARK)
    assert not session.out and session.wanted
    session.show(LIT)
    assert struct.unpack_from(">BxHHHHHi", session.out) == (0, 1, 0, 1, 4, 1, 0)


def test_who_can_follow_a_new_size_is_told_of_it() -> None:
    session = greeted((2, 1))
    session.feed(struct.pack(">BxHi", 2, 1, -223) + WANT)
    session.show(LIT)
    assert struct.unpack_from(">BxHHHHHi", session.out) == (0, 2, 0, 0, 4, 2, -223)


def test_who_cannot_sees_as_much_as_fits() -> None:
    session = greeted((6, 1))
    session.feed(WANT)
    session.show(LIT)
    assert len(session.out) == 4 + 12 + 6 * 4


def test_pixels_come_as_they_are_asked_for() -> None:
    green = PixelFormat(16, 16, True, (31, 63, 31), (11, 5, 0))
    assert PixelFormat.unpack(green.packed()) == green
    assert green.row(LIT, 1, 4) == struct.pack(">4H", *[20 << 11 | 42 << 5 | 20] * 4)
    palette = struct.pack(">BBBBHHHBBB3x", 8, 8, 0, 0, 0, 0, 0, 0, 0, 0)
    assert PixelFormat.unpack(palette) is not None
    assert PixelFormat.unpack(palette[:1].replace(b"\x08", b"\x07") + palette[1:]) is not None
    wide = struct.pack(">BBBBHHHBBB3x", 24, 24, 0, 1, 255, 255, 255, 16, 8, 0)
    assert PixelFormat.unpack(wide) is None


def test_what_the_guest_says_is_what_is_seen() -> None:
    screen = Screen()
    screen.lit = True
    screen.write(b"count 1\r\n")
    seen = screen.picture()
    session = greeted((seen.width, seen.height))
    session.feed(WANT)
    session.show(seen)
    rows = [DEFAULT_FORMAT.row(seen, y, seen.width) for y in range(seen.height)]
    assert bytes(session.out[16:]) == b"".join(rows)


def test_keys_and_mice_are_heard() -> None:
    session = greeted()
    told = session.feed(struct.pack(">BBxxI", 4, 0, 0xFF0D) + struct.pack(">BBHH", 5, 1, 3, 1))
    assert told == [Key(0xFF0D, False), Pointer(1, 3, 1)]
    assert [key_of(symbol) for symbol in (0xFF0D, ord("A"), ord("!"), 0xFFC9)] == [
        *("ret", "a", "1", "f12")
    ]


def test_text_without_end_is_not_waited_for() -> None:
    session = greeted()
    session.feed(struct.pack(">BxxxI", 6, 0x7FFFFFFF))
    assert session.stage is Stage.OVER


@given(st.lists(st.binary(max_size=64), max_size=20))
def test_no_words_break_a_session(words: list[bytes]) -> None:
    session = greeted()
    for data in words:
        session.feed(data)
        session.show(LIT)
    session = Session("QEMU", SMALL, bytes(16), lambda challenge, answer: False)
    for data in words:
        session.feed(data)


def test_a_password_is_judged_by_des() -> None:
    # The example that is in textbooks.
    key, block = bytes.fromhex("133457799bbcdff1"), bytes.fromhex("0123456789abcdef")
    assert des.encrypt(key, block).hex() == "85e813540f0ab405"
