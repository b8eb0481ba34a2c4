"""The rate window: how much may be sent, and how long it lasts when a page is too much for it."""

from __future__ import annotations

from vmd.clock import HeldClock
from vmd.migration.parameters import MigrationOptions
from vmd.migration.rate import NO_LIMIT, RateWindow
from vmd.migration.state import MigrationStats

MS = 1_000_000


class Bench:
    """A window that has begun."""

    def __init__(self, limit: int) -> None:
        self.clock = HeldClock()
        self.options = MigrationOptions()
        self.limit(limit)
        self.stats = MigrationStats()
        self.window = RateWindow(self.clock, self.options, self.stats)
        self.window.begin()

    def limit(self, limit: int) -> None:
        self.options.set_parameters({"max-bandwidth": limit})

    def is_over_after(self, ms: int) -> bool:
        self.clock.advance(ms * MS)
        self.window.measure(derive=True, left_at_sync=0)
        return self.window.bytes == 0


def test_a_window_allows_a_tenth_of_the_limit() -> None:
    bench = Bench(1 << 20)
    assert bench.window.budget() == 104857
    bench.window.bytes = 104000
    assert bench.window.budget() == 857
    assert bench.window.left_ns() == 100 * MS
    assert not bench.is_over_after(99)
    assert bench.is_over_after(1)
    assert bench.window.threshold == 312000


def test_a_page_that_is_too_much_for_a_window_stretches_it() -> None:
    bench = Bench(8208)
    bench.window.bytes = 4104
    assert not bench.is_over_after(499)
    assert bench.is_over_after(1)
    assert bench.stats.mbps == 8208 * 8 / 1e6
    assert bench.window.threshold == 8208 * 300 // 1000


def test_nobody_waits_longer_than_a_window_without_looking_at_the_limit() -> None:
    bench = Bench(1)
    bench.window.bytes = 4104
    assert bench.window.left_ns() == 100 * MS
    bench.clock.advance(3600_000 * MS)
    assert bench.window.budget() == 0
    bench.limit(0)
    assert bench.window.budget() == NO_LIMIT
    assert bench.window.left_ns() < 0


def test_a_limit_that_falls_stretches_by_one_page_at_most() -> None:
    bench = Bench(128 << 20)
    bench.window.bytes = 13 << 20
    bench.limit(4360)
    assert bench.is_over_after(1000)
