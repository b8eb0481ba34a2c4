"""Any bytes as an incoming stream: the corpus of fuzzing holds, and so do changed real streams."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.stream import check, corpus, outcome, recorded, seeds
from tests.vmd import stream_cases as made
from vmd.migration.carrier import MOST_SECTIONS


def test_the_corpus_holds() -> None:
    for data in (*corpus(), *recorded()):
        check(data)


STREAMS = sorted(set(seeds()), key=lambda data: (len(data), data))


@st.composite
def changed(draw: st.DrawFn) -> bytes:
    """A real stream, or halves of two, with some bytes written over, put in or left out."""
    data = bytearray(draw(st.sampled_from(STREAMS)))
    if draw(st.booleans()):
        other = draw(st.sampled_from(STREAMS))
        data[draw(st.integers(0, len(data))) :] = other[draw(st.integers(0, len(other))) :]
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        new = draw(st.binary(max_size=8) | st.sampled_from(WORDS))
        data[at : at + draw(st.sampled_from((0, len(new), 1, 4, 8)))] = new
    return bytes(data[: 32 << 10])


# What is special in a stream: marks, extreme lengths, a name.
WORDS = (
    *(b"\x7e\0\0\0\1", b"\0\6", b"\x08\0\7\0\4", b"\5\x0dtimer/icount", b"\1\0\0\0\1", b"\3ram"),
    *((1 << n).to_bytes(8, "big") for n in (4, 5, 12, 31, 32, 62, 63)),
    *(b"\xff" * n for n in (1, 2, 4, 8)),
)


@given(changed())
def test_a_changed_stream_is_loaded_or_refused_however_it_is_split(data: bytes) -> None:
    check(data)


# Streams that would take hours if each piece of them were looked at more than a few times.

PIECE = 128 << 10
FRONT = made.HEADER + made.config(b"pc-q35-10.0")
RAM = made.section(made.table() + made.EOS) + made.end()


def fed(data: bytes) -> str:
    """How a stream ends that comes piece by piece."""
    return outcome([data[i : i + PIECE] for i in range(0, len(data), PIECE)], carry=True)[1]


def test_what_seems_to_be_the_end_is_not_waited_for_again_and_again() -> None:
    false_end = b"\x7e\0\0\0\1\0\6" + made.be(4, 12 << 20) + b"{"
    device = b"\4" + made.be(4, 9) + made.cstr("odd") + bytes(8) + false_end * 400_000
    assert "Missing section footer for odd" in fed(FRONT + RAM + device)


def test_a_text_that_might_be_the_description_is_waited_for_in_vain() -> None:
    false_end = b"\x7e\0\0\0\1\0\6" + made.be(4, 15 << 20) + b"{" + b" " * (14 << 20)
    device = b"\4" + made.be(4, 9) + made.cstr("odd") + bytes(8) + false_end
    assert "Missing section footer for odd" in fed(FRONT + RAM + device)


def test_footers_in_front_of_ram_that_are_none_are_passed_once() -> None:
    device = b"\4" + made.be(4, 9) + made.cstr("odd") + bytes(8)
    false_ends = (made.footer(9) + b"\xff") * 1_000_000
    assert "Missing section footer for odd" in fed(FRONT + device + false_ends)


def test_a_description_of_other_sections_is_soon_left_alone() -> None:
    devices = [{"name": f"other{n}", "instance_id": 0, "fields": []} for n in range(50_000)]
    text = json.dumps({"devices": devices}).encode()
    sections = b"".join(
        made.section(b"", n, f"mine{n}", 0, 1, 4) for n in range(10, MOST_SECTIONS + 10)
    )
    end = b"\0\6" + made.be(4, len(text)) + text
    assert fed(FRONT + RAM + sections + end) == "loaded"


def test_there_is_an_end_to_sections_however_small() -> None:
    sections = b"".join(
        made.section(b"", n, f"mine{n}", 0, 1, 4) for n in range(10, MOST_SECTIONS + 11)
    )
    assert "too many" in fed(FRONT + RAM + sections + made.DESCRIBED)
