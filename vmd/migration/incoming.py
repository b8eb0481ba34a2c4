"""The reader task: one incoming migration from `setup` to a machine that lives on.

The worker thread reads and fills RAM; the loop then takes over run state and guest. How the
machine goes on observed from migration/migration.c (process_incoming_migration_bh).
"""

from __future__ import annotations

import _thread
import asyncio
import importlib
from contextlib import suppress
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from qapi.error import QmpError
from vmd.migration.state import UNDER_WAY, MigrationStatus, step
from vmd.runstate import LIVE, RunState

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Protocol

    from vmd.migration.dirty_bitmaps_load import BitmapsLoader
    from vmd.migration.load import Arrival
    from vmd.migration.load import Channel as Bytes
    from vmd.migration.parameters import MigrationOptions
    from vmd.migration.return_path import Answers
    from vmd.migration.secondary import Secondary
    from vmd.migration.stream import CarriedSection
    from vmd.migration.vm import Vm
    from vmd.worker import Worker

    class Channel(Bytes, Protocol):
        """Where the stream comes from. Reading and `answer` may wait and run in the worker."""

        def answer(self, data: bytes) -> bool: ...
        def answer_now(self, data: bytes) -> bool: ...
        def interrupt(self) -> None: ...
        def cut(self) -> None: ...
        def close(self) -> None: ...

    class Door(Protocol):
        """Where a channel comes in. `addresses`: where it listens, as the schema tells it."""

        addresses: list[dict[str, object]]

        async def arrived(self) -> Channel: ...
        def close(self) -> None: ...

    WayIn = Door | Coroutine[Any, Any, Door]


UNHEARD = "info: the source has gone without hearing that all is here; the guest may go on there"


