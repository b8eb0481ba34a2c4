"""One outgoing migration from `setup` to its end: what commands make of it, and who has the guest.

How the stream is sent is told in `sending`.

Theory of the point of no return: a destination can go on once it has the byte that ends the device
sections. Until then a source whose channel fails takes its guest back. From then on it does not,
whatever happens to the channel, unless a return path tells it the truth.
"""

from __future__ import annotations

import asyncio
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from qapi.error import QmpError
from vmd.migration.channels.stream import Interrupted
from vmd.migration.handover import Handover
from vmd.migration.sending import Cancelled, Course, Sending
from vmd.migration.state import (
    CANCELLABLE,
    UNDER_WAY,
    MigrationStatus,
)
from vmd.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from vmd.migration.dirty_bitmaps import BitmapsSaver
    from vmd.migration.flow import Channel
    from vmd.migration.parameters import MigrationOptions
    from vmd.migration.stream import CarriedSection
    from vmd.migration.vm import Vm

    WayOut = Channel | Coroutine[Any, Any, Channel]

MS = 1_000_000


class Outgoing:
    """One migration out of this machine. Made when `migrate` is accepted; ends by itself."""

    def __init__(
        self,
        vm: Vm,
        options: MigrationOptions,
        carried: list[CarriedSection],
        announce: Callable[[MigrationStatus], None],
        announce_pass: Callable[[int], None],
        bitmaps: BitmapsSaver | None = None,
    ) -> None:
        self._vm = vm
        self._options = options
        self._carried = carried
        self._bitmaps = bitmaps
        self._course = Course(announce, announce_pass)
        self.stats, self.xbzrle = self._course.stats, self._course.xbzrle
        self._handover = Handover(vm, keeps_images=options.is_on("x-colo"))
        self._channel: Channel | None = None
        self._sending: Sending | None = None
        self._connecting: asyncio.Task[Channel] | None = None
        self._worker = Worker()
        self._task: asyncio.Task[None] | None = None

    # Called by the commands.

    def start(self, open_channel: Callable[[], WayOut]) -> None:
        """Enter setup, open the channel, stop the guest if the mode wants that, and go on alone.

        QmpError if the channel cannot be opened; the status is then `failed`. A way that must be
        connected first (a coroutine) fails later, without anybody to tell but query-migrate.
        """
        self._step(MigrationStatus.SETUP)
        self._course.started_ns = self._vm.clock.now_ns()
        self.stats.expected_downtime_ms = self._options.number("downtime-limit")
        try:
            way = open_channel()
        except Exception as error:  # whatever it is, the next one may begin
            self._course.error = error.desc if isinstance(error, QmpError) else str(error)
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

    def refuse(self, reason: str) -> None:
        """QmpError; as in QEMU the status stays at setup until somebody cancels."""
        self._step(MigrationStatus.SETUP)
        raise QmpError(reason)

    def cancel(self) -> None:
        """Ask for the end; the task comes to it at its next step."""
        if self.status not in CANCELLABLE:
            return
        self._step(MigrationStatus.CANCELLING)
        self._course.wakeup.set()
        if self._connecting is not None:
            self._connecting.cancel()
            self._step(MigrationStatus.CANCELLED)
        elif self._task is None:
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
            self._course.wakeup.set()

    @property
    def status(self) -> MigrationStatus:
        return self._course.status

    @property
    def under_way(self) -> bool:
        """Whether it has not ended yet."""
        return self.status in UNDER_WAY or (self._task is not None and not self._task.done())

    @property
    def thread_id(self) -> int:
        """The thread that sends, as the host numbers it; 0 if there is none."""
        return self._worker.thread_id

    @property
    def error(self) -> str | None:
        """What went wrong first."""
        heard = self._sending.error if self._sending is not None else None
        return self._course.error or heard

    async def settled(self) -> None:
        """Wait for the end, whatever it is."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def figures(self, page_size: int) -> dict[str, object]:
        """The time members and the `ram` of query-migrate, for the status of now."""
        if self._sending is not None and self._channel is not None:
            self._sending.take_over()
        return self._times() | {"ram": self.stats.ram(page_size)}

    def _times(self) -> dict[str, object]:
        if self.status is MigrationStatus.COMPLETED:
            return self.stats.final_times()
        return self.stats.times((self._vm.clock.now_ns() - self._course.started_ns) // MS)

    # The task.

    async def _connect(self, connecting: asyncio.Task[Channel]) -> None:
        try:
            channel = await connecting
        except QmpError as error:
            self._not_connected(error.desc, error.hint)
            return
        except asyncio.CancelledError:
            if self.status is MigrationStatus.CANCELLED:
                return
            raise
        except Exception as error:  # a bug must not leave it in setup for ever
            self._not_connected(f"{type(error).__name__}: {error}")
            return
        self._connecting = None
        if self.status is MigrationStatus.CANCELLED:  # the two have crossed
            channel.close()
            return
        if self._may_begin(channel):
            await self._run(channel)

    def _not_connected(self, reason: str, hint: str | None = None) -> None:
        self._connecting = None
        self._course.error = reason
        self._vm.report(f"{reason}\n{hint}" if hint else reason)
        self._step(MigrationStatus.FAILED)

    def _may_begin(self, channel: Channel) -> bool:
        """Ask those who may object, then stop the guest if the mode wants that."""
        objection = self._vm.blockers.objection(self._options.mode)
        if objection is None:
            if self._options.is_cpr:
                self._handover.stop()
            return True
        channel.close()
        self._course.error = objection
        self._vm.report(objection)  # QEMU tells it where it arises and where it fails
        self._vm.report(objection)
        self._step(MigrationStatus.FAILED)
        return False

    async def _run(self, channel: Channel) -> None:
        self._channel = channel
        self._sending = sending = Sending(
            self._vm,
            self._options,
            self._carried,
            self._course,
            self._handover,
            channel,
            self._worker,
            self._bitmaps,
        )
        try:
            failure = await self._send(sending, channel)
            sending.close_return_path()
            if failure is not None or self.status is not MigrationStatus.DEVICE:
                await self._worker.run(channel.close)  # a whole one is closed already
        finally:
            sending.close_return_path()
            self._worker.stop(channel.close)  # the task itself may have been cancelled
        self._channel = None
        sending.release()
        # Nothing is under way behind these: who hears of the end may start anew at once.
        if self.status is MigrationStatus.CANCELLING:
            self._take_back(sending, channel)
            self._step(MigrationStatus.CANCELLED)
        elif failure is not None and not _arrived_anyway(sending, channel):
            self._fail(failure, channel)
        else:
            self._succeed()

    async def _send(self, sending: Sending, channel: Channel) -> str | None:
        """Everything up to a whole stream, or up to a cancel; why it failed, if it did."""
        try:
            await sending.run()
        except Cancelled:
            pass
        except Interrupted:
            self._say_interrupted(sending, channel)
        except QmpError as error:
            return self.error or error.desc
        except Exception as error:  # a bug must lose no guest
            return f"{type(error).__name__}: {error}"
        return None

    def _succeed(self) -> None:
        now = self._vm.clock.now_ns()
        self._course.error = None
        self.stats.total_time_ms = (now - self._course.started_ns) // MS
        self.stats.downtime_ms = self._handover.downtime_ms()
        self.stats.remaining = 0
        self.stats.dirty_pages_rate = 0
        sending_ms = self.stats.total_time_ms - self.stats.setup_time_ms
        if sending_ms:
            self.stats.mbps = self.stats.transferred * 8 / sending_ms / 1000
        self._step(MigrationStatus.COMPLETED)
        self._handover.give_away()

    def _fail(self, reason: str, channel: Channel) -> None:
        self._course.error = reason
        if self._sending is not None:
            self._sending.complain(reason)
        self._vm.report(reason)
        if channel.written and channel.path is not None:
            self._vm.report(
                f"info: the state file '{channel.path}' is incomplete ({channel.written} bytes)"
            )
        self._step(MigrationStatus.FAILED)
        self._handover.take_back()

    def _say_interrupted(self, sending: Sending, channel: Channel) -> None:
        """A cancel has cut a write short; QEMU shuts its socket down for that."""
        if channel.reader is not None and channel.reader.can_be_cut:
            reason = "Unable to write to socket: Broken pipe"
            self._vm.report(reason)
            sending.complain(reason)

    # The end, if it is not a good one.

    def _take_back(self, sending: Sending, channel: Channel) -> None:
        """After a cancel the guest goes on here, unless it may be going on elsewhere."""
        if not _arrived_anyway(sending, channel):
            self._handover.take_back()
            return
        self._course.error = "Everything had been sent before it could be cancelled"
        self._vm.report(self._course.error)
        self._handover.give_away()

    def _step(self, new: MigrationStatus) -> None:
        self._course.step(new)


def _arrived_anyway(sending: Sending, channel: Channel) -> bool:
    """Whether a destination may be going on although the channel has failed.

    Where all was sent and only its answer is missing, QEMU's rule holds: no news is bad news.
    """
    if channel.is_file:
        return False
    if sending.waits_for_shut:
        return sending.all_is_well
    return channel.written >= sending.loadable_at
