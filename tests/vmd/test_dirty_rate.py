"""How fast the guest dirties its RAM, measured beside whatever else goes on."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from qapi.error import QmpError
from tests.faults.stand import SECOND, Subject, load
from vmd.guest.guest import GuestOptions
from vmd.memory import RamBlock
from vmd.migration.dirty_rate import DIRTY_BITMAP, PAGE_SAMPLING, Status

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


def busy(size: int = 64 * MIB, **how: object) -> Subject:
    """A machine whose guest writes 32 MiB a second, each page once in two."""
    return Subject(size, guest=GuestOptions("dirty", {"rate": "32M"}), **how)  # type: ignore[arg-type]


async def measured(subject: Subject, mode: str, ms: int = 1000, samples: int | None = None) -> int:
    rate = subject.migration.dirty_rate
    rate.begin(ms, mode, samples)
    assert rate.status is Status.MEASURING
    assert rate._task is not None
    await rate._task
    assert rate.status is Status.MEASURED
    return rate.rate


@pytest.mark.parametrize(("ms", "rate"), [(50, 20), (500, 32), (1000, 32)])
async def test_pages_that_are_written_are_counted_in_whole_mebibytes(ms: int, rate: int) -> None:
    subject = busy()
    assert await measured(subject, DIRTY_BITMAP, ms) == rate
    subject.close()


async def test_a_page_counts_once_however_often_it_is_written() -> None:
    subject = Subject(64 * MIB, guest=GuestOptions("dirty", {"rate": "64M", "size": "8M"}))
    assert await measured(subject, DIRTY_BITMAP) == 8
    subject.close()


async def test_samples_find_nearly_the_same() -> None:
    subject = busy()
    assert 28 <= await measured(subject, PAGE_SAMPLING, samples=16384) <= 36
    subject.close()


async def test_a_guest_that_stands_dirties_nothing() -> None:
    subject = busy(paused=True)
    assert await measured(subject, PAGE_SAMPLING) == 0
    assert await measured(subject, DIRTY_BITMAP) == 0
    subject.close()


async def test_ram_without_a_sample_has_no_rate() -> None:
    subject = Subject(MIB)
    assert await measured(subject, PAGE_SAMPLING) == -1
    subject.close()


async def test_sampling_fills_no_hole() -> None:
    fd = os.memfd_create("ram")
    os.ftruncate(fd, 64 * MIB)
    subject = Subject(block=RamBlock("pc.ram", 64 * MIB, fd), paused=True)
    before = os.fstat(fd).st_blocks
    await measured(subject, PAGE_SAMPLING, samples=16384)
    assert os.fstat(fd).st_blocks == before
    subject.close()


async def test_measuring_takes_nothing_away_from_a_migration(tmp_path: Path) -> None:
    subject = busy(8 * MIB)
    subject.migration.set_parameters({"max-bandwidth": 8 * MIB})
    subject.migration.migrate(f"file:{tmp_path}/vm.state")
    assert await measured(subject, DIRTY_BITMAP, 100) > 0
    assert subject.migration.under_way
    subject.migration.set_parameters({"max-bandwidth": 0, "downtime-limit": 2000})
    await subject.ended()
    assert subject.migration.query()["status"] == "completed"
    target = await load(tmp_path / "vm.state", size=8 * MIB, paused=True)
    assert target.block.view == subject.block.view
    target.close()
    subject.close()


async def test_memory_that_goes_meanwhile_has_no_rate() -> None:
    subject = busy(paused=True)
    rate = subject.migration.dirty_rate
    rate.begin(1000, PAGE_SAMPLING, None)
    subject.close()
    assert rate._task is not None
    await rate._task
    assert (rate.status, rate.rate) == (Status.MEASURED, -1)


@pytest.mark.parametrize("is_file", [False, True])
async def test_of_memory_that_goes_meanwhile_the_rest_is_measured(is_file: bool) -> None:
    subject = busy()
    fd = os.memfd_create("ram") if is_file else -1
    if is_file:
        os.ftruncate(fd, 64 * MIB)
    module = RamBlock("module", 64 * MIB, fd)
    subject.machine.ram_blocks.append(module)
    subject.clock.call_later(SECOND // 2, module.close)
    assert 28 <= await measured(subject, PAGE_SAMPLING, samples=16384) <= 36
    subject.close()


async def test_there_is_one_measurement_at_a_time() -> None:
    subject = busy()
    subject.migration.dirty_rate.begin(1000, DIRTY_BITMAP, None)
    with pytest.raises(QmpError, match="already being measured"):
        subject.migration.dirty_rate.begin(1000, PAGE_SAMPLING, None)
    task = subject.migration.dirty_rate._task
    assert task is not None
    await task
    subject.close()


async def test_the_end_of_the_process_does_not_wait_for_a_measurement() -> None:
    subject = busy()
    begun = subject.clock.now_ns()
    subject.migration.dirty_rate.begin(60_000, DIRTY_BITMAP, None)
    subject.machine.exit(0)
    task = subject.migration.dirty_rate._task
    assert task is not None
    await asyncio.wait([task])
    assert task.cancelled()
    assert subject.clock.now_ns() - begun < SECOND
    assert not subject.migration.uses_memory
    subject.close()
