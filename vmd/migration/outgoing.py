"""The writer task: one outgoing migration from `setup` to its end.

The loop decides, the worker thread carries (`flow`). Rounds, rate windows and the switch-over
decision observed from migration/migration.c, migration/ram.c and migration/savevm.c.

Theory of the point of no return: a destination can go on once it has the byte that ends the device
sections. Until then a source whose channel fails takes its guest back. From then on it does not,
whatever happens to the channel, unless a return path tells it the truth.
"""

from __future__ import annotations

import asyncio
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from qapi.error import QmpError
from vmd.migration import save
from vmd.migration.channels.stream import Interrupted
from vmd.migration.flow import RamFlow
from vmd.migration.handover import Handover
from vmd.migration.rate import NO_LIMIT
from vmd.migration.saver import make_saver
from vmd.migration.state import (
    CANCELLABLE,
    UNDER_WAY,
    MigrationStats,
    MigrationStatus,
    step,
)
from vmd.migration.xbzrle import XbzrleCounters
from vmd.runstate import RunState
from vmd.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from vmd.migration.flow import Channel
    from vmd.migration.parameters import MigrationOptions
    from vmd.migration.return_path import ReturnPath
    from vmd.migration.saver import Saver
    from vmd.migration.stream import CarriedSection
    from vmd.migration.vm import Vm

    WayOut = Channel | Coroutine[Any, Any, Channel]

