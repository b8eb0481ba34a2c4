"""A websocket by itself: bytes in, bytes out. What QEMU makes of handshakes is asked elsewhere."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmd.chardev.websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    MAX_PAYLOAD,
    PING,
    PONG,
    WebSocket,
    accept,
    frame,
    http_date,
    unmask,
)

REQUEST = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: binary\r\n\r\n"
)
MASK = b"abcd"


def opened() -> WebSocket:
    web = WebSocket(lambda: 0)
    web.receive(REQUEST)
    web.take_output()
    assert web.ready
    return web


def masked(opcode: int, data: bytes, *, fin: bool = True) -> bytes:
    """A frame of a client."""
    plain = frame(opcode, data)
    head = plain[: len(plain) - len(data)]
    first = (head[0] if fin else head[0] & 0x7F).to_bytes(1, "big")
    return first + bytes((head[1] | 0x80,)) + head[2:] + MASK + unmask(data, MASK)


def payloads(data: bytes) -> list[bytes]:
    """What the frames of a server hold; all must be whole and binary."""
    found = []
    while data:
        assert data[0] == 0x80 | BINARY
        length, start = data[1], 2
        if length == 126:
            length, start = int.from_bytes(data[2:4], "big"), 4
        found.append(data[start : start + length])
        data = data[start + length :]
    return found


def test_the_key_is_answered_as_the_rfc_shows() -> None:
    assert accept("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_the_date_is_written_as_http_has_it() -> None:
    assert http_date(784111777 * 10**9) == "Sun, 06 Nov 1994 08:49:37 GMT"


def test_an_answer_tells_the_time_of_its_clock() -> None:
    web = WebSocket(lambda: 784111777 * 10**9)
    web.receive(REQUEST)
    assert b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n" in web.take_output()


@given(st.binary(max_size=300), st.lists(st.integers(0, 600), max_size=8))
def test_bytes_may_be_split_anywhere(data: bytes, cuts: list[int]) -> None:
    stream = REQUEST + masked(BINARY, data) + masked(PING, b"hi") + masked(BINARY, data[::-1])
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    web = WebSocket(lambda: 0)
    heard = b"".join(web.receive(stream[a:b]) for a, b in itertools.pairwise(places))
    assert heard == data + data[::-1]
    assert web.take_output().endswith(frame(PONG, b"hi"))


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=6))
def test_a_message_may_come_in_parts_with_pings_between(parts: list[bytes]) -> None:
    web, stream = opened(), b""
    for place, part in enumerate(parts):
        opcode = CONTINUATION if place else BINARY
        stream += masked(opcode, part, fin=place == len(parts) - 1) + masked(PING, b"!")
    assert web.receive(stream) == b"".join(parts)
    assert web.take_output() == frame(PONG, b"!") * len(parts)


@given(st.integers(0, 3 * MAX_PAYLOAD + 7).map(bytes))
def test_what_is_said_goes_out_in_frames_of_limited_size(data: bytes) -> None:
    frames = payloads(opened().wrap(data))
    assert b"".join(frames) == data
    assert all(len(each) <= MAX_PAYLOAD for each in frames)


def test_a_frame_without_end_is_passed_on_as_it_comes() -> None:
    web = opened()
    web.receive(b"\x82\xff" + b"\xff" * 8 + MASK)
    for _ in range(100):
        assert web.receive(unmask(b"x" * 4096, MASK)) == b"x" * 4096
    assert web.take_output() == b""


def test_after_a_farewell_nothing_is_heard() -> None:
    web = opened()
    assert web.receive(masked(CLOSE, b"")) == b""
    assert web.over
    assert web.take_output() == frame(CLOSE, b"\x03\xe8peer requested close")


@pytest.mark.parametrize("junk", [b"x" * 5000, b"GET / HTTP/1.1\r\n\r\n"], ids=["long", "bad"])
def test_a_handshake_that_fails_is_answered_once(junk: bytes) -> None:
    web = WebSocket(lambda: 0)
    assert web.receive(junk) == b""
    assert web.over and not web.ready
    assert web.take_output().startswith(b"HTTP/1.1 40")
    assert web.take_output() == b""


@given(st.lists(st.binary(max_size=200), max_size=8), st.booleans())
def test_no_bytes_break_it(pieces: list[bytes], ready: bool) -> None:
    web = opened() if ready else WebSocket(lambda: 0)
    for piece in pieces:
        heard: Any = web.receive(piece)
        assert isinstance(heard, bytes)
        web.take_output()
        if web.over:
            break


def test_pings_of_a_peer_that_does_not_read_are_not_answered() -> None:
    heard = [True, False, True]
    web = WebSocket(lambda: 0, lambda: heard.pop(0))
    web.receive(REQUEST)
    web.take_output()
    for number in (1, 2, 3):
        assert web.receive(masked(PING, b"%d" % number)) == b""
    assert web.take_output() == frame(PONG, b"1") + frame(PONG, b"3")
