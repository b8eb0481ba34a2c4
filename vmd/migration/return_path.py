"""What a destination tells its source on the way back.

`Answers` is the destination's end, `ReturnPath` the source's. Messages and texts observed from
migration/migration.c (source_return_path_thread) and migration/savevm.c.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from vmd.migration.channels.stream import Wire
    from vmd.migration.state import MigrationStats

SHUT, PONG, REQ_PAGES_ID, REQ_PAGES, RECV_BITMAP, RESUME_ACK, SWITCHOVER_ACK = range(1, 8)

# Name and length of the payload; None: it varies.
MESSAGES: dict[int, tuple[str, int | None]] = {
    SHUT: ("SHUT", 4),
    PONG: ("PONG", 4),
    REQ_PAGES_ID: ("REQ_PAGES_ID", None),
    REQ_PAGES: ("REQ_PAGES", 12),
    RECV_BITMAP: ("RECV_BITMAP", None),
    RESUME_ACK: ("RESUME_ACK", 4),
    SWITCHOVER_ACK: ("SWITCHOVER_ACK", 0),
}
MOST_PAYLOAD = 512
READ_SIZE = 4096
GONE = "Channel error: Input/output error"
NO_WAY_BACK = "Unable to read from file: Bad file descriptor"


class BadMessage(Exception):
    """The destination said what it must not say; the text is QEMU's."""


def message(kind: int, payload: bytes = b"") -> bytes:
    """A message as it goes over the wire."""
    return kind.to_bytes(2, "big") + len(payload).to_bytes(2, "big") + payload


def parse(data: bytearray) -> Iterator[tuple[int, bytes]]:
    """The whole messages at the front of `data`, which are taken out of it."""
    while len(data) >= 4:
        kind = int.from_bytes(data[:2], "big")
        length = int.from_bytes(data[2:4], "big")
        if kind not in MESSAGES:
            raise BadMessage(f"Received invalid message 0x{kind:04x} length 0x{length:04x}")
        name, expected = MESSAGES[kind]
        if length > MOST_PAYLOAD or (expected is not None and length != expected):
            raise BadMessage(
                f"Received '{name}' message (0x{kind:04x}) withincorrect length {length}"
                f" expecting {-1 if expected is None else expected}"
            )
        if len(data) < 4 + length:
            return
        payload = bytes(data[4 : 4 + length])
        del data[: 4 + length]
        yield kind, payload


class ReturnPath:
    """The source's end. `ended` is set once no more can come; `error` says why, None if all is
    well. `acked`: the destination is ready for the switch-over; `all_is_well`: it said so.
    """

    def __init__(self, wire: Wire | None, blocks: Container[str], stats: MigrationStats) -> None:
        self.error: str | None = None
        self.acked = False
        self.ended = asyncio.Event()
        self.news = asyncio.Event()  # set whenever something may have changed
        self._wire = wire
        self._blocks = blocks
        self._stats = stats
        self.all_is_well = False
        self._has_block = False  # a request may say "the same block as before"
        self._data = bytearray()
        self._loop = asyncio.get_running_loop()
        self._fd = -1
        if wire is None:
            self._end(NO_WAY_BACK)
            return
        try:
            self._loop.add_reader(wire.fd, self._readable)
            self._fd = wire.fd
        except PermissionError:  # a file
            self._end(NO_WAY_BACK)

    def close(self) -> None:
        """Listen no longer; before the wire is closed."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            self._fd = -1

    def last_word(self) -> bool:
        """Let nothing more be said, and look whether all had been said to be well by then.

        A destination that cannot say so does not go on.
        """
        wire = self._wire
        if self.all_is_well or wire is None or not wire.can_be_cut:
            return self.all_is_well
        self.close()
        wire.cut()
        with suppress(OSError, BadMessage):
            while data := os.read(wire.fd, READ_SIZE):
                self._data += data
                for kind, payload in parse(self._data):
                    self._heard(kind, payload)
        return self.all_is_well

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            reason = f"Unable to read from {self._what()}: {os.strerror(error.errno or 0)}"
            self._end(None if self.last_word() else reason)
            return
        if not data:
            self._end(GONE)
            return
        self._data += data
        try:
            for kind, payload in parse(self._data):
                if self._heard(kind, payload):
                    return
        except BadMessage as bad:
            self._end(str(bad))
        self.news.set()

    def _what(self) -> str:
        return "socket" if self._wire is not None and self._wire.can_be_cut else "file"

    def _heard(self, kind: int, payload: bytes) -> bool:
        """Take one message; whether it is the last one."""
        if kind == SHUT:
            value = int.from_bytes(payload, "big")
            self.all_is_well = not value
            self._end(f"Sibling indicated error {value}" if value else None)
            return True
        if kind == SWITCHOVER_ACK:
            self.acked = True
        elif kind == REQ_PAGES_ID:
            self._check_request(payload)
        elif kind == REQ_PAGES:
            self._stats.postcopy_requests += 1
            if not self._has_block:
                raise BadMessage("MIG_RP_MSG_REQ_PAGES has no previous block")
        elif kind == RECV_BITMAP:
            name = payload[1:].decode(errors="replace")
            raise BadMessage(f"MIG_RP_MSG_RECV_BITMAP has invalid block name '{name}'")
        return False

    def _check_request(self, payload: bytes) -> None:
        """A request of pages. Before the switch-over they are on their way anyway."""
        expected = 13 + (payload[12] if len(payload) > 12 else 0)
        if len(payload) != expected:
            raise BadMessage(f"Req_Page_id with length {len(payload)} expecting {expected}")
        self._stats.postcopy_requests += 1
        name = payload[13:].decode(errors="replace")
        if name not in self._blocks:
            raise BadMessage(f"MIG_RP_MSG_REQ_PAGES has no block '{name}'")
        self._has_block = True

    def _end(self, error: str | None) -> None:
        self.close()
        self.error = error
        self.ended.set()
        self.news.set()


class Answering(Protocol):
    """A channel that a destination may answer on."""

    def answer(self, data: bytes) -> bool: ...
    def answer_now(self, data: bytes) -> bool: ...


class Answers:
    """The destination's end: mute until the source has opened the return path."""

    def __init__(self, channel: Answering, *, ack_switchover: bool) -> None:
        self._channel = channel
        self._ack_switchover = ack_switchover
        self._open = False

    def open(self) -> None:
        """In the thread: the source listens. No device here needs time before a switch-over."""
        self._open = True
        if self._ack_switchover:
            self._channel.answer(message(SWITCHOVER_ACK))

    def are_heard(self) -> None:
        """From now on, whatever the source has opened."""
        self._open = True

    def pong(self, value: bytes) -> None:
        """In the thread: the answer to a PING."""
        if self._open:
            self._channel.answer(message(PONG, value))

    def shut(self, *, failed: bool) -> bool:
        """On the event loop: the last word. False if the source has gone and cannot hear it."""
        if not self._open:
            return True
        self._open = False
        return self._channel.answer_now(message(SHUT, int(failed).to_bytes(4, "big")))
