"""A destination that has no descriptor left for the source that wants to come in."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import TYPE_CHECKING, Any

from tests.faults.stand import SECOND, Subject
from vmd.migration.channels.socket import Listener

if TYPE_CHECKING:
    from pathlib import Path


class Full(socket.socket):
    """A listening socket of a process that is full at first."""

    room = False
    tries = 0

    def accept(self) -> tuple[socket.socket, Any]:
        self.tries += 1
        if not self.room:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return super().accept()


class Door:
    """Such a listener, and a source that knocks."""

    def __init__(self, path: Path) -> None:
        self.subject = Subject(incoming=True)
        self.server = Full(socket.AF_UNIX)
        self.server.bind(str(path))
        self.server.listen(1)
        self.server.setblocking(False)
        self.listener = Listener([self.server], self.subject.machine)
        self.source = socket.socket(socket.AF_UNIX)
        self.source.connect(str(path))

    async def refused(self) -> None:
        while not self.server.tries:
            await asyncio.sleep(0)

    def close(self) -> None:
        self.listener.close()
        self.source.close()
        self.subject.close()


async def test_a_source_waits_until_there_is_room_and_nobody_spins(tmp_path: Path) -> None:
    door = Door(tmp_path / "in")
    await door.refused()
    for _ in range(10):
        await asyncio.sleep(0)
    assert door.server.tries == 1
    door.server.room = True
    door.subject.clock.advance(SECOND)
    channel = await door.listener.arrived()
    assert door.server.tries == 2
    channel.close()
    door.close()


async def test_a_listener_that_is_closed_looks_no_more(tmp_path: Path) -> None:
    door = Door(tmp_path / "in")
    await door.refused()
    door.listener.close()
    door.subject.clock.advance(SECOND)
    assert door.server.tries == 1
    door.close()
