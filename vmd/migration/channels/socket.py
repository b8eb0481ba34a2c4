"""Migration over unix, TCP and vsock sockets: one side listens, the other connects.

A listener stays until the migration has ended; whoever else connects is sent away. Observed from
migration/socket.c and io/channel-socket.c.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from vmd.chardev import address as addresses
from vmd.migration.channels.stream import IncomingStream, OutgoingStream, Wire
from vmd.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from vmd.clock import Timer
    from vmd.migration.vm import Vm

    Address = dict[str, Any]


SEND_BUFFER = 2 << 20
NEAR_BUFFER = 4 << 20  # within a host nothing is slow: the two sides wait for each other less often
_SO_SNDBUFFORCE = 32  # <asm-generic/socket.h>: beyond the host's limit, for those who may
FULL = (errno.EMFILE, errno.ENFILE)
FULL_NS = 100_000_000


def _legacy(address: Address) -> Address:
    """A SocketAddress as the character devices write it."""
    data = {name: value for name, value in address.items() if name not in ("transport", "type")}
    return {"type": address["type"], "data": data}


def _wire(peer: socket.socket) -> Wire:
    if peer.family in (socket.AF_INET, socket.AF_INET6):
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # The kernel's own choice is less than what is made at once; it may still give less.
    size = NEAR_BUFFER if peer.family == socket.AF_UNIX else SEND_BUFFER
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
    with suppress(OSError):
        peer.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, size)
    return Wire(peer.fileno(), peer)


def outgoing(peer: socket.socket) -> OutgoingStream:
    """The channel of a connected socket."""
    wire = _wire(peer)
    return OutgoingStream(wire, "socket", wire)


async def connect(address: Address) -> OutgoingStream:
    """Connect. QmpError if nobody answers."""
    call = _Call(_legacy(address))
    thread = Worker()
    try:
        peer = await thread.run(call.connect)
        call.taken()
        return outgoing(peer)
    finally:
        thread.stop(call.give_up)


class _Call:
    """Connecting in a thread: looking up a name waits, and so does a listener without room.

    A thread that is no longer waited for goes on until the host gives up, and hangs up then.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._peer: socket.socket | None = None

    def connect(self) -> socket.socket:
        failure: OSError | None = None
        for family, name in addresses.targets(self._address):
            peer = addresses.prepare(family, self._address)
            try:
                addresses.connect_waiting(peer, name)
                self._peer = peer
                return peer
            except OSError as error:
                peer.close()
                failure = error
        assert failure is not None
        raise addresses.failed_to_connect(self._address, failure)

    def taken(self) -> None:
        self._peer = None

    def give_up(self) -> None:
        if self._peer is not None:
            self._peer.close()


def listener(address: Address, vm: Vm) -> Listener | Coroutine[Any, Any, Listener]:
    """Listen there; with a name, that must be looked up first, it takes a while."""
    legacy = _legacy(address)
    if addresses.is_named(legacy):
        return _listener_by_name(legacy, vm)
    return Listener(addresses.listen(legacy), vm)


async def _listener_by_name(address: Address, vm: Vm) -> Listener:
    thread = Worker()
    try:
        return Listener(await thread.run(lambda: addresses.listen(address)), vm)
    finally:
        thread.stop()


class Listener:
    """Waits for one source at one of the listening sockets."""

    def __init__(self, listeners: list[socket.socket], vm: Vm) -> None:
        self._vm = vm
        self._later: Timer | None = None
        self._loop = asyncio.get_running_loop()
        self._listeners = listeners
        self._peer: asyncio.Future[socket.socket] = self._loop.create_future()
        local = [addresses.local_address(listener) for listener in self._listeners]
        self.addresses = [_as_told(one) for one in reversed(local)]  # QEMU tells the last first
        self._unlink = [
            one["data"]["path"]
            for one in local
            if one["type"] == "unix" and not one["data"].get("abstract")
        ]
        self._watch()

    def _watch(self) -> None:
        self._later = None
        for listener in self._listeners:
            self._loop.add_reader(listener.fileno(), self._accept, listener)

    def _look_later(self) -> None:
        """Nobody can be let in now: without a pause the listener would call all the time."""
        for listener in self._listeners:
            self._loop.remove_reader(listener.fileno())
        if self._later is None:
            self._later = self._vm.clock.call_later(FULL_NS, self._watch)

    def _accept(self, listener: socket.socket) -> None:
        try:
            peer, _ = listener.accept()
        except OSError as error:
            if error.errno in FULL:
                self._look_later()
            return
        if self._peer.done():
            self._vm.report(
                "socket_accept_incoming_migration: Extra incoming migration connection; ignoring"
            )
            peer.close()
        else:
            self._peer.set_result(peer)

    async def arrived(self) -> IncomingStream:
        """The channel to the first who connects."""
        wire = _wire(await self._peer)
        return IncomingStream(wire, wire)

    def close(self) -> None:
        """Stop listening; what stands in the file system goes."""
        if self._later is not None:
            self._later.cancel()
        for listener in self._listeners:
            self._loop.remove_reader(listener.fileno())
            listener.close()
        self._listeners.clear()
        self.addresses.clear()
        for path in self._unlink:
            with suppress(OSError):
                os.unlink(path)
        self._unlink.clear()


def _as_told(address: Address) -> Address:
    """A listener's address as query-migrate tells it: the schema's SocketAddress."""
    told = {"type": address["type"], **address["data"]}
    if address["type"] == "inet":
        told["ipv6" if ":" in address["data"]["host"] else "ipv4"] = True
    return told
