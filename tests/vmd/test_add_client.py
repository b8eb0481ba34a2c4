"""add_client: a connection that somebody else made becomes a character device's."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qapi.error import QmpError
from tests.vmd.chardev_stand import Stage
from vmd.qmp.misc import add_client


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


class Asking:
    """A machine with one device, a monitor that knows one descriptor by name, and its peer."""

    def __init__(self, device: Any, peer: socket.socket, end: socket.socket) -> None:
        self.machine: Any = SimpleNamespace(chardevs={"dev": device})
        self.peer = peer
        self.monitor: Any = SimpleNamespace(fds={"x": end.detach()})

    def add(self, protocol: str = "dev") -> None:
        add_client(self.machine, self.monitor, protocol, "x")

    def refused(self, protocol: str = "dev") -> str:
        with pytest.raises(QmpError) as refusal:
            self.add(protocol)
        assert self.monitor.fds == {}
        return refusal.value.desc


@pytest.fixture
def ask() -> Iterator[Callable[[Any], Asking]]:
    with ExitStack() as peers:

        def make(device: Any) -> Asking:
            peer, end = socket.socketpair()
            return Asking(device, peers.enter_context(peer), end)

        yield make


async def test_a_server_without_a_client_takes_it(
    stage: Stage, tmp_path: Path, ask: Callable[[Any], Asking]
) -> None:
    device, listener = await stage.open(f"unix:{tmp_path}/s,server=on,wait=off")
    asking = ask(device)
    asking.add()
    assert (listener.heard, device.filename) == (["opened"], "unix:,server=on")
    asking.peer.send(b"hello")
    await listener.has_input(b"hello")
    assert ask(device).refused() == "failed to add client"
    asking.peer.close()
    await listener.hears("closed")
    ask(device).add()


async def test_others_take_none(stage: Stage, ask: Callable[[Any], Asking]) -> None:
    device, _ = await stage.open("null")
    assert ask(device).refused() == "failed to add client"
    assert ask(device).refused("other") == "protocol 'other' is invalid"
    assert ask(device).refused("spice") == "SPICE is not in use"


async def test_only_a_named_socket_is_a_client(stage: Stage, ask: Callable[[Any], Asking]) -> None:
    device, _ = await stage.open("null")
    asking = ask(device)
    os.close(asking.monitor.fds.pop("x"))
    assert asking.refused() == "File descriptor named 'x' has not been found"
    asking.monitor.fds["x"] = os.open("/dev/null", os.O_RDONLY)
    assert asking.refused() == "parameter @fdname must name a socket"
