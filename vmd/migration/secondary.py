"""A destination in COLO: it stands by with a guest of its own, and takes checkpoints over.

The guest runs here between two checkpoints, and each one makes it what the primary's was. What
comes is only taken over when it is whole and understood: until then a primary that goes, stalls or
says nonsense costs nothing. Then nothing more is listened to, and the guest stays as it is until
somebody says that the heartbeat is lost. Observed from migration/colo.c and
migration/colo-failover.c; unlike QEMU's, the monitors answer while RAM comes.
"""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING, TypeVar

from qapi.error import QmpError
from vmd.migration import colo
from vmd.migration.channels.stream import Interrupted
from vmd.migration.colo import ColoError, Message
from vmd.migration.colo_cache import RamCache
from vmd.migration.load import READ_SIZE, sort, summarize
from vmd.migration.source import LoadError
from vmd.migration.stream import Notice
from vmd.runstate import RunState

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from vmd.migration.load import Arrival
    from vmd.migration.return_path import Answers
    from vmd.migration.source import Parse
    from vmd.migration.stream import Record
    from vmd.migration.vm import Vm
    from vmd.worker import Worker

    T = TypeVar("T")

    class Channel(Protocol):
        """Where checkpoints come from. `answer`: False if nobody can hear it."""

        def read_into(self, buffer: memoryview) -> int: ...
        def answer(self, data: bytes) -> bool: ...
        def interrupt(self) -> None: ...
        def cut(self) -> None: ...


