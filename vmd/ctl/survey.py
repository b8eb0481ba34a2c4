"""One pass over a state file: what is in it, and where it breaks if it does.

The engine's own reader reads; here its records are gathered. Memory is bounded by what the reader
keeps of device sections and by one byte a page of RAM that was really sent.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from vmd.ctl.bitmaps import CountedBitmaps
from vmd.ctl.fields import Misfit, decode
from vmd.ctl.ram import CountedRam
from vmd.migration.carry import Head
from vmd.migration.ram import IDSTR as RAM
from vmd.migration.reader import Device, StreamReader
from vmd.migration.sections import (
    CONFIGURATION,
    GLOBALSTATE,
    SLIRP,
    TIMER,
    Configuration,
    GlobalState,
    globalstate_section,
    parse_configuration,
    parse_globalstate,
)
from vmd.migration.source import LoadError, Source, finish
from vmd.migration.stream import (
    CONFIGURATION_TYPE,
    CarriedSection,
    Command,
    Configured,
    Ended,
    Notice,
    Place,
    SectionSeen,
    Span,
)
from vmd.runstate import RunState

if TYPE_CHECKING:
    from vmd.ctl.files import StateFile
    from vmd.migration.stream import Record
    from vmd.migration.vmstate import VMState

READ_SIZE = 256 << 10
HEADER = 8
KNOWN = (TIMER, GLOBALSTATE, SLIRP)
RUN_STATES = tuple(state.value for state in RunState)
NEVER_LOADED = ("debug", "save-vm", "restore-vm")  # real QEMU aborts on them
MOST_NOTICES = 100
FOUND = 16  # bytes that are shown where a stream breaks


class DeviceSection(NamedTuple):
    """A device's section. `fields` is None where nothing says what its bytes mean."""

    idstr: str
    instance_id: int
    section_id: int
    version: int
    offset: int
    length: int
    payload: bytes
    fields: dict[str, Any] | None
    early: bool


class Break(NamedTuple):
    """Where and why a loader gives up: QEMU's lines and its errno's text."""

    place: Place
    lines: list[str]
    reason: str
    found: bytes | None  # the bytes at the place, b"" at the end; None if they cannot be had again


class Survey:
    """What a state file tells."""

    def __init__(self, ram: CountedRam, bitmaps: CountedBitmaps) -> None:
        self.configuration: Configuration | None = None
        self.ram = ram
        self.dirty_bitmaps = bitmaps
        self.ram_sections = 0
        self.devices: list[DeviceSection] = []
        self.commands: dict[int, int] = {}  # how often each was there
        self.notices: list[str] = []
        self.description: bytes | None = None
        self.end: int | None = None  # the offset behind the stream
        self.broken: Break | None = None
        self._spans: dict[tuple[int, str, int], deque[Span]] = {}

    def _fields_of(self, state: VMState) -> dict[str, Any]:
        return next((d.fields for d in self.devices if d.idstr == state.name and d.fields), {})

    @property
    def runstate(self) -> GlobalState | None:
        """The run state of the source before it stopped, if the stream tells it."""
        try:
            return parse_globalstate(self._fields_of(GLOBALSTATE), RUN_STATES)
        except (LookupError, TypeError, LoadError):
            return None

    @property
    def guest_time_ns(self) -> int | None:
        """The guest's virtual time, if the stream tells it."""
        value = self._fields_of(TIMER).get("cpu_clock_offset")
        return value if isinstance(value, int) else None

    def take(self, record: Record) -> None:
        """One more thing that the reader tells."""
        if isinstance(record, Span):
            key = (record.section_id, record.idstr, record.instance_id)
            if key[1:] != (RAM, 0):
                self._spans.setdefault(key, deque()).append(record)
        elif isinstance(record, SectionSeen):
            self.ram_sections += record.idstr == RAM
        elif isinstance(record, Configured):
            self.configuration = record.configuration
        elif isinstance(record, CarriedSection):
            self._add(record)
        elif isinstance(record, Command):
            self.commands[record.number] = self.commands.get(record.number, 0) + 1
        elif isinstance(record, Notice):
            self.notices = [*self.notices, record.line][:MOST_NOTICES]
        elif isinstance(record, Ended):
            self.description = record.description
            self.devices.sort(key=lambda device: device.offset)

    def _add(self, section: CarriedSection) -> None:
        key = (section.section_id, section.idstr, section.instance_id)
        span = self._spans[key].popleft()
        self.devices.append(
            DeviceSection(
                section.idstr,
                section.instance_id,
                section.section_id,
                section.version,
                span.offset,
                span.length,
                section.payload,
                _fields(section),
                section.early,
            )
        )


