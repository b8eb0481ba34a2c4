"""The socket chardev: unix, TCP or an inherited descriptor; server or client; one peer at a time.

Observed from chardev/char-socket.c. The states of a connection and their theory: there is at most
one peer. A server listens exactly while it has none, so others wait in the kernel's backlog; a
client with a reconnect time dials exactly while it has none. Where TLS, a websocket or telnet stand
between (layers.py) the chardev hears of a peer when all handshakes are done; one that does not end
them keeps others out, as with QEMU.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from typing import TYPE_CHECKING, Any

from qapi.error import QmpError
from vmd.chardev import address as addresses
from vmd.chardev.stream import Stream
from vmd.clock import NS_PER_MS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmd.chardev.chardev import Chardev, Host
    from vmd.chardev.layers import Credentials, Layers

READ_SIZE = 64 * 1024
MAX_FDS = 16
_UNREAD = bytearray(READ_SIZE)  # what is only looked at goes there, and is never used
MOST_UNHEARD = 1 << 20  # bytes that a peer has not read; then its pings have no answer
FULL_MS = 500  # until a process without descriptors looks for peers again
FD_SIZE = 4
FD_SPACE = socket.CMSG_SPACE(MAX_FDS * FD_SIZE)


def check_socket(options: Mapping[str, Any], host: Host) -> Credentials | None:
    """Refuse options that exclude each other, in QEMU's order and words; finds its credentials."""
    server: bool = options.get("server", True)
    reconnect = options.get("reconnect", 0)  # reconnect-ms, where it has no use, is not heeded
    credentials = None
    if "tls-creds" in options:
        from vmd.chardev.layers import check_credentials

        credentials = check_credentials(options, host)
    if reconnect and options["addr"]["type"] == "fd":
        raise QmpError("'reconnect' option is incompatible with 'fd' address type")
    if credentials is not None:
        from vmd.chardev.layers import check_tls_address

        check_tls_address(options)
    elif "tls-authz" in options:
        raise QmpError("'tls_authz' option requires 'tls_creds' option")
    if reconnect and server:
        raise QmpError("'reconnect' option is incompatible with socket in server listen mode")
    if options.get("websocket") and not server:  # QEMU has none either, and says so
        raise QmpError("Websocket client is not implemented")
    if "wait" in options and not server:
        raise QmpError("'wait' option is incompatible with socket in client connect mode")
    if "reconnect" in options and "reconnect-ms" in options:
        raise QmpError("'reconnect' and 'reconnect-ms' are mutually exclusive")
    return credentials


