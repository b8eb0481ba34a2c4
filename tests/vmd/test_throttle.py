"""Auto-converge: when a guest is slowed down, by how much, and that it then does less."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.stand import SECOND, Subject
from vmd.clock import HeldClock
from vmd.guest.guest import Guest, GuestOptions
from vmd.memory import RamBlock
from vmd.migration.parameters import MigrationOptions
from vmd.migration.state import MigrationStats
from vmd.migration.throttle import Throttle

if TYPE_CHECKING:
    from pathlib import Path

    from vmd.events import Event

MIB = 1 << 20
PAGE = 4096


class Paced:
    """A guest of which only the pace is of interest."""

    throttle_percentage = 0

    def throttle(self, percentage: int) -> None:
        self.throttle_percentage = percentage


class Bench:
    """A throttle, and what it looks at."""

    def __init__(self, **parameters: object) -> None:
        self.clock = HeldClock()
        self.options = MigrationOptions()
        self.options.set_capabilities([("auto-converge", True)])
        self.options.set_parameters(
            {name.replace("_", "-"): value for name, value in parameters.items()}
        )
        self.stats = MigrationStats()
        self.guest = Paced()
        self.throttle = Throttle(self.clock, self.options, self.stats, self.guest)  # type: ignore[arg-type]

    def period(self, *, sent: int, dirtied: int) -> int:
        """A period passes; by how many percent the guest is slowed down after it."""
        self.stats.transferred += sent
        self.throttle.judge(dirtied)
        return self.guest.throttle_percentage


def test_the_second_period_with_too_much_dirt_slows_the_guest_down() -> None:
    bench = Bench()
    assert bench.period(sent=100, dirtied=51) == 0
    assert bench.period(sent=100, dirtied=51) == 20


def test_what_the_threshold_tolerates_does_not_count() -> None:
    bench = Bench()
    assert [bench.period(sent=100, dirtied=50) for _ in range(4)] == [0, 0, 0, 0]


def test_periods_need_not_follow_each_other() -> None:
    bench = Bench()
    assert [bench.period(sent=100, dirtied=d) for d in (60, 0, 60)] == [0, 0, 20]


def test_each_two_further_periods_are_a_step_up_to_the_maximum() -> None:
    bench = Bench(cpu_throttle_initial=30, cpu_throttle_increment=25, max_cpu_throttle=70)
    found = [bench.period(sent=100, dirtied=100) for _ in range(8)]
    assert found == [0, 30, 30, 55, 55, 70, 70, 70]


def test_with_tailslow_the_last_steps_are_as_small_as_is_enough() -> None:
    bench = Bench(cpu_throttle_initial=80, cpu_throttle_tailslow=True)
    found = [bench.period(sent=100, dirtied=60) for _ in range(4)]
    assert found == [0, 80, 80, 83]


def test_without_the_capability_nobody_is_slowed_down() -> None:
    bench = Bench()
    bench.options.set_capabilities([("auto-converge", False)])
    assert [bench.period(sent=0, dirtied=100) for _ in range(4)] == [0, 0, 0, 0]


def test_the_end_gives_the_guest_its_pace_back() -> None:
    bench = Bench()
    bench.period(sent=0, dirtied=1)
    assert bench.period(sent=0, dirtied=1) == 20
    bench.throttle.release()
    assert bench.guest.throttle_percentage == 0


def test_a_long_round_wants_the_bitmap_to_be_synced_every_five_seconds() -> None:
    bench = Bench()
    bench.stats.dirty_sync_count = 2
    wants = []
    for _ in range(12):
        bench.clock.advance(SECOND)
        wants.append(bench.throttle.wants_sync())
    assert [second + 1 for second, wish in enumerate(wants) if wish] == [10]


def test_the_first_round_is_left_alone() -> None:
    bench = Bench()
    bench.stats.dirty_sync_count = 1
    for _ in range(3):
        bench.clock.advance(5 * SECOND)
        assert not bench.throttle.wants_sync()


@pytest.mark.parametrize("percentage", [0, 20, 50, 99])
def test_a_throttled_guest_does_so_much_less(percentage: int) -> None:
    clock, block = HeldClock(), RamBlock.anonymous("ram", 8 * MIB)
    options = GuestOptions("dirty", {"rate": "4M"})
    guest = Guest(block, clock, object(), lambda data: None, options)  # type: ignore[arg-type]
    guest.boot()
    guest.throttle(percentage)
    guest.start()
    clock.advance(SECOND)
    written = sum(block.view[offset] for offset in range(MIB, 8 * MIB, PAGE))
    assert abs(written - 1024 * (100 - percentage) / 100) <= 11
    block.close()


async def test_a_guest_that_writes_too_fast_is_slowed_down_until_it_fits(tmp_path: Path) -> None:
    subject = Subject(16 * MIB, guest=GuestOptions("dirty", {"rate": "32M"}))
    subject.clock.advance(SECOND)
    subject.migration.set_capabilities([("auto-converge", True)])
    subject.migration.options.set_parameters(
        {"max-bandwidth": 16 * MIB, "downtime-limit": 100, "cpu-throttle-increment": 20}
    )
    seen = set()

    def look(event: Event) -> None:
        seen.add(subject.migration.query().get("cpu-throttle-percentage"))

    subject.machine.events.subscribe(look)
    subject.migration.migrate(f"file:{tmp_path / 'vm.state'}")
    await subject.ended()
    assert subject.migration.query()["status"] == "completed"
    assert {None, 20, 40} <= seen
    assert "cpu-throttle-percentage" not in subject.migration.query()
    assert subject.machine.guest.throttle_percentage == 0
    subject.close()
