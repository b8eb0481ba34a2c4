"""Limits on how fast CPUs dirty RAM, where the accelerator has a dirty ring.

A CPU that fills its ring too fast waits each time it is full. Of a simulated guest's CPUs only the
first writes; what it writes is counted once a period, and it is held back by as much as its rate
exceeds its limit. Checks, texts and figures observed from system/dirtylimit.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from qapi.error import QmpError
from vmd.memory.dirty import PAGE_BITS

if TYPE_CHECKING:
    from vmd.clock import Timer
    from vmd.memory import RamBlock
    from vmd.memory.dirty import DirtyLog
    from vmd.migration.parameters import MigrationOptions
    from vmd.migration.vm import Vm

MS = 1_000_000
MIB = 1 << 20
PERIOD_MS = 1000
WRITER = 0
_MOST_PERCENT = 99
_STEP = 10


class Limit(NamedTuple):
    """What one CPU may dirty and does, in MiB a second."""

    cpu: int
    limit: int
    rate: int


class DirtyLimits:
    """Those of one machine, whose rings have room for `ring` pages."""

    def __init__(self, vm: Vm, options: MigrationOptions, ring: int) -> None:
        self._vm = vm
        self._options = options
        self._ring = ring
        self._limits: dict[int, int] = {}
        self._timer: Timer | None = None
        self._meters: list[tuple[RamBlock, DirtyLog]] = []
        self._rate = 0  # MiB a second

    def query(self) -> list[Limit]:
        """The CPUs that have a limit."""
        return [
            Limit(cpu, limit, self._rate if cpu == WRITER else 0)
            for cpu, limit in sorted(self._limits.items())
        ]

    def check(self, cpu: int | None, *, migrating: bool, deed: str) -> None:
        """QmpError if there is no such CPU, or if a migration sets limits itself."""
        if cpu is not None and not 0 <= cpu < self._cpus:
            raise QmpError("incorrect cpu index specified")
        if migrating and self._options.is_on("dirty-limit") and self._limits:
            raise QmpError(f"can't {deed} dirty page rate limit while migration is running")

    @property
    def _cpus(self) -> int:
        return self._vm.topology.maxcpus

    def set(self, limit: int, cpu: int | None = None) -> None:
        """Limit one CPU, or all, from the next period on."""
        for index in range(self._cpus) if cpu is None else (cpu,):
            self._limits[index] = limit
        if self._timer is None:
            self._begin_period()

    def cancel(self, cpu: int | None = None) -> None:
        """Let one CPU, or all, run free."""
        for index in list(self._limits) if cpu is None else (cpu,):
            self._limits.pop(index, None)
        if WRITER not in self._limits:
            self._vm.guest.brake(0)
        if not self._limits:
            self.abandon()

    def abandon(self) -> None:
        """Count no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for block, meter in self._meters:
            block.stop_meter(meter)
        self._meters = []
        self._rate = 0

    def figures(self) -> dict[str, object]:
        """How long (us) the writer waits each time its ring is full, and how long it fills it."""
        if not self._limits:
            return {}
        full = (self._ring << PAGE_BITS) // MIB * 1_000_000 // self._rate if self._rate else 0
        brake = self._vm.guest.brake_percentage
        return {
            "dirty-limit-throttle-time-per-round": full * brake // (100 - brake),
            "dirty-limit-ring-full-time": full,
        }

    def _begin_period(self) -> None:
        period_ms = PERIOD_MS
        if self._options.is_on("dirty-limit"):
            period_ms = self._options.number("x-vcpu-dirty-limit-period")
        self._meters = [(block, block.start_meter()) for block in self._vm.ram_blocks]
        begun = self._vm.clock.now_ns()
        self._timer = self._vm.clock.call_later(period_ms * MS, lambda: self._look(begun))

    def _look(self, begun: int) -> None:
        elapsed_ms = max((self._vm.clock.now_ns() - begun) // MS, 1)
        written = sum(block.stop_meter(meter) for block, meter in self._meters) << PAGE_BITS
        self._rate = written // MIB * 1000 // elapsed_ms
        limit = self._limits.get(WRITER)
        if limit is not None:
            self._vm.guest.brake(self._needed(written * 1000 / elapsed_ms / MIB, limit))
        self._begin_period()

    def _needed(self, rate: float, limit: int) -> int:
        """By how many percent the writer is to be held back, which it is already by some.

        It is let go step by step: who writes much at once, and seldom, seems to write nothing.
        """
        brake = self._vm.guest.brake_percentage
        unbraked = rate * 100 / (100 - brake)
        needed = 100 - int(100 * limit / unbraked) if unbraked > limit else 0
        return min(max(needed, brake - _STEP), _MOST_PERCENT)