class SocketDriver:
    """See the module. `options` is the schema's ChardevSocket, its `addr` a legacy address."""

    threaded = True

    def __init__(self, options: Mapping[str, Any], host: Host) -> None:
        self._host = host
        self._address: Mapping[str, Any] = options["addr"]
        self._server: bool = options.get("server", True)
        self._wait: bool = self._server and options.get("wait", False)
        self._nodelay: bool = options.get("nodelay", False)
        self._options = options
        self._credentials = check_socket(options, host)
        self._reconnect_ms: int = (
            0
            if self._server
            else options.get("reconnect-ms", 0) or options.get("reconnect", 0) * 1000
        )
        self._listeners: list[socket.socket] = []
        self._peer: socket.socket | None = None
        self._stream: Stream | None = None
        self._layers: Layers | None = None
        self._early = b""  # came with the end of the handshakes, and waits for who reads it
        self._met = False  # the handshakes with the peer are done
        self._fds: list[int] = []
        self._held: tuple[bytes, list[int]] | None = None  # was read, and waits for its turn
        self._dialler: asyncio.Task[None] | None = None
        self._dial_failed = False
        self._unlink: str | None = None
        self.filename = self._idle_name()

    # Coming up

    async def open(self, chardev: Chardev) -> None:
        self._chardev = chardev
        self._loop = asyncio.get_running_loop()
        if self._server:
            await self._open_server()
        elif self._reconnect_ms:
            await self._dial_once()
            self._dial_later()
        else:
            self._adopt(await addresses.connect(self._loop, self._address))

    async def _open_server(self) -> None:
        self._listeners = await addresses.beside(
            self._address, lambda: addresses.listen(self._address)
        )
        self._address = addresses.local_address(self._listeners[0])
        data = self._address["data"]
        if self._address["type"] == "unix" and not data.get("abstract"):
            self._unlink = data["path"]
        self.filename = self._idle_name()
        if not self._wait:
            self._watch_listeners()
            return
        self._host.info(f"QEMU waiting for connection on: {self.filename}")
        peer, _ = await self._loop.sock_accept(self._listeners[0])
        self._adopt(peer)

    def _scheme(self) -> str:
        return self._protocol() if self._address["type"] == "inet" else str(self._address["type"])

    def _protocol(self) -> str:
        spoken = (name for name in ("telnet", "websocket") if self._options.get(name))
        return next(spoken, "tcp")

    def _idle_name(self) -> str:
        suffix = ",server=on" if self._server else ""
        return f"disconnected:{self._scheme()}:{addresses.describe(self._address)}{suffix}"

    # Finding a peer

    def _watch_listeners(self) -> None:
        for listener in self._listeners:
            self._loop.add_reader(listener.fileno(), self._on_client, listener)

    def _on_client(self, listener: socket.socket) -> None:
        try:
            peer, _ = listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._look_later()
            return
        peer.setblocking(False)
        self._stop_looking()
        self._adopt(peer)

    def _look_later(self) -> None:
        """Nobody can be let in now: without a pause the listener would call all the time."""
        self._stop_looking()
        self._dialler = self._loop.create_task(self._look_again())

    async def _look_again(self) -> None:
        await self._host.clock.sleep(FULL_MS * NS_PER_MS)
        self._dialler = None
        self._watch_listeners()

    async def _dial_once(self) -> None:
        try:
            self._adopt(await addresses.connect(self._loop, self._address))
            self._dial_failed = False
        except QmpError as error:
            if not self._dial_failed:
                # Said once for a row of failures.
                label = self._chardev.label
                self._host.error(f"Unable to connect character device {label}: {error.desc}")
            self._dial_failed = True

    def _dial_later(self) -> None:
        if self._reconnect_ms and self._peer is None:
            self._dialler = self._loop.create_task(self._dial())

    async def _dial(self) -> None:
        while self._peer is None:
            await self._host.clock.sleep(self._reconnect_ms * NS_PER_MS)
            await self._dial_once()

    def _adopt(self, peer: socket.socket) -> None:
        if self._nodelay and peer.family != socket.AF_UNIX:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._peer = peer
        fd = peer.fileno()
        layers = self._make_layers()
        # Descriptors come with bytes that somebody reads, not with a part of a handshake.
        plain = peer.family != socket.AF_UNIX or (layers is not None and layers.recode)
        read = self._read_plain if plain else self._read_with_fds
        self._stream = Stream(self, fd, read, fd, peer.send)
        self._layers = layers
        if layers is None:
            self._meet()
            return
        layers.start(self._stream.write)
        if layers.ready:
            self._meet()
            return
        self._stream.resume()
        if layers.over:
            self._loop.call_soon(self._give_up, layers)

    def _make_layers(self) -> Layers | None:
        """What is spoken on a new connection, if it is not plain."""
        spoken = ("telnet", "tn3270", "websocket") if self._server else ()
        if self._credentials is None and not any(self._options.get(name) for name in spoken):
            return None
        from vmd.chardev.layers import make_layers

        return make_layers(
            self._options, self._credentials, self._host, lambda: self.backlog < MOST_UNHEARD
        )

    def _give_up(self, layers: Layers) -> None:
        if self._layers is layers:
            self.ended()

    def _meet(self) -> None:
        """The peer is there, for the chardev."""
        peer, stream = self._peer, self._stream
        assert peer is not None and stream is not None
        try:
            self.filename = addresses.describe_connection(peer, self._protocol(), self._server)
        except OSError:
            # Gone before it was greeted; reading will find the end.
            self.filename = self._idle_name().removeprefix("disconnected:")
        self._met = True
        if stream.reading:
            stream.pause()
        self._chardev.connected()
        if self._stream is stream and not stream.reading:
            stream.pause()

    def add_client(self, peer: socket.socket) -> bool:
        """Take a connection that somebody else has made, if there is none."""
        if self._peer is not None:
            return False
        peer.setblocking(False)
        self._stop_looking()
        self._adopt(peer)
        return True

    def _stop_looking(self) -> None:
        for listener in self._listeners:
            self._loop.remove_reader(listener.fileno())
        if self._dialler is not None:
            self._dialler.cancel()
            self._dialler = None

    # The sink of the stream

    def _read_plain(self) -> bytes:
        assert self._peer is not None
        return self._peer.recv(READ_SIZE)

    def _read_with_fds(self) -> bytes:
        """Read up to the byte that brings descriptors; it comes next, by itself.

        A descriptor belongs to whoever reads its byte. The kernel would give it together with bytes
        that came before, and does not say which is its own: only reading each by itself shows it.
        """
        assert self._peer is not None
        if self._held is not None:
            return self._take_held()
        count, _, flags, _ = self._peer.recvmsg_into((_UNREAD,), 0, socket.MSG_PEEK)
        if not flags & socket.MSG_CTRUNC:
            return self._peer.recv(count) if count else b""
        plain = bytearray()
        for _ in range(count):
            byte, ancillary, _, _ = self._peer.recvmsg(1, FD_SPACE, socket.MSG_CMSG_CLOEXEC)
            if ancillary:
                self._held = byte, _descriptors(ancillary)
                break
            plain += byte
        if self._held is None:
            return bytes(plain)
        if not plain:
            return self._take_held()
        # There may be nothing behind it that would make the socket readable.
        self._loop.call_soon(self._read_held)
        return bytes(plain)

    def _take_held(self) -> bytes:
        """The byte that brought descriptors. They replace those that nobody took."""
        assert self._held is not None
        (byte, fds), self._held = self._held, None
        _close_all(self._fds)
        self._fds = fds
        return byte

    def _read_held(self) -> None:
        if self._held is not None and self._stream is not None and self._stream.reading:
            self.receive(self._take_held())

    def receive(self, data: bytes) -> None:
        layers = self._layers
        if layers is None:
            self._chardev.receive(data)
            return
        data = layers.receive(data)
        if layers.ready and not self._met:
            self._meet()
            if self._stream is not None and not self._stream.reading:
                data, self._early = b"", data
        if data and self._layers is layers:
            self._chardev.receive(data)
        if layers.over and self._layers is layers:
            self.ended()

    def _read_early(self) -> None:
        if self._early and self._stream is not None and self._stream.reading:
            data, self._early = self._early, b""
            self._chardev.receive(data)

    def drained(self) -> None:
        self._chardev.drained()

    def ended(self) -> None:
        self._hang_up()
        self._chardev.lost()
        if self._peer is not None:
            return
        self._watch_listeners()
        self._dial_later()

    def _hang_up(self) -> None:
        if self._stream is not None:
            self._stream.stop()
            self._stream = None
        if self._peer is not None:
            self._peer.close()
            self._peer = None
        self._layers = None
        self._early = b""
        self._met = False
        _close_all(self._fds)
        if self._held is not None:
            _close_all(self._held[1])
            self._held = None
        self.filename = self._idle_name()

    # The side of the chardev

    @property
    def backlog(self) -> int:
        return self._stream.backlog if self._stream is not None else 0

    def write(self, data: bytes) -> None:
        if self._stream is not None and self._met:
            self._stream.write(data if self._layers is None else self._layers.wrap(data))

    def pause(self) -> None:
        if self._stream is not None and self._met:
            self._stream.pause()

    def resume(self) -> None:
        if self._stream is not None and self._met:
            self._stream.resume()
            if self._held is not None:
                self._loop.call_soon(self._read_held)
            if self._early:
                self._loop.call_soon(self._read_early)

    def take_fd(self) -> int | None:
        if not self._fds:
            return None
        first = self._fds.pop(0)
        _close_all(self._fds)
        return first

    def abort(self) -> None:
        if self._stream is not None:
            self.ended()

    def yank(self) -> None:
        """Shut the connection down under everybody's hands; it then ends like any other."""
        if self._peer is not None:
            with contextlib.suppress(OSError):
                self._peer.shutdown(socket.SHUT_RDWR)

    def set_echo(self, echo: bool) -> None:
        pass

    def close(self) -> None:
        self._stop_looking()
        for listener in self._listeners:
            listener.close()
        self._listeners = []
        if self._unlink is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._unlink)
            self._unlink = None
        self._reconnect_ms = 0
        self._hang_up()


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    found: list[int] = []
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            whole = memoryview(payload)[: len(payload) // FD_SIZE * FD_SIZE]
            found += whole.cast("i").tolist()
    return found


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
    fds.clear()
