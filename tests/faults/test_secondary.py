"""A secondary whose primary breaks off or talks nonsense never loses the last whole checkpoint."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import socket
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.differential.primary import (
    NAMES,
    REQUEST,
    SEND,
    SIZE,
    VMSTATE,
    Checkpoint,
    Primary,
    devices,
    live,
    stream,
)
from tests.differential.scenes import capabilities, leave
from tests.differential.wires import GUARD
from tests.faults.stand import PAGE, Subject
from tests.vmd.stream_cases import (
    DESCRIBED,
    EOF,
    EOS,
    HEADER,
    be,
    command,
    config,
    end,
    globalstate,
    page,
    part,
    record,
    section,
    table,
)
from vmd.guest.guest import GuestOptions
from vmd.memory import RamBlock
from vmd.migration import secondary
from vmd.migration.channels.stream import IncomingStream, Interrupted
from vmd.migration.colo import MOST_DEVICES
from vmd.migration.colo_cache import RamCache
from vmd.runstate import RunState

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.differential.stage import Stage

OLD, NEW = b"old " * (PAGE // 4), b"new " * (PAGE // 4)
FIRST = Checkpoint(live(page(0, OLD), record(PAGE, 0x28, None, OLD)))
SECOND = Checkpoint(live(page(0, NEW), record(PAGE, 0x28, None, NEW)))
BEGUN = be(4, REQUEST) + be(4, SEND)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def whole(given: Checkpoint) -> bytes:
    """All that a primary says for it, if it waits for nothing."""
    return BEGUN + given.ram + given.size + given.devices


class Stand:
    """A secondary in this process, and the primary's end of its connection."""

    def __init__(self, block: RamBlock | None = None, board: str = "none") -> None:
        self.subject = Subject(
            board=board,
            block=block or RamBlock.anonymous("ram", SIZE),
            incoming=True,
            guest=GuestOptions(),
        )
        self.migration = self.subject.migration
        self.migration.set_capabilities([("x-colo", True)])
        self.migration.migrate_incoming("unix:in", exit_on_error=False)
        self.peer = socket.socket(socket.AF_UNIX)
        self.peer.connect("in")
        self.peer.setblocking(False)

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.peer, data)

    async def hear(self) -> str:
        """The next message, by name; "" at the end."""
        data = b""
        while len(data) < 4:
            try:
                more = await asyncio.get_running_loop().sock_recv(self.peer, 4 - len(data))
            except ConnectionResetError:  # it has closed with something unread
                more = b""
            if not more:
                return ""
            data += more
        return NAMES[int.from_bytes(data, "big")]

    async def stand_by(self, sent: bytes = b"") -> None:
        """Up to where the first checkpoint may come."""
        await self.send(sent or stream())
        assert await self.hear() == "READY"

    async def take(self, given: Checkpoint) -> None:
        await self.send(whole(given))
        assert [await self.hear() for _ in range(3)] == ["REPLY", "RECEIVED", "LOADED"]

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self.subject._happened.clear()
            await self.subject._happened.wait()

    async def broken(self) -> None:
        await self.until(lambda: "COLO_EXIT" in self.subject.names())

    async def take_over(self) -> None:
        """Lose the heartbeat, up to a machine that goes on."""
        waiting = self.migration.lost_heartbeat()
        if waiting is not None:
            await waiting
        await self.subject.ended()
        assert self.subject.state is RunState.RUNNING
        assert self.migration.query() == {"status": "completed"}
        assert self.migration.colo_status() == {
            "mode": "none",
            "last-mode": "secondary",
            "reason": "request",
        }

    def ram(self) -> bytes:
        return bytes(self.subject.block.view[: 2 * PAGE])

    def close(self) -> None:
        self.peer.close()
        self.subject.close()


async def after(sent: bytes, *, cut: bool) -> bytes:
    """The RAM of a machine that had the first checkpoint, got this, and took over."""
    stand = Stand()
    try:
        await stand.stand_by()
        await stand.take(FIRST)
        await stand.send(sent)
        if cut:
            stand.peer.close()
        await stand.broken()
        await stand.take_over()
        assert not [line for line in stand.subject.reports if "Error:" in line], "a bug"
        return stand.ram()
    finally:
        stand.close()


