"""calc-dirty-rate: how fast the guest dirties its RAM, measured without migrating it.

Theory: a measurement is begun by a command, lasts as long as that said, and leaves a result that
stands until the next one; only one goes on at a time.

Two ways are there. `page-sampling` remembers what is in some pages of each block, here and there,
and looks again later; `dirty-bitmap`, or `dirty-ring` where the accelerator has one, counts the
pages that were written meanwhile. Formulas and texts observed from migration/dirtyrate.c; under TCG
QEMU's dirty-bitmap never sees a write, here it does.
"""

from __future__ import annotations

import asyncio
from array import array
from enum import Enum
from typing import TYPE_CHECKING, Any
from zlib import crc32

from qapi.error import QmpError
from vmd.memory import PAGE_SIZE
from vmd.memory.dirty import PAGE_BITS
from vmd.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from vmd.clock import Clock
    from vmd.memory import RamBlock

MS = 1_000_000
SECOND_NS = 1_000_000_000
PAGE_SAMPLING, DIRTY_RING, DIRTY_BITMAP = "page-sampling", "dirty-ring", "dirty-bitmap"
DEFAULT_SAMPLES = 512
_LEAST_SAMPLES, _MOST_SAMPLES = 128, 16384
_LEAST_MS, _MOST_MS = 50, 60_000
_LEAST_BLOCK = 128 << 10
_MIB_BITS, _GIB_BITS = 20, 30
_NOTHING_SEEN = -1
_ZEROS = crc32(bytes(PAGE_SIZE))


class Status(Enum):
    """QEMU's DirtyRateStatus."""

    UNSTARTED = "unstarted"
    MEASURING = "measuring"
    MEASURED = "measured"


TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.UNSTARTED: frozenset({Status.MEASURING}),
    Status.MEASURING: frozenset({Status.MEASURED}),
    Status.MEASURED: frozenset({Status.MEASURING}),
}


