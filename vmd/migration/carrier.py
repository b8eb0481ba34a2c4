"""The sections of a stream that nobody here understands, collected as they come.

Behind RAM the rest of a stream is read whole before it is told apart: what the sections look like
is said at its very end (see `carry`).
"""

from __future__ import annotations

from vmd.migration import stream
from vmd.migration.carry import Descriptions, Head, Tail, described_devices, section_end
from vmd.migration.source import Source, invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmd.migration.source import Parse
    from vmd.migration.vmstate import Description

MOST_TAIL = 256 << 20
MOST_SECTIONS = 1 << 14  # however small


class Carrier:
    """One stream's. `sections` are those so far, without their descriptions; `devices` are what
    its end says of them.
    """

    def __init__(self) -> None:
        self.sections: list[stream.CarriedSection] = []
        self.devices: list[Description] = []
        self._tail: Tail | None = None
        self._described = Descriptions([])  # what the tail says of itself

    @classmethod
    def of(cls, data: bytes, devices: list[Description]) -> Carrier:
        """One whose tail is there already, and described elsewhere."""
        carrier = cls()
        carrier._tail = Tail(MOST_TAIL)
        carrier._tail.data += data
        carrier._described = Descriptions(devices)
        return carrier

    @property
    def has_tail(self) -> bool:
        """Whether the rest of the stream is read from the tail."""
        return self._tail is not None

    def demand_room(self) -> None:
        """LoadError if one section more would be too many."""
        if len(self.sections) == MOST_SECTIONS:
            raise invalid("Unknown sections are too many to be kept")

    def tail_of(self, source: Source) -> Parse[Source]:
        """Everything from here on, which is needed before anything can be told apart."""
        if self._tail is not None:
            return source
        tail, start = Tail(MOST_TAIL), source.position
        while not tail.feed(source.rest()) and not source.ended:
            yield
        self._tail = tail
        self._described = Descriptions(tail.devices)
        return Source(tail.data, start)

    def cut_payload(self, source: Source, head: Head) -> bytes:
        """The payload at the front of the tail, which `source` reads."""
        assert self._tail is not None
        self._described.go_to(head)
        end = section_end(self._tail.data, source.pos, head, self._described.ahead())
        if end is None and self._described.ahead():
            self._described = Descriptions([])  # it speaks of something else
            end = section_end(self._tail.data, source.pos, head, [])
        if end is None:
            raise invalid(f"Missing section footer for {head.idstr}")
        payload = bytes(source.head[source.pos : end])
        source.pos = end
        self._described.go_behind(head)
        return payload

    def go_behind(self, head: Head) -> None:
        """A section that is understood has been read."""
        self._described.go_behind(head)

    def keep(self, head: Head, payload: bytes, early: bool) -> None:
        """`early`: it came before the end of RAM."""
        self.sections.append(stream.CarriedSection(*head[1:], payload, None, early))

    def described(self, description: bytes | None) -> Iterator[stream.CarriedSection]:
        """The sections with what the stream's end says of each."""
        devices = described_devices(description) if self.sections and description else None
        self.devices = devices or self.devices
        left = Descriptions(self.devices)
        for section in self.sections:
            match = left.take(Head(stream.SECTION_FULL, *section[:4]))
            yield section._replace(description=match)