def cuts() -> list[int]:
    """Offsets at the seams of a checkpoint, and some between."""
    seams = [0, 4, 8, 8 + len(SECOND.ram), 20 + len(SECOND.ram), len(whole(SECOND))]
    near = {seam + step for seam in seams for step in (-1, 0, 1)}
    rng = random.Random(11)
    between = {rng.randrange(len(whole(SECOND))) for _ in range(20)}
    return sorted(at for at in near | between if 0 <= at < len(whole(SECOND)))


@pytest.mark.parametrize("at", cuts())
async def test_a_checkpoint_that_is_cut_anywhere_leaves_the_one_before(at: int) -> None:
    assert await after(whole(SECOND)[:at], cut=True) == OLD * 2


async def test_a_checkpoint_that_came_whole_counts_even_if_nobody_hears_so() -> None:
    stand = Stand()
    await stand.stand_by()
    await stand.send(whole(SECOND))
    stand.peer.shutdown(socket.SHUT_WR)
    await stand.broken()
    await stand.take_over()
    assert stand.ram() == NEW * 2
    stand.close()


@pytest.mark.parametrize(
    "given",
    [
        Checkpoint(SECOND.ram, b""),
        Checkpoint(SECOND.ram, devices()[:-1]),
        Checkpoint(SECOND.ram, devices()[:-30]),
        Checkpoint(SECOND.ram, b"\x09" + devices()),
        Checkpoint(SECOND.ram, globalstate(b"nonsense") + EOF),
        Checkpoint(SECOND.ram, globalstate(b"suspended") + EOF),
        Checkpoint(SECOND.ram, section(bytes(10), 9, "foo", 0, 1, 4) + EOF),
        Checkpoint(SECOND.ram[:-1] + b"\x09"),
        Checkpoint(end(page(0, NEW), record(9, 8, "foo", NEW)) + EOF),
        Checkpoint(end(page(0, NEW), record(SIZE, 0x28, None, NEW)) + EOF),
        Checkpoint(command(99) + SECOND.ram),
    ],
    ids=lambda given: repr(given.ram[-3:] + given.devices[:12]),
)
async def test_a_checkpoint_that_is_not_understood_leaves_the_one_before(given: Checkpoint) -> None:
    assert await after(whole(given), cut=False) == OLD * 2


async def test_a_byte_that_is_wrong_in_the_devices_is_taken_wholly_or_not_at_all() -> None:
    rng = random.Random(13)
    for _ in range(40):
        at = rng.randrange(len(SECOND.devices))
        data = bytearray(SECOND.devices)
        data[at] ^= rng.randrange(1, 256)
        sent = whole(Checkpoint(SECOND.ram, bytes(data)))
        assert await after(sent, cut=True) in (OLD * 2, NEW * 2)


async def test_more_devices_than_any_machine_has_are_not_waited_for() -> None:
    for size in (MOST_DEVICES + 1, (1 << 64) - 1):
        sent = BEGUN + SECOND.ram + be(4, VMSTATE) + be(8, size)
        assert await after(sent, cut=False) == OLD * 2


async def test_what_is_not_all_there_yet_costs_no_memory() -> None:
    stand = Stand()
    await stand.stand_by()
    await stand.send(BEGUN + SECOND.ram + be(4, VMSTATE) + be(8, MOST_DEVICES))
    assert await stand.hear() == "REPLY"
    with open("/proc/self/statm") as statm:
        before = int(statm.read().split()[1])
    await stand.send(b"x" * 100)
    with open("/proc/self/statm") as statm:
        assert int(statm.read().split()[1]) - before < 1000
    stand.peer.close()
    await stand.broken()
    stand.subject.machine.migration.abandon()
    stand.close()


