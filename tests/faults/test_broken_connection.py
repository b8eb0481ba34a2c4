"""A connection that breaks at any system call of a migration: exactly one side can run the guest.

The break is that of a real connection: what was sent before it arrives, nothing does after it.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import socket
import threading
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.stand import PAGE, SECOND, Subject
from vmd.chardev import address
from vmd.migration import return_path
from vmd.migration.channels import stream
from vmd.migration.channels.socket import FULL_NS
from vmd.migration.incoming import UNHEARD, Incoming
from vmd.migration.sending import Sending
from vmd.runstate import RunState

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 1 << 18


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class BreaksAt:
    """`os` as the channels see it: the connection breaks at the call `number` of this name.

    Of a write `part` of the bytes still goes out: 0.5 is half of them, -1 all but one.
    """

    def __init__(self, name: str, number: int, part: float = 0.5) -> None:
        self._name = name
        self._number = number
        self._part = part
        self._lock = threading.Lock()
        self.calls = 0
        self.struck = False

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name != self._name:
            return real

        def call(fd: int, views: Any) -> Any:
            with self._lock:
                self.calls += 1
                strikes = self.calls == self._number + 1
            if not strikes:
                return real(fd, views)
            self.struck = True
            with socket.socket(fileno=os.dup(fd)) as connection:
                written = self._write_some(connection, views) if name == "writev" else 0
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            if written:  # the next call finds the connection broken
                return written
            raise OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))

        return call

    def _write_some(self, connection: socket.socket, views: list[memoryview]) -> int:
        data = b"".join(views)
        count = len(data) - 1 if self._part < 0 else int(len(data) * self._part)
        connection.setblocking(True)
        connection.sendall(data[:count])
        connection.setblocking(False)
        return count


def pair(mode: str, state: RunState, names: tuple[str, ...]) -> tuple[Subject, Subject]:
    source, target = Subject(SIZE), Subject(SIZE, incoming=True)
    source.fill()
    source.clock.advance(SECOND)
    source.migration.options.set_parameters({"mode": mode, "max-bandwidth": 1 << 20})
    source.migration.set_capabilities([(name, True) for name in names])
    source.bring_to(state)
    source.events.clear()
    target.migration.migrate_incoming("unix:in", exit_on_error=False)
    return source, target


def status(subject: Subject) -> object:
    return subject.migration.query().get("status")


async def ends(source: Subject, target: Subject) -> None:
    source.migration.migrate("unix:in")
    await source.ended()
    if status(target) == "setup":  # nobody ever came
        target.machine.exit(0)
    else:
        await target.ended()


def one_side_can_run(source: Subject, target: Subject, ram: bytes, state: RunState) -> None:
    """The guest is here or there, whole, and not in both places."""
    if status(target) == "completed" and UNHEARD in target.reports:
        assert target.state is RunState.PAUSED, "the source has its guest back"
        assert bytes(target.block.view[PAGE:]) == ram[PAGE:]
    elif status(target) == "completed":
        assert source.state is RunState.POSTMIGRATE, "the guest lives over there"
        assert target.state is state
        assert bytes(target.block.view[PAGE:]) == ram[PAGE:]
        assert target.count >= count_in(ram)
        return
    else:
        assert target.state is RunState.INMIGRATE
    assert bytes(source.block.view[PAGE:]) == ram[PAGE:]
    if source.state is RunState.POSTMIGRATE:
        assert status(source) == "completed", "everything went out, as far as could be seen"
        if state is not RunState.SUSPENDED:
            source.machine.cont()
            goes_on(source)
        return
    assert status(source) == "failed"
    assert source.state is state
    assert source.names().count("STOP") == source.names().count("RESUME")
    if state is RunState.RUNNING:
        goes_on(source)


def count_in(ram: bytes) -> int:
    subject = Subject(SIZE, paused=True)
    subject.block.write(0, ram)
    count = subject.count
    subject.close()
    return count


def goes_on(subject: Subject) -> None:
    before = subject.count
    subject.clock.advance(SECOND)
    assert subject.count > before


async def breaks_at_each(
    call: str,
    mode: str,
    state: RunState,
    names: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    parts: tuple[float, ...] = (0,),
) -> int:
    """Break the connection at one call after the other; how many there were."""
    for part in parts:
        for number in itertools.count():
            source, target = pair(mode, state, names)
            ram = bytes(source.block.view)
            breaks = BreaksAt(call, number, part)
            for module in (stream, return_path):
                monkeypatch.setattr(module, "os", breaks)
            await ends(source, target)
            for module in (stream, return_path):
                monkeypatch.setattr(module, "os", os)
            one_side_can_run(source, target, ram, state)
            assert (status(source) == status(target) == "completed") or breaks.struck
            source.close()
            target.close()
            if not breaks.struck:
                break
    return breaks.calls


STATES = (RunState.RUNNING, RunState.PAUSED, RunState.SUSPENDED)
PARTS = {"writev": (0, 0.5, -1), "readv": (0,)}


MODES = pytest.mark.parametrize(
    ("mode", "state"),
    [("normal", RunState.RUNNING), *(("cpr-reboot", state) for state in STATES)],
    ids=lambda value: getattr(value, "value", value),
)


@pytest.mark.parametrize("names", [(), ("return-path",)], ids=["", "answered"])
@MODES
@pytest.mark.parametrize("call", PARTS)
async def test_one_side_can_run_whichever_call_breaks(
    call: str,
    mode: str,
    state: RunState,
    names: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = await breaks_at_each(call, mode, state, names, monkeypatch, PARTS[call])
    # How much one read brings is the kernel's affair; the writes are ours.
    assert calls >= (4 if call == "writev" else 1)


@pytest.mark.parametrize("call", ["read", "write"])
@MODES
async def test_one_side_can_run_whichever_word_on_the_way_back_breaks(
    call: str, mode: str, state: RunState, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of the answers a PONG and the last word are written, and the source reads both.
    calls = await breaks_at_each(call, mode, state, ("return-path",), monkeypatch)
    assert calls >= (2 if call == "write" else 1)


@MODES
async def test_a_cancel_that_crosses_with_the_last_word_does_not_let_the_guest_run_twice(
    mode: str, state: RunState, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = pair(mode, state, ("return-path",))
    shut = return_path.Answers.shut

    def shut_and_cancel(answers: return_path.Answers, *, failed: bool) -> bool:
        heard = shut(answers, failed=failed)
        source.migration.cancel()
        return heard

    monkeypatch.setattr(return_path.Answers, "shut", shut_and_cancel)
    await ends(source, target)
    assert (status(source), status(target)) == ("cancelled", "completed")
    assert source.state is RunState.POSTMIGRATE
    assert target.state is state
    source.close()
    target.close()


@MODES
async def test_a_cancel_before_the_last_word_leaves_the_guest_where_it_is(
    mode: str, state: RunState, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = pair(mode, state, ("return-path",))
    ram = bytes(source.block.view)
    load, loop = Incoming._load, asyncio.get_running_loop()
    wait_for_shut, all_is_sent = Sending._wait_for_shut, asyncio.Event()

    async def wait_and_say_so(sending: Sending, path: return_path.ReturnPath) -> None:
        all_is_sent.set()
        await wait_for_shut(sending, path)

    async def give_up() -> None:
        await all_is_sent.wait()
        source.migration.cancel()
        await source.ended()

    def load_and_hesitate(incoming: Incoming, *how: Any) -> Any:
        arrival = load(incoming, *how)
        asyncio.run_coroutine_threadsafe(give_up(), loop).result()
        return arrival

    monkeypatch.setattr(Sending, "_wait_for_shut", wait_and_say_so)
    monkeypatch.setattr(Incoming, "_load", load_and_hesitate)
    await ends(source, target)
    assert (status(source), status(target)) == ("cancelled", "completed")
    assert source.state is state
    assert bytes(source.block.view[PAGE:]) == ram[PAGE:]
    assert target.state is RunState.PAUSED
    assert UNHEARD in target.reports
    source.close()
    target.close()


CANNOT_CONNECT = (errno.ECONNREFUSED, errno.ENOENT, errno.EAGAIN, errno.ETIMEDOUT, errno.EMFILE)


@pytest.mark.parametrize("number", CANNOT_CONNECT, ids=errno.errorcode.get)
@MODES
async def test_a_connection_that_does_not_come_about_leaves_the_guest_where_it_is(
    mode: str, state: RunState, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> Any:
        raise OSError(number, os.strerror(number))

    source, target = pair(mode, state, ())
    ram = bytes(source.block.view)
    with monkeypatch.context() as failing:
        if number == errno.EMFILE:  # descriptors run out before anybody is called
            sockets = SimpleNamespace(**{**vars(socket), "socket": fails})
            failing.setattr(address, "socket", sockets)
        else:
            failing.setattr(address, "connect_waiting", fails)
        await ends(source, target)
    one_side_can_run(source, target, ram, state)
    assert source.names() == ["setup", "failed"], "the guest was never stopped"
    what = "create socket" if number == errno.EMFILE else "connect to 'in'"
    reason = f"Failed to {what}: {os.strerror(number)}"
    assert source.migration.query()["error-desc"] == reason
    other = Subject(SIZE, incoming=True, paused=True)
    other.migration.migrate_incoming("unix:again", exit_on_error=False)
    source.migration.migrate("unix:again")
    await source.ended()
    await other.ended()
    assert status(source) == status(other) == "completed"
    assert bytes(source.block.view) == bytes(other.block.view)
    for subject in (source, target, other):
        subject.close()


class Full:
    """A process that has no descriptor left when sources knock, so many times."""

    def __init__(self, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.knocks: list[socket.socket] = []
        self._times = times
        self._accept = socket.socket.accept
        self._turned_away = asyncio.Event()
        monkeypatch.setattr(socket.socket, "accept", lambda listener: self._let_in(listener))

    def _let_in(self, listener: socket.socket) -> Any:
        self.knocks.append(listener)
        if len(self.knocks) > self._times:
            return self._accept(listener)
        self._turned_away.set()
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def turns_away(self) -> None:
        """Wait until a source was not let in; nobody looks at the listener then."""
        await self._turned_away.wait()
        self._turned_away.clear()
        assert not asyncio.get_running_loop().remove_reader(self.knocks[-1])


async def test_a_source_that_could_not_be_let_in_is_let_in_by_the_next_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, target = pair("cpr-reboot", RunState.RUNNING, ())
    full = Full(3, monkeypatch)
    source.migration.migrate("unix:in")
    for _ in range(3):
        await full.turns_away()
        target.clock.advance(FULL_NS)
    await source.ended()
    await target.ended()
    assert len(full.knocks) == 4
    assert status(source) == status(target) == "completed"
    assert target.state is RunState.RUNNING
    source.close()
    target.close()


async def test_a_listener_that_is_closed_looks_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = pair("cpr-reboot", RunState.RUNNING, ())
    full = Full(9, monkeypatch)
    source.migration.migrate("unix:in")
    await full.turns_away()
    target.machine.exit(0)
    target.clock.advance(FULL_NS)
    await source.ended()
    assert len(full.knocks) == 1
    source.close()
    target.close()


async def test_after_a_break_the_next_try_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = pair("normal", RunState.RUNNING, ())
    monkeypatch.setattr(stream, "os", BreaksAt("writev", 2))
    await ends(source, target)
    monkeypatch.setattr(stream, "os", os)
    assert status(source) == "failed"
    target.close()
    other = Subject(SIZE, incoming=True, paused=True)
    other.migration.migrate_incoming("unix:in", exit_on_error=False)
    await ends(source, other)
    assert status(source) == status(other) == "completed"
    assert bytes(source.block.view) == bytes(other.block.view)
    source.close()
    other.close()


async def test_a_cancel_too_late_does_not_let_the_guest_run_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, target = pair("cpr-reboot", RunState.RUNNING, ())
    real = os.writev

    class Late:
        def __getattr__(self, name: str) -> Any:
            return self.writev if name == "writev" else getattr(os, name)

        def writev(self, fd: int, views: list[memoryview]) -> int:
            written = real(fd, views)
            if any(b"globalstate" in bytes(view) for view in views):
                told = threading.Event()
                loop.call_soon_threadsafe(source.migration.cancel)
                loop.call_soon_threadsafe(told.set)
                told.wait()
            return written

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(stream, "os", Late())
    await ends(source, target)
    assert status(source) == "cancelled"
    assert status(target) == "completed"
    assert source.state is RunState.POSTMIGRATE
    assert target.state is RunState.RUNNING
    source.close()
    target.close()
