"""Limits on what a CPU dirties, where the accelerator has a dirty ring."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qapi.error import QmpError
from tests.faults.stand import SECOND, Subject
from vmd.guest.guest import GuestOptions
from vmd.kvm import Kvm
from vmd.migration.dirty_limit import DirtyLimits
from vmd.migration.dirty_rate import DIRTY_BITMAP, DIRTY_RING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1 << 20
RING = Kvm("on", None, 4096)


@pytest.fixture
def subject() -> Iterator[Subject]:
    """A machine with a dirty ring, whose guest writes 64 MiB a second."""
    machine = Subject(32 * MIB, guest=GuestOptions("dirty", {"rate": "64M"}), kvm=RING)
    yield machine
    machine.machine.exit(0)
    machine.close()


def limits_of(subject: Subject) -> DirtyLimits:
    limits = subject.machine.dirty_limits
    assert limits is not None
    return limits


def test_a_limit_holds_the_writer_back_to_it(subject: Subject) -> None:
    limits = limits_of(subject)
    limits.set(8)
    subject.clock.advance(3 * SECOND)
    assert [limit.rate for limit in limits.query()] == [pytest.approx(8, abs=1)]
    limits.set(16)
    subject.clock.advance(3 * SECOND)
    assert [limit.rate for limit in limits.query()] == [pytest.approx(16, abs=1)]


def test_without_its_limit_the_writer_runs_free(subject: Subject) -> None:
    limits = limits_of(subject)
    limits.set(1, 0)
    subject.clock.advance(2 * SECOND)
    assert subject.machine.guest.brake_percentage > 90
    limits.cancel(0)
    assert subject.machine.guest.brake_percentage == 0
    assert limits.query() == []


def test_a_limit_that_is_not_reached_changes_nothing(subject: Subject) -> None:
    limits_of(subject).set(1000)
    subject.clock.advance(2 * SECOND)
    assert subject.machine.guest.brake_percentage == 0


def test_there_is_no_cpu_behind_the_last(subject: Subject) -> None:
    for cpu in (-1, 1):
        with pytest.raises(QmpError, match="incorrect cpu index specified"):
            limits_of(subject).check(cpu, migrating=False, deed="set")


async def test_the_ring_tells_what_was_written_and_no_bitmap_does(subject: Subject) -> None:
    rate = subject.migration.dirty_rate
    with pytest.raises(QmpError, match="mode dirty-bitmap is not enabled"):
        rate.begin(1000, DIRTY_BITMAP, None)
    rate.begin(100, DIRTY_RING, None)
    assert rate._task is not None
    await rate._task
    assert rate.rate == 60


async def test_dirty_limit_lets_a_migration_end_that_would_not(
    subject: Subject, tmp_path: Path
) -> None:
    subject.fill()
    # The file of a mapped migration never grows beyond RAM, however long it takes.
    subject.migration.set_capabilities([("dirty-limit", True), ("mapped-ram", True)])
    slow = {"max-bandwidth": 16 * MIB, "downtime-limit": 10, "vcpu-dirty-limit": 1}
    subject.migration.set_parameters(slow)
    subject.migration.migrate(f"file:{tmp_path}/vm.state")
    await subject.until(lambda: "dirty-limit-ring-full-time" in subject.migration.query())
    await subject.ended()
    told = subject.migration.query()
    assert told["status"] == "completed"


async def test_who_cancels_a_cancelled_migration_again_cancels_its_limits(
    subject: Subject, tmp_path: Path
) -> None:
    subject.fill()
    subject.migration.set_capabilities([("dirty-limit", True), ("mapped-ram", True)])
    subject.migration.set_parameters({"max-bandwidth": 16 * MIB, "downtime-limit": 1})
    subject.migration.migrate(f"file:{tmp_path}/vm.state")
    await subject.until(lambda: "dirty-limit-ring-full-time" in subject.migration.query())
    with pytest.raises(QmpError, match="can't set dirty page rate limit while migration"):
        limits_of(subject).check(None, migrating=True, deed="set")
    subject.migration.cancel()
    await subject.ended()
    assert limits_of(subject).query() != []
    subject.migration.cancel()
    assert limits_of(subject).query() == []


def test_without_a_ring_there_are_no_limits() -> None:
    subject = Subject(kvm=Kvm("on", None))
    assert subject.machine.dirty_limits is None
    with pytest.raises(QmpError, match="dirty-limit requires KVM"):
        subject.migration.set_capabilities([("dirty-limit", True)])
    subject.close()