async def test_it_takes_over_while_ram_comes_and_does_not() -> None:
    stand = Stand()
    await stand.stand_by()
    await stand.take(FIRST)
    await stand.send(BEGUN + SECOND.ram[:PAGE])
    assert await stand.hear() == "REPLY"
    assert stand.subject.state is RunState.COLO
    await stand.take_over()
    assert stand.ram() == OLD * 2
    assert await stand.hear() == ""
    stand.close()


async def test_it_takes_over_from_a_primary_that_takes_no_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer, stuck = IncomingStream.answer, threading.Event()

    def waits(channel: IncomingStream, data: bytes) -> bool:
        if len(data) == 8:  # a PONG
            stuck.set()
            channel.wire.wait(0)
            raise Interrupted
        return answer(channel, data)

    monkeypatch.setattr(IncomingStream, "answer", waits)
    stand = Stand()
    await stand.stand_by()
    await stand.take(FIRST)
    await stand.send(BEGUN + command(2, be(4, 7)))
    await asyncio.to_thread(stuck.wait, GUARD)
    await stand.take_over()
    assert stand.ram() == OLD * 2
    assert stand.subject.reports == []
    stand.close()


async def test_nothing_that_comes_once_it_has_taken_over_changes_it() -> None:
    stand = Stand()
    await stand.stand_by()
    await stand.take(FIRST)
    await stand.send(whole(SECOND))
    await stand.take_over()
    then = stand.ram()
    while await stand.hear():
        pass
    assert stand.ram() == then
    assert then in (OLD * 2, NEW * 2)
    assert stand.subject.state is RunState.RUNNING
    stand.close()


async def test_without_memory_for_the_copy_the_stream_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_room(blocks: object, *, ignore_shared: bool) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(secondary, "RamCache", no_room)
    stand = Stand()
    await stand.send(stream())
    assert await stand.hear() == ""
    await stand.subject.ended()
    assert stand.migration.query() == {
        "status": "failed",
        "error-desc": "load of migration failed: Cannot allocate memory",
    }
    assert stand.subject.state is RunState.INMIGRATE
    stand.close()


async def test_without_room_for_a_checkpoint_no_more_are_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(cache: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    stand = Stand()
    await stand.stand_by()
    await stand.take(FIRST)
    monkeypatch.setattr(RamCache, "flush", full)
    await stand.send(whole(SECOND))
    await stand.broken()
    assert stand.subject.reports == ["The checkpoint cannot be kept: No space left on device"]
    await stand.take_over()
    assert stand.ram() == OLD * 2
    stand.close()


async def test_it_takes_over_once_the_checkpoint_that_is_being_taken_is_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stand = Stand()
    await stand.stand_by()
    may_go_on, has_begun, flush = threading.Event(), threading.Event(), RamCache.flush

    def slowly(cache: RamCache) -> None:
        has_begun.set()
        may_go_on.wait(GUARD)
        flush(cache)

    monkeypatch.setattr(RamCache, "flush", slowly)
    await stand.send(whole(SECOND))
    await asyncio.to_thread(has_begun.wait, GUARD)
    waiting = stand.migration.lost_heartbeat()
    assert waiting is not None
    may_go_on.set()
    await waiting
    await stand.subject.ended()
    assert stand.ram() == NEW * 2
    assert stand.subject.state is RunState.RUNNING
    assert stand.subject.names().count("COLO_EXIT") == 1
    stand.close()


async def test_whatever_byte_is_wrong_the_guest_can_go_on() -> None:
    rng = random.Random(17)
    for _ in range(60):
        data = bytearray(whole(SECOND))
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] ^= rng.randrange(1, 256)
        await after(bytes(data), cut=True)


async def test_a_primary_may_say_the_first_checkpoint_with_the_stream() -> None:
    stand = Stand()
    await stand.send(stream() + whole(FIRST) + whole(SECOND))
    answers = [await stand.hear() for _ in range(7)]
    assert answers == ["READY", *["REPLY", "RECEIVED", "LOADED"] * 2]
    assert stand.ram() == NEW * 2
    stand.peer.close()
    await stand.broken()
    await stand.take_over()
    stand.close()


