"""The migration stream's words: what a writer puts on the wire, and what a reader tells.

Everything here is bytes; nothing knows of files, sockets or tasks. The layout is that of QEMU's
migration/savevm.c, all integers big-endian.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from vmd.migration.sections import CONFIGURATION, Configuration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmd.migration.vmstate import Description, Values

MAGIC = b"QEVM"
VERSION = 3

# Section types
EOF = 0x00
SECTION_START = 0x01
SECTION_PART = 0x02
SECTION_END = 0x03
SECTION_FULL = 0x04
VMDESCRIPTION = 0x06
CONFIGURATION_TYPE = 0x07
COMMAND = 0x08
FOOTER = 0x7E

# Commands
OPEN_RETURN_PATH = 1
PING = 2
POSTCOPY_ADVISE = 3
POSTCOPY_LISTEN = 4
POSTCOPY_RUN = 5
POSTCOPY_RAM_DISCARD = 6
PACKAGED = 7
ENABLE_COLO = 8
POSTCOPY_RESUME = 9
RECV_BITMAP = 10
SWITCHOVER_START = 11

# Writing


def be16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def be32(value: int) -> bytes:
    return value.to_bytes(4, "big")


def be64(value: int) -> bytes:
    return value.to_bytes(8, "big")


def cstr(name: str) -> bytes:
    """A length byte and the name; ValueError beyond 255 bytes."""
    data = name.encode("utf-8", "surrogateescape")
    return bytes((len(data),)) + data


def header() -> bytes:
    return MAGIC + be32(VERSION)


def configuration(local: Configuration) -> bytes:
    """The configuration section; it has neither section id nor footer."""
    return bytes((CONFIGURATION_TYPE,)) + CONFIGURATION.encode(local.values())


def section_header(kind: int, section_id: int, idstr: str, instance_id: int, version: int) -> bytes:
    """What a START or FULL section begins with."""
    return bytes((kind,)) + be32(section_id) + cstr(idstr) + be32(instance_id) + be32(version)


def section_again(kind: int, section_id: int) -> bytes:
    """What a PART or END section begins with."""
    return bytes((kind,)) + be32(section_id)


def footer(section_id: int) -> bytes:
    """What every section ends with."""
    return bytes((FOOTER,)) + be32(section_id)


def command(number: int, payload: bytes = b"") -> bytes:
    return bytes((COMMAND,)) + be16(number) + be16(len(payload)) + payload


def eof() -> bytes:
    return bytes((EOF,))


class DeviceState(NamedTuple):
    """One device section, ready to be written.

    `description` is the object that the stream's trailing JSON has for it.
    """

    section_id: int
    idstr: str
    instance_id: int
    version: int
    payload: bytes
    description: Description

    def encode(self, kind: int = SECTION_FULL) -> bytes:
        head = section_header(kind, self.section_id, self.idstr, self.instance_id, self.version)
        return head + self.payload + footer(self.section_id)


def vmdescription(local: Configuration, devices: Iterable[DeviceState]) -> bytes:
    """The description that follows EOF: JSON as json.dumps prints it, like QEMU's."""
    document = {
        "configuration": CONFIGURATION.describe(local.values())[1],
        "page_size": 4096,
        "devices": [device.description for device in devices],
    }
    text = json.dumps(document).encode()
    return bytes((VMDESCRIPTION,)) + be32(len(text)) + text


# Reading: what a reader tells, in the order of the stream


class Configured(NamedTuple):
    """The configuration section was read, and agrees with the local one."""

    configuration: Configuration


class SectionSeen(NamedTuple):
    """An iterable's section was read and applied (START, PART, END; or RAM sent as FULL)."""

    kind: int
    section_id: int
    idstr: str
    instance_id: int


class Span(NamedTuple):
    """Where a section stands in the stream, told after it for whoever asks for `spans`."""

    kind: int
    section_id: int
    idstr: str
    instance_id: int
    offset: int
    length: int


class DeviceLoaded(NamedTuple):
    """A device section that this machine understands."""

    section_id: int
    idstr: str
    instance_id: int
    version: int
    values: Values


class CarriedSection(NamedTuple):
    """A device section that this machine keeps as it is.

    Told when the stream has ended. `description` is what the stream's JSON has for it, None if
    it has nothing. `early`: it stood before RAM's end.
    """

    section_id: int
    idstr: str
    instance_id: int
    version: int
    payload: bytes
    description: Description | None
    early: bool


class Command(NamedTuple):
    """A command for the receiver (lengths are checked)."""

    number: int
    payload: bytes


class Notice(NamedTuple):
    """A line for stderr; loading goes on."""

    line: str


class Place(NamedTuple):
    """Where a reader is, or where it gave up.

    `item` is the offset of what was read last, `part` what it belongs to: "header",
    "configuration", "section type", "section header", "payload", "footer", "command" or
    "description". `section` is the section that it belongs to, by name and with the offset at which
    it begins.
    """

    item: int
    part: str
    section: Span | None


class Ended(NamedTuple):
    """The stream is complete; `description` is its trailing JSON, or None if it has none."""

    description: bytes | None


Record = Configured | SectionSeen | Span | DeviceLoaded | CarriedSection | Command | Notice | Ended
