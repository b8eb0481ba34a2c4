"""How fast RAM flows and how fast the guest dirties it: QEMU's windows of 100 ms and of a second.

Figures and their moments observed from migration/migration.c (migration_update_counters) and
migration/ram.c (migration_bitmap_sync).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmd.clock import Clock
    from vmd.migration.parameters import MigrationOptions
    from vmd.migration.state import MigrationStats

MS = 1_000_000
WINDOW_NS = 100 * MS
WINDOWS_A_SECOND = 10
PERIOD_MS = 1000
NO_LIMIT = 1 << 62
TOO_LITTLE = 10_000
"""Bytes in a window from which QEMU does not conclude anything about the downtime."""


class RateWindow:
    """What was sent in the window of now, and what the last one tells.

    `threshold`: what is left may be sent with the guest stopped once it is less than so many
    bytes. It is 0 until a window has been measured.
    """

    def __init__(self, clock: Clock, options: MigrationOptions, stats: MigrationStats) -> None:
        self._clock = clock
        self._options = options
        self._stats = stats
        self._began_ns = 0
        self.bytes = 0
        self.pages = 0
        self.threshold = 0

    def begin(self) -> None:
        """The first window begins. What was sent before counts into it, as in QEMU."""
        self._began_ns = self._clock.now_ns()

    def budget(self) -> int:
        """How many bytes this window still allows; 0 when it is used up.

        A limit of less than a byte a window is none, as in QEMU.
        """
        limit = self._options.number("max-bandwidth") // WINDOWS_A_SECOND
        return max(limit - self.bytes, 0) if limit else NO_LIMIT

    def left_ns(self) -> int:
        """How long the window still lasts; not positive once it has passed."""
        return self._began_ns + WINDOW_NS - self._clock.now_ns()

    def measure(self, *, derive: bool, left_at_sync: int, idle: bool = False) -> None:
        """If the window has passed: take its rates into the statistics, and begin anew.

        With `derive` the threshold follows. `left_at_sync`: bytes that waited after the last
        bitmap sync. `idle`: there was nothing to send; QEMU fills such a window with sections
        that say nothing, here what is allowed counts as sent.
        """
        now = self._clock.now_ns()
        if now - self._began_ns < WINDOW_NS:
            return
        elapsed_ms = (now - self._began_ns) / MS
        expected = self._options.number("avail-switchover-bandwidth") / 1000
        possible = (self._options.number("max-bandwidth") or NO_LIMIT) / 1000
        likely = expected or (possible if idle else self.bytes / elapsed_ms)
        expected = expected or self.bytes / elapsed_ms
        if derive:
            self.threshold = int(likely * self._options.number("downtime-limit"))
        stats = self._stats
        stats.mbps = self.bytes * 8 / (elapsed_ms / 1000) / 1_000_000
        stats.pages_per_second = int(self.pages / (elapsed_ms / 1000))
        if stats.dirty_pages_rate and self.bytes > TOO_LITTLE:
            stats.expected_downtime_ms = int(left_at_sync / expected)
        self._began_ns, self.bytes, self.pages = now, 0, 0


class DirtRate:
    """How fast the guest dirties its RAM, measured from one bitmap sync to a later one."""

    def __init__(self, clock: Clock, stats: MigrationStats) -> None:
        self._clock = clock
        self._stats = stats
        self._since_ms: int | None = None
        self._pages = 0
        self.left_at_sync = 0
        self.dirtied = 0  # pages in the last whole period

    def synced(self, fresh: int, left: int) -> bool:
        """A sync found `fresh` pages more dirty, and `left` bytes now wait.

        Whether more than a second has passed since the last measurement, so that there is a new
        one (`dirty_pages_rate`).
        """
        now_ms = self._clock.now_ns() // MS
        self.left_at_sync = left
        if self._since_ms is None:
            self._since_ms = now_ms
        self._pages += fresh
        if now_ms <= self._since_ms + PERIOD_MS:
            return False
        self._stats.dirty_pages_rate = self._pages * 1000 // (now_ms - self._since_ms)
        self._since_ms, self.dirtied, self._pages = now_ms, self._pages, 0
        return True