class Incoming:
    """The one migration into this machine, if it was started to receive one."""

    def __init__(
        self,
        vm: Vm,
        options: MigrationOptions,
        carried: list[CarriedSection],
        announce: Callable[[MigrationStatus], None],
    ) -> None:
        self._vm = vm
        self._options = options
        self._carried = carried
        self._announce = announce
        self.status = MigrationStatus.NONE
        self.error: str | None = None
        self.was_started = False
        self._exit_on_error = True
        self._door: Door | None = None
        self._channel: Channel | None = None
        self._answers: Answers | None = None
        self._bitmaps: BitmapsLoader | None = None
        self._task: asyncio.Task[None] | None = None
        self._secondary: Secondary | None = None
        self._took_over = False

    def prepare(self) -> None:
        """Bring in the code that a stream will need, in a thread, while nobody waits for it."""
        _thread.start_new_thread(_bring_in, ("vmd.migration.load",))

    def start(
        self, open_door: Callable[[], WayIn], exit_on_error: bool
    ) -> Coroutine[Any, Any, None] | None:
        """Enter setup, open the door and go on alone; QmpError if it cannot be opened.

        What must be waited for until it is open (a name is looked up) is returned. As in QEMU a
        door that cannot be opened leaves the status at `setup` for good.
        """
        if self.status is not MigrationStatus.NONE:
            raise QmpError(f"Illegal migration incoming state: {self.status.value}")
        self._exit_on_error = exit_on_error
        self._step(MigrationStatus.SETUP)
        way = open_door()
        if isinstance(way, CoroutineType):
            return self._begin_later(way)
        assert not asyncio.iscoroutine(way)
        self._begin(way)
        return None

    async def _begin_later(self, way: Coroutine[Any, Any, Door]) -> None:
        self._begin(await way)

    def _begin(self, door: Door) -> None:
        self._door = door
        self.was_started = True
        self._task = asyncio.get_running_loop().create_task(self._run(door))

    @property
    def under_way(self) -> bool:
        """Whether it has begun and not ended yet."""
        return self.status in UNDER_WAY and self._task is not None

    @property
    def uses_memory(self) -> bool:
        """Whether a thread may still fill RAM."""
        return self.under_way and self._channel is not None

    @property
    def stands_by(self) -> bool:
        """Whether it is a secondary, or still about to take over."""
        return self._secondary is not None

    def colo_status(self) -> dict[str, object]:
        """The schema's COLOStatus."""
        return {
            "mode": "secondary" if self.status is MigrationStatus.COLO else "none",
            "last-mode": "secondary" if self._took_over else "none",
            "reason": "request" if self._took_over else "none",
        }

    def lost_heartbeat(self) -> Coroutine[Any, Any, None] | None:
        """Take over from a primary that is gone; QmpError if this is no secondary."""
        secondary = self._secondary
        if self.status is not MigrationStatus.COLO or secondary is None:
            raise QmpError("VM is not in COLO mode")
        if not secondary.is_whole:
            return self._take_over_whole(secondary)
        self._took_over = True
        secondary.take_over(lambda: self._step(MigrationStatus.COMPLETED))
        self._shut_door()
        return None

    async def _take_over_whole(self, secondary: Secondary) -> None:
        await secondary.when_whole()
        self.lost_heartbeat()

    def cut(self) -> None:
        """`yank`: end the connection as if the peer were gone."""
        if self._channel is not None:
            self._channel.cut()

    def abandon(self) -> None:
        """The process ends: nobody waits for the rest of the stream."""
        if self._task is not None and self.under_way:
            if self._channel is not None:
                self._channel.interrupt()
            self._task.cancel()
        self._shut_door()

    def _shut_door(self) -> None:
        if self._door is not None:
            self._door.close()

    async def settled(self) -> None:
        """Wait for the end, whatever it is."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def query(self) -> dict[str, object]:
        """The schema's MigrationInfo, as a destination tells it."""
        if self.status is MigrationStatus.NONE:
            return {}
        info: dict[str, object] = {"status": self.status.value}
        if self.error is not None:
            info["error-desc"] = self.error
        if self._door is not None and self._door.addresses:
            info["socket-address"] = self._door.addresses
        return info

    async def _run(self, door: Door) -> None:
        self._channel = channel = await door.arrived()
        from vmd.migration.return_path import Answers
        from vmd.migration.source import LoadError
        from vmd.worker import Worker

        self._step(MigrationStatus.ACTIVE)
        ack = self._options.is_on("switchover-ack")
        self._answers = answers = Answers(channel, ack_switchover=ack)
        worker = Worker()
        try:
            try:
                arrival = await worker.run(lambda: self._load(channel, answers))
                if arrival.reader.colo:
                    await self._stand_by(arrival, channel, worker, answers)
                else:
                    self._arrive(arrival)
            except LoadError as error:
                self._fail([*error.lines], error.strerror)
            except QmpError as error:
                self._fail([error.desc], "Input/output error")
            except Exception as error:  # a bug must be told like a bad stream
                self._fail([f"{type(error).__name__}: {error}"], "Invalid argument")
            await worker.run(channel.close)
        finally:
            self._shut_door()
            worker.stop(channel.close)  # the task itself may have been cancelled

    def _load(self, channel: Channel, answers: Answers) -> Arrival:
        # In the worker, and not before a stream comes: it brings numpy.
        from vmd.migration.dirty_bitmaps_load import BitmapsLoader
        from vmd.migration.load import load

        vm, options = self._vm, self._options
        self._bitmaps = bitmaps = BitmapsLoader(
            vm.node_of, lambda name: vm.nodes.by_name.get(name), lambda: options.bitmap_mapping
        )
        return load(vm, options, channel, answers, bitmaps)

    async def _stand_by(
        self, arrival: Arrival, channel: Channel, worker: Worker, answers: Answers
    ) -> None:
        """Be a secondary, until somebody wants it to take over."""
        from vmd.migration.secondary import Secondary

        vm = self._vm
        secondary = Secondary(vm, channel, worker, answers, self._adopt_again)
        await secondary.prepare(arrival, self._options.is_on("x-ignore-shared"))
        self._carried[:] = arrival.carried
        vm.ram_blocks += arrival.blocks
        self._adopt(arrival)
        self._secondary = secondary
        self._step(MigrationStatus.COLO)
        try:
            await secondary.stand_by()
        finally:
            self._secondary = None
        await worker.run(secondary.close)
        vm.arrived(self._options.parameters)
        if self._bitmaps is not None:
            self._bitmaps.begin()
        if not self._starts() and vm.runstate.may_become(RunState.PAUSED):
            vm.runstate.become(RunState.PAUSED)  # QEMU's would be in inmigrate for ever

    def _adopt(self, arrival: Arrival) -> None:
        """What came is the guest from now on."""
        vm = self._vm
        for line in arrival.notices:
            vm.report(line)
        vm.guest_time.set_ns(arrival.guest_time_ns)
        vm.runstate.was_suspended = arrival.was_suspended
        vm.guest.adopt()

    def _adopt_again(self, checkpoint: Arrival) -> None:
        """A checkpoint has the devices' payloads, and no descriptions."""
        new = {(one.idstr, one.instance_id): one for one in checkpoint.carried}
        for index, old in enumerate(self._carried):
            payload = new.pop((old.idstr, old.instance_id), old).payload
            same = len(payload) == len(old.payload)
            description = old.description if same else None
            self._carried[index] = old._replace(payload=payload, description=description)
        self._carried += new.values()
        self._adopt(checkpoint)

    def _arrive(self, arrival: Arrival) -> None:
        """Everything is here: the machine takes the state that its source had."""
        vm = self._vm
        self._carried[:] = arrival.carried
        vm.ram_blocks += arrival.blocks  # others may have been plugged in meanwhile
        self._adopt(arrival)
        vm.arrived(self._options.parameters)
        if self._bitmaps is not None:
            self._bitmaps.begin()
        # The word comes before the deed: a source that cannot hear it takes its guest back.
        heard = self._answers is None or self._answers.shut(failed=False)
        if arrival.runstate not in LIVE:
            vm.runstate.become(arrival.runstate)
        elif not (vm.autostart and heard and self._starts()):
            vm.runstate.become(RunState.PAUSED)
        if not heard:
            vm.report(UNHEARD)
        self._end(MigrationStatus.COMPLETED)

    def _starts(self) -> bool:
        """Let the guest go on, unless another process has one of its images."""
        try:
            self._vm.vm_start()
        except QmpError:  # it was told where it arose
            return False
        return True

    def _fail(self, lines: list[str], reason: str) -> None:
        self.error = f"load of migration failed: {reason}"
        if self._bitmaps is not None:
            self._bitmaps.give_up()
        self._end(MigrationStatus.FAILED)
        for line in lines:
            self._vm.report(line)
        if self._exit_on_error:
            self._vm.report(self.error)
            self._vm.exit(1)

    def _end(self, status: MigrationStatus) -> None:
        """The source hears of it behind the event, as in QEMU; then nobody may connect any more."""
        self._step(status)
        if self._answers is not None:
            self._answers.shut(failed=status is MigrationStatus.FAILED)
        self._shut_door()

    def _step(self, new: MigrationStatus) -> None:
        self.status = step(self.status, new)
        self._announce(new)


def _bring_in(module: str) -> None:
    """Whoever cannot read a file now finds that out again when he needs what is in it."""
    with suppress(OSError):
        importlib.import_module(module)
