"""QEMU's JSON dialect, read."""

from __future__ import annotations

import os
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import monitor.json
from monitor import json_encoder
from monitor.json import INCOMPLETE, JsonDecoder, JsonError, encode
from monitor.json_lexer import OVERSIZE, STRING, Lexer

PLAIN = b'{"execute": "query-name"}'


def documents(decoder: JsonDecoder, *parts: bytes) -> list[object]:
    """All that comes out of the bytes; errors as their text."""
    found: list[object] = []
    for part in parts:
        decoder.feed(part)
        while (document := decoder.next()) is not INCOMPLETE:
            found.append(document.desc if isinstance(document, JsonError) else document)
    return found


def read(*parts: bytes) -> list[object]:
    return documents(JsonDecoder(), *parts)


class LongWay(JsonDecoder):
    """A decoder that never takes the shortcut."""

    def _scan(self) -> object:
        return INCOMPLETE


# Bytes that mean something to JSON, and some that must not.
PIECES = [
    *(bytes([byte]) for byte in b"{}[]:,\"'\\ \t\r\n0123456789-+.eEtrufalsn@%/"),
    *(bytes([byte]) for byte in b"\x00\x1b\x7f\x80\xc0\xff"),
    *(b'{"a":1}', b'"id":', b"true", b"null", b"0e1", b"1e5", b"-0", b"1.0", b"NaN", PLAIN),
    *(b"18446744073709551616", b"\\u00e9", b"\\ud83d", b"\\ude00", b"\\u0000", b"\xc3\xa9"),
    *(b"\xef\xbf\xbf", b"\xc0\x80"),
]  # fmt: skip
streams = st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join)
NUL = "\udcc0\udc80"  # U+0000, as the bytes that stand for it
texts = st.lists(st.sampled_from([*"abc \"\\/'\n\x7f\x80\u00e9\u20ac\U0001f600", NUL])).map("".join)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
)


@given(streams, st.lists(st.integers(0, 60)))
def test_documents_do_not_depend_on_where_the_bytes_are_split(
    stream: bytes, cuts: list[int]
) -> None:
    edges = [0, *sorted(cuts), len(stream)]
    parts = [stream[begin:end] for begin, end in pairwise(edges)]
    assert repr(read(*parts)) == repr(read(stream))


@given(streams)
def test_bytes_fed_one_by_one_give_the_same_as_at_once(stream: bytes) -> None:
    one_by_one = read(*(bytes([byte]) for byte in stream))
    assert repr(one_by_one) == repr(read(stream))


@given(streams)
def test_the_shortcut_is_noticeable_in_nothing_but_speed(stream: bytes) -> None:
    assert repr(read(stream)) == repr(documents(LongWay(), stream))


@given(values)
def test_what_was_encoded_is_read_back(value: object) -> None:
    for pretty in (False, True):
        text = encode([value], pretty).encode("ascii")
        (back,) = documents(LongWay(), text)
        # Integral doubles are written like integers, so numbers are compared as doubles.
        assert repr(as_written([value])) == repr(as_written(back))


@given(values)
def test_the_quick_way_to_text_is_noticeable_in_nothing_but_speed(value: object) -> None:
    assert encode([value]) == json_encoder._stepwise([value], False)


def as_written(value: object) -> object:
    if isinstance(value, dict):
        return {key: as_written(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [as_written(item) for item in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value) + 0.0  # -0 is read as an integer, which has no sign
    return value


def test_a_zero_is_no_end_of_a_name_of_the_host() -> None:
    (text,) = read(b'["a\\u0000b"]')[0]
    assert os.fsencode(text) == b"a\xc0\x80b"
    assert read(b'["a\xc0\x80b"]') == [[text]]
    assert encode([text]) == encode(["a\0b"]) == '["a\\u0000b"]'


def test_the_common_message_takes_the_shortcut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JsonDecoder, "_token", None)
    assert read(PLAIN + b"\r\n" + PLAIN + b' {"a": [1, "b", null, 2.5]}\n') == [
        {"execute": "query-name"},
        {"execute": "query-name"},
        {"a": [1, "b", None, 2.5]},
    ]


def test_garbage_is_not_scanned_over_and_over(monkeypatch: pytest.MonkeyPatch) -> None:
    scans = []

    def scan(text: str, pos: int) -> tuple[object, int]:
        scans.append(pos)
        raise ValueError

    monkeypatch.setattr(monitor.json, "_scanner", lambda: scan)
    assert len(read(b"{x}" * 1000)) == 1000
    assert scans == [0]


def test_bytes_behind_a_document_wait_until_asked_for() -> None:
    decoder = JsonDecoder()
    decoder.feed(PLAIN + b" [")
    assert decoder.pending == len(PLAIN) + 2
    decoder.next()
    assert decoder.pending == 2
    decoder.feed(b"]")
    assert decoder.pending == 3
    assert decoder.next() == []
    assert decoder.pending == 0


def test_reset_forgets_a_begun_document() -> None:
    decoder = JsonDecoder()
    assert documents(decoder, b'{"execute": ["query-na') == []
    decoder.reset()
    assert documents(decoder, PLAIN) == [{"execute": "query-name"}]


def test_a_number_is_complete_when_another_byte_ends_it() -> None:
    assert read(b"12") == []
    assert read(b"12", b"3", b" ") == [123]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"9223372036854775807", (1 << 63) - 1),
        (b"18446744073709551615", (1 << 64) - 1),
        (b"18446744073709551616", 1.8446744073709552e19),
        (b"-9223372036854775808", -(1 << 63)),
        (b"-9223372036854775809", -9.223372036854775808e18),
        (b"1" * 5000, float("inf")),
        (b"-0", 0),
        (b"1e2", 100.0),
    ],
)
def test_an_integer_that_64_bits_do_not_hold_is_a_double(text: bytes, value: float) -> None:
    ways: tuple[JsonDecoder, ...] = (JsonDecoder(), LongWay())
    for decoder in ways:
        (document,) = documents(decoder, b'{"n": ' + text + b"}")
        assert repr(document) == repr({"n": value})


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def test_1024_levels_are_read_without_recursion() -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(200)
    try:
        (document,) = read(nested(1024))
        (same,) = read(encode(document).encode())
    finally:
        sys.setrecursionlimit(limit)
    for _ in range(1023):
        document, same = document[0], same[0]  # type: ignore[index]
    assert document == same == []


