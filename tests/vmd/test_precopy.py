"""Live migration from one machine to another: the guest writes on, and every byte arrives."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from tests.faults.stand import PAGE, SECOND, Subject
from vmd.guest.guest import GuestOptions
from vmd.runstate import RunState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SIZE = 8 << 20
ACK = b"\0\7\0\0"
SHUT = b"\0\1\0\4\0\0\0\0"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def busy(rate: str, **options: str) -> GuestOptions:
    """A guest that dirties its RAM at this rate."""
    return GuestOptions("dirty", {"rate": rate, **options})


def a_source(guest: GuestOptions, **parameters: int) -> Subject:
    subject = Subject(SIZE, guest=guest)
    subject.fill()
    subject.events.clear()
    subject.migration.options.set_parameters(
        {name.replace("_", "-"): value for name, value in parameters.items()}
    )
    return subject


def a_target(**how: bool) -> Subject:
    """A machine that waits for the other one, and will not run on."""
    target = Subject(SIZE, incoming=True, paused=True)
    target.migration.set_capabilities([(name.replace("_", "-"), on) for name, on in how.items()])
    target.migration.migrate_incoming("unix:in", exit_on_error=False)
    return target


async def arrives(source: Subject, target: Subject) -> dict[str, object]:
    """Both ends are good, and RAM is the same to the byte; what the source tells of it."""
    await source.ended()
    await target.ended()
    assert source.migration.query()["status"] == "completed"
    assert target.migration.query() == {"status": "completed"}
    assert source.state is RunState.POSTMIGRATE
    assert target.state is RunState.PAUSED
    assert bytes(source.block.view) == bytes(target.block.view)
    return source.migration.query()


def ram_of(info: dict[str, object]) -> dict[str, float]:
    ram = info["ram"]
    assert isinstance(ram, dict)
    return ram


async def passes(source: Subject, count: int) -> None:
    """Wait for so many passes more."""
    seen = source.names().count("MIGRATION_PASS")
    await source.until(lambda: source.names().count("MIGRATION_PASS") >= seen + count)


async def sends_for(source: Subject, seconds: int) -> None:
    """Let time pass in which the migration does not end."""
    end = source.clock.now_ns() + seconds * SECOND
    await source.until(lambda: source.clock.now_ns() >= end)


GUESTS = {
    "idle": GuestOptions("idle"),
    "counter": GuestOptions("counter", {"interval": "10"}),
    "dirty": busy("8M"),
    "ab": GuestOptions("ab"),
}


@pytest.mark.parametrize("return_path", [False, True])
@pytest.mark.parametrize("name", GUESTS)
async def test_ram_arrives_as_it_was_when_the_guest_stopped(name: str, return_path: bool) -> None:
    # As QEMU's own tests do it: the a-b guest dirties everything faster than it flows.
    limit = 1000 if name == "ab" else 300
    source = a_source(GUESTS[name], max_bandwidth=16 << 20, downtime_limit=limit)
    target = a_target()
    source.migration.set_capabilities([("return-path", return_path)])
    source.migration.migrate("unix:in")
    ram = ram_of(await arrives(source, target))
    assert ram["remaining"] == 0
    assert ram["total"] == SIZE
    assert ram["precopy-bytes"] > 1 << 20
    assert ram["normal-bytes"] == ram["normal"] * PAGE
    source.close()
    target.close()


async def test_a_guest_that_dirties_less_than_flows_needs_a_few_rounds() -> None:
    source, target = a_source(busy("4M"), max_bandwidth=16 << 20, downtime_limit=50), a_target()
    source.migration.migrate("unix:in")
    ram = ram_of(await arrives(source, target))
    assert 3 <= ram["dirty-sync-count"] <= 10
    assert ram["dirty-sync-count"] == source.names().count("MIGRATION_PASS")
    assert ram["normal"] > 1.2 * SIZE * 3 / 4 / PAGE, "what was dirtied meanwhile was sent again"
    # What was left fitted into 50 ms of the bandwidth.
    assert ram["downtime-bytes"] < (16 << 20) / 20 * 1.2
    source.close()
    target.close()


async def test_a_guest_that_dirties_more_than_flows_is_not_stopped() -> None:
    source, target = a_source(busy("64M"), max_bandwidth=8 << 20, downtime_limit=50), a_target()
    source.migration.migrate("unix:in")
    await sends_for(source, 20)
    info = source.migration.query()
    assert info["status"] == "active"
    assert source.state is RunState.RUNNING
    assert ram_of(info)["mbps"] == pytest.approx((8 << 20) * 8 / 1e6, rel=0.1)
    # All 7 MiB that it writes to are dirty all the time.
    assert info["expected-downtime"] == pytest.approx(875, rel=0.1)

    # The limit may be changed at any time.
    source.migration.options.set_parameters({"downtime-limit": 30_000})
    await arrives(source, target)
    source.close()
    target.close()


async def test_the_expected_downtime_follows_from_what_is_dirty_and_how_fast_it_flows() -> None:
    # A threshold that lets it look, and dirt that keeps it from going.
    source, target = a_source(busy("8M"), max_bandwidth=8 << 20, downtime_limit=500), a_target()
    source.migration.set_capabilities([("return-path", True), ("switchover-ack", True)])
    source.migration.migrate("unix:in")
    await sends_for(source, 10)
    info = source.migration.query()
    assert info["status"] == "active", "the destination has not said that it is ready"
    dirty = ram_of(info)["dirty-pages-rate"] * PAGE
    assert dirty == pytest.approx(8 << 20, rel=0.3)
    expected = info["expected-downtime"]
    assert isinstance(expected, int)
    assert 0 < expected < 900, "no more than all that it writes to"
    source.migration.cancel()
    await source.ended()
    await target.ended()
    assert source.state is RunState.RUNNING
    source.close()
    target.close()


async def test_the_guest_runs_on_until_the_destination_is_ready() -> None:
    source, target = (
        a_source(busy("1M"), max_bandwidth=0),
        a_target(return_path=True, switchover_ack=True),
    )
    source.migration.set_capabilities([("return-path", True), ("switchover-ack", True)])
    source.migration.migrate("unix:in")
    await arrives(source, target)
    source.close()
    target.close()


@pytest.fixture
async def peer() -> AsyncIterator[socket.socket]:
    """A listener that a test answers for."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("in")
        server.listen()
        server.setblocking(False)
        yield server