def _fields(section: CarriedSection) -> dict[str, Any] | None:
    """Its fields by the stream's description, or else by our own knowledge."""
    if section.description is not None:
        try:
            return decode(section.payload, section.description)
        except Misfit:
            return None
    known = next((state for state in KNOWN if state.name == section.idstr), None)
    if known is None:
        return None
    source = Source(section.payload + b"\0")  # so that it is not the end that is met
    try:
        values = finish(known.decode(source, section.version))
    except LoadError:
        return None
    return values if not source.failed and source.position == len(section.payload) else None


def survey(file: StateFile, *, strict: bool = False, machine: str | None = None) -> Survey:
    """Read the file to its end, or to where it breaks.

    As a receiver that is like the source: same RAM, same capabilities, and the same machine unless
    another is given. With `strict` the sections that every machine has are loaded and judged, as
    QEMU would; without it whatever can be told apart is told. OSError or Unreadable if the file
    cannot be read.
    """
    buffer = memoryview(bytearray(READ_SIZE))
    filled = _fill(file, buffer)
    local = identity_of(bytes(buffer[:filled]))
    if machine is not None:
        local = local._replace(machine=machine)
    ram = CountedRam(local.capabilities, strict=strict)
    bitmaps = CountedBitmaps()
    result = Survey(ram, bitmaps)
    devices = _judged(local.machine) if strict else []

    def accept(head: Head) -> bool:
        return not strict or local.machine != "none"

    reader = StreamReader(
        local,
        ram,
        devices,
        accept,
        base=file.offset,
        spans=not strict,
        bitmaps=bitmaps,
        x_colo=True,
    )
    try:
        while not reader.done:
            for record in reader.feed(buffer[:filled]) if filled else reader.end():
                if not strict or not isinstance(record, CarriedSection):
                    result.take(record)
            if skipped := reader.left_out():
                file.skip(skipped)
            filled = file.read_into(buffer) if not reader.done else 0
    except LoadError as error:
        found = file.look_at(reader.place.item, FOUND)
        result.broken = Break(reader.place, error.lines, error.strerror, found)
        for record in (*reader.told(), *reader.carried):
            if not strict or isinstance(record, Notice):
                result.take(record)
    else:
        result.end = reader.position
    return result


def _fill(file: StateFile, buffer: memoryview) -> int:
    """As many bytes as there are; whatever says who the source is stands at the front."""
    filled = 0
    while filled < len(buffer) and (count := file.read_into(buffer[filled:])):
        filled += count
    return filled


def identity_of(start: bytes) -> Configuration:
    """Who the source was, from the front of its stream; nobody if that is damaged."""
    source = Source(start)
    try:
        finish(source.take(HEADER))
        if finish(source.byte()) == CONFIGURATION_TYPE:
            return parse_configuration(finish(CONFIGURATION.decode(source, 1)))
    except LoadError:
        pass
    return Configuration("")


def _judged(machine: str) -> list[Device]:
    """The sections that any receiver knows."""
    states = [name for name in RUN_STATES if name not in NEVER_LOADED]
    devices = [Device("timer", 0, TIMER), Device("globalstate", 0, globalstate_section(states))]
    return [*devices, Device("slirp", 0, SLIRP)] if machine == "none" else devices