async def test_the_guest_counts_on_from_the_checkpoint() -> None:
    source = Subject(SIZE, board="none")
    source.clock.advance(10**9)
    source.machine.stop()
    ram, count = bytes(source.block.view), source.count
    stand = Stand(RamBlock.anonymous("ram", SIZE))
    await stand.stand_by()
    records = [
        record(at, 8 if not at else 0x28, None if at else "ram", ram[at : at + PAGE])
        for at in range(0, SIZE, PAGE)
    ]
    await stand.take(Checkpoint(live(*records)))
    assert stand.subject.count == count > 0
    stand.subject.clock.advance(10**9)
    assert stand.subject.count > count
    await stand.take(Checkpoint(live()))
    assert stand.subject.count == count
    stand.peer.close()
    await stand.broken()
    await stand.take_over()
    stand.subject.clock.advance(10**9)
    assert stand.subject.count > count
    stand.close()
    source.close()


async def test_devices_that_are_carried_are_those_of_the_checkpoint(tmp_path: Path) -> None:
    def foo(payload: bytes) -> bytes:
        return section(payload, 40, "foo", 0, 1, 4)

    head = HEADER + config(b"pc-q35-10.0") + command(8) + section(table(("pc.ram", SIZE)) + EOS)
    sent = head + part() + end() + foo(b"before") + globalstate() + DESCRIBED
    stand = Stand(RamBlock.anonymous("pc.ram", SIZE), "q35")
    await stand.stand_by(sent)
    await stand.take(Checkpoint(live(), foo(b"within") + globalstate() + EOF))
    stand.peer.close()
    await stand.broken()
    await stand.take_over()
    await stand.subject.save(tmp_path / "vm.state")
    state = (tmp_path / "vm.state").read_bytes()
    assert b"within" in state
    assert b"before" not in state
    stand.close()


def test_a_secondary_whose_image_was_anothers_goes_on_once_it_is_its_own(vmd: Stage) -> None:
    vmd.file("img").write_bytes(bytes(1 << 16))
    drive = "-blockdev driver=file,filename=img,node-name=n -device virtio-blk-pci,drive=n"
    other = vmd.start(f"-machine q35 -nodefaults -m 8 -S {drive}")
    machine = vmd.start(f"-machine q35 -nodefaults -m 8 {drive} -incoming defer")
    capabilities(machine, "events", "x-colo")
    machine.qmp.execute("migrate-incoming", {"uri": "unix:in"})
    head = HEADER + config(b"pc-q35-10.0") + command(8) + section(be(8, 4) + EOS)
    with closing(Primary(vmd.directory)) as primary:
        primary.send(head + end() + globalstate() + DESCRIBED)
        machine.qmp.wait("MIGRATION", status="colo")
        machine.qmp.execute("x-colo-lost-heartbeat")
        machine.qmp.wait("MIGRATION", status="completed")
        primary.hears()
    leave(other)
    machine.qmp.execute("cont")
    assert machine.qmp.execute("query-status")["status"] == "running"
    leave(machine)


def test_the_copy_holds_what_the_guest_holds_and_no_more() -> None:
    own = RamBlock.anonymous("ram", 1 << 40)
    own.write(5 << 30, b"data")
    cache = RamCache([own], ignore_shared=False)
    (copy,) = cache.blocks
    assert list(copy.data_extents(0, copy.size)) == list(own.data_extents(0, own.size))
    own.write(0, b"the guest's")
    copy.view[5 << 30] = 0x44
    copy.mark(5 << 30, 1)
    cache.flush()
    assert own.read(0, 16) == bytes(16)
    assert own.read(5 << 30, 4) == b"Data"
    own.write(1 << 30, b"later")
    cache.flush()
    assert own.read(1 << 30, 5) == bytes(5)
    cache.close()
    own.close()


def test_shared_files_that_no_stream_has_are_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "ram"
    path.write_bytes(bytes(SIZE))
    fd = os.open(path, os.O_RDWR)
    own = RamBlock("ram", SIZE, fd, shared=True, named_file=True)
    assert RamCache([own], ignore_shared=True).blocks == []
    assert len(RamCache([own], ignore_shared=False).blocks) == 1
    own.close()
