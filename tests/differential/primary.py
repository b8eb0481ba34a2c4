"""A primary of COLO that is no program: it sends a stream, then checkpoints, as it is told.

The streams are those of a `-machine none` with one block `ram` of 16 pages (`RAM`), whose file any
test may look into.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, NamedTuple

from tests.differential.wires import GUARD, Stuck
from tests.vmd.stream_cases import (
    DESCRIBED,
    EOF,
    EOS,
    HEADER,
    be,
    command,
    config,
    end,
    globalstate,
    more,
    page,
    part,
    section,
    table,
    timer,
)

if TYPE_CHECKING:
    from pathlib import Path

PAGE = 4096
SIZE = 16 * PAGE
RAM = (
    "-machine none,memory-backend=ram -nodefaults"
    f" -object memory-backend-file,id=ram,size={SIZE >> 10}k,mem-path=ram0,share=on"
)
READY, REQUEST, REPLY, SEND, VMSTATE, RECEIVED, LOADED = range(7)
NAMES = ["READY", "REQUEST", "REPLY", "SEND", "SIZE", "RECEIVED", "LOADED"]
ENABLE = command(8)
SWITCHOVER = command(11)


def pages(letters: str) -> list[bytes]:
    """Records of the first pages, each full of one letter."""
    make = [page, *[more] * (len(letters) - 1)]
    return [
        one(index * PAGE, letter.encode() * PAGE)
        for index, (one, letter) in enumerate(zip(make, letters, strict=True))
    ]


def stream(letters: str = "abc", state: bytes = b"running", asking: bytes = ENABLE) -> bytes:
    """A whole stream that asks for a secondary."""
    head = HEADER + config() + asking + section(table(("ram", SIZE)) + EOS)
    return head + part(*pages(letters)) + SWITCHOVER + end() + globalstate(state) + DESCRIBED


def live(*records: bytes) -> bytes:
    """The RAM of a checkpoint."""
    return end(*records) + EOF


def devices(state: bytes = b"running") -> bytes:
    """The devices of a checkpoint, as they are put into its buffer."""
    return timer() + globalstate(state) + EOF


class Checkpoint(NamedTuple):
    """What a primary sends for one checkpoint, in pieces between which it may stop."""

    ram: bytes
    devices: bytes = devices()

    @property
    def size(self) -> bytes:
        return be(4, VMSTATE) + be(8, len(self.devices))


class Primary:
    """One end of a unix socket; the destination listens at the other."""

    def __init__(self, directory: Path, path: str = "in") -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(os.path.relpath(directory / path))
        self._socket.settimeout(GUARD)

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def says(self, number: int) -> None:
        self.send(be(4, number))

    def hears(self) -> str:
        """The next message, by name; "" at the end."""
        try:
            data = self._socket.recv(4, socket.MSG_WAITALL)
        except TimeoutError:
            raise Stuck("silence while waiting for the secondary") from None
        return NAMES[int.from_bytes(data, "big")] if data else ""

    def begin(self) -> str:
        """Have the secondary stop and wait for RAM."""
        self.says(REQUEST)
        answer = self.hears()
        self.says(SEND)
        return answer

    def checkpoint(self, given: Checkpoint) -> list[str]:
        """A whole one; what was answered."""
        answers = [self.begin()]
        self.send(given.ram + given.size + given.devices)
        return [*answers, self.hears(), self.hears()]

    def close(self) -> None:
        self._socket.close()
