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
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.stand import PAGE, SECOND, Subject
from vmd.chardev import address
from vmd.migration.channels import stream
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
    if status(target) == "completed":
        assert source.state is RunState.POSTMIGRATE, "the guest lives over there"
        assert target.state is state
        assert bytes(target.block.view[PAGE:]) == ram[PAGE:]
        assert target.count >= count_in(ram)
        return
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


STATES = (RunState.RUNNING, RunState.PAUSED, RunState.SUSPENDED)
PARTS = {"writev": (0, 0.5, -1), "readv": (0,)}


@pytest.mark.parametrize("names", [(), ("return-path",)], ids=["", "answered"])
@pytest.mark.parametrize(
    ("mode", "state"),
    [("normal", RunState.RUNNING), *(("cpr-reboot", state) for state in STATES)],
    ids=lambda value: getattr(value, "value", value),
)
@pytest.mark.parametrize("call", PARTS)
async def test_one_side_can_run_whichever_call_breaks(
    call: str,
    mode: str,
    state: RunState,
    names: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for part in PARTS[call]:
        for number in itertools.count():
            source, target = pair(mode, state, names)
            ram = bytes(source.block.view)
            breaks = BreaksAt(call, number, part)
            monkeypatch.setattr(stream, "os", breaks)
            await ends(source, target)
            monkeypatch.setattr(stream, "os", os)
            one_side_can_run(source, target, ram, state)
            assert (status(source) == status(target) == "completed") or breaks.struck
            source.close()
            target.close()
            if not breaks.struck:
                break
        # How much one read brings is the kernel's affair; the writes are ours.
        assert breaks.calls >= (4 if call == "writev" else 1)


async def test_a_listener_that_cannot_be_reached_leaves_the_guest_where_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(peer: socket.socket, name: object) -> None:
        raise OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))

    source, target = pair("cpr-reboot", RunState.RUNNING, ())
    ram = bytes(source.block.view)
    monkeypatch.setattr(address, "connect_waiting", refused)
    await ends(source, target)
    one_side_can_run(source, target, ram, RunState.RUNNING)
    assert source.migration.query()["error-desc"] == "Failed to connect to 'in': Connection refused"
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
