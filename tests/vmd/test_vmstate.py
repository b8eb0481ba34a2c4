"""Sections declared as fields: bytes, values and description from one declaration."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vmd.streams import kept
from vmd.migration.sections import (
    CONFIGURATION,
    GLOBALSTATE,
    TIMER,
    Configuration,
    GlobalState,
    globalstate,
    parse_globalstate,
    timer,
)
from vmd.migration.source import LoadError, Source, finish
from vmd.migration.vmstate import (
    BOOL,
    INT16,
    INT64,
    UINT8,
    UINT16,
    UINT32,
    Field,
    Values,
    VMState,
    buffer,
    unused,
)

POINT = VMState("point", 1, (Field("x", INT16), Field("y", INT16)))
EXTRA = VMState(
    "thing/extra", 1, (Field("n", UINT8),), needed=lambda values: "thing/extra" in values
)
THING = VMState(
    "thing",
    3,
    (
        Field("on", BOOL),
        Field("name", buffer(4)),
        Field("gone", unused(2)),
        Field("points", POINT, length=2),
        Field("bytes", UINT8, length=3),
        Field("new", UINT32, since=3),
    ),
    (EXTRA,),
)
VALUES: Values = {
    "on": True,
    "name": b"abc",
    "points": [{"x": 1, "y": -1}, {"x": 2, "y": -2}],
    "bytes": [7, 8, 9],
    "new": 5,
}
WIRE = b"\1abc\0\0\0\0\1\xff\xff\0\2\xff\xfe\7\10\11\0\0\0\5"


def decode(state: VMState, data: bytes, version: int | None = None) -> Values:
    source = Source(data)
    values = finish(state.decode(source, state.version if version is None else version))
    assert source.available() == 0
    return values


def test_values_become_the_fields_bytes_in_their_order() -> None:
    assert THING.encode(VALUES) == WIRE


def test_bytes_become_values_again() -> None:
    assert decode(THING, WIRE) == {**VALUES, "name": b"abc\0", "gone": b"\0\0"}


def test_an_older_version_lacks_the_newer_fields() -> None:
    assert "new" not in decode(THING, WIRE[:-4], 2)


def test_a_subsection_is_written_where_it_is_needed_and_read_where_it_stands() -> None:
    data = THING.encode({**VALUES, "thing/extra": {"n": 3}})
    assert data == WIRE + b"\5\x0bthing/extra\0\0\0\1\3"
    assert decode(THING, data)["thing/extra"] == {"n": 3}


def test_the_description_tells_names_types_and_sizes() -> None:
    payload, description = THING.describe({**VALUES, "thing/extra": {"n": 3}})
    point = [{"name": name, "type": "int16", "size": 2} for name in "xy"]
    assert payload.startswith(WIRE)
    assert description == {
        "vmsd_name": "thing",
        "version": 3,
        "fields": [
            {"name": "on", "type": "bool", "size": 1},
            {"name": "name", "type": "buffer", "size": 4},
            {"name": "gone", "type": "unused_buffer", "size": 2},
            {
                "name": "points",
                "array_len": 2,
                "type": "struct",
                "struct": {"vmsd_name": "point", "version": 1, "fields": point},
                "size": 4,
            },
            {"name": "bytes", "array_len": 3, "type": "uint8", "size": 1},
            {"name": "new", "type": "uint32", "size": 4},
        ],
        "subsections": [
            {
                "vmsd_name": "thing/extra",
                "version": 1,
                "fields": [{"name": "n", "type": "uint8", "size": 1}],
            }
        ],
    }


def test_what_cannot_be_read_is_named_from_the_inside_out() -> None:
    with pytest.raises(LoadError) as refused:
        decode(THING, WIRE[:8])
    assert refused.value.lines == ["Failed to load point:x", "Failed to load thing:points"]
    assert refused.value.strerror == "Input/output error"


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**63 - 1))
def test_the_timer_comes_back_as_it_went(ticks: int, clock: int) -> None:
    values = decode(TIMER, TIMER.encode(timer(ticks, clock)))
    assert (values["cpu_ticks_offset"], values["cpu_clock_offset"]) == (ticks, clock)


@pytest.mark.parametrize("state", ["running", "paused", "guest-panicked"])
@pytest.mark.parametrize("suspended", [False, True])
def test_the_run_state_comes_back_as_it_went(state: str, suspended: bool) -> None:
    values = decode(GLOBALSTATE, GLOBALSTATE.encode(globalstate(state, was_suspended=suspended)))
    assert parse_globalstate(values, [state]) == GlobalState(state, suspended)


def test_descriptions_are_those_of_qemu() -> None:
    text = kept("ignore-shared")
    document = json.loads(text[text.index(b'{"configuration"') :])
    uuid = bytes.fromhex("00112233445566778899aabbccddeeff")
    local = Configuration("none", ("x-ignore-shared",), uuid)
    described = [
        {"name": state.name, "instance_id": 0, **state.describe(values)[1]}
        for state, values in (
            (TIMER, timer(0, 0)),
            (GLOBALSTATE, globalstate("running", was_suspended=False)),
        )
    ]
    assert CONFIGURATION.describe(local.values())[1] == document["configuration"]
    assert described == document["devices"]


def test_an_integer_too_large_for_its_field_is_an_error() -> None:
    with pytest.raises(OverflowError):
        VMState("x", 1, (Field("n", UINT16),)).encode({"n": 1 << 16})
    assert VMState("x", 1, (Field("n", INT64),)).encode({"n": -1}) == b"\xff" * 8