async def test_a_late_acknowledgement_lets_the_migration_go_on(peer: socket.socket) -> None:
    source = a_source(busy("1M"), max_bandwidth=32 << 20)
    source.migration.set_capabilities([("return-path", True), ("switchover-ack", True)])
    source.migration.migrate("unix:in")
    loop = asyncio.get_running_loop()
    connection, _ = await loop.sock_accept(peer)

    async def drain() -> None:
        while await loop.sock_recv(connection, 1 << 20):
            pass

    draining = loop.create_task(drain())
    await passes(source, 10)
    assert source.state is RunState.RUNNING
    assert source.migration.query()["status"] == "active"
    await loop.sock_sendall(connection, ACK + SHUT)
    await source.ended()
    assert source.migration.query()["status"] == "completed"
    await draining
    connection.close()
    source.close()


@pytest.mark.parametrize("state", [RunState.PAUSED, RunState.SUSPENDED])
async def test_a_guest_that_stands_still_is_sent_once(state: RunState) -> None:
    source, target = a_source(busy("64M"), max_bandwidth=16 << 20), a_target()
    source.bring_to(state)
    source.migration.migrate("unix:in")
    ram = ram_of(await arrives(source, target))
    assert ram["normal"] + ram["duplicate"] == SIZE / PAGE
    assert ram["precopy-bytes"] == 0
    assert source.names().count("RESUME") == 0
    source.close()
    target.close()


async def test_a_stop_on_the_way_stays_a_stop_on_the_other_side() -> None:
    source, target = a_source(busy("64M"), max_bandwidth=8 << 20), a_target()
    target.machine.autostart = True
    source.migration.migrate("unix:in")
    await passes(source, 1)
    source.machine.stop()
    await arrives(source, target)
    source.close()
    target.close()


async def test_there_and_back_again() -> None:
    source, target = a_source(GUESTS["counter"], max_bandwidth=0), a_target()
    source.migration.migrate("unix:in")
    await arrives(source, target)
    home = a_target()
    before = target.count
    target.machine.cont()
    target.clock.advance(SECOND)
    assert target.count > before
    target.migration.migrate("unix:in")
    await arrives(target, home)
    assert home.count == target.count
    for subject in (source, target, home):
        subject.close()
