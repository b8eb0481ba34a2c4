"""The writer task: one outgoing migration from `setup` to its end.

The loop decides, the worker thread carries: scanning RAM and writing happen in the thread, in
steps small enough that the monitors answer in between. Rounds, rate windows and the switch-over
decision observed from migration/migration.c, migration/ram.c and migration/savevm.c.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from qapi.error import QmpError
from vmd.memory import PAGE_SIZE
from vmd.migration import save
from vmd.migration.rate import NO_LIMIT, DirtRate, RateWindow
from vmd.migration.saver import make_saver
from vmd.migration.state import (
    CANCELLABLE,
    UNDER_WAY,
    MigrationStats,
    MigrationStatus,
    step,
)
from vmd.migration.throttle import Throttle
from vmd.migration.xbzrle import XbzrleCounters
from vmd.runstate import LIVE, RunState
from vmd.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from vmd.migration.parameters import MigrationOptions
    from vmd.migration.saver import Saver
    from vmd.migration.stream import CarriedSection
    from vmd.migration.vm import Vm

    Buffer = bytes | bytearray | memoryview

    class Channel(Protocol):
        """Where the stream goes. `write` and `finish` may block and run in the worker."""

        path: str
        written: int  # bytes that are in it, also of a write that failed

        def write(self, buffers: Sequence[Buffer]) -> int: ...
        def finish(self) -> None: ...
        def close(self) -> None: ...


STEP_NS = 20_000_000
MS = 1_000_000


class Cancelled(Exception):
    """`migrate_cancel` was heard."""


class Outgoing:
    """One migration out of this machine. Made when `migrate` is accepted; ends by itself."""

    def __init__(
        self,
        vm: Vm,
        options: MigrationOptions,
        carried: list[CarriedSection],
        announce: Callable[[MigrationStatus], None],
        announce_pass: Callable[[int], None],
    ) -> None:
        self._vm = vm
        self._options = options
        self._carried = carried
        self._announce = announce
        self._announce_pass = announce_pass
        self.status = MigrationStatus.NONE
        self.error: str | None = None
        self.stats = MigrationStats()
        self.xbzrle = XbzrleCounters()
        self._old_state: RunState | None = None
        self._saver: Saver | None = None
        self._worker = Worker()
        self._task: asyncio.Task[None] | None = None
        self._wakeup = asyncio.Event()
        self._started_ns = 0
        self._stopped_ns = 0
        self._window = RateWindow(vm.clock, options, self.stats)
        self._dirt = DirtRate(vm.clock, self.stats)
        self._throttle = Throttle(vm.clock, options, self.stats, vm.guest)
        self._pages_before = 0  # sent up to the last measuring period
        self._ram_flows = False

    # Called by the commands.

    def start(self, open_channel: Callable[[], Channel]) -> None:
        """Enter setup, open the channel, stop the guest if the mode wants that, and go on alone.

        QmpError if the channel cannot be opened; the status is then `failed`.
        """
        self._step(MigrationStatus.SETUP)
        self._started_ns = self._vm.clock.now_ns()
        self.stats.expected_downtime_ms = self._options.number("downtime-limit")
        try:
            channel = open_channel()
        except QmpError as error:
            self.error = error.desc
            self._step(MigrationStatus.FAILED)
            raise
        objection = self._vm.blockers.objection(self._options.mode)
        if objection is not None:
            channel.close()
            self.error = objection
            self._vm.report(objection)  # QEMU tells it where it arises and where it fails
            self._vm.report(objection)
            self._step(MigrationStatus.FAILED)
            return
        if self._options.is_cpr:
            self._stop_guest()
        self._task = asyncio.get_running_loop().create_task(self._run(channel))

    def cancel(self) -> None:
        """Ask for the end; the task comes to it at its next step."""
        if self.status in CANCELLABLE:
            self._step(MigrationStatus.CANCELLING)
            self._wakeup.set()

    def abandon(self) -> None:
        """The process ends: nobody waits for the disk any more, and the guest stays as it is."""
        self.cancel()
        if self._task is not None:
            self._task.cancel()

    def go_on(self) -> None:
        """`migrate-continue`; it means something in pre-switchover only."""
        if self.status is MigrationStatus.PRE_SWITCHOVER:
            self._wakeup.set()

    @property
    def under_way(self) -> bool:
        """Whether it has not ended yet."""
        return self.status in UNDER_WAY or (self._task is not None and not self._task.done())

    async def settled(self) -> None:
        """Wait for the end, whatever it is."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def times(self) -> dict[str, object]:
        """The time members of query-migrate for the status of now, in ms."""
        if self.status is MigrationStatus.COMPLETED:
            return {
                "total-time": self.stats.total_time_ms,
                "downtime": self.stats.downtime_ms,
                "setup-time": self.stats.setup_time_ms,
            }
        return {
            "total-time": (self._vm.clock.now_ns() - self._started_ns) // MS,
            "expected-downtime": self.stats.expected_downtime_ms,
            "setup-time": self.stats.setup_time_ms,
        }

    # The task.

    async def _run(self, channel: Channel) -> None:
        try:
            failure = await self._send(channel)
            if failure is not None or self.status is not MigrationStatus.DEVICE:
                await self._worker.run(channel.close)  # a whole file is closed already
        finally:
            self._worker.stop(channel.close)  # the task itself may have been cancelled
        if self._saver is not None:
            self._saver.close()
        self._throttle.release()
        # Nothing is under way behind these: who hears of the end may start anew at once.
        if self.status is MigrationStatus.CANCELLING:
            self._resume_guest()
            self._step(MigrationStatus.CANCELLED)
        elif failure is not None:
            self._fail(failure, channel)
        else:
            self._succeed()

    async def _send(self, channel: Channel) -> str | None:
        """Everything up to a whole file, or up to a cancel; why it failed, if it did."""
        try:
            saver = await self._setup(channel)
            await self._iterate(saver, channel)
            await self._complete(saver, channel)
        except Cancelled:
            pass
        except QmpError as error:
            return error.desc
        except Exception as error:  # a bug must lose no guest
            return f"{type(error).__name__}: {error}"
        return None

    async def _setup(self, channel: Channel) -> Saver:
        def begin() -> int:
            # In the worker: it may have to write, and to import numpy (which is setup, and no
            # part of the first rate window).
            self._saver = saver = make_saver(self._vm, self._options, self.xbzrle)
            head = save.head(self._vm, self._options)
            early = save.early(self._vm, self._carried)
            return saver.start(channel, head, early)

        written = 0
        failure: QmpError | None = None
        try:
            written = await self._worker.run(begin)
        except QmpError as error:
            failure = error
        saver = self._saver
        assert saver is not None
        self.stats.total = saver.total
        self._account(written)
        self._sync(saver)
        self._check_cancel()
        self._window.begin()
        self.stats.setup_time_ms = (self._vm.clock.now_ns() - self._started_ns) // MS
        self._step(MigrationStatus.ACTIVE)
        if failure is not None:  # QEMU notices it only here, and no longer knows why
            raise QmpError("ram_save_setup failed: Input/output error")
        return saver

    async def _iterate(self, saver: Saver, channel: Channel) -> None:
        """Rounds until what is left fits into the downtime limit."""
        window = self._window
        send = partial(saver.send, channel)
        while True:
            pending = saver.pending
            if pending < window.threshold or self._throttle.wants_sync():
                pending = self._sync(saver)
            if pending == 0 or pending < window.threshold:
                return
            budget = window.budget()
            before = window.bytes
            await self._run_ram(saver, partial(self._write_ram, send, budget))
            self._measure()
            # Who has used up the window waits for its end, even if the limit is lifted meanwhile.
            used_up = window.bytes - before >= budget
            while used_up or window.budget() == 0:
                await self._sleep_to_window_end()
                used_up = False
            self._check_cancel()

    async def _complete(self, saver: Saver, channel: Channel) -> None:
        if self._old_state is None:
            self._stop_guest()
        if self._options.is_on("pause-before-switchover"):
            await self._wait_before_switchover()
        self._step(MigrationStatus.DEVICE)
        self._sync(saver)
        assert self._old_state is not None
        tail = save.tail(self._vm, self._options, self._carried, self._old_state)
        switchover = [save.switchover_start()]
        whole = False

        def send_rest() -> int:
            # Without a limit. What takes no time is one step: each way to the worker and back
            # is downtime.
            nonlocal whole
            written = channel.write([switchover.pop()]) if switchover else 0
            written += self._write_ram(partial(saver.send_last, channel), NO_LIMIT)
            if not saver.pending:
                self._ram_flows = True
                written += saver.finish(channel)
                self._ram_flows = False
                written += channel.write(tail)
                channel.finish()
                whole = True
            return written

        while not whole:
            await self._run_ram(saver, send_rest)
            self._check_cancel()

    async def _wait_before_switchover(self) -> None:
        self._wakeup.clear()
        self._step(MigrationStatus.PRE_SWITCHOVER)
        await self._wakeup.wait()
        self._check_cancel()

    def _succeed(self) -> None:
        now = self._vm.clock.now_ns()
        self.stats.total_time_ms = (now - self._started_ns) // MS
        self.stats.downtime_ms = (now - self._stopped_ns) // MS
        self.stats.remaining = 0
        self.stats.dirty_pages_rate = 0
        sending_ms = self.stats.total_time_ms - self.stats.setup_time_ms
        if sending_ms:
            self.stats.mbps = self.stats.transferred * 8 / sending_ms / 1000
        if self._vm.runstate.state is RunState.FINISH_MIGRATE:
            self._vm.runstate.become(RunState.POSTMIGRATE)
        self._step(MigrationStatus.COMPLETED)

    def _fail(self, reason: str, channel: Channel) -> None:
        self.error = reason
        if self._ram_flows and self._saver is not None:
            self._vm.report(self._saver.complaint(reason))
        self._vm.report(reason)
        if channel.written:
            self._vm.report(
                f"info: the state file '{channel.path}' is incomplete ({channel.written} bytes)"
            )
        self._step(MigrationStatus.FAILED)
        self._resume_guest()

    # Guest.

    def _stop_guest(self) -> None:
        self._old_state = self._vm.runstate.state
        self._stopped_ns = self._vm.clock.now_ns()
        self._vm.vm_stop(RunState.FINISH_MIGRATE)

    def _resume_guest(self) -> None:
        """Back to where the machine was before the migration stopped it."""
        if self._old_state is None or self._vm.runstate.state is not RunState.FINISH_MIGRATE:
            return
        if self._old_state in LIVE:
            self._vm.vm_start()
        else:
            self._vm.runstate.become(self._old_state)

    # RAM.

    def _sync(self, saver: Saver) -> int:
        """Take over the dirty log: one pass more. Returns the bytes that now wait."""
        fresh = saver.sync()
        self.stats.dirty_sync_count += 1
        self.stats.remaining = saver.pending
        if self._dirt.synced(fresh, saver.pending):
            self._throttle.judge(self._dirt.dirtied * PAGE_SIZE)
            pages = self.stats.normal + self.stats.duplicate + self.xbzrle.pages
            self.xbzrle.measure(pages - self._pages_before)
            self._pages_before = pages
        self._announce_pass(self.stats.dirty_sync_count)
        return saver.pending

    def _write_ram(self, send: Callable[[int], int], budget: int) -> int:
        """In the worker: have RAM sent for at most a step's time; the bytes written."""
        now_ns = self._vm.clock.now_ns
        self._ram_flows = True
        written, deadline = 0, now_ns() + STEP_NS
        while written < budget and now_ns() < deadline:
            sent = send(budget - written)
            if not sent:
                break
            written += sent
        self._ram_flows = False
        return written

    async def _run_ram(self, saver: Saver, call: Callable[[], int]) -> None:
        """Have the worker do one step with RAM, and take over its figures."""
        before = saver.ram_bytes
        self._account(await self._worker.run(call))
        sent = saver.ram_bytes - before
        if self._vm.runstate.state is RunState.RUNNING:
            self.stats.precopy_bytes += sent
        else:
            self.stats.downtime_bytes += sent
        self._window.pages += saver.normal + saver.duplicate
        self._window.pages -= self.stats.normal + self.stats.duplicate
        self.stats.duplicate = saver.duplicate
        self.stats.normal = saver.normal
        self.stats.remaining = saver.pending

    def _account(self, written: int) -> None:
        self.stats.transferred += written
        self._window.bytes += written

    # Rate windows.

    async def _sleep_to_window_end(self) -> None:
        left = self._window.left_ns()
        if left > 0:
            sleep = asyncio.ensure_future(self._vm.clock.sleep(left))
            cancel = asyncio.ensure_future(self._wakeup.wait())
            await asyncio.wait((sleep, cancel), return_when=asyncio.FIRST_COMPLETED)
            sleep.cancel()
            cancel.cancel()
        self._check_cancel()
        self._measure(limited=True)

    def _measure(self, *, limited: bool = False) -> None:
        # Without a limit QEMU's sweep of a stopped guest ends within its first window.
        live = self._vm.runstate.state is RunState.RUNNING
        self._window.measure(derive=limited or live, left_at_sync=self._dirt.left_at_sync)

    # Status.

    def _check_cancel(self) -> None:
        if self.status is MigrationStatus.CANCELLING:
            raise Cancelled

    def _step(self, new: MigrationStatus) -> None:
        self.status = step(self.status, new)
        self._announce(new)
