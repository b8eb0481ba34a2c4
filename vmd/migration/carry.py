"""Device sections that this machine does not understand: split out, kept, and written again.

A FULL section has no length. The description at the stream's end tells the size of each; what it
says is believed only where a footer stands behind that many bytes, and otherwise the footer is
searched for. A stream without a description is split by the footers alone.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Any, NamedTuple

from vmd.migration.source import invalid, text
from vmd.migration.stream import COMMAND, EOF, FOOTER, SECTION_END, SECTION_PART, VMDESCRIPTION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmd.migration.vmstate import Description

# The end of a stream: footer, EOF, and a description that begins like JSON.
_END = re.compile(rb"\x7e....\x00\x06....(?=\{)", re.DOTALL)
_END_LENGTH = 11
_LENGTH_AT = 7  # where in such a match the description's length stands
MOST_DESCRIPTION = 16 << 20  # a longer one is passed over
_HEADER = re.compile(rb"[\x01\x04]....(.)", re.DOTALL)


class Head(NamedTuple):
    """The header of a START or FULL section."""

    kind: int
    section_id: int
    idstr: str
    instance_id: int
    version: int

    @property
    def footer(self) -> bytes:
        return bytes((FOOTER,)) + self.section_id.to_bytes(4, "big")

    def is_described_by(self, description: Any) -> bool:
        """Whether an entry of the stream's list of devices is about this section."""
        return (
            isinstance(description, dict)
            and description.get("name") == self.idstr
            and description.get("instance_id") == self.instance_id
        )


def described_size(description: Description) -> int:
    """How many bytes a described section (or subsection) has on the wire.

    KeyError, TypeError or ValueError if the description is not of the known shape.
    """
    if "vmsd_name" not in description and "size" in description:
        return int(description["size"])  # old style: one opaque buffer
    total = 0
    for field in description["fields"]:
        total += int(field["size"]) * int(field.get("array_len", 1))
    for sub in description.get("subsections", ()):
        total += 1 + 1 + len(sub["vmsd_name"].encode()) + 4 + described_size(sub)
    return total


def described_devices(data: bytes) -> list[Description] | None:
    """The list of devices in the trailing JSON, if that is what it seems to be."""
    import json

    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    devices = document.get("devices") if isinstance(document, dict) else None
    if not isinstance(devices, list):
        return None
    return [
        device
        for device in devices
        if isinstance(device, dict)
        and isinstance(device.get("name"), str)
        and isinstance(device.get("instance_id"), int)
    ]


class Descriptions:
    """A stream's list of devices, in its order, as far as it has been passed.

    Everything here is quick however long a list a stream comes with.
    """

    def __init__(self, devices: list[Description]) -> None:
        self._devices = devices
        self._at = 0
        self._places: dict[tuple[str, object], deque[int]] = {}
        for index, device in enumerate(devices):
            key = (device["name"], device["instance_id"])
            self._places.setdefault(key, deque()).append(index)

    def ahead(self) -> list[Description]:
        """The next entry and the one after it."""
        return self._devices[self._at : self._at + 2]

    def go_to(self, head: Head) -> None:
        """Pass what stands before the entry of a section, if there is one."""
        places = self._places.get((head.idstr, head.instance_id))
        while places and places[0] < self._at:
            places.popleft()
        self._at = places[0] if places else self._at

    def go_behind(self, head: Head) -> None:
        """Pass the entry of a section, if there is one."""
        self.go_to(head)
        if self.ahead() and head.is_described_by(self.ahead()[0]):
            self._at += 1

    def take(self, head: Head) -> Description | None:
        """The first entry of a section that nobody has taken."""
        places = self._places.get((head.idstr, head.instance_id))
        return self._devices[places.popleft()] if places else None


class Tail:
    """The bytes from the first unknown section on, until they can be split.

    `feed` returns True as soon as the description at the end is complete: then, or when the
    stream has ended, `data` can be split.
    """

    def __init__(self, limit: int) -> None:
        self.data = bytearray()
        self.devices: list[Description] = []
        self._limit = limit
        self._looked = 0  # where no match begins any more

    def feed(self, data: bytes) -> bool:
        """Add bytes; LoadError if they become too many."""
        self.data += data
        if len(self.data) > self._limit:
            raise invalid("Unknown sections are too large to be kept")
        for match in _END.finditer(self.data, self._looked):
            start = match.end()
            end = start + int.from_bytes(self.data[match.start() + _LENGTH_AT : start], "big")
            if end - start > MOST_DESCRIPTION or self.data.find(0, start, end) >= 0:
                continue  # what cannot be JSON need not be waited for
            if end > len(self.data):
                self._looked = match.start()
                return self._no_length()
            devices = described_devices(bytes(self.data[start:end]))
            if devices is not None:
                self.devices = devices
                return True
        self._looked = max(len(self.data) - _END_LENGTH, self._looked)
        return self._no_length()

    def _no_length(self) -> bool:
        """A foreign writer may end with an empty description: then nothing more will come."""
        return bool(re.search(rb"\x7e....\x00\x06\0\0\0\0\Z", self.data[-11:], re.DOTALL))


def section_end(
    data: bytes | bytearray, start: int, head: Head, described: list[Description]
) -> int | None:
    """Where the payload of the section `head`, that begins at `start`, ends; None if nowhere.

    `described` are the descriptions of this section (if known) and of the next one.
    """
    if described and head.is_described_by(described[0]):
        end = start + _size_or_zero(described[0])
        if data[end : end + 5] == head.footer:
            return end
        described = described[1:]
    end = start
    while (end := data.find(head.footer, end)) >= 0:
        if _may_follow(data, end + 5, described):
            return end
        end += 1
    return None


def _size_or_zero(description: Description) -> int:
    try:
        return max(described_size(description), 0)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError):
        return 0


def _may_follow(data: bytes | bytearray, at: int, described: list[Description]) -> bool:
    """Whether a section may have ended before `at`: EOF or the next header stands there."""
    if at == len(data) or data[at] == EOF:
        return at + 1 >= len(data) or data[at + 1] == VMDESCRIPTION
    match = _HEADER.match(data, at)
    if match is None:
        return False
    length = match[1][0]
    name = bytes(data[match.end() : match.end() + length])
    if described:
        return name == str(described[0]["name"]).encode()
    return len(name) == length > 0 and name.isascii() and text(name).isprintable()


def early_end(data: bytes | bytearray, head: Head, start: int, *, ended: bool) -> tuple[bool, int]:
    """Where the payload of a section before RAM ends: (True, offset).

    (False, offset) if it does not end before that offset, from which on more bytes are needed to
    tell. There is nothing but the footer to go by: it must be followed by something that can stand
    there.
    """
    while (at := data.find(head.footer, start)) >= 0:
        following = data[at + 5 : at + 5 + _LOOKAHEAD]
        if len(following) < _LOOKAHEAD and not ended:
            return False, at
        if following[:1] in _IN_FRONT_OF_RAM or _may_follow(data, at + 5, []):
            return True, at
        start = at + 1
    return False, max(len(data) - 4, start)


_LOOKAHEAD = 1 + 4 + 256  # enough for a header's name
_IN_FRONT_OF_RAM = tuple(bytes((kind,)) for kind in (SECTION_PART, SECTION_END, COMMAND))
