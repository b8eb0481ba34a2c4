"""Values written as QEMU writes them. Expected texts were seen from QEMU 10.0.2."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import NamedTuple

import pytest

from monitor.json import encode
from monitor.json_encoder import Encoded


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (0.1, "0.10000000000000001"),
        (1e16, "10000000000000000"),
        (1e17, "1e+17"),
        (0.00001, "1.0000000000000001e-05"),
        (-0.0, "-0"),
        (float("inf"), "inf"),
        ((1 << 64) - 1, "18446744073709551615"),
        (True, "true"),
        (None, "null"),
        ([], "[]"),
        ({}, "{}"),
        ([1, [], {"a": {}}], '[1, [], {"a": {}}]'),
    ],
)
def test_values_look_as_qemu_prints_them(value: object, text: str) -> None:
    assert encode(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a/b'c", "a/b'c"),
        ('"\\\b\f\n\r\t', '\\"\\\\\\b\\f\\n\\r\\t'),
        ("\0\x1f\x7f\x80é€", "\\u0000\\u001F\\u007F\\u0080\\u00E9\\u20AC"),
        ("😀", "\\uD83D\\uDE00"),
        ("\uffff", "\\uFFFD"),
    ],
)
def test_strings_are_ascii_with_upper_case_escapes(value: str, text: str) -> None:
    assert encode(value) == f'"{text}"'


def test_bytes_of_a_file_name_that_are_no_characters_show_as_replacement_characters() -> None:
    name = b"a\xff\xe2\x82b\xc3\xa9".decode("utf-8", "surrogateescape")
    assert encode(name) == '"a\\uFFFD\\uFFFDb\\u00E9"'
    assert encode("\ud800") == '"\\uFFFD"'


def test_members_stand_in_the_order_of_qemus_hash_table() -> None:
    status = {"running": False, "status": "prelaunch"}
    event = {"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}}
    assert encode(status) == '{"status": "prelaunch", "running": false}'
    assert encode(event) == '{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP"}'


def test_of_two_members_in_one_bucket_the_later_comes_first() -> None:
    assert encode({"minor": 0, "micro": 2}) == '{"micro": 2, "minor": 0}'
    assert encode({"micro": 2, "minor": 0}) == '{"minor": 0, "micro": 2}'


def test_what_is_encoded_already_is_written_as_it_is() -> None:
    text = Encoded(encode([{"a": "%s"}]))
    assert encode({"return": text, "id": "%d"}) == '{"return": [{"a": "%s"}], "id": "%d"}'


def test_a_key_may_hold_a_percent_sign() -> None:
    assert encode({"%s%%": 1}) == '{"%s%%": 1}'


def test_pretty_text_breaks_every_line_with_cr_lf_in_empty_containers_too() -> None:
    assert encode({"return": {"a": [1, {}], "b": []}}, pretty=True) == "\r\n".join(
        [
            "{",
            '    "return": {',
            '        "a": [',
            "            1,",
            "            {",
            "            }",
            "        ],",
            '        "b": [',
            "        ]",
            "    }",
            "}",
        ]
    )


class Color(StrEnum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Pair(NamedTuple):
    left: int
    right: int


def test_kinds_derived_from_the_plain_ones_are_written_like_them() -> None:
    value = [Color.RED, Level.LOW, Pair(1, 2), MappingProxyType({"a": 1})]
    assert encode(value) == '["red", 1, [1, 2], {"a": 1}]'


def test_what_json_cannot_say_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="bytes has no JSON form"):
        encode({"a": b"x"})


def test_made_up_sets_of_keys_do_not_fill_the_memory() -> None:
    from monitor import json_encoder

    for n in range(2000):
        assert encode({f"key{n}": n}) == f'{{"key{n}": {n}}}'
    assert len(json_encoder._layouts) <= 1000
