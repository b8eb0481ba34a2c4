"""RAM on its way through a channel: what is sent, counted and measured.

`sync` and the figures belong to the event loop; scanning and writing happen in the worker, in
steps small enough that the monitors answer in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmd.memory import PAGE_SIZE
from vmd.migration.rate import NO_LIMIT, DirtRate, RateWindow
from vmd.migration.throttle import Throttle
from vmd.runstate import RunState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from vmd.migration.channels.stream import Wire
    from vmd.migration.parameters import MigrationOptions
    from vmd.migration.saver import Saver
    from vmd.migration.state import MigrationStats
    from vmd.migration.vm import Vm
    from vmd.migration.xbzrle import XbzrleCounters
    from vmd.worker import Worker

    Buffer = bytes | bytearray | memoryview

    class Channel(Protocol):
        """Where the stream goes. `write`, `finish` and `close` may wait and run in the worker.

        `path` is that of a file that stays when the stream breaks off, `written` the bytes that
        are in it, also of a write that failed, `reader` where the destination may answer.
        `is_file`: nobody reads it before it is known to be whole.
        """

        written: int

        @property
        def is_file(self) -> bool: ...
        @property
        def path(self) -> str | None: ...
        @property
        def reader(self) -> Wire | None: ...
        def write(self, buffers: Sequence[Buffer]) -> int: ...
        def finish(self) -> None: ...
        def interrupt(self) -> None: ...
        def cut(self) -> None: ...
        def close(self) -> None: ...


STEP_NS = 20_000_000


class RamFlow:
    """One migration's RAM and the channel that it takes."""

    def __init__(
        self,
        vm: Vm,
        options: MigrationOptions,
        stats: MigrationStats,
        saver: Saver,
        channel: Channel,
        xbzrle: XbzrleCounters,
    ) -> None:
        self._vm = vm
        self._stats = stats
        self._saver = saver
        self._xbzrle = xbzrle
        self._pages_before = 0  # sent up to the last measuring period
        self._channel = channel
        self._dirt = DirtRate(vm.clock, stats)
        self._throttle = Throttle(vm.clock, options, stats, vm.guest, vm.dirty_limits)
        self.window = RateWindow(vm.clock, options, stats)
        self._in_ram = False  # a write that fails now is one of RAM
        self._written = 0
        self._ram_bytes = 0

    @property
    def pending(self) -> int:
        """Bytes of RAM that wait (the dirty log not looked at)."""
        return self._saver.pending

    def sync(self) -> int:
        """Take over the dirty log: one pass more. Returns the bytes that now wait."""
        fresh = self._saver.sync()
        pending = self._saver.pending
        self._stats.dirty_sync_count += 1
        self._stats.remaining = pending
        if self._dirt.synced(fresh, pending):
            self._throttle.judge(self._dirt.dirtied * PAGE_SIZE)
            pages = self._stats.normal + self._stats.duplicate + self._xbzrle.pages
            self._xbzrle.measure(pages - self._pages_before)
            self._pages_before = pages
        return pending

    def take_over(self) -> None:
        """Bring the figures up to what the worker has done, also while it is at it."""
        saver, stats = self._saver, self._stats
        written = self._channel.written - self._written
        self._written += written
        stats.transferred += written
        self.window.bytes += written
        sent = saver.ram_bytes - self._ram_bytes
        self._ram_bytes += sent
        if self._vm.runstate.state is RunState.RUNNING:
            stats.precopy_bytes += sent
        else:
            stats.downtime_bytes += sent
        self.window.pages += saver.normal + saver.duplicate - stats.normal - stats.duplicate
        stats.duplicate = saver.duplicate
        stats.normal = saver.normal
        stats.remaining = saver.pending

    def measure(self, *, limited: bool = False, idle: bool = False) -> None:
        """Look whether the window is over. `limited`: its bytes were used up; `idle`: all that
        waits can only be sent at the end."""
        # A stopped guest's RAM is swept by QEMU at its limit, or within its first window: a host
        # that is slower than that shall not make another course of events.
        live = self._vm.runstate.state is RunState.RUNNING
        if not (limited or live or idle or self.window.budget() == NO_LIMIT):
            return
        derive = limited or live or idle
        self.window.measure(derive=derive, left_at_sync=self._dirt.left_at_sync, idle=idle)

    async def run(self, worker: Worker, call: Callable[[], None]) -> None:
        """Have the worker do one step with RAM, and take over its figures."""
        await worker.run(call)
        self.take_over()

    def wants_sync(self) -> bool:
        """Whether a round takes so long that the guest is to be judged meanwhile."""
        return self._throttle.wants_sync()

    def complain(self, reason: str) -> None:
        """Say what QEMU says besides `reason`, if it is RAM that could not be written."""
        if self._in_ram:
            self._vm.report(self._saver.complaint(reason))

    def release(self) -> None:
        """All is over: the guest runs at its own pace."""
        self._throttle.release()

    # In the worker.

    def write(self, budget: int) -> None:
        """PART sections of about `budget` bytes, but for at most a step's time."""
        self._write(self._saver.send, budget)

    def write_last(self) -> None:
        """What waits when the guest has stopped goes into the END section."""
        self._write(self._saver.send_last, NO_LIMIT)

    def write_end(self) -> None:
        """The end of the END section, once nothing waits."""
        self._in_ram = True
        self._saver.finish(self._channel)
        self._in_ram = False

    def _write(self, send: Callable[[Channel, int], int], budget: int) -> None:
        now_ns = self._vm.clock.now_ns
        self._in_ram = True
        deadline = now_ns() + STEP_NS
        while budget > 0 and now_ns() < deadline:
            sent = send(self._channel, budget)
            if not sent:
                break
            budget -= sent
        self._in_ram = False
