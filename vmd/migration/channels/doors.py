"""From an address to a channel, out and in.

A way out is a channel at once, or (sockets) a coroutine that connects. A way in is a door, or (a
name must be looked up) a coroutine that gives one: it waits for the stream to come, without a
thread. `rdma:` has neither: the place of a simulated machine has no adapter, and a migration over
one fails as QEMU's fails on such a host (migration/rdma.c).
"""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING, Any

from qapi.error import QmpError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from vmd.migration.channels.file import IncomingFile, OutgoingFile
    from vmd.migration.channels.socket import Listener
    from vmd.migration.channels.stream import IncomingStream, OutgoingStream
    from vmd.migration.controller import Asker
    from vmd.migration.vm import Vm

    Address = dict[str, Any]
    WayOut = OutgoingFile | OutgoingStream | Coroutine[Any, Any, OutgoingStream]


def open_outgoing(vm: Vm, address: Address, asker: Asker) -> WayOut:
    """The way to `address`. QmpError if there is none."""
    if address["transport"] == "file":
        from vmd.migration.channels.file import OutgoingFile

        return OutgoingFile(address["filename"], address["offset"], vm.fdsets.open)
    if address["transport"] == "exec":
        from vmd.migration.channels import command

        return command.outgoing(address["args"])
    if address["transport"] == "rdma":
        raise QmpError("RDMA ERROR: could not create CM channel")
    if address["type"] == "fd":
        from vmd.migration.channels import descriptor

        return descriptor.outgoing(descriptor.named(address["str"], asker.take_fd), asker.tell)
    from vmd.migration.channels import socket

    return socket.connect(address)


def open_incoming(
    vm: Vm, address: Address, asker: Asker
) -> Door | Listener | Coroutine[Any, Any, Listener]:
    """The door at `address`, or what opens it. QmpError if there is none."""
    if address["transport"] == "file":
        from vmd.migration.channels import file

        return Door(file.incoming(address["filename"], address["offset"], vm.fdsets.open))
    if address["transport"] == "exec":
        from vmd.migration.channels import command

        return Door(command.incoming(address["args"]))
    if address["transport"] == "rdma":
        raise QmpError("RDMA ERROR: could not create rdma event channel")
    if address["type"] == "fd":
        from vmd.migration.channels import descriptor

        name = address["str"]
        if asker.take_fd is None or name[:1].isdigit():
            return Door(descriptor.incoming(descriptor.inherited(name), asker.tell))
        return Door(descriptor.incoming(descriptor.named(name, asker.take_fd), asker.tell))
    from vmd.migration.channels import socket

    return socket.listener(address, vm)


class Door:
    """A channel that is there already. A stream's first byte is waited for; None never comes."""

    def __init__(self, channel: IncomingFile | IncomingStream | None) -> None:
        self.addresses: list[Address] = []
        self._channel = channel
        self._watched = -1

    async def arrived(self) -> IncomingFile | IncomingStream:
        """The channel, once there is something to read."""
        if self._channel is None or self._channel.wire is not None:
            await self._readable()
        assert self._channel is not None
        return self._channel

    async def _readable(self) -> None:
        """As in QEMU an end without a byte before it is no reason to look."""
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        fd = -1 if self._channel is None or self._channel.wire is None else self._channel.wire.fd
        poll = select.poll()
        poll.register(fd, select.POLLIN)

        def look() -> None:
            loop.remove_reader(fd)
            if poll.poll(0)[0][1] & select.POLLIN and not ready.done():
                ready.set_result(None)

        try:
            loop.add_reader(fd, look)
        except PermissionError:  # a file is always ready
            return
        self._watched = fd
        await ready

    def close(self) -> None:
        """Wait no longer. Whoever got the channel closes it."""
        if self._watched >= 0:
            asyncio.get_running_loop().remove_reader(self._watched)
            self._watched = -1
