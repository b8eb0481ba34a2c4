"""The incoming stream: bytes in at any split, records out, RAM filled on the way.

    reader = StreamReader(local, RamLoader(blocks), devices)
    for record in reader.feed(data): ...
    for record in reader.end(): ...

What is accepted, in which order it is looked at, and the words of a refusal are observed from
QEMU's migration/savevm.c. Nothing here does I/O; it may run in a worker thread.
"""

from __future__ import annotations

import errno
from typing import NamedTuple

from vmd.migration import stream
from vmd.migration.carrier import Carrier
from vmd.migration.carry import MOST_DESCRIPTION, Head
from vmd.migration.commands import check_command, check_length
from vmd.migration.dirty_bitmaps import IDSTR as BITMAPS
from vmd.migration.dirty_bitmaps import VERSION as BITMAPS_VERSION
from vmd.migration.dirty_bitmaps_load import BitmapsLoader
from vmd.migration.framing import take_footer, take_head, until_footer
from vmd.migration.ram import IDSTR as RAM
from vmd.migration.ram import SECTION_VERSION as RAM_VERSION
from vmd.migration.sections import configuration_section, parse_configuration
from vmd.migration.source import LoadError, Source, invalid, io_error, signed32
from vmd.migration.stream import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Protocol

    from vmd.migration.ram_in_place import InPlace
    from vmd.migration.sections import Configuration
    from vmd.migration.source import Buffer, Parse
    from vmd.migration.vmstate import Values, VMState

    class RamSection(Protocol):
        """Who reads the `ram` section's payloads. `vmd.migration.ram_load.RamLoader` is one."""

        def load(self, source: Source, version: int) -> Parse[None]: ...
        def give_up(self) -> None: ...

    class BitmapsSection(Protocol):
        """Who reads the payloads of `dirty-bitmap`; `warn` is given him to say what is odd."""

        warn: Callable[[str], object]

        def load(self, source: Source, version: int) -> Parse[None]: ...

    class Places(Protocol):
        """Who knows where the next bytes will go. `vmd.migration.ram_load.RamLoader` does."""

        def in_place(self, source: Source) -> InPlace | None: ...
        def settle(self, source: Source, guess: InPlace) -> None: ...


MOST_PACKAGE = 64 << 20


class Device(NamedTuple):
    """A device section that this machine understands."""

    idstr: str
    instance_id: int
    state: VMState


class _Handler:
    """Who loads the sections of one (idstr, instance): QEMU's SaveStateEntry."""

    __slots__ = ("idstr", "instance_id", "load", "section_id", "version", "version_seen")

    def __init__(
        self,
        idstr: str,
        instance_id: int,
        version: int,
        load: Callable[[Source, int], Parse[Values | None]],
    ) -> None:
        self.idstr = idstr
        self.instance_id = instance_id
        self.version = version
        self.load = load
        # Before the stream names a handler these are 0, and a PART with id 0 finds it.
        self.section_id = 0
        self.version_seen = 0


