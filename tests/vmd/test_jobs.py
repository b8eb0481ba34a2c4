"""Background jobs: the tables beside what real QEMU was seen to do, and what ends a job."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qapi import load
from qapi.error import QmpError
from vmd.clock import HeldClock
from vmd.events import Event, EventBus
from vmd.jobs import TRANSITIONS, VERBS, Jobs, JobStatus

RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).parent / "data" / "jobs.json").read_text(encoding="ascii")
)


def jobs() -> tuple[Jobs, list[object]]:
    """A table of jobs, and where each has been."""
    told: list[object] = []
    bus = EventBus(HeldClock())

    def note(event: Event) -> None:
        assert event.data is not None
        told.append(event.data["status"])

    bus.subscribe(note)
    return Jobs(bus), told


def test_the_states_are_those_of_the_schema_in_its_order() -> None:
    assert tuple(state.value for state in JobStatus) == load().enum("JobStatus")
    assert set(TRANSITIONS) == set(JobStatus)


@pytest.mark.parametrize("state", RECORDED["accepted"])
def test_a_state_accepts_the_wishes_that_it_accepts_in_qemu(state: str) -> None:
    ours = [verb for verb, states in VERBS.items() if JobStatus(state) in states]
    assert sorted(ours) == sorted(RECORDED["accepted"][state])


@pytest.mark.parametrize(("old", "new"), RECORDED["steps"])
def test_a_step_that_qemu_took_is_in_the_table(old: str, new: str) -> None:
    assert JobStatus(new) in TRANSITIONS[JobStatus(old)]


@given(st.lists(st.sampled_from(sorted(VERBS))))
def test_no_sequence_of_wishes_leaves_the_table(verbs: list[str]) -> None:
    table, told = jobs()
    table.create("j", "create")
    for verb in verbs:
        if verb == "dismiss":
            with pytest.raises(QmpError, match="cannot accept command verb"):
                table.dismiss("j")
        else:
            job = table.find("j")
            try:
                getattr(job, verb)()
            except QmpError:
                assert job.status is JobStatus.CREATED
    assert told == ["created"]


def test_a_failure_in_the_first_step_is_told_before_anything_else_happens() -> None:
    table, told = jobs()

    def fail() -> Any:
        raise QmpError("no such thing")

    table.create("j", "create").start(fail)
    assert told == ["created", "running", "aborting", "concluded"]
    assert table.describe()[0]["error"] == "no such thing"


async def _all_done() -> None:
    """Wait for the tasks of all jobs."""
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})


async def test_a_job_that_was_cancelled_does_its_work_and_says_so() -> None:
    table, told = jobs()
    done = []

    async def work() -> None:
        done.append(True)

    job = table.create("j", "create")
    job.start(lambda: work)
    job.cancel()
    await _all_done()
    assert done
    assert told == ["created", "running", "aborting", "concluded"]
    assert table.describe()[0]["error"] == "Operation canceled"


async def test_a_fault_of_our_own_ends_a_job() -> None:
    table, told = jobs()

    async def work() -> None:
        raise ZeroDivisionError("a bug")

    table.create("j", "create").start(lambda: work)
    await _all_done()
    assert told == ["created", "running", "aborting", "concluded"]
    assert table.describe()[0]["error"] == "Internal error: ZeroDivisionError: a bug"


async def test_at_the_end_of_the_process_every_job_is_gone() -> None:
    table, told = jobs()
    blocked = asyncio.Event()

    async def wait() -> None:
        await blocked.wait()

    running = table.create("running", "create")
    running.start(lambda: wait)
    table.abandon()
    assert told == ["created", "running", "aborting", "concluded", "null"]
    assert table.describe() == []
    blocked.set()
    await _all_done()
    assert running.status is JobStatus.NULL
