"""A human monitor on a character device: prompts, waiting input, clients that come and go."""

from __future__ import annotations

import asyncio
from typing import Any

from monitor.dispatcher import Dispatcher
from monitor.hmp import Hmp, HmpCommand, HmpRegistry, hmp_info_history
from monitor.hmp_server import HIGH_WATER, HmpMonitor
from qapi.error import QmpError
from tests.monitor.demo import Machine, registry
from tests.monitor.stand import Backend

BANNER = b"QEMU 10.0.2 monitor - type 'help' for more information\r\n"
PROMPT = b"(qemu) "


def connect(
    *commands: HmpCommand, dispatcher: Dispatcher | None = None
) -> tuple[Backend, HmpMonitor]:
    """A monitor whose client has read banner and prompt; without commands, the demo's."""
    backend = Backend()
    table = HmpRegistry(commands) if commands else registry()
    monitor = HmpMonitor(backend, table, Machine(), dispatcher or Dispatcher())
    assert backend.read() == BANNER + PROMPT
    return backend, monitor


def last_lines(data: bytes) -> bytes:
    """What was shown behind the echo of the (first) line."""
    return data.partition(b"\r\n")[2]


def says(name: str, text: str) -> HmpCommand:
    def handler(machine: object, hmp: Hmp) -> None:
        hmp.print(text)

    return HmpCommand(name, handler=handler)


class Gate:
    """An async command that ends when the test opens the gate."""

    def __init__(self, name: str = "wait", held: bool = False) -> None:
        self.opened = asyncio.Event()
        self.command = HmpCommand(name, handler=self._hold if held else self._wait)

    async def _wait(self, machine: object, hmp: Hmp) -> None:
        await self.opened.wait()
        hmp.print("through\n")

    def _hold(self, machine: object, hmp: Hmp) -> None:
        hmp.hold(self._wait(machine, hmp))


async def settle() -> None:
    """Let everything run that is ready."""
    for _ in range(5):
        await asyncio.get_running_loop().run_in_executor(None, bool)


def test_a_command_answers_and_the_prompt_comes_back() -> None:
    backend, _ = connect()
    assert last_lines(backend.send(b"info status\n")) == b"VM status: running\r\n" + PROMPT


def test_a_line_is_echoed_before_it_runs() -> None:
    seen: list[bytes] = []
    backend, _ = connect(HmpCommand("a", handler=lambda machine, hmp: seen.append(backend.read())))
    backend.send(b"a\n")
    assert seen == [b"a\x1b[K\r\n"]


def test_output_and_prompt_come_in_one_write() -> None:
    backend, _ = connect(says("a", "one\ntwo\n"))
    assert backend.frontend is not None
    backend.frontend.received(b"a\n")
    assert backend.writes == [b"a\x1b[K\r\n", b"one\r\ntwo\r\n" + PROMPT]


def test_every_line_of_one_packet_is_run() -> None:
    backend, _ = connect(says("a", "one\n"), says("b", "two\n"))
    shown = backend.send(b"a\nb\n\na\n")
    assert shown.count(b"one\r\n") == 2 and shown.count(b"two\r\n") == 1
    assert shown.count(PROMPT) == 4


def test_quit_leaves_no_prompt_and_runs_nothing_more() -> None:
    backend, monitor = connect()
    assert last_lines(backend.send(b"quit\nchardev-remove x\n")) == b""
    machine: Any = monitor.session.hmp.machine
    assert machine.calls == []
    assert backend.paused


async def test_input_waits_behind_a_running_command() -> None:
    gate = Gate()
    backend, _ = connect(gate.command, says("a", "one\n"))
    assert last_lines(backend.send(b"wait\na\n")) == b""
    assert backend.paused
    gate.opened.set()
    await settle()
    assert backend.read() == b"through\r\n" + PROMPT + b"a\x1b[K\r\none\r\n" + PROMPT
    assert not backend.paused


async def test_a_running_command_makes_other_monitors_wait() -> None:
    dispatcher = Dispatcher()
    gate = Gate()
    first, _ = connect(gate.command, dispatcher=dispatcher)
    second, _ = connect(says("a", "one\n"), dispatcher=dispatcher)
    first.send(b"wait\n")
    assert last_lines(second.send(b"a\n")) == b""
    gate.opened.set()
    await settle()
    assert second.read() == b"one\r\n" + PROMPT


async def test_a_held_prompt_makes_only_its_own_monitor_wait() -> None:
    dispatcher = Dispatcher()
    gate = Gate(held=True)
    first, _ = connect(gate.command, says("a", "one\n"), dispatcher=dispatcher)
    second, _ = connect(says("a", "one\n"), dispatcher=dispatcher)
    assert last_lines(first.send(b"wait\na\n")) == b""
    assert last_lines(second.send(b"a\n")) == b"one\r\n" + PROMPT
    gate.opened.set()
    await settle()
    assert first.read() == b"through\r\n" + PROMPT + b"a\x1b[K\r\none\r\n" + PROMPT


