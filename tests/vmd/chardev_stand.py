"""What chardev tests stand on: a frontend that keeps what it hears, and peers without asyncio."""

from __future__ import annotations

import asyncio
import os
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


class WatchedClock(HeldClock):
    """A held clock that tells when somebody has begun to wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self._waits = asyncio.Event()

    async def sleep(self, delay_ns: int) -> None:
        self._waits.set()
        await super().sleep(delay_ns)

    async def waited_for(self) -> None:
        """Wait until somebody waits for time to pass."""
        async with asyncio.timeout(PATIENCE):
            await self._waits.wait()

    async def pass_by(self, delay_ns: int) -> None:
        """Let time pass as soon as somebody waits for it."""
        await self.waited_for()
        self._waits.clear()
        self.advance(delay_ns)


class Stage:
    """A host for chardevs, with a clock that a test holds, keeping what would be printed."""

    def __init__(self) -> None:
        self.clock = WatchedClock()
        self.said: list[str] = []
        self._spoken = asyncio.Event()
        self.ended = False
        self.objects: dict[str, object] = {}
        say = self._say
        self.host = Host(self.clock, say, say, say, self._end, find_object=self.objects.get)
        self.made: list[Chardev] = []

    def _say(self, text: str) -> None:
        self.said.append(text)
        self._spoken.set()

    def _end(self) -> None:
        self.ended = True

    async def says_something(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self._spoken.wait()

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


async def a_look_around() -> None:
    """Wait until the event loop has looked at all that can be read now."""
    loop = asyncio.get_running_loop()
    looked: asyncio.Future[None] = loop.create_future()
    reader, writer = os.pipe()
    os.close(writer)  # an end can always be read
    loop.add_reader(reader, looked.set_result, None)
    await looked
    loop.remove_reader(reader)
    os.close(reader)


async def read_exactly(peer: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = await read(peer, size - len(data))
        assert piece, f"the end after {len(data)} of {size} bytes"
        data += piece
    return bytes(data)
