"""One stream on its way: set up, rounds of RAM, the switch-over, until all of it is sent.

The loop decides, the worker thread carries (`flow`). Rounds, rate windows and the switch-over
decision observed from migration/migration.c, migration/ram.c and migration/savevm.c.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from qapi.error import QmpError
from vmd.migration import save
from vmd.migration.flow import RamFlow
from vmd.migration.rate import NO_LIMIT
from vmd.migration.saver import make_saver
from vmd.migration.state import MigrationStats, MigrationStatus, step
from vmd.migration.xbzrle import XbzrleCounters
from vmd.runstate import RunState

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from vmd.migration.dirty_bitmaps import BitmapsSaver
    from vmd.migration.flow import Channel
    from vmd.migration.handover import Handover
    from vmd.migration.parameters import MigrationOptions
    from vmd.migration.return_path import ReturnPath
    from vmd.migration.saver import Saver
    from vmd.migration.stream import CarriedSection
    from vmd.migration.vm import Vm
    from vmd.worker import Worker

MS = 1_000_000
CHANNEL_ERROR = "Channel error: Input/output error"
BROKEN_SETUP = "ram_save_setup failed: Input/output error"


class Cancelled(Exception):
    """`migrate_cancel` was heard."""


class Course:
    """Where one migration stands, for the one who owns it and the one who sends it.

    Who changes something that the other may wait for sets `wakeup`. `started_ns` is a moment of
    the machine's clock; `announce_pass` is told the number of a round.
    """

    def __init__(
        self, announce: Callable[[MigrationStatus], None], announce_pass: Callable[[int], None]
    ) -> None:
        self.status = MigrationStatus.NONE
        self.stats = MigrationStats()
        self.xbzrle = XbzrleCounters()
        self.error: str | None = None
        self.wakeup = asyncio.Event()
        self.started_ns = 0
        self.announce_pass = announce_pass
        self._announce = announce

    def step(self, new: MigrationStatus) -> None:
        self.status = step(self.status, new)
        self._announce(new)

    def check_cancel(self) -> None:
        """Cancelled if somebody wants the end."""
        if self.status is MigrationStatus.CANCELLING:
            raise Cancelled


class Sending:
    """One stream through one channel.

    `waits_for_shut`: all was sent, and only the destination's answer is missing. `loadable_at`:
    with so many bytes written a destination can go on.
    """

    def __init__(
        self,
        vm: Vm,
        options: MigrationOptions,
        carried: list[CarriedSection],
        course: Course,
        handover: Handover,
        channel: Channel,
        worker: Worker,
        bitmaps: BitmapsSaver | None,
    ) -> None:
        self._vm = vm
        self._options = options
        self._carried = carried
        self._course = course
        self._handover = handover
        self._channel = channel
        self._worker = worker
        self._bitmaps = bitmaps
        self._return_path: ReturnPath | None = None
        self._saver: Saver | None = None
        self._flow: RamFlow | None = None
        self.waits_for_shut = False
        self.loadable_at = NO_LIMIT

    async def run(self) -> None:
        """Everything up to a whole stream; Cancelled, Interrupted or QmpError on the way."""
        flow = await self._setup()
        await self._iterate(flow)
        await self._complete(flow)

    def release(self) -> None:
        """All is over, whatever became of it; the guest runs at its own pace."""
        if self._saver is not None:
            self._saver.close()
        if self._flow is not None:
            self._flow.release()
        if self._bitmaps is not None:
            self._bitmaps.release()

    @property
    def error(self) -> str | None:
        """What the destination said, or why it can say nothing more."""
        return self._return_path.error if self._return_path is not None else None

    def take_over(self) -> None:
        """Bring the figures up to what the worker has done."""
        if self._flow is not None:
            self._flow.take_over()

    def complain(self, reason: str) -> None:
        """Say what QEMU says besides `reason`."""
        if self._flow is not None:
            self._flow.complain(reason)

    async def _setup(self) -> RamFlow:
        channel = self._channel
        opening = self._open_return_path()
        trouble = bitmaps = None
        try:
            opening, bitmaps = self._advise(opening)
        except QmpError as error:  # QEMU notices when all is set up
            trouble = error

        def set_up() -> tuple[Saver, QmpError | None]:
            self._saver = saver = make_saver(self._vm, self._options, self._course.xbzrle)
            head = save.head(self._vm, self._options) + opening
            if self._options.is_on("x-colo"):
                head += save.enable_colo()
            early = (bitmaps or b"") + save.early(self._vm, self._carried)
            try:
                saver.start(channel, head, early)
            except QmpError:
                return saver, QmpError(BROKEN_SETUP)
            return saver, trouble

        try:
            saver, trouble = await self._worker.run(set_up)
        except QmpError:  # this too QEMU notices late
            self._course.check_cancel()
            self._course.step(MigrationStatus.ACTIVE)
            raise
        self._course.stats.total = saver.total
        self._flow = flow = RamFlow(
            self._vm, self._options, self._course.stats, saver, channel, self._course.xbzrle
        )
        flow.take_over()
        self._sync(flow)
        self._course.check_cancel()
        flow.window.begin()
        self._course.stats.setup_time_ms = (self._vm.clock.now_ns() - self._course.started_ns) // MS
        self._course.step(MigrationStatus.ACTIVE)
        if trouble is not None:
            raise trouble
        return flow

    def _advise(self, opening: bytes) -> tuple[bytes, bytes]:
        """What stands before RAM's section and what behind it for bitmaps that travel."""
        if self._bitmaps is None:
            return opening, b""
        opening += save.advise_postcopy()
        if not self._bitmaps.is_active:
            return opening, b""
        self._bitmaps.choose()
        return opening, self._bitmaps.start()

    @property
    def _bits_pending(self) -> int:
        return self._bitmaps.pending if self._bitmaps is not None else 0

    async def _iterate(self, flow: RamFlow) -> None:
        """Rounds until what is left fits into the downtime limit."""
        window = flow.window
        while True:
            bits = self._bits_pending
            pending = flow.pending + bits
            if pending < window.threshold or flow.wants_sync():
                pending = self._sync(flow) + bits
            if pending == 0 or pending < window.threshold:
                if self._may_switch_over():
                    return
                if pending == 0:
                    await self._pause(window.left_ns(), self._news())
            budget = window.budget()
            before = window.bytes
            await flow.run(self._worker, partial(self._write_round, flow, budget))
            if bits and not flow.pending:
                # Bits wait for the guest to stop; a window must pass to say that it may.
                await self._pause(window.left_ns(), self._news())
                flow.measure(idle=True)
            else:
                flow.measure()
            # Who has used up the window waits for its end, even if the limit is lifted meanwhile.
            used_up = window.bytes - before >= budget
            while used_up or window.budget() == 0:
                await self._pause(window.left_ns())
                flow.measure(limited=True)
                used_up = False
            self._course.check_cancel()

    def _write_round(self, flow: RamFlow, budget: int) -> None:
        flow.write(budget)
        stands = self._vm.runstate.state is not RunState.RUNNING
        if self._bitmaps is not None and self._bitmaps.is_active and stands:
            self._channel.write([self._bitmaps.part()])

    async def _complete(self, flow: RamFlow) -> None:
        channel = self._channel
        if self._handover.old_state is None:
            self._handover.stop()
        if self._options.is_on("pause-before-switchover"):
            await self._wait_before_switchover()
        self._course.step(MigrationStatus.DEVICE)
        self._sync(flow)
        assert self._handover.old_state is not None
        self._handover.let_go()
        tail = save.tail(self._vm, self._options, self._carried, self._handover.old_state)
        switchover = [save.switchover_start()]
        whole = False

        def send_rest() -> None:
            # Without a limit. What takes no time is one step: each way to the worker and back
            # is downtime.
            nonlocal whole
            if switchover:
                channel.write([switchover.pop()])
            flow.write_last()
            if not flow.pending:
                flow.write_end()
                if self._bitmaps is not None and self._bitmaps.is_active:
                    self._bitmaps.write_end(channel)
                self.loadable_at = channel.written + sum(map(len, tail.up_to_eof))
                channel.write([*tail.up_to_eof, *tail.description])
                channel.finish()
                if self._return_path is None:
                    channel.close()
                whole = True

        while not whole:
            await flow.run(self._worker, send_rest)
            self._course.check_cancel()
        if self._return_path is not None:
            await self._wait_for_shut(self._return_path)
            await self._worker.run(channel.close)

    async def _wait_before_switchover(self) -> None:
        self._course.wakeup.clear()
        self._course.step(MigrationStatus.PRE_SWITCHOVER)
        await self._course.wakeup.wait()
        self._check_cancel_while_waiting()

    # The return path.

    def _open_return_path(self) -> bytes:
        """Listen to the destination if the capability says so; what tells it to speak."""
        if not self._options.is_on("return-path"):
            return b""
        from vmd.migration.return_path import ReturnPath

        names = {block.idstr for block in self._vm.ram_blocks}
        self._return_path = ReturnPath(self._channel.reader, names, self._course.stats)
        return save.open_return_path()

    def _may_switch_over(self) -> bool:
        """A live guest waits until the destination is ready, if it is to say so."""
        if not self._options.is_on("switchover-ack") or self._return_path is None:
            return True
        return self._return_path.acked or self._vm.runstate.state is not RunState.RUNNING

    def _news(self) -> asyncio.Event | None:
        """Set when the destination says something from now on."""
        if self._return_path is not None:
            self._return_path.news.clear()
        return self._return_path.news if self._return_path is not None else None

    async def _wait_for_shut(self, path: ReturnPath) -> None:
        """Until the destination says that it has everything; QmpError if it does not."""
        self.waits_for_shut = True
        self._course.wakeup.clear()
        await self._any_of(path.ended.wait())
        self._check_cancel_while_waiting()
        if path.error is not None:
            raise QmpError(path.error)

    def close_return_path(self) -> None:
        """Listen to the destination no longer; before the channel is closed."""
        if self._return_path is not None:
            if self.waits_for_shut:
                self._return_path.last_word()
            self._return_path.close()

    @property
    def all_is_well(self) -> bool:
        """Whether the destination has said that it goes on."""
        return self._return_path is not None and self._return_path.all_is_well

    def _sync(self, flow: RamFlow) -> int:
        pending = flow.sync()
        self._course.announce_pass(self._course.stats.dirty_sync_count)
        return pending

    async def _pause(self, delay_ns: int, news: asyncio.Event | None = None) -> None:
        """Let time pass, until a cancel or until there is news."""
        if delay_ns > 0:
            await self._any_of(self._vm.clock.sleep(delay_ns), *([news.wait()] if news else []))
        self._course.check_cancel()

    async def _any_of(self, *what: Coroutine[Any, Any, object]) -> None:
        """Wait for one of these, or for a command that wants the task to look again."""
        waits = [asyncio.ensure_future(one) for one in (*what, self._course.wakeup.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    def _check_cancel_while_waiting(self) -> None:
        """QEMU shuts its socket down for a cancel, and who waits takes that for an error."""
        if self._course.status is MigrationStatus.CANCELLING:
            self._course.error = CHANNEL_ERROR
            self._vm.report(CHANNEL_ERROR)
        self._course.check_cancel()
