"""What real QEMU answered to odd inputs, put to a session; and the same live, where it is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.differential.stage import Program
from tests.monitor.record_qmp import END, Qemu
from tests.monitor.stand import NEGOTIATE, NEGOTIATE_OOB, connect, recorded
from tests.monitor.test_json import streams

NEGOTIATION = {"fresh": b"", "oob": NEGOTIATE_OOB, "": NEGOTIATE}


def as_values(reply: str) -> list[Any]:
    return [
        json.loads(line, parse_float=str) for line in reply.replace(": inf", ": 1e999").splitlines()
    ]


@pytest.mark.parametrize(
    ("setup", "data", "reply"),
    [pytest.param(*case[1:], id=case[0]) for case in recorded("qmp-inputs.jsonl")],
)
@pytest.mark.parametrize("size", [1 << 20, 1, 7])
def test_recorded_inputs_are_answered_as_qemu_answers(
    setup: str, data: bytes, reply: str, size: int
) -> None:
    backend, _ = connect(negotiate=NEGOTIATION[setup])
    answer = b"".join(backend.send(data[at : at + size]) for at in range(0, len(data), size))
    assert answer.decode("ascii") == reply


@pytest.mark.parametrize("size", [1 << 20, 3])
def test_recorded_garbage_is_answered_as_qemu_answers(size: int) -> None:
    for name, _, data, reply in recorded("json-inputs.jsonl"):
        backend, _ = connect()
        answer = b"".join(backend.send(data[at : at + size]) for at in range(0, len(data), size))
        assert answer.decode("ascii") == reply, name


@pytest.fixture(scope="module")
def live(qemu: Program) -> Iterator[Qemu]:
    program = Qemu(qemu.argv[0])
    yield program
    program.close()


ids = st.sampled_from([b"1", b"1.0", b"-0.0", b"1e400", b'"\\u00e9"', b'{"b":1,"a":[{}]}', b"nil"])
members = st.tuples(
    st.sampled_from([b"execute", b"arguments", b"exec-oob", b"id", b"x", b"\\u0069d", b"foo", b""]),
    st.sampled_from([b'"query-name"', b'"nosuch"', b"1", b"null", b"{}", b"[]"]) | ids,
).map(b'"%s":%s'.__mod__)
envelopes = st.lists(members, max_size=5).map(b",".join).map(b"{%s}".__mod__)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(streams | envelopes)
def test_any_input_is_answered_as_qemu_answers(live: Qemu, data: bytes) -> None:
    backend, _ = connect()
    assert backend.send(data + END).decode("ascii") == live.ask(data + END)