@pytest.mark.parametrize("wrap", [b"%s", b'{"a": %s}'])
def test_one_level_more_is_refused_and_its_closers_are_documents(wrap: bytes) -> None:
    text = wrap % nested(1025 - wrap.count(b"{"))
    assert read(text) == [
        "JSON nesting depth limit exceeded",
        *["JSON parse error, expecting value"] * 1025,
    ]


def test_a_document_of_too_many_tokens_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert monitor.json.MAX_TOKEN_COUNT == 2097152
    monkeypatch.setattr(monitor.json, "MAX_TOKEN_COUNT", 100)
    decoder = JsonDecoder()
    assert documents(decoder, b"[" + b"," * 99) == []
    assert documents(decoder, b",") == ["JSON token count limit exceeded"]
    assert documents(decoder, PLAIN) == [{"execute": "query-name"}]


def test_64_mib_of_text_in_one_document_are_refused() -> None:
    decoder = JsonDecoder()
    string = b'"' + b"x" * ((16 << 20) - 2) + b'"'
    assert documents(decoder, b"[", string, b",", string, b",", string, b",") == []
    assert documents(decoder, string) == ["JSON token size limit exceeded"]
    assert documents(decoder, PLAIN) == [{"execute": "query-name"}]


def test_the_tail_of_a_string_that_is_too_long_is_new_input() -> None:
    decoder = JsonDecoder()
    chunk = b"x" * (1 << 20)
    assert documents(decoder, b'"', *[chunk] * 63, chunk[1:]) == []
    assert documents(decoder, b"x tail ") == [
        "JSON token size limit exceeded",
        "JSON parse error, invalid keyword 'tail'",
    ]


def test_a_token_may_be_as_long_as_the_limit_in_pieces_or_at_once() -> None:
    for text, kind in ((b'"xxxxxx"', STRING), (b'"xxxxxxx"', STRING), (b'"xxxxxxxx"', OVERSIZE)):
        lexer = Lexer(max_token_size=8)
        found, _, pos = lexer.next(text[:4], 0)
        assert (found, pos) == (None, 4)
        assert lexer.next(text[4:], 0)[0] == kind


@pytest.mark.parametrize(
    ("data", "desc"),
    [
        # As `qemu-system-x86_64 -object '…'` says it, 10.0.2.
        (b"{bad", "JSON parse error, invalid keyword 'bad'"),
        (b"{", "JSON parse error, premature EOI"),
        (b'{"a":1', "JSON parse error, premature EOI"),
        (b'{["x",', "JSON parse error, premature EOI"),
        (b'{"abc', "JSON parse error, stray '\"abc'"),
        (b'{"a" 1', "JSON parse error, missing : in object pair"),
    ],
)
def test_input_that_ends_too_early_is_told_as_qemu_tells_it(data: bytes, desc: str) -> None:
    decoder = JsonDecoder()
    decoder.feed(data)
    assert decoder.next() is INCOMPLETE
    assert str(decoder.end()) == desc


def test_nothing_at_the_end_is_no_error() -> None:
    decoder = JsonDecoder()
    decoder.feed(b'{"a": 1} ')
    assert decoder.next() == {"a": 1}
    assert decoder.end() is INCOMPLETE


def test_a_patient_decoder_stops_after_a_stretch_and_goes_on_when_rested() -> None:
    decoder = JsonDecoder(patience=100)
    decoder.feed(b"[" + b"0," * 500 + b"0]")
    stretches = 1
    while (value := decoder.next()) is INCOMPLETE:
        assert decoder.tired
        decoder.rest()
        stretches += 1
    assert value == [0] * 501
    assert stretches == 11
    assert not decoder.tired