class StreamReader:
    """One incoming stream.

    `local` is what the configuration section must agree with. `devices` are the sections that
    are understood, in the order of their registration. Of any other device section `accept`
    says whether it is carried; without it (or if it says no) the stream is refused. `base` is the
    stream's offset in its file. With `spans` it is told where each section stands. With `places`
    (the same as `ram`) bytes may be read `in_place`. Without `bitmaps` dirty bitmaps find no node.
    With `x_colo` it may ask for a secondary, whose checkpoints come behind it.

    After a LoadError the reader is of no use any more.
    """

    def __init__(
        self,
        local: Configuration,
        ram: RamSection,
        devices: Iterable[Device],
        accept: Callable[[Head], bool] | None = None,
        *,
        base: int = 0,
        spans: bool = False,
        places: Places | None = None,
        bitmaps: BitmapsSection | None = None,
        x_colo: bool = False,
    ) -> None:
        self.return_path = False  # the source has opened one
        self.colo = False  # the source wants a secondary
        self.done = False
        self._local = local
        self._accept = accept
        self._ram = ram
        self._ram_ended = False
        handlers = [
            _Handler(d.idstr, d.instance_id, d.state.version, d.state.decode) for d in devices
        ]
        bitmaps = bitmaps or BitmapsLoader()
        bitmaps.warn = self._notice
        handlers[1:1] = [
            _Handler(RAM, 0, RAM_VERSION, ram.load),
            _Handler(BITMAPS, 0, BITMAPS_VERSION, bitmaps.load),
        ]
        self._handlers = handlers
        self._source = self._reading = Source(base=base)
        self._spans = spans
        self._part = "header"
        self._section: stream.Span | None = None
        self._places = places
        self._x_colo = x_colo
        self._advised = False
        self._guess: InPlace | None = None
        self._carrier = Carrier()
        self._records: list[Record] = []
        self._parse = self._stream()

    def feed(self, data: Buffer) -> list[Record]:
        """Take bytes; what they completed. LoadError if the stream is refused."""
        if self.done:
            return []
        self._source.feed(data)
        return self._advance()

    def in_place(self) -> InPlace | None:
        """Places to read the next bytes into, where they are likely to be a run of pages.

        Whoever asked reads into them, and calls `took` next.
        """
        if self._places is not None and not self.done and self._guess is None:
            self._guess = self._places.in_place(self._source)
        return self._guess

    def took(self, count: int) -> list[Record]:
        """So many bytes were read into the places of `in_place`; what they completed.

        None at all: the stream has ended.
        """
        assert self._places is not None and self._guess is not None
        self._places.settle(self._source, self._guess)
        self._guess = None
        return self._advance() if count else self.end()

    def end(self) -> list[Record]:
        """No more bytes will come: what that completes. LoadError if the stream is cut."""
        if self.done:
            return []
        self._source.end()
        records = self._advance()
        assert self.done
        return records

    @property
    def place(self) -> stream.Place:
        """Where the reader is."""
        return stream.Place(self._reading.item, self._part, self._section)

    @property
    def carried(self) -> list[stream.CarriedSection]:
        """The sections that are carried, so far, and not yet described."""
        return self._carrier.sections

    @property
    def position(self) -> int:
        """The offset behind what was read."""
        return self._reading.position

    def left_out(self) -> int:
        """How many bytes are of no interest: they are not to be fed, what follows them is."""
        count, self._source.left_out = self._source.left_out, 0
        return count

    def told(self) -> list[Record]:
        """What has been read and not been told yet."""
        records, self._records = self._records, []
        return records

    # Checkpoints, which come behind the stream (migration/colo.c)

    def behind(self) -> Source:
        """What has arrived behind the stream's end, and all that will be fed to this source."""
        source = Source(base=self._source.position)
        source.feed(self._source.rest())
        self.return_path = True
        return source

    def live_state(self, source: Source) -> Parse[None]:
        """Sections up to EOF, of RAM mostly; nothing is carried here. See `told`."""
        accept, self._accept = self._accept, None
        try:
            yield from self._more_sections(source, Carrier())
        finally:
            self._accept = accept

    def device_state(self, data: bytes) -> Parse[None]:
        """The same in a buffer, with sections that are carried; no description follows."""
        yield from self._more_sections(Source(data), Carrier.of(data, self._carrier.devices))
        for section in self._carrier.described(None):
            self._tell(section)

    def _more_sections(self, source: Source, carrier: Carrier) -> Parse[None]:
        carrier.devices, self._carrier = self._carrier.devices, carrier
        self._source, self._ram_ended = source, True
        yield from self._sections(source)

    def _advance(self) -> list[Record]:
        try:
            next(self._parse)
            self._source.keep()
        except StopIteration:
            self.done = True
        except BaseException:
            self.done = True
            self._ram.give_up()
            raise
        return self.told()

    def _tell(self, record: Record) -> None:
        self._records.append(record)

    def _notice(self, line: str) -> None:
        self._tell(stream.Notice(line))

    # The stream's outer order

    def _stream(self) -> Parse[None]:
        yield from self._header()
        yield from self._configuration()
        yield from self._sections(self._source)
        yield from self._description()

    def _header(self) -> Parse[None]:
        if (yield from self._source.take(4)) != stream.MAGIC:
            raise invalid("Not a migration stream")
        version = yield from self._source.be32()
        if version == 2:
            raise LoadError(errno.EOPNOTSUPP, "SaveVM v2 format is obsolete and don't work anymore")
        if version != stream.VERSION:
            raise LoadError(errno.EOPNOTSUPP, "Unsupported migration stream version")

    def _configuration(self) -> Parse[None]:
        self._part = "configuration"
        if (yield from self._source.byte()) != stream.CONFIGURATION_TYPE:
            raise invalid("Configuration section missing")
        section = configuration_section(self._local, self._notice)
        values = yield from section.decode(self._source, 1)
        self._tell(stream.Configured(parse_configuration(values)))

    def _sections(self, source: Source) -> Parse[None]:
        """Sections and commands up to EOF."""
        while True:
            self._reading, self._part, self._section = source, "section type", None
            kind = yield from source.byte()
            if source.failed:
                raise io_error()
            if kind in (stream.SECTION_START, stream.SECTION_FULL):
                yield from self._start_or_full(source, kind)
            elif kind in (stream.SECTION_PART, stream.SECTION_END):
                yield from self._part_or_end(source, kind)
            elif kind == stream.COMMAND:
                yield from self._command(source)
            elif kind == stream.EOF:
                return
            else:
                raise invalid(f"Unknown savevm section type {kind}")
            source = self._source if self._carrier.has_tail else source

    def _description(self) -> Parse[None]:
        """What follows EOF can spoil nothing any more."""
        self._reading, self._part = self._source, "description"
        kind = yield from self._source.byte()
        if kind != stream.VMDESCRIPTION:
            self._notice(f"Expected vmdescription section, but got {kind}")
            self._finish(None)
            return
        length = yield from self._source.be32()
        data = yield from self._source.skip(length, keep=MOST_DESCRIPTION)
        self._finish(data if 0 < length == len(data) else None)

    def _finish(self, description: bytes | None) -> None:
        for section in self._carrier.described(description):
            self._tell(section)
        self._tell(stream.Ended(description))

    # Sections

    def _start_or_full(self, source: Source, kind: int) -> Parse[None]:
        start, self._part = source.item, "section header"
        head = yield from take_head(source, kind)
        self._enter(kind, *head[1:4], start)
        handler = self._find(head)
        if handler is None:
            whole = source is self._source  # a package's sections are in no description
            if self._accept is None or not whole or not self._accept(head):
                raise invalid(
                    f"Unknown savevm section or instance '{head.idstr}' {head.instance_id}."
                    " Make sure that your current VM setup matches your saved VM setup,"
                    " including any hotplugged devices"
                )
            yield from self._carry(source, head)
            return
        if head.version > handler.version:
            raise invalid(
                f"savevm: unsupported version {signed32(head.version)}"
                f" for '{head.idstr}' v{handler.version}"
            )
        handler.section_id, handler.version_seen = head.section_id, head.version
        self._carrier.go_behind(head)
        try:
            values = yield from handler.load(source, head.version)
        except LoadError as error:
            error.lines.append(
                f"error while loading state for instance 0x{head.instance_id:x}"
                f" of device '{head.idstr}'"
            )
            raise
        yield from self._footer(source, head.section_id, head.idstr)
        self._loaded(handler, kind, values)

    def _part_or_end(self, source: Source, kind: int) -> Parse[None]:
        start, self._part = source.item, "section header"
        section_id = yield from source.be32()
        if source.failed:
            raise io_error("qemu_loadvm_section_part_end: Failed to read section ID: -5")
        handler = next((h for h in self._handlers if h.section_id == section_id), None)
        if handler is None:
            raise invalid(f"Unknown savevm section {signed32(section_id)}")
        self._enter(kind, section_id, handler.idstr, handler.instance_id, start)
        try:
            values = yield from handler.load(source, handler.version_seen)
        except LoadError as error:
            error.lines.append(
                f"error while loading state section id {signed32(section_id)}({handler.idstr})"
            )
            raise
        yield from self._footer(source, section_id, handler.idstr)
        self._loaded(handler, kind, values)

    def _enter(self, kind: int, section_id: int, idstr: str, instance_id: int, at: int) -> None:
        self._section = stream.Span(kind, section_id, idstr, instance_id, at, 0)
        self._part = "payload"

    def _footer(self, source: Source, section_id: int, idstr: str) -> Parse[None]:
        self._part = "footer"
        yield from take_footer(source, section_id, idstr)
        if self._spans and self._section is not None:
            length = source.position - self._section.offset
            self._tell(self._section._replace(length=length))

    def _find(self, head: Head) -> _Handler | None:
        for handler in self._handlers:
            if (handler.idstr, handler.instance_id) == (head.idstr, head.instance_id):
                return handler
        return None

    def _loaded(self, handler: _Handler, kind: int, values: Values | None) -> None:
        name = (handler.section_id, handler.idstr, handler.instance_id)
        if values is None:
            self._tell(stream.SectionSeen(kind, *name))
        else:
            self._tell(stream.DeviceLoaded(*name, handler.version_seen, values))
        if handler.idstr == RAM and kind == stream.SECTION_END:
            self._ram_ended = True

    def _carry(self, source: Source, head: Head) -> Parse[None]:
        carrier, early = self._carrier, not self._ram_ended
        carrier.demand_room()
        if early:
            payload = yield from until_footer(source, head)
        else:
            self._source = self._reading = yield from carrier.tail_of(self._source)
            payload = carrier.cut_payload(self._source, head)
        yield from self._footer(self._source, head.section_id, head.idstr)
        carrier.keep(head, payload, early)

    # Commands

    def _command(self, source: Source) -> Parse[None]:
        self._part = "command"
        number = yield from source.be16()
        length = yield from source.be16()
        if source.failed:
            raise io_error()
        check_length(number, length)
        if number == stream.PACKAGED:
            yield from self._package(source)
            return
        payload = yield from source.take(length)
        notice = check_command(number, payload, self.return_path, self._x_colo, self._advised)
        if notice is not None:
            self._notice(notice)
        if number == stream.OPEN_RETURN_PATH:
            self.return_path = True
        self._advised = self._advised or number == stream.POSTCOPY_ADVISE
        self.colo = self.colo or number == stream.ENABLE_COLO
        self._tell(stream.Command(number, payload))

    def _package(self, source: Source) -> Parse[None]:
        """A piece of stream inside the stream, read whole before it is looked at."""
        length = yield from source.be32()
        start = source.position
        data = yield from source.skip(length, keep=MOST_PACKAGE)
        if source.failed or len(data) < length or source is not self._source:
            raise LoadError(
                errno.EAGAIN,
                f"CMD_PACKAGED: Buffer receive fail ret={len(data)} length={signed32(length)}",
            )
        yield from self._sections(Source(data, start))