MS = 1_000_000
CHANNEL_ERROR = "Channel error: Input/output error"
BROKEN_SETUP = "ram_save_setup failed: Input/output error"


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
        self.stats = MigrationStats()
        self.xbzrle = XbzrleCounters()
        self._error: str | None = None
        self._handover = Handover(vm)
        self._saver: Saver | None = None
        self._flow: RamFlow | None = None
        self._channel: Channel | None = None
        self._return_path: ReturnPath | None = None
        self._connecting: asyncio.Task[Channel] | None = None
        self._worker = Worker()
        self._task: asyncio.Task[None] | None = None
        self._wakeup = asyncio.Event()
        self._started_ns = 0
        self._waits_for_shut = False
        self._loadable_at = NO_LIMIT  # with so many bytes written a destination can go on

    # Called by the commands.

    def start(self, open_channel: Callable[[], WayOut]) -> None:
        """Enter setup, open the channel, stop the guest if the mode wants that, and go on alone.

        QmpError if the channel cannot be opened; the status is then `failed`. A way that must be
        connected first (a coroutine) fails later, without anybody to tell but query-migrate.
        """
        self._step(MigrationStatus.SETUP)
        self._started_ns = self._vm.clock.now_ns()
        self.stats.expected_downtime_ms = self._options.number("downtime-limit")
        try:
            way = open_channel()
        except QmpError as error:
            self._error = error.desc
            self._step(MigrationStatus.FAILED)
            raise
        loop = asyncio.get_running_loop()
        if isinstance(way, CoroutineType):
            self._connecting = loop.create_task(way)
            self._task = loop.create_task(self._connect(self._connecting))
        else:
            assert not asyncio.iscoroutine(way)
            if self._may_begin(way):
                self._task = loop.create_task(self._run(way))

    def cancel(self) -> None:
        """Ask for the end; the task comes to it at its next step."""
        if self.status not in CANCELLABLE:
            return
        self._step(MigrationStatus.CANCELLING)
        self._wakeup.set()
        if self._connecting is not None:
            self._connecting.cancel()
            self._step(MigrationStatus.CANCELLED)
        elif self._channel is not None:
            self._channel.interrupt()

    def cut(self) -> None:
        """`yank`: end the connection as if the peer were gone."""
        if self._channel is not None:
            self._channel.cut()

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

    @property
    def error(self) -> str | None:
        """What went wrong first."""
        heard = self._return_path.error if self._return_path is not None else None
        return self._error or heard

    async def settled(self) -> None:
        """Wait for the end, whatever it is."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def figures(self, page_size: int) -> dict[str, object]:
        """The time members and the `ram` of query-migrate, for the status of now."""
        if self._flow is not None and self._channel is not None:
            self._flow.take_over()
        return self._times() | {"ram": self.stats.ram(page_size)}

    def _times(self) -> dict[str, object]:
        if self.status is MigrationStatus.COMPLETED:
            return self.stats.final_times()
        return self.stats.times((self._vm.clock.now_ns() - self._started_ns) // MS)

    # The task.

    async def _connect(self, connecting: asyncio.Task[Channel]) -> None:
        try:
            channel = await connecting
        except QmpError as error:
            self._connecting = None
            self._error = error.desc
            self._vm.report(f"{error.desc}\n{error.hint}" if error.hint else error.desc)
            self._step(MigrationStatus.FAILED)
            return
        except asyncio.CancelledError:
            if self.status is MigrationStatus.CANCELLED:
                return
            raise
        self._connecting = None
        if self.status is MigrationStatus.CANCELLED:  # the two have crossed
            channel.close()
            return
        if self._may_begin(channel):
            await self._run(channel)

    def _may_begin(self, channel: Channel) -> bool:
        """Ask those who may object, then stop the guest if the mode wants that."""
        objection = self._vm.blockers.objection(self._options.mode)
        if objection is None:
            if self._options.is_cpr:
                self._handover.stop()
            return True
        channel.close()
        self._error = objection
        self._vm.report(objection)  # QEMU tells it where it arises and where it fails
        self._vm.report(objection)
        self._step(MigrationStatus.FAILED)
        return False

    async def _run(self, channel: Channel) -> None:
        self._channel = channel
        try:
            failure = await self._send(channel)
            self._close_return_path()
            if failure is not None or self.status is not MigrationStatus.DEVICE:
                await self._worker.run(channel.close)  # a whole one is closed already
        finally:
            self._close_return_path()
            self._worker.stop(channel.close)  # the task itself may have been cancelled
        self._channel = None
        if self._saver is not None:
            self._saver.close()
        if self._flow is not None:
            self._flow.release()
        # Nothing is under way behind these: who hears of the end may start anew at once.
        if self.status is MigrationStatus.CANCELLING:
            self._take_back(channel)
            self._step(MigrationStatus.CANCELLED)
        elif failure is not None and not self._arrived_anyway(channel):
            self._fail(failure, channel)
        else:
            self._succeed()

    async def _send(self, channel: Channel) -> str | None:
        """Everything up to a whole stream, or up to a cancel; why it failed, if it did."""
        try:
            flow = await self._setup(channel)
            await self._iterate(flow)
            await self._complete(flow, channel)
        except Cancelled:
            pass
        except Interrupted:
            self._say_interrupted(channel)
        except QmpError as error:
            return self.error or error.desc
        except Exception as error:  # a bug must lose no guest
            return f"{type(error).__name__}: {error}"
        return None

    async def _setup(self, channel: Channel) -> RamFlow:
        opening = self._open_return_path(channel)

        def set_up() -> tuple[Saver, bool]:
            self._saver = saver = make_saver(self._vm, self._options, self.xbzrle)
            head = save.head(self._vm, self._options) + opening
            early = save.early(self._vm, self._carried)
            try:
                saver.start(channel, head, early)
            except QmpError:
                return saver, False  # QEMU notices when all is set up
            return saver, True

        saver, good = await self._worker.run(set_up)
        self.stats.total = saver.total
        self._flow = flow = RamFlow(
            self._vm, self._options, self.stats, saver, channel, self.xbzrle
        )
        flow.take_over()
        self._sync(flow)
        self._check_cancel()
        flow.window.begin()
        self.stats.setup_time_ms = (self._vm.clock.now_ns() - self._started_ns) // MS
        self._step(MigrationStatus.ACTIVE)
        if not good:
            raise QmpError(BROKEN_SETUP)
        return flow

    async def _iterate(self, flow: RamFlow) -> None:
        """Rounds until what is left fits into the downtime limit."""
        window = flow.window
        while True:
            pending = flow.pending
            if pending < window.threshold or flow.wants_sync():
                pending = self._sync(flow)
            if pending == 0 or pending < window.threshold:
                if self._may_switch_over():
                    return
                if pending == 0:
                    await self._pause(window.left_ns(), self._news())
            budget = window.budget()
            before = window.bytes
            await flow.run(self._worker, partial(flow.write, budget))
            flow.measure()
            # Who has used up the window waits for its end, even if the limit is lifted meanwhile.
            used_up = window.bytes - before >= budget
            while used_up or window.budget() == 0:
                await self._pause(window.left_ns())
                flow.measure(limited=True)
                used_up = False
            self._check_cancel()

    async def _complete(self, flow: RamFlow, channel: Channel) -> None:
        if self._handover.old_state is None:
            self._handover.stop()
        if self._options.is_on("pause-before-switchover"):
            await self._wait_before_switchover()
        self._step(MigrationStatus.DEVICE)
        self._sync(flow)
        assert self._handover.old_state is not None
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
                self._loadable_at = channel.written + sum(map(len, tail.up_to_eof))
                channel.write([*tail.up_to_eof, *tail.description])
                channel.finish()
                if self._return_path is None:
                    channel.close()
                whole = True

        while not whole:
            await flow.run(self._worker, send_rest)
            self._check_cancel()
        if self._return_path is not None:
            await self._wait_for_shut(self._return_path)
            await self._worker.run(channel.close)

    async def _wait_before_switchover(self) -> None:
        self._wakeup.clear()
        self._step(MigrationStatus.PRE_SWITCHOVER)
        await self._wakeup.wait()
        self._check_cancel_while_waiting()

    def _succeed(self) -> None:
        now = self._vm.clock.now_ns()
        self._error = None
        self.stats.total_time_ms = (now - self._started_ns) // MS
        self.stats.downtime_ms = self._handover.downtime_ms()
        self.stats.remaining = 0
        self.stats.dirty_pages_rate = 0
        sending_ms = self.stats.total_time_ms - self.stats.setup_time_ms
        if sending_ms:
            self.stats.mbps = self.stats.transferred * 8 / sending_ms / 1000
        self._handover.give_away()
        self._step(MigrationStatus.COMPLETED)

    def _fail(self, reason: str, channel: Channel) -> None:
        self._error = reason
        if self._flow is not None:
            self._flow.complain(reason)
        self._vm.report(reason)
        if channel.written and channel.path is not None:
            self._vm.report(
                f"info: the state file '{channel.path}' is incomplete ({channel.written} bytes)"
            )
        self._step(MigrationStatus.FAILED)
        self._handover.take_back()

    def _say_interrupted(self, channel: Channel) -> None:
        """A cancel has cut a write short; QEMU shuts its socket down for that."""
        if channel.reader is not None and channel.reader.can_be_cut:
            reason = "Unable to write to socket: Broken pipe"
            self._vm.report(reason)
            if self._flow is not None:
                self._flow.complain(reason)

    # The return path.

    def _open_return_path(self, channel: Channel) -> bytes:
        """Listen to the destination if the capability says so; what tells it to speak."""
        if not self._options.is_on("return-path"):
            return b""
        from vmd.migration.return_path import ReturnPath

        names = {block.idstr for block in self._vm.ram_blocks}
        self._return_path = ReturnPath(channel.reader, names, self.stats)
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
        self._waits_for_shut = True
        self._wakeup.clear()
        await self._any_of(path.ended.wait())
        self._check_cancel_while_waiting()
        if path.error is not None:
            raise QmpError(path.error)

    def _close_return_path(self) -> None:
        if self._return_path is not None:
            self._return_path.close()

    # The end, if it is not a good one.

    def _arrived_anyway(self, channel: Channel) -> bool:
        """Whether a destination may be going on although the channel has failed.

        Where all was sent and only its answer is missing, QEMU's rule holds: no news is bad news.
        """
        if channel.path is not None or self._waits_for_shut:
            return False
        return channel.written >= self._loadable_at

    def _take_back(self, channel: Channel) -> None:
        """After a cancel the guest goes on here, unless it may be going on elsewhere."""
        if not self._arrived_anyway(channel):
            self._handover.take_back()
            return
        self._error = "Everything had been sent before it could be cancelled"
        self._vm.report(self._error)
        self._handover.give_away()

    # Steps.

    def _sync(self, flow: RamFlow) -> int:
        pending = flow.sync()
        self._announce_pass(self.stats.dirty_sync_count)
        return pending

    async def _pause(self, delay_ns: int, news: asyncio.Event | None = None) -> None:
        """Let time pass, until a cancel or until there is news."""
        if delay_ns > 0:
            await self._any_of(self._vm.clock.sleep(delay_ns), *([news.wait()] if news else []))
        self._check_cancel()

    async def _any_of(self, *what: Coroutine[Any, Any, object]) -> None:
        """Wait for one of these, or for a command that wants the task to look again."""
        waits = [asyncio.ensure_future(one) for one in (*what, self._wakeup.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    def _check_cancel(self) -> None:
        if self.status is MigrationStatus.CANCELLING:
            raise Cancelled

    def _check_cancel_while_waiting(self) -> None:
        """QEMU shuts its socket down for a cancel, and who waits takes that for an error."""
        if self.status is MigrationStatus.CANCELLING:
            self._error = CHANNEL_ERROR
            self._vm.report(CHANNEL_ERROR)
        self._check_cancel()

    def _step(self, new: MigrationStatus) -> None:
        self.status = step(self.status, new)
        self._announce(new)
