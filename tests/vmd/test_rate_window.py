"""The rate window: how much may be sent in it, and how long it lasts."""

from __future__ import annotations

import pytest

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


def test_a_limit_that_rises_ends_the_wait() -> None:
    bench = Bench(4096)
    bench.window.bytes = 4104
    assert bench.window.budget() == 0
    bench.limit(1 << 20)
    assert bench.window.budget() > 0


@pytest.mark.parametrize("limit", [0, 9])
def test_less_than_a_byte_a_window_is_no_limit(limit: int) -> None:
    bench = Bench(limit)
    bench.window.bytes = 13 << 20
    assert bench.window.budget() == NO_LIMIT


def test_however_much_was_sent_a_window_lasts_as_long_as_ever() -> None:
    bench = Bench(10)
    bench.window.bytes = 13 << 20
    assert bench.window.left_ns() == 100 * MS
    assert bench.is_over_after(100)