class Secondary:
    """One destination from the end of its stream until it takes over.

    `adopt` makes the machine what a checkpoint says, but for RAM.
    """

    def __init__(
        self,
        vm: Vm,
        channel: Channel,
        worker: Worker,
        answers: Answers,
        adopt: Callable[[Arrival], None],
    ) -> None:
        self._vm = vm
        self._channel = channel
        self._worker = worker
        self._answers = answers
        self._adopt = adopt
        self._buffer = memoryview(bytearray(READ_SIZE))
        self._records: list[Record] = []  # of the checkpoint that is coming
        self._cache: RamCache | None = None
        self._told = False
        self._taking_over = asyncio.Event()
        self._whole = asyncio.Event()  # no checkpoint is just being taken over
        self._whole.set()

    async def prepare(self, arrival: Arrival, ignore_shared: bool) -> None:
        """Copy what the stream has brought; LoadError if the host has no room for that."""
        self._reader, self._ram = arrival.reader, arrival.ram
        self._source = self._reader.behind()
        try:
            self._cache = await self._worker.run(
                lambda: RamCache(self._ram.blocks, ignore_shared=ignore_shared)
            )
        except OSError as error:
            number = error.errno or errno.ENOMEM
            raise LoadError(number, "There is no memory for a copy of the RAM") from None
        self._ram.go_on_in(self._cache.blocks)

    async def stand_by(self) -> None:
        """Until this machine has taken over; its guest is then to go on."""
        self._answers.are_heard()
        try:
            self._start()
        except ColoError:
            self._told = True  # QEMU tells no end of what has not begun
            await self._taking_over.wait()
            return
        try:
            await self._take_checkpoints()
        except ColoError as error:
            odd = [record.line for record in self._records if isinstance(record, Notice)]
            for line in (*odd, *error.lines):
                self._vm.report(line)
        except Exception as error:  # a bug must lose no guest
            self._vm.report(f"{type(error).__name__}: {error}")
        self._exit("error")
        await self._taking_over.wait()

    def close(self) -> None:
        """In the thread, when it has nothing else to do."""
        if self._cache is not None:
            self._cache.close()

    async def when_whole(self) -> None:
        """Wait until no checkpoint is just being taken over."""
        await self._whole.wait()

    @property
    def is_whole(self) -> bool:
        return self._whole.is_set()

    def take_over(self, ended: Callable[[], None]) -> None:
        """The heartbeat is lost; `ended` is called between what is seen of that."""
        vm = self._vm
        if vm.runstate.state is RunState.RUNNING:
            vm.vm_stop(RunState.COLO)
        elif vm.runstate.state is RunState.SUSPENDED:
            vm.runstate.become(RunState.COLO)  # without STOP
        vm.runstate.was_suspended = False
        if not vm.autostart:
            vm.report('"-S" qemu option will be ignored in secondary side')
            vm.autostart = True
        self._channel.cut()
        self._channel.interrupt()
        ended()
        self._exit("request")
        self._taking_over.set()

    def _exit(self, reason: str) -> None:
        if not self._told:
            self._told = True
            self._vm.events.emit("COLO_EXIT", {"mode": "secondary", "reason": reason})

    async def _take_checkpoints(self) -> None:
        """ColoError as soon as something is wrong; without a word if nobody hears the first."""
        if not await self._says(Message.CHECKPOINT_READY):
            return
        while True:
            await self._read(colo.take_request(self._source))
            self._stop()
            await self._say(Message.CHECKPOINT_REPLY)
            await self._read(colo.take(self._source, Message.VMSTATE_SEND))
            await self._read(colo.take_live_state(self._source, self._reader))
            data = await self._read(colo.take_devices(self._source))
            await self._say(Message.VMSTATE_RECEIVED)
            await self._read(colo.load_devices(data, self._reader))
            await self._make_it_so()
            await self._say(Message.VMSTATE_LOADED)

    async def _make_it_so(self) -> None:
        """A whole checkpoint has come: this is the guest from now on."""
        assert self._cache is not None
        arrival = summarize(self._records, self._reader, self._ram)
        if arrival.was_suspended:
            raise ColoError("invalid runstate transition: 'colo' -> 'suspended'")
        self._check_still_standing_by()
        self._whole.clear()
        try:
            await self._worker.run(self._cache.flush)
        except OSError as error:
            raise ColoError(f"The checkpoint cannot be kept: {error.strerror}") from None
        finally:
            self._whole.set()
        self._adopt(arrival)
        self._records.clear()
        self._start()

    def _start(self) -> None:
        try:
            self._vm.vm_start()
        except QmpError:  # it was told where it arose
            raise ColoError from None

    def _stop(self) -> None:
        self._check_still_standing_by()
        try:
            self._vm.vm_stop(RunState.COLO)
        except QmpError as error:  # it stands still for a reason that QEMU would abort on
            raise ColoError(error.desc) from None

    def _check_still_standing_by(self) -> None:
        """Between the thread and here somebody may have taken over."""
        if self._taking_over.is_set():
            raise ColoError

    # With the primary

    async def _say(self, message: Message) -> None:
        if not await self._says(message):
            raise ColoError("Can't send COLO message: Input/output error")

    async def _says(self, message: Message) -> bool:
        def answer() -> bool:
            try:
                return self._channel.answer(message.encode())
            except Interrupted:
                return False

        return await self._worker.run(answer)

    async def _read(self, parse: Parse[T]) -> T:
        """Drive a parser, in the thread, with what comes; nothing comes once this takes over."""
        return await self._worker.run(lambda: self._drive(parse))

    def _drive(self, parse: Parse[T]) -> T:
        while True:
            try:
                next(parse)
            except StopIteration as stop:
                self._keep()
                value: T = stop.value
                return value
            except ColoError:
                self._keep()
                raise
            self._keep()
            self._feed()

    def _keep(self) -> None:
        """Take what the reader tells; the buffer may be used again."""
        self._source.keep()
        try:
            sort(self._reader.told(), self._records, self._answers)
        except LoadError as error:
            raise ColoError(*error.lines) from None
        except Interrupted:  # in an answer that the primary does not take
            raise ColoError from None

    def _feed(self) -> None:
        try:
            count = self._channel.read_into(self._buffer)
        except Interrupted:
            count = 0
        if count:
            self._source.feed(self._buffer[:count])
        else:
            self._source.end()
