"""The VNC server of one machine: who listens where, who looks, and what they do.

Observed from ui/vnc.c. A picture is looked at anew while somebody waits for one, 25 times a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING, Any

from qapi.error import QmpError
from vmd.vnc.keys import key_of
from vmd.vnc.rfb import CHALLENGE_SIZE, Key, Pointer, Session, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping, Sequence

    from vmd.machine import Machine

LOOK_NS = 40_000_000
BACKLOG = 1 << 20
"""A client that has so many bytes to read gets no new picture before it has read them."""
_BUTTONS = ("left", "middle", "right", "wheel-up", "wheel-down")
_AXIS_MAX = 0x7FFF


class Server:
    """Listens on sockets that are there already. `secret` gives the password, as it is now."""

    def __init__(
        self,
        machine: Machine,
        name: str,
        sockets: list[socket.socket],
        secret: Callable[[], bytes | None] | None,
        *,
        share: str = "allow-exclusive",
        unlink: str | None = None,
    ) -> None:
        self.machine = machine
        self.name = name
        self.share = share
        self.clients: list[Client] = []
        self.secret = secret
        self.password: bytes | None = None
        self.expires_ns: int | None = None
        self._unlink: list[str] = []
        self._addresses: list[dict[str, object]] = []
        self._servers: list[asyncio.Task[None]] = []
        self.listen(sockets, [] if unlink is None else [unlink])

    def listen(self, sockets: list[socket.socket], unlink: list[str]) -> None:
        """Listen on these sockets and on no others; clients stay. `unlink`: what goes with them."""
        self._stop_listening()
        self._unlink = unlink
        self._addresses = [_address(listener.getsockname(), listener) for listener in sockets]
        self._servers = [
            asyncio.get_running_loop().create_task(_serve(self, listener)) for listener in sockets
        ]

    async def move(
        self, addresses: Sequence[Mapping[str, Any]], fds: MutableMapping[str, int]
    ) -> None:
        """Listen at the schema's SocketAddresses; QmpError if one cannot be had, and those behind
        it are not looked at. `fds` are descriptors that were handed over, by name.
        """
        from vmd.vnc.listen import listen_at

        tasks = self._servers
        self.listen([], [])
        await asyncio.gather(*tasks, return_exceptions=True)  # the old addresses are free then
        sockets: list[socket.socket] = []
        paths: list[str] = []
        try:
            for address in addresses:
                found, path = await listen_at(address, fds)
                sockets += found
                paths += path
        finally:
            self.listen(sockets, paths)

    def _stop_listening(self) -> None:
        for task in self._servers:
            task.cancel()
        for path in self._unlink:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    @property
    def auth(self) -> str:
        return "none" if self.secret is None else "vnc"

    @property
    def servers(self) -> list[dict[str, object]]:
        """The schema's VncServerInfo2, the newest first."""
        return [
            {**address, "websocket": False, "auth": self.auth}
            for address in reversed(self._addresses)
        ]

    async def add_client(self, connection: socket.socket, *, skip_auth: bool) -> None:
        """Serve a connection that was made elsewhere."""
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # it may be gone before it can be served
            await loop.connect_accepted_socket(
                lambda: Client(self, skip_auth=skip_auth), connection
            )

    def judge(self, challenge: bytes, answer: bytes) -> bool:
        """Whether a client knows the password; without one nobody does."""
        from vmd.vnc import des

        secret = self.secret() if self.secret is not None else None
        if secret is None or (self.expires_ns is not None and self.expires_ns <= self._wall_ns()):
            return False
        return des.answer(secret, challenge) == answer

    def _wall_ns(self) -> int:
        return self.machine.clock.wall_ns()

    def title(self) -> str:
        name = self.machine.name
        return "QEMU" if name is None else f"QEMU ({name})"

    def close(self) -> None:
        self._stop_listening()
        for client in list(self.clients):
            client.hang_up()


