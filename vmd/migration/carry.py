"""Device sections that this machine does not understand: split out, kept, and written again.

A FULL section has no length. The description at the stream's end tells the size of each; what it
says is believed only where a footer stands behind that many bytes, and otherwise the footer is
searched for. A stream without a description is split by the footers alone.
"""

from __future__ import annotations

import re
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
    return [d for d in devices if isinstance(d, dict) and isinstance(d.get("name"), str)]


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
        waiting = None  # the first that may still become the end
        for match in _END.finditer(self.data, self._looked):
            start = match.end()
            length = int.from_bytes(self.data[match.start() + _LENGTH_AT : start], "big")
            if start + length > len(self.data):
                waiting = match.start() if waiting is None else waiting
                continue
            devices = described_devices(bytes(self.data[start : start + length]))
            if devices is not None:
                self.devices = devices
                return True
        self._looked = len(self.data) - _END_LENGTH if waiting is None else waiting
        self._looked = max(self._looked, 0)
        return self._no_length()

    def _no_length(self) -> bool:
        """A foreign writer may end with an empty description: then nothing more will come."""
        return bool(re.search(rb"\x7e....\x00\x06\0\0\0\0\Z", self.data[-11:], re.DOTALL))


def section_end(
    data: bytes | bytearray, start: int, head: Head, described: list[Description]
) -> int:
    """Where the payload of the section `head`, that begins at `start`, ends.

    `described` are the descriptions of this section (if known) and of those after it. LoadError
    if no footer fits.
    """
    if described and head.is_described_by(described[0]):
        end = start + _size_or_zero(described[0])
        if data[end : end + 5] == head.footer:
            return end
        described = described[1:]
    for names in (described, []) if described else ([],):
        end = start
        while (end := data.find(head.footer, end)) >= 0:
            if _may_follow(data, end + 5, names):
                return end
            end += 1
    raise invalid(f"Missing section footer for {head.idstr}")


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


def early_end(data: bytes | bytearray, head: Head, *, ended: bool) -> int | None:
    """Where the payload of a section before RAM ends; None if more bytes are needed to tell.

    There is nothing but the footer to go by: it must be followed by something that can stand
    there.
    """
    at = data.find(head.footer)
    while at >= 0:
        following = data[at + 5 : at + 5 + _LOOKAHEAD]
        if len(following) < _LOOKAHEAD and not ended:
            return None
        if following[:1] in _IN_FRONT_OF_RAM or _may_follow(data, at + 5, []):
            return at
        at = data.find(head.footer, at + 1)
    return None


_LOOKAHEAD = 1 + 4 + 256  # enough for a header's name
_IN_FRONT_OF_RAM = tuple(bytes((kind,)) for kind in (SECTION_PART, SECTION_END, COMMAND))
