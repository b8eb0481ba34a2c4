"""QMP monitors in one process: turns, limits, file descriptors, the end."""

from __future__ import annotations

from typing import Any

import pytest

from monitor import server
from monitor.dispatcher import TURN, Dispatcher
from monitor.server import broadcast_event
from tests.monitor.stand import OK, Gate, connect, execute, lines, registry, turns


def test_the_replies_to_one_packet_are_one_write() -> None:
    backend, _ = connect()
    assert backend.frontend is not None
    backend.frontend.received(execute("stop") * 50)
    assert backend.writes == [OK * 50]


async def test_a_long_pipeline_is_cut_into_turns_of_the_loop() -> None:
    backend, _ = connect()
    assert backend.frontend is not None
    backend.frontend.received(execute("stop") * (2 * TURN + 1))
    assert backend.writes == [OK * TURN]
    while backend.paused:
        await turns()
    assert backend.writes == [OK * TURN, OK * TURN, OK]


async def test_a_turn_with_long_answers_has_fewer_commands() -> None:
    commands = registry({"query-name": lambda machine: {"name": "x" * 100_000}})
    backend, _ = connect(commands)
    some = len(lines(backend.send(execute("query-name") * TURN)))
    assert 0 < some < TURN / 10
    while backend.paused:
        await turns()
    assert some + len(lines(backend.read())) == TURN


async def test_monitors_take_turns_one_command_each() -> None:
    dispatcher = Dispatcher()
    order: list[str] = []
    gate = Gate()

    def note(name: str) -> Any:
        return registry({"stop": gate.__call__, "query-name": lambda machine: order.append(name)})

    left, _ = connect(note("left"), dispatcher)
    right, _ = connect(note("right"), dispatcher)
    left.send(execute("stop") + execute("query-name") * 3)
    assert right.send(execute("query-name") * 2) == b""
    await gate.release()
    assert order == ["right", "left", "right", "left", "left"]
    assert left.read() == OK * 4
    assert right.read() == OK * 2


async def test_a_waiting_command_holds_up_all_monitors_but_the_loop_goes_on() -> None:
    dispatcher = Dispatcher()
    gate = Gate()
    left, _ = connect(registry({"stop": gate.__call__}), dispatcher)
    right, _ = connect(dispatcher=dispatcher)
    left.send(execute("stop"))
    assert right.send(execute("query-name")) == b""
    await turns(10)
    assert dispatcher.busy
    assert right.read() == b""
    await gate.release()
    assert right.read() == OK
    assert not dispatcher.busy


async def test_an_error_of_a_waiting_command_is_answered(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def stop(machine: object) -> None:
        raise ZeroDivisionError("oops")

    backend, _ = connect(registry({"stop": stop}))
    backend.send(execute("stop", 1) + execute("query-name", 2))
    await turns(10)
    assert [reply["id"] for reply in lines(backend.read())] == [1, 2]
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_commands_behind_quit_are_not_run_on_any_monitor() -> None:
    dispatcher = Dispatcher()
    ran = []
    commands = registry(
        {"quit": lambda machine: dispatcher.stop(), "stop": lambda machine: ran.append(1)}
    )
    backend, _ = connect(commands, dispatcher)
    other, _ = connect(commands, dispatcher)
    assert backend.send(execute("quit") + execute("stop")) == OK
    assert other.send(execute("stop")) == b""
    assert ran == []


def test_a_client_that_does_not_read_is_not_read_from_beyond_the_mark(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "HIGH_WATER", 1000)
    monkeypatch.setattr(server, "GATHER", 100)
    dispatcher = Dispatcher()
    backend, _ = connect(dispatcher=dispatcher)
    other, _ = connect(dispatcher=dispatcher)
    backend.reads_nothing = True
    answered = backend.send(execute("stop") * 100)
    assert len(OK) * 100 > len(answered) > 1000
    assert backend.paused
    assert other.send(execute("stop")) == OK
    backend.reads_nothing = False
    backend.catch_up()
    assert answered + backend.read() == OK * 100
    assert not backend.paused


def test_a_client_that_never_reads_loses_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HARD_LIMIT", 1000)
    dispatcher = Dispatcher()
    backend, monitor = connect(dispatcher=dispatcher)
    other, another = connect(dispatcher=dispatcher)
    backend.reads_nothing = True
    for _ in range(100):
        broadcast_event([monitor, another], "STOP", None, 1, 2)
    assert backend.disconnected
    assert len(backend.read()) < 1200
    assert len(lines(other.read())) == 100
    backend.reads_nothing = False
    backend.reconnect()
    assert b"QMP" in backend.read()


def test_a_broadcast_gives_each_monitor_its_own_format() -> None:
    dispatcher = Dispatcher()
    pairs = [connect(dispatcher=dispatcher, pretty=pretty) for pretty in (False, True, False)]
    broadcast_event((monitor for _, monitor in pairs), "STOP", None, 1, 2)
    plain, pretty, same = (backend.read() for backend, _ in pairs)
    assert plain == same == b'{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP"}\r\n'
    assert pretty.count(b"\r\n") == 7


def test_an_event_that_does_not_fit_the_schema_is_found_out_in_tests() -> None:
    _, monitor = connect()
    with pytest.raises(AssertionError):
        monitor.event("RTC_CHANGE", {"offset": "x"}, 1, 2)


def test_descriptors_that_came_along_are_taken_through_the_monitor_and_named_for_good() -> None:
    def getfd(machine: object, monitor: Any, *, fdname: str) -> None:
        monitor.fds[fdname] = monitor.take_fd()

    backend, monitor = connect(registry(session_handlers={"getfd": getfd}))
    backend.fds = [7]
    assert backend.send(execute("getfd", fdname="x")) == OK
    backend.reconnect()
    assert monitor.fds == {"x": 7}
