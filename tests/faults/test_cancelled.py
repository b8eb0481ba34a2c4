"""A cancel at any moment of a save: the machine is as it was, and may be saved again at once."""

from __future__ import annotations

import asyncio
import itertools
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.disk import Disk
from tests.faults.stand import SECOND, Subject, load
from vmd.migration import outgoing
from vmd.migration.channels import file
from vmd.migration.state import MigrationStatus
from vmd.runstate import RunState
from vmd.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vmd.events import Event

STATES = (RunState.RUNNING, RunState.PAUSED, RunState.SUSPENDED)


def strike_at(
    monkeypatch: pytest.MonkeyPatch, moment: int, strike: Callable[[], object]
) -> list[int]:
    """Call `strike` on the loop at one of the moments of a migration, counted from 0.

    Moments are: before the engine waits for its thread and after that, and in the thread before
    each system call on the state file. The returned list holds the moments that came.
    """
    came: list[int] = []
    loop = asyncio.get_running_loop()

    def comes() -> bool:
        came.append(len(came))
        return came[-1] == moment

    async def in_the_loop() -> None:
        if comes():
            struck = asyncio.Event()
            loop.call_soon(strike)
            loop.call_soon(struck.set)
            await struck.wait()

    def in_the_thread(number: int, name: str, arguments: tuple[Any, ...]) -> None:
        if threading.current_thread() is not threading.main_thread() and comes():
            struck = threading.Event()
            loop.call_soon_threadsafe(strike)
            loop.call_soon_threadsafe(struck.set)
            struck.wait()

    class Striking(Worker):
        async def run(self, call: Callable[[], Any]) -> Any:
            await in_the_loop()
            result = await super().run(call)
            await in_the_loop()
            return result

    monkeypatch.setattr(outgoing, "Worker", Striking)
    monkeypatch.setattr(file, "os", Disk(in_the_thread))
    return came


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.value)
@pytest.mark.parametrize("mode", ["normal", "cpr-reboot", "mapped-ram"])
async def test_a_machine_whose_save_is_cancelled_is_as_it_was_before(
    mode: str, state: RunState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapped = ["mapped-ram"] * (mode == "mapped-ram")
    for moment in itertools.count():
        subject = Subject()
        subject.fill()
        # So slow that there are several rounds, with waits between them.
        subject.migration.set_capabilities([(name, True) for name in mapped])
        parameters = {
            "mode": "normal" if mapped else mode,
            "max-bandwidth": 4 << 20,
            "downtime-limit": 0,
        }
        subject.migration.options.set_parameters(parameters)
        subject.clock.advance(SECOND)
        subject.bring_to(state)
        subject.events.clear()
        came = strike_at(monkeypatch, moment, subject.migration.cancel)

        subject.migration.migrate(f"file:{tmp_path / 'cancelled'}")
        await subject.ended()
        if moment not in came:
            break
        as_before(subject, state)
        monkeypatch.undo()
        subject.migration.options.set_parameters({"max-bandwidth": 0})
        await subject.save(tmp_path / "good")
        target = await load(tmp_path / "good", *mapped, paused=True)
        assert bytes(target.block.view) == bytes(subject.block.view)
        target.close()
        subject.close()
    assert len(came) > 12


def as_before(subject: Subject, state: RunState, waited: bool = False) -> None:
    """`waited`: the cancel came in pre-switchover, which QEMU takes for an error."""
    trouble = "Channel error: Input/output error"
    assert subject.migration.query() == {"status": "cancelled"} | (
        {"error-desc": trouble} if waited else {}
    )
    assert subject.names()[-1] == "cancelled"
    assert subject.names().count("STOP") == subject.names().count("RESUME")
    assert subject.state is state
    assert subject.block.pending is None
    before = subject.count
    subject.clock.advance(SECOND)
    assert (subject.count > before) == (state is RunState.RUNNING)
    assert subject.reports == ([trouble] if waited else [])


async def test_a_cancel_between_two_rate_windows_is_heard_in_the_window(tmp_path: Path) -> None:
    subject = Subject()
    subject.fill()
    subject.migration.options.set_parameters({"max-bandwidth": 4096})
    subject.events.clear()
    sleep, slept = subject.clock.sleep, []

    async def cancel_meanwhile(delay_ns: int) -> None:
        slept.append(delay_ns)
        subject.migration.cancel()
        await sleep(delay_ns)

    subject.clock.sleep = cancel_meanwhile  # type: ignore[method-assign]
    subject.migration.migrate(f"file:{tmp_path / 'cancelled'}")
    await subject.ended()
    assert len(slept) == 1
    as_before(subject, RunState.RUNNING)
    subject.close()


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.value)
async def test_a_cancel_before_the_switchover(state: RunState, tmp_path: Path) -> None:
    subject = Subject()
    subject.bring_to(state)
    subject.events.clear()
    subject.migration.set_capabilities([("pause-before-switchover", True)])
    waiting = subject_reaches(subject, MigrationStatus.PRE_SWITCHOVER)
    subject.migration.migrate(f"file:{tmp_path / 'cancelled'}")
    await waiting
    assert subject.state is RunState.FINISH_MIGRATE
    subject.migration.cancel()
    await subject.ended()
    as_before(subject, state, waited=True)
    subject.close()


def subject_reaches(subject: Subject, status: MigrationStatus) -> asyncio.Future[None]:
    reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def look(event: Event) -> None:
        if event.name == "MIGRATION" and event.data == {"status": status.value}:
            reached.set_result(None)

    subject.machine.events.subscribe(look)
    return reached


async def test_a_cancel_after_the_end_changes_nothing(tmp_path: Path) -> None:
    subject = Subject()
    await subject.save(tmp_path / "good")
    subject.migration.cancel()
    assert subject.migration.query()["status"] == "completed"
    assert subject.state is RunState.POSTMIGRATE
    subject.close()


async def test_the_end_of_the_process_at_any_moment_waits_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for moment in itertools.count():
        subject = Subject()
        subject.fill()
        came = strike_at(monkeypatch, moment, subject.machine.quit)
        subject.migration.migrate(f"file:{tmp_path / 'left'}")
        await subject.ended()
        if moment not in came:
            break
        assert subject.exits == [0]
        assert subject.names()[-2:] == ["SHUTDOWN", "cancelling"]
        subject.close()
    assert len(came) > 8
