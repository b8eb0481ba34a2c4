"""The udp chardev: each write is a datagram, and there is always a peer, whoever listens there.

Observed from chardev/char-udp.c and util/qemu-sockets.c.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

from qapi.error import QmpError
from vmd.chardev.address import beside, family_of, is_named
from vmd.chardev.chardev import strerror

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmd.chardev.chardev import Chardev

READ_SIZE = 64 * 1024


class UdpDriver:
    """`options` is the schema's ChardevUdp. What cannot be sent at once is lost."""

    filename = "udp"
    threaded = True
    backlog = 0

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._socket: socket.socket | None = None
        self._reading = False
        self._options = options

    async def open(self, chardev: Chardev) -> None:
        self._chardev = chardev
        self._loop = asyncio.get_running_loop()
        remote, local = self._options["remote"], self._options.get("local")
        named = local if local is not None and is_named(local) else remote
        self._socket = await beside(named, lambda: _connected(remote, local))
        chardev.connected()

    def _on_readable(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(READ_SIZE)
        except OSError:
            return  # nobody listens there now: the next datagram may be heard
        if data:
            self._chardev.receive(data)

    def write(self, data: bytes) -> None:
        if self._socket is not None:
            try:
                self._socket.send(data)
            except OSError:
                return  # lost, as datagrams are

    def pause(self) -> None:
        if self._reading and self._socket is not None:
            self._reading = False
            self._loop.remove_reader(self._socket.fileno())

    def resume(self) -> None:
        if not self._reading and self._socket is not None:
            self._reading = True
            self._loop.add_reader(self._socket.fileno(), self._on_readable)

    def take_fd(self) -> int | None:
        return None

    def abort(self) -> None:
        self._chardev.lost()
        self._chardev.connected()

    def set_echo(self, echo: bool) -> None:
        pass

    def close(self) -> None:
        self.pause()
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _connected(remote: Mapping[str, Any], local: Mapping[str, Any] | None) -> socket.socket:
    """A socket that speaks with one peer; QmpError with QEMU's text."""
    if remote["type"] != "inet":
        raise QmpError("socket type unsupported for datagram")
    there, here = remote["data"], local["data"] if local is not None else {}
    if not there["port"]:
        raise QmpError("remote port not specified")
    host = there["host"] or "localhost"
    family, name = _resolve(host, str(there["port"]), family_of(there), 0)
    own_host = str(here.get("host", here.get("path", "")))
    _, own = _resolve(own_host, str(here.get("port") or "0"), family, socket.AI_PASSIVE)
    try:
        made = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        raise QmpError(f"Failed to create socket family {int(family)}: {strerror(error)}") from None
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(own)
    except OSError as error:
        made.close()
        raise QmpError(f"Failed to bind socket: {strerror(error)}") from None
    try:
        made.connect(name)
    except OSError as error:
        made.close()
        where = f"{host}:{there['port']}"
        raise QmpError(f"Failed to connect to '{where}': {strerror(error)}") from None
    return made


def _resolve(host: str, port: str, family: int, flags: int) -> tuple[int, Any]:
    asked = socket.AI_CANONNAME | socket.AI_V4MAPPED | socket.AI_ADDRCONFIG
    try:
        found = socket.getaddrinfo(host or None, port, family, socket.SOCK_DGRAM, 0, flags or asked)
    except socket.gaierror as error:
        text = f"address resolution failed for {host}:{port}: {error.args[1]}"
        raise QmpError(text) from None
    return found[0][0], found[0][4]