class DirtyRate:
    """The one measurement of a machine, or what the last one found.

    `blocks` gives the RAM to look at. Times are in ms, but for `started_s`: seconds since the
    epoch. `rate` is in MiB a second, -1 where no block was large enough for a sample.
    """

    def __init__(
        self, blocks: Callable[[], list[RamBlock]], clock: Clock, *, has_ring: bool
    ) -> None:
        self._blocks = blocks
        self._clock = clock
        self._has_ring = has_ring
        self._task: asyncio.Task[None] | None = None
        self._abandoned = False
        self.looks_at_memory = False
        self.status = Status.UNSTARTED
        self.mode = PAGE_SAMPLING
        self.samples = 0  # pages a GiB
        self.started_s = 0
        self.period_ms = 0
        self.rate = 0

    def begin(self, period_ms: int, mode: str, samples: int | None) -> None:
        """Measure for so long; QmpError with QEMU's text, in its order of checks."""
        if self.status is Status.MEASURING:
            raise QmpError("the dirty rate is already being measured.")
        if not _LEAST_MS <= period_ms <= _MOST_MS:
            span = f"[{_LEAST_MS}ms, {_MOST_MS}ms]"
            raise QmpError(f"Calculation time is out of range {span}.")
        if samples is not None and mode != PAGE_SAMPLING:
            raise QmpError("sample-pages is used only in page-sampling mode")
        if samples is not None and not _LEAST_SAMPLES <= samples <= _MOST_SAMPLES:
            raise QmpError(f"sample-pages is out of range[{_LEAST_SAMPLES}, {_MOST_SAMPLES}].")
        if mode == (DIRTY_BITMAP if self._has_ring else DIRTY_RING):
            raise QmpError(f"mode {mode} is not enabled, use other method instead.")
        self._step(Status.MEASURING)
        self.mode, self.period_ms, self.rate = mode, period_ms, 0
        self.samples = DEFAULT_SAMPLES if samples is None else samples
        self.started_s = self._clock.wall_ns() // SECOND_NS
        measure = self._sample if mode == PAGE_SAMPLING else self._count_written
        self._task = asyncio.get_running_loop().create_task(self._run(measure))

    def abandon(self) -> None:
        """The process ends."""
        self._abandoned = True
        if self._task is not None:
            self._task.cancel()

    def _step(self, new: Status) -> None:
        assert new in TRANSITIONS[self.status]
        self.status = new

    async def _run(self, measure: Callable[[], Coroutine[Any, Any, int]]) -> None:
        self.rate = await measure()
        self._step(Status.MEASURED)

    async def _count_written(self) -> int:
        begun = self._clock.now_ns()
        meters = [(block, block.start_meter()) for block in self._blocks()]
        try:
            await self._clock.sleep(self.period_ms * MS)
        finally:
            written = sum([block.stop_meter(meter) for block, meter in meters])
        self.period_ms = self._elapsed_ms(begun)
        return (written << PAGE_BITS >> _MIB_BITS) * 1000 // self.period_ms

    async def _sample(self) -> int:
        worker = Worker()
        begun = self._clock.now_ns()
        try:
            looks = [_Look(block, self.samples, begun) for block in self._blocks()]
            looks = [look for look in looks if look.count]
            await worker.run(lambda: self._at_memory(_Look.remember, looks))
            await self._clock.sleep(max(self.period_ms * MS - (self._clock.now_ns() - begun), 0))
            self.period_ms = self._elapsed_ms(begun)
            await worker.run(lambda: self._at_memory(_Look.compare, looks))
        finally:
            worker.stop()
        return _sampled_rate(looks, self.period_ms)

    def _at_memory(self, step: Callable[[_Look], None], looks: list[_Look]) -> None:
        """In the thread, which the process's end does not wait for."""
        self.looks_at_memory = not self._abandoned
        try:
            for look in looks if self.looks_at_memory else ():
                try:
                    step(look)
                except (OSError, ValueError):  # memory that has gone meanwhile is not measured
                    look.forget()
        finally:
            self.looks_at_memory = False

    def _elapsed_ms(self, begun: int) -> int:
        return max((self._clock.now_ns() - begun) // MS, 1)


def _sampled_rate(looks: list[_Look], period_ms: int) -> int:
    samples = sum(look.count for look in looks)
    if not samples:
        return _NOTHING_SEEN
    mebibytes = sum(look.size >> _MIB_BITS for look in looks)
    changed = sum(look.changed for look in looks)
    return changed * mebibytes * 1000 // (samples * period_ms)


class _Look:
    """Pages of one block, chosen by chance: what was in them, and how many have changed since."""

    def __init__(self, block: RamBlock, samples_a_gib: int, seed: int) -> None:
        self._block = block
        self._seed = seed
        self._seen = array("I")
        self.size = block.size
        self.count = 0
        if block.size >= _LEAST_BLOCK:
            self.count = samples_a_gib * block.size >> _GIB_BITS
        self.changed = 0

    def remember(self) -> None:
        self._seen = array("I", map(self._sum, self._pages()))

    def compare(self) -> None:
        now = map(self._sum, self._pages())
        self.changed = sum(one != other for one, other in zip(self._seen, now, strict=True))

    def forget(self) -> None:
        self.count = self.size = self.changed = 0

    def _pages(self) -> Iterator[int]:
        """The same ones each time: multiples of an odd constant, mixed, are as good as chance."""
        for number in range(self.count):
            mixed = (self._seed + number * 0x9E3779B97F4A7C15) & (1 << 64) - 1
            mixed = ((mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9) & (1 << 64) - 1
            yield (mixed ^ mixed >> 27) % (self.size >> PAGE_BITS)

    def _sum(self, page: int) -> int:
        start = page << PAGE_BITS
        data = self._block.view[start : start + PAGE_SIZE]
        # Who reads a hole through a shared mapping fills it.
        if next(self._block.data_extents(start, start + PAGE_SIZE), None) is None:
            return _ZEROS
        return crc32(data)
