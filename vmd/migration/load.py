"""A whole incoming stream, read in the worker thread: bytes become RAM and what the devices say."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vmd.devices.board import is_device_block
from vmd.memory import RamBlock, page_align
from vmd.memory.vectors import bring_numpy
from vmd.migration.ram_load import RamLoader
from vmd.migration.ram_runs import Vectors
from vmd.migration.reader import Device, StreamReader
from vmd.migration.save import identity
from vmd.migration.sections import (
    GLOBALSTATE,
    SLIRP,
    TIMER,
    GlobalState,
    globalstate_section,
    parse_globalstate,
)
from vmd.migration.source import LoadError, invalid
from vmd.migration.stream import (
    OPEN_RETURN_PATH,
    PING,
    CarriedSection,
    Command,
    DeviceLoaded,
    Notice,
)
from vmd.runstate import RunState

if TYPE_CHECKING:
    from typing import Protocol

    from vmd.migration.carry import Head
    from vmd.migration.parameters import MigrationOptions
    from vmd.migration.ram_in_place import InPlace
    from vmd.migration.reader import BitmapsSection
    from vmd.migration.return_path import Answers
    from vmd.migration.stream import Record
    from vmd.migration.vm import Vm
    from vmd.migration.vmstate import Values

    class Channel(Protocol):
        """Where the stream comes from. With mapped-ram it should be a file, whose `origin` is where
        the stream begins; what is none has nothing at any position."""

        @property
        def origin(self) -> int: ...
        def read_into(self, buffer: memoryview) -> int: ...
        def read_places(self, places: InPlace) -> int: ...
        def read_at(self, buffer: memoryview, position: int) -> int: ...
        def read_pages(self, buffer: memoryview, position: int) -> int: ...
        def bypass_cache(self) -> None: ...
        def skip(self, count: int) -> None: ...


READ_SIZE = 1 << 20  # what was read is still in the cache when it is written to RAM
_LARGE = 4 << 30  # bytes of RAM from which on numpy is worth its import
MOST_KEPT = 10_000  # records of a stream that says the same for ever
MOST_CARRIED_RAM = 1 << 40
"""A block that only the stream knows is sparse; this bounds the address space that it takes."""

STATES = tuple(state.value for state in RunState)
NEVER_RECORDED = (RunState.DEBUG, RunState.SAVE_VM, RunState.RESTORE_VM)
"""States no migration starts from; QEMU aborts on them, here the stream is refused."""


class Arrival(NamedTuple):
    """What a stream brought beside RAM. `blocks` are those that this machine had not got.

    `reader` and `ram` go on with the checkpoints of a stream that wants a secondary.
    """

    runstate: RunState
    was_suspended: bool
    guest_time_ns: int
    carried: list[CarriedSection]
    blocks: list[RamBlock]
    notices: list[str]
    reader: StreamReader
    ram: RamLoader


def load(
    vm: Vm,
    options: MigrationOptions,
    channel: Channel,
    answers: Answers | None = None,
    bitmaps: BitmapsSection | None = None,
) -> Arrival:
    """Read the stream to its end into the machine's RAM; LoadError if it is refused.

    What the source asks meanwhile is answered.
    """
    file = channel if options.is_on("mapped-ram") else None
    if file is not None and options.parameters["direct-io"]:
        file.bypass_cache()
    ram = RamLoader(
        vm.ram_blocks,
        ignore_shared=options.is_on("x-ignore-shared"),
        unknown=_new_block if vm.board.carries_devices else None,
        file=file,
        vectors=_vectors(vm),
    )
    states = [state.value for state in RunState if state not in NEVER_RECORDED]
    devices = [Device("timer", 0, TIMER), Device("globalstate", 0, globalstate_section(states))]
    if vm.has_default_network and not vm.board.carries_devices:
        devices.insert(1, Device("slirp", 0, SLIRP))

    def accept(head: Head) -> bool:
        return vm.board.carries_devices

    base = file.origin if file is not None else 0
    reader = StreamReader(
        identity(vm, options),
        ram,
        devices,
        accept,
        base=base,
        places=ram,
        bitmaps=bitmaps,
        x_colo=options.is_on("x-colo"),
    )
    records = _read_all(reader, channel, file, answers)
    return summarize(records, reader, ram)


def _vectors(vm: Vm) -> Vectors | None:
    """numpy's help where there is much RAM."""
    if sum(block.size for block in vm.ram_blocks) <= _LARGE:
        return None
    bring_numpy()
    return Vectors()


def _read_all(
    reader: StreamReader, channel: Channel, file: Channel | None, answers: Answers | None
) -> list[Record]:
    buffer = memoryview(bytearray(READ_SIZE))
    kept: list[Record] = []
    while not reader.done:
        places = reader.in_place()
        count = channel.read_into(buffer) if places is None else channel.read_places(places)
        try:
            if places is not None:
                records = reader.took(count)
            else:
                records = reader.feed(buffer[:count]) if count else reader.end()
        except LoadError as error:
            sort(reader.told(), kept, answers)
            error.lines[:0] = [one.line for one in kept if isinstance(one, Notice)]
            raise
        sort(records, kept, answers)
        if file is not None and (skipped := reader.left_out()):
            file.skip(skipped)
    return kept


def sort(records: list[Record], kept: list[Record], answers: Answers | None) -> None:
    """Answer commands, keep what is for later; LoadError if that becomes too much."""
    for record in records:
        if isinstance(record, Command):
            _answer(record, answers)
        elif isinstance(record, DeviceLoaded | CarriedSection | Notice):
            kept.append(record)
    if len(kept) > MOST_KEPT:
        raise invalid(f"More than {MOST_KEPT} device sections and oddities")


def _answer(command: Command, answers: Answers | None) -> None:
    if answers is None:
        return
    if command.number == OPEN_RETURN_PATH:
        answers.open()
    elif command.number == PING:
        answers.pong(command.payload)


def _new_block(name: str, length: int) -> RamBlock | None:
    """Memory for a device's block that this board has not got: it is carried."""
    if not is_device_block(name) or length > MOST_CARRIED_RAM:
        return None
    return RamBlock.anonymous(name, page_align(length))


def summarize(records: list[Record], reader: StreamReader, ram: RamLoader) -> Arrival:
    """What was read of a stream, or of a checkpoint."""
    devices: dict[str, Values] = {}
    carried, notices = [], []
    for record in records:
        if isinstance(record, DeviceLoaded):
            devices[record.idstr] = record.values
        elif isinstance(record, CarriedSection):
            carried.append(record)
        elif isinstance(record, Notice):
            notices.append(record.line)
    state = GlobalState(RunState.RUNNING.value, False)
    if GLOBALSTATE.name in devices:
        state = parse_globalstate(devices[GLOBALSTATE.name], STATES)
    time_ns = devices.get(TIMER.name, {}).get("cpu_clock_offset", 0)
    runstate = RunState(state.runstate)
    was_suspended = state.was_suspended or runstate is RunState.SUSPENDED
    return Arrival(runstate, was_suspended, time_ns, carried, ram.made, notices, reader, ram)
