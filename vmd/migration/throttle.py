"""Auto-converge: a guest that dirties RAM faster than it flows is slowed down, step by step.

When it is judged, and by how much it is throttled, observed from migration/ram.c
(migration_trigger_throttle, mig_throttle_guest_down) and system/cpu-throttle.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmd.clock import Clock
    from vmd.guest.guest import Guest
    from vmd.migration.dirty_limit import DirtyLimits
    from vmd.migration.parameters import MigrationOptions
    from vmd.migration.state import MigrationStats

LEAST, MOST = 1, 99
TIMES_TOO_HIGH = 2
"""A rate that is too high so often slows the guest down."""
SYNC_AFTER_NS = 5_000_000_000
"""A round that takes longer is interrupted by a bitmap sync, so that the guest can be judged."""


class Throttle:
    """Holds one guest back for the time of one migration, if auto-converge wants that."""

    def __init__(
        self,
        clock: Clock,
        options: MigrationOptions,
        stats: MigrationStats,
        guest: Guest,
        limits: DirtyLimits | None = None,
    ) -> None:
        self._clock = clock
        self._options = options
        self._stats = stats
        self._guest = guest
        self._limits = limits
        self._sent = 0
        self._too_high = 0
        self._looked_ns = clock.now_ns()
        self._syncs_then = 0

    def judge(self, dirtied: int) -> None:
        """A measuring period is over, in which the guest has dirtied so many bytes."""
        sent = self._stats.transferred - self._sent
        self._sent = self._stats.transferred
        tolerated = sent * self._options.number("throttle-trigger-threshold") // 100
        if dirtied <= tolerated:
            return
        self._too_high += 1
        if self._too_high >= TIMES_TOO_HIGH:
            self._too_high = 0
            if self._options.is_on("auto-converge"):
                self._slow_down(dirtied, tolerated)
            elif self._options.is_on("dirty-limit") and self._limits is not None:
                self._limits.set(self._options.number("vcpu-dirty-limit"))

    def _slow_down(self, dirtied: int, tolerated: int) -> None:
        now = self._guest.throttle_percentage
        if not now:
            self._set(self._options.number("cpu-throttle-initial"))
            return
        step = self._options.number("cpu-throttle-increment")
        if self._options.parameters["cpu-throttle-tailslow"]:
            # No further than to where the guest would dirty just as much as is tolerated.
            runs = 100 - now
            step = min(int(runs - runs * (tolerated / dirtied)), step)
        self._set(min(now + step, self._options.number("max-cpu-throttle")))

    def _set(self, percentage: int) -> None:
        self._guest.throttle(max(LEAST, min(percentage, MOST)))

    def wants_sync(self) -> bool:
        """Whether a round after the first has taken so long that the bitmap is to be synced."""
        if not self._options.is_on("auto-converge"):
            return False
        now, syncs = self._clock.now_ns(), self._stats.dirty_sync_count
        if now - self._looked_ns < SYNC_AFTER_NS:
            return False
        same = syncs == self._syncs_then
        self._looked_ns, self._syncs_then = now, syncs
        return same and syncs > 1

    def release(self) -> None:
        """The migration is over: the guest runs at its own pace again."""
        self._guest.throttle(0)
