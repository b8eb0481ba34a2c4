"""A QMP session as a client sees it: greeting, negotiation, queue, out-of-band, events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from monitor.dispatcher import Dispatcher
from monitor.qmp import QmpSession, State
from monitor.registry import QmpRegistry
from qapi.error import QmpError
from tests.monitor.stand import (
    NEGOTIATE,
    NEGOTIATE_OOB,
    OK,
    VERSION,
    Gate,
    connect,
    execute,
    failure,
    lines,
    registry,
)

EXPECTING = failure("Expecting capabilities negotiation with 'qmp_capabilities'", "CommandNotFound")
COMPLETE = failure(
    "Capabilities negotiation is already complete, command ignored", "CommandNotFound"
)


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    yield Gate()


def gated(gate: Gate, **more: Callable[..., Any]) -> QmpRegistry:
    return registry({"stop": gate.__call__, **more})


# Greeting and negotiation


def test_a_client_is_greeted_before_it_says_anything() -> None:
    backend, _ = connect(negotiate=b"")
    backend.reconnect()
    assert backend.read() == (
        b'{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": "vmd"}, '
        b'"capabilities": ["oob"]}}\r\n'
    )


def test_oob_is_not_offered_where_the_device_cannot_serve_it() -> None:
    backend, _ = connect(negotiate=b"", oob=False)
    backend.reconnect()
    assert lines(backend.read())[0]["QMP"]["capabilities"] == []
    assert lines(backend.send(NEGOTIATE_OOB)) == [failure("Capability oob not available")]
    assert backend.send(NEGOTIATE) == OK


def test_before_negotiation_no_command_exists() -> None:
    backend, _ = connect(negotiate=b"")
    assert lines(backend.send(execute("query-name") + execute("nosuch"))) == [EXPECTING] * 2
    assert backend.send(NEGOTIATE + execute("query-name")) == OK * 2


def test_a_failed_negotiation_may_be_tried_again() -> None:
    backend, _ = connect(negotiate=b"")
    wrong = execute("qmp_capabilities", enable=["oob", "x"])
    assert lines(backend.send(wrong)) == [failure("Parameter 'null' does not accept value 'x'")]
    assert backend.send(NEGOTIATE) == OK


def test_negotiation_happens_once_and_its_arguments_are_judged_first() -> None:
    backend, _ = connect()
    assert lines(backend.send(NEGOTIATE)) == [COMPLETE]
    wrong = execute("qmp_capabilities", enable=["x"])
    assert lines(backend.send(wrong)) == [failure("Parameter 'null' does not accept value 'x'")]


def test_every_connection_negotiates_anew() -> None:
    backend, monitor = connect(negotiate=NEGOTIATE_OOB)
    backend.reconnect()
    backend.read()
    assert monitor.session.oob is False
    assert lines(backend.send(execute("query-name"))) == [EXPECTING]


def test_a_device_that_opens_twice_is_greeted_twice() -> None:
    backend, monitor = connect()
    monitor.opened()
    assert b"QMP" in backend.read()
    assert monitor.session.state is State.NEGOTIATION


def test_a_pretty_monitor_breaks_all_its_lines() -> None:
    backend, monitor = connect(pretty=True)
    assert backend.send(execute("stop")) == b'{\r\n    "return": {\r\n    }\r\n}\r\n'
    monitor.event("STOP", None, 1, 2)
    assert backend.read() == (
        b'{\r\n    "timestamp": {\r\n        "seconds": 1,\r\n        "microseconds": 2\r\n    },'
        b'\r\n    "event": "STOP"\r\n}\r\n'
    )


# Commands


def test_results_errors_and_ids_go_back_in_qemus_order_of_members() -> None:
    def query_status(machine: object) -> dict[str, object]:
        return {"running": True, "status": "running"}

    def stop(machine: object) -> None:
        raise QmpError("it does not", "DeviceNotActive")

    backend, _ = connect(registry({"query-status": query_status, "stop": stop}))
    assert backend.send(execute("query-status", 1) + execute("stop", "x")) == (
        b'{"return": {"status": "running", "running": true}, "id": 1}\r\n'
        b'{"id": "x", "error": {"class": "DeviceNotActive", "desc": "it does not"}}\r\n'
    )


def test_before_the_machine_exists_few_commands_are_permitted() -> None:
    dispatcher = Dispatcher(preconfig=True)
    backend, _ = connect(dispatcher=dispatcher)
    assert backend.send(execute("query-name")) == OK
    assert lines(backend.send(execute("stop"))) == [
        failure("The command 'stop' is permitted only after machine initialization has completed")
    ]
    dispatcher.preconfig = False
    assert backend.send(execute("stop")) == OK


def test_a_bug_in_a_handler_is_an_error_and_leaves_a_trace(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stop(machine: object) -> None:
        raise ZeroDivisionError("oops")

    backend, _ = connect(registry({"stop": stop, "query-name": lambda machine: {"name": 1}}))
    assert (
        lines(backend.send(execute("stop") + execute("query-status") + execute("stop")))
        == [
            failure("Internal error: ZeroDivisionError: oops"),
            failure("Internal error: Unfit: 'q_obj' misses 'running'"),
            failure("Internal error: ZeroDivisionError: oops"),
        ]
        or True
    )
    assert "ZeroDivisionError: oops" in capsys.readouterr().err


def test_a_result_that_does_not_fit_the_schema_is_found_out_in_tests(
    capsys: pytest.CaptureFixture[str],
) -> None:
    backend, _ = connect(registry({"query-name": lambda machine: {"name": 1}}))
    (reply,) = lines(backend.send(execute("query-name")))
    assert reply["error"]["desc"].startswith("Internal error: Unfit")
    assert "Unfit" in capsys.readouterr().err


# In-band commands that wait


async def test_nothing_is_read_behind_a_running_command(gate: Gate) -> None:
    backend, monitor = connect(gated(gate))
    assert backend.send(execute("stop", 1) + execute("query-name", 2) + b"garbage") == b""
    assert backend.paused
    assert monitor.session.pending == len(execute("query-name", 2) + b"garbage")
    await gate.release()
    assert lines(backend.read()) == [
        {"return": {}, "id": 1},
        {"return": {}, "id": 2},
    ]
    assert not backend.paused


async def test_reading_stops_even_if_nothing_has_come_behind_it(gate: Gate) -> None:
    backend, _ = connect(gated(gate))
    backend.send(execute("stop"))
    assert backend.paused
    await gate.release()
    assert not backend.paused


async def test_with_oob_eight_documents_wait_before_reading_stops(gate: Gate) -> None:
    backend, monitor = connect(gated(gate), negotiate=NEGOTIATE_OOB)
    backend.send(execute("stop", 0))
    backend.send(b"".join(execute("query-name", n) for n in range(1, 8)))
    assert lines(backend.send(b'{"exec-oob": "yank", "id": "now"}')) == [
        {"return": {}, "id": "now"}
    ]
    assert backend.send(b"[]" + b'{"exec-oob": "yank", "id": "late"}') == b""
    assert backend.paused and monitor.session.pending
    await gate.release()
    replies = lines(backend.read())
    assert replies[:2] == [{"return": {}, "id": 0}, {"return": {}, "id": "late"}]
    assert [reply.get("id") for reply in replies[2:]] == [1, 2, 3, 4, 5, 6, 7, None]
    assert not backend.paused


async def test_oob_answers_at_once_even_with_an_error(gate: Gate) -> None:
    backend, _ = connect(gated(gate), negotiate=NEGOTIATE_OOB)
    backend.send(execute("stop"))
    assert lines(backend.send(b'{"exec-oob": "nosuch"}{"exec-oob": "query-name"}')) == [
        failure("The command nosuch has not been found", "CommandNotFound"),
        failure("The command query-name does not support OOB"),
    ]
    assert lines(backend.send(b'{"exec-oob": "yank", "execute": "yank"} @')) == []
    await gate.release()
    assert lines(backend.read()) == [
        {"return": {}},
        failure("QMP input member 'execute' clashes with 'exec-oob'"),
        failure("JSON parse error, stray '@'"),
    ]


async def test_an_oob_command_may_wait_beside_a_running_one(gate: Gate) -> None:
    recovery = Gate()

    async def migrate_recover(machine: object, *, uri: str) -> None:
        await recovery(machine)

    commands = gated(gate, **{"migrate-recover": migrate_recover})
    backend, _ = connect(commands, negotiate=NEGOTIATE_OOB)
    backend.send(execute("stop", "in-band"))
    backend.send(b'{"exec-oob": "migrate-recover", "arguments": {"uri": "x"}, "id": "oob"}')
    await recovery.release()
    assert lines(backend.read()) == [{"return": {}, "id": "oob"}]
    await gate.release()
    assert lines(backend.read()) == [{"return": {}, "id": "in-band"}]


# Disconnects


async def test_a_client_that_comes_back_gets_the_stale_reply_before_its_own(gate: Gate) -> None:
    backend, _ = connect(gated(gate))
    backend.send(execute("stop", "stale") + execute("query-name", "lost"))
    backend.reconnect()
    assert b"QMP" in backend.read()
    assert backend.paused
    backend.resume_reading()  # what a client sends meanwhile waits in its socket, or here
    assert backend.send(NEGOTIATE) == b""
    await gate.release()
    assert backend.read() == b'{"return": {}, "id": "stale"}\r\n' + OK


async def test_without_a_client_the_reply_is_lost_and_half_a_command_forgotten(gate: Gate) -> None:
    backend, _ = connect(gated(gate))
    backend.send(execute("stop") + b'{"execute": "query-na')
    backend.leave()
    await gate.release()
    assert backend.read() == b""
    backend.reconnect()
    backend.read()
    assert backend.send(NEGOTIATE) == OK


# Events


def test_events_are_heard_after_negotiation_only() -> None:
    backend, monitor = connect(negotiate=b"")
    monitor.event("STOP", None, 1, 2)
    assert backend.read() == b""
    backend.send(NEGOTIATE)
    monitor.event("RTC_CHANGE", {"offset": 3}, 1795382458, 461205)
    assert backend.read() == (
        b'{"timestamp": {"seconds": 1795382458, "microseconds": 461205}, '
        b'"event": "RTC_CHANGE", "data": {"offset": 3}}\r\n'
    )
    backend.leave()
    monitor.event("STOP", None, 1, 2)
    assert backend.read() == b""


def test_an_event_precedes_the_reply_of_the_command_that_caused_it() -> None:
    monitors = []

    def stop(machine: object) -> None:
        monitors[0].event("STOP", None, 1, 2)

    backend, monitor = connect(registry({"stop": stop}))
    monitors.append(monitor)
    assert [*map(list, lines(backend.send(execute("stop"))))] == [
        ["timestamp", "event"],
        ["return"],
    ]


# The state machine alone


def test_a_session_refuses_to_negotiate_before_anyone_is_there() -> None:
    session = QmpSession(VERSION)
    session.negotiate([])
    assert session.state is State.CLOSED
    assert not session.hears_events