async def test_an_async_command_that_fails_prints_its_error() -> None:
    async def handler(machine: object, hmp: Hmp) -> None:
        raise QmpError("no")

    backend, _ = connect(HmpCommand("fail", handler=handler))
    backend.send(b"fail\n")
    await settle()
    assert backend.read().endswith(b"Error: no\r\n" + PROMPT)


def test_a_new_client_is_greeted_and_the_half_typed_line_is_gone() -> None:
    backend, _ = connect()
    backend.send(b"info sta")
    backend.reconnect()
    assert backend.read() == BANNER + PROMPT
    assert last_lines(backend.send(b"info name\n")) == PROMPT


def test_history_and_default_cpu_outlive_a_connection() -> None:
    def cpu(machine: object, hmp: Hmp, index: int) -> None:
        hmp.cpu_index = index

    def which(machine: object, hmp: Hmp) -> None:
        hmp.print(f"{hmp.cpu_index}\n")

    backend, _ = connect(
        HmpCommand("cpu", "index:i", handler=cpu),
        HmpCommand("which", handler=which),
        HmpCommand("history", handler=hmp_info_history),
    )
    backend.send(b"cpu 3\n")
    backend.reconnect()
    backend.read()
    assert last_lines(backend.send(b"which\n")) == b"3\r\n" + PROMPT
    assert b"0: 'cpu 3'\r\n1: 'which'\r\n2: 'history'\r\n" in backend.send(b"history\n")


async def test_lines_sent_before_the_client_left_are_still_run() -> None:
    gate = Gate()
    ran: list[str] = []

    def note(machine: object, hmp: Hmp) -> None:
        ran.append("note")

    backend, _ = connect(gate.command, HmpCommand("note", handler=note))
    backend.send(b"wait\nnote\nnote")
    backend.leave()
    gate.opened.set()
    await settle()
    assert ran == ["note"]
    assert backend.read() == b""


async def test_a_client_that_comes_while_a_command_runs_gets_its_prompt_later() -> None:
    gate = Gate()
    backend, _ = connect(gate.command)
    backend.send(b"wait\n")
    backend.reconnect()
    assert backend.read() == BANNER
    gate.opened.set()
    await settle()
    assert backend.read() == b"through\r\n" + PROMPT


def test_a_client_that_does_not_read_is_not_read_from() -> None:
    backend, _ = connect(says("a", "x" * HIGH_WATER + "\n"), says("b", "one\n"))
    backend.reads_nothing = True
    backend.send(b"a\nb\n")
    assert backend.paused
    assert b"one" not in backend.read()
    backend.reads_nothing = False
    backend.catch_up()
    assert b"one" in backend.read()
    assert not backend.paused


def test_a_password_is_asked_for_and_handed_over() -> None:
    backend, monitor = connect()
    assert backend.send(b"change vnc password\n").endswith(b"\r\nPassword: ")
    assert backend.send(b"pw\n") == b"*\x1b[K\x1b[D**\x1b[K\r\n" + PROMPT
    machine: Any = monitor.session.hmp.machine
    assert machine.password == "pw"


def test_a_refused_password_prints_the_error() -> None:
    def ask(machine: object, hmp: Hmp) -> None:
        hmp.read_password(refuse)

    def refuse(password: str) -> None:
        raise QmpError(f"'{password}' is too short")

    backend, _ = connect(HmpCommand("ask", handler=ask))
    backend.send(b"ask\n")
    assert last_lines(backend.send(b"x\n")) == b"Error: 'x' is too short\r\n" + PROMPT


# On a multiplexed terminal


def test_leaving_the_monitor_ends_the_line_and_coming_back_shows_the_prompt() -> None:
    backend, monitor = connect()
    backend.send(b"half")
    monitor.focus(False)
    assert backend.read() == b"\r\n"
    monitor.focus(True)
    assert backend.read() == PROMPT
    assert last_lines(backend.send(b"info name\n")) == PROMPT


async def test_what_a_command_prints_meanwhile_is_shown_on_coming_back() -> None:
    gate = Gate()
    backend, monitor = connect(gate.command)
    backend.send(b"wait\n")
    monitor.focus(False)
    gate.opened.set()
    await settle()
    assert backend.read() == b""
    monitor.focus(True)
    assert backend.read() == b"through\r\n" + PROMPT


def test_before_the_machine_exists_commands_are_refused() -> None:
    dispatcher = Dispatcher(preconfig=True)
    backend, _ = connect(dispatcher=dispatcher)
    assert b"Command 'stop' not available until" in backend.send(b"stop\n")
    dispatcher.preconfig = False
    assert b"not available" not in backend.send(b"stop\n")
