"""What chardev tests stand on: a frontend that keeps what it hears, and peers without asyncio."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from typing import Any

from vmd.chardev import Chardev, Host, create
from vmd.chardev.options import ChardevOptions, backend_of, parse_legacy
from vmd.clock import HeldClock
from vmd.options import Options

PATIENCE = 10.0


class Listener:
    """A frontend. `heard` holds "opened", "closed", "drained" and the bytes received."""

    def __init__(self) -> None:
        self.heard: list[str | bytes] = []
        self.happened = asyncio.Event()
        self.on_opened: Callable[[], None] = lambda: None

    def _note(self, what: str | bytes) -> None:
        self.heard.append(what)
        self.happened.set()

    def opened(self) -> None:
        self._note("opened")
        self.on_opened()

    def received(self, data: bytes) -> None:
        self._note(data)

    def closed(self) -> None:
        self._note("closed")

    def drained(self) -> None:
        self._note("drained")

    @property
    def input(self) -> bytes:
        return b"".join(part for part in self.heard if isinstance(part, bytes))

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something that was heard makes it true."""
        async with asyncio.timeout(PATIENCE):
            while not holds():
                self.happened.clear()
                await self.happened.wait()

    async def hears(self, what: str) -> None:
        await self.until(lambda: what in self.heard)

    async def has_input(self, data: bytes) -> None:
        await self.until(lambda: self.input == data)


class Monitor(Listener):
    """A frontend that a mux tells of its focus."""

    def focus(self, has_it: bool) -> None:
        self._note("focused" if has_it else "unfocused")


class Stage:
    """A host for chardevs, with a clock that a test holds, keeping what would be printed."""

    def __init__(self) -> None:
        self.clock = HeldClock()
        self.said: list[str] = []
        self.ended = False
        self.host = Host(
            self.clock, self.said.append, self.said.append, self.said.append, self._end
        )
        self.made: list[Chardev] = []

    def _end(self) -> None:
        self.ended = True

    def make(self, backend: Mapping[str, Any], mux: bool = False, label: str = "c") -> Chardev:
        device = create(label, backend, self.host, mux)
        self.made.append(device)
        return device

    async def open(self, filename: str) -> tuple[Chardev, Listener]:
        """The chardev that `-qmp FILENAME` would make, with a listener on it."""
        options = options_of(filename)
        device = self.make(options.backend)
        await device.open()
        listener = Listener()
        device.attach(listener)
        return device, listener

    def close(self) -> None:
        for device in self.made:
            device.close()


def options_of(filename: str) -> ChardevOptions:
    options = parse_legacy("c", filename)
    assert isinstance(options, Options)
    return backend_of(options)


def dial(path: str) -> socket.socket:
    """A blocking client of a unix socket. What it asks of the kernel is answered at once."""
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(PATIENCE)
    peer.connect(path)
    return peer


async def read(peer: socket.socket, size: int = 1 << 20) -> bytes:
    """What the peer receives next, while the event loop runs on."""
    peer.setblocking(False)
    async with asyncio.timeout(PATIENCE):
        return await asyncio.get_running_loop().sock_recv(peer, size)


async def read_exactly(peer: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = await read(peer, size - len(data))
        assert piece, f"the end after {len(data)} of {size} bytes"
        data += piece
    return bytes(data)