async def _serve(server: Server, listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    options: dict[str, Any] = {"sock": listener}
    if listener.family == socket.AF_UNIX:
        made = await loop.create_unix_server(lambda: Client(server), **options)
    else:
        made = await loop.create_server(lambda: Client(server), **options)
    try:
        await loop.create_future()
    finally:
        made.close()


class Client(asyncio.Protocol):
    """Somebody who looks."""

    def __init__(self, server: Server, *, skip_auth: bool = False) -> None:
        self._server = server
        self._skip_auth = skip_auth
        self._waiting = False
        self._buttons = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        listening = self._server.servers
        # QEMU tells of the first place where it listens, wherever somebody came.
        self._here = listening[-1] if listening else None
        self._there = {**_peer(transport), "websocket": False}
        picture = self._server.machine.screen.picture()
        self.session = Session(
            self._server.title(),
            (picture.width, picture.height),
            os.urandom(CHALLENGE_SIZE),
            None if self._skip_auth or self._server.secret is None else self._server.judge,
        )
        self._tell("VNC_CONNECTED")
        self._flush()

    def data_received(self, data: bytes) -> None:
        for said in self.session.feed(data):
            if isinstance(said, Key):
                self._press(said)
            elif isinstance(said, Pointer):
                self._move(said)
            elif said is Stage.LIVE:
                self._is_in()
        self._flush()
        if self.session.stage is Stage.OVER:
            self.hang_up()
        elif self.session.wanted:
            self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        if self in self._server.clients:
            self._server.clients.remove(self)
        self.session.stage = Stage.OVER
        self._tell("VNC_DISCONNECTED")

    def hang_up(self) -> None:
        self._transport.close()

    def told(self) -> dict[str, object]:
        """The schema's VncClientInfo."""
        return self._there

    def _is_in(self) -> None:
        others = list(self._server.clients)
        share = self._server.share
        if share == "force-shared" or (share == "allow-exclusive" and self.session.shared):
            others = []
        for other in others:
            other.hang_up()
        self._server.clients.append(self)
        self._tell("VNC_INITIALIZED")

    def _tell(self, event: str) -> None:
        # Where nobody listens QEMU has nothing to tell.
        if self._here is not None and not self._server.machine.exiting:
            data: dict[str, object] = {"server": self._here, "client": self._there}
            self._server.machine.events.emit(event, data)

    def _flush(self) -> None:
        if self.session.out and not self._transport.is_closing():
            self._transport.write(bytes(self.session.out))
        self.session.out.clear()

    def _look(self) -> None:
        """Show the screen if it has changed; look again soon if it has not."""
        self._waiting = False
        if self.session.stage is not Stage.LIVE or not self.session.wanted:
            return
        if self._transport.get_write_buffer_size() < BACKLOG:
            self.session.show(self._server.machine.screen.picture())
            self._flush()
        if self.session.wanted and not self._waiting:
            self._waiting = True
            self._server.machine.clock.call_later(LOOK_NS, self._look_again)

    def _look_again(self) -> None:
        if self._waiting:
            self._look()

    def _press(self, key: Key) -> None:
        code = key_of(key.symbol)
        if code is not None:
            value = {"type": "qcode", "data": code}
            event = {"type": "key", "data": {"key": value, "down": key.down}}
            self._server.machine.input.happen(event)

    def _move(self, pointer: Pointer) -> None:
        picture = self._server.machine.screen.picture()
        events: list[dict[str, Any]] = [
            {"type": "abs", "data": {"axis": axis, "value": _scaled(at, size)}}
            for axis, at, size in (
                ("x", pointer.x, picture.width),
                ("y", pointer.y, picture.height),
            )
        ]
        for bit, name in enumerate(_BUTTONS):
            if (pointer.buttons ^ self._buttons) >> bit & 1:
                down = bool(pointer.buttons >> bit & 1)
                events.append({"type": "btn", "data": {"button": name, "down": down}})
        self._buttons = pointer.buttons
        self._server.machine.input.happen(*events)


def _scaled(at: int, size: int) -> int:
    return min(at, size - 1) * _AXIS_MAX // max(size - 1, 1)


def _address(name: Any, connection: socket.socket) -> dict[str, object]:
    if connection.family == socket.AF_UNIX:
        service = name if isinstance(name, str) else name.decode(errors="replace")
        return {"host": "", "service": service, "family": "unix"}
    family = "ipv6" if connection.family == socket.AF_INET6 else "ipv4"
    return {"host": name[0], "service": str(name[1]), "family": family}


def _peer(transport: asyncio.Transport) -> dict[str, object]:
    connection = transport.get_extra_info("socket")
    try:
        return _address(connection.getpeername(), connection)
    except OSError:  # it is gone already
        return {"host": "", "service": "", "family": "unknown"}


def find(machine: Machine, name: str | None) -> Server:
    """The server of that name, or the only one; QmpError if there is none."""
    for server in machine.vnc:
        if name in (None, server.name):
            return server
    raise QmpError(
        "No VNC display is present" if name is None else f"VNC display '{name}' not found"
    )
