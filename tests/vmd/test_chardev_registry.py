"""Devices that come, change and go while the process runs."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from qapi.error import QmpError
from tests.vmd.chardev_stand import Listener, Stage
from vmd.chardev.registry import Chardevs

NULL: dict[str, Any] = {"type": "null", "data": {}}
RING: dict[str, Any] = {"type": "ringbuf", "data": {}}
NAMED: dict[str, Any] = {
    "type": "socket",
    "data": {"addr": {"type": "fd", "data": {"str": "mine"}}, "server": False},
}


class Port(Listener):
    """A frontend that can go on with another device."""

    def __init__(self) -> None:
        super().__init__()
        self.moves = 0

    def move(self, backend: Any) -> None:
        self.moves += 1
        backend.attach(self)


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


@pytest.fixture
def devices(stage: Stage) -> Iterator[Chardevs]:
    devices = Chardevs(stage.host)
    yield devices
    devices.close()


async def test_a_frontend_that_can_moves_to_the_new_device(devices: Chardevs) -> None:
    port = Port()
    (await devices.add("a", NULL)).attach(port)
    await devices.change("a", RING, {})
    device = devices.get("a")
    assert device is not None
    assert (port.moves, device.kind, device.frontend_open) == (1, "ringbuf", True)
    assert port.heard == ["opened", "opened"]


async def test_one_that_cannot_keeps_its_device(devices: Chardevs) -> None:
    device = await devices.add("a", NULL)
    device.attach(Listener())
    with pytest.raises(QmpError, match=r"^Chardev user does not support chardev hotswap$"):
        await devices.change("a", RING, {})
    assert devices.get("a") is device


async def test_a_new_device_that_fails_leaves_the_old_one_in_use(devices: Chardevs) -> None:
    port = Port()
    device = await devices.add("a", NULL)
    device.attach(port)
    with pytest.raises(QmpError, match="Could not open"):
        await devices.change("a", {"type": "file", "data": {"out": "/nonexistent/x"}}, {})
    assert (devices.get("a"), port.moves) == (device, 0)


async def test_a_mux_that_may_not_have_its_base_leaves_it_alone(devices: Chardevs) -> None:
    listener = Listener()
    base = await devices.add("base", NULL)
    base.attach(listener)
    with pytest.raises(QmpError, match="is already in use"):
        await devices.plug("m", {"type": "mux", "data": {"chardev": "base"}}, {})
    assert base.frontend_open


async def test_a_socket_takes_the_descriptor_that_it_names(devices: Chardevs) -> None:
    ours, theirs = socket.socketpair()
    fds = {"mine": os.dup(theirs.fileno()), "other": 99}
    theirs.close()
    with ours:
        await devices.plug("a", NAMED, fds)
        assert fds == {"other": 99}
        device = devices.get("a")
        assert device is not None
        device.write(b"hello")
        assert ours.recv(5) == b"hello"


async def test_a_yanked_socket_hangs_up(devices: Chardevs) -> None:
    ours, theirs = socket.socketpair()
    fds = {"mine": os.dup(theirs.fileno())}
    theirs.close()
    with ours:
        await devices.plug("a", NAMED, fds)
        await devices.plug("n", NULL, {})
        yankable = devices.yankable()
        assert list(yankable) == ["a"]
        yankable["a"]()
        assert ours.recv(1) == b""


async def test_a_descriptor_that_is_no_socket_is_closed(devices: Chardevs) -> None:
    reader, writer = os.pipe()
    with pytest.raises(QmpError, match=r"File descriptor 'mine' is not a socket$"):
        await devices.plug("a", NAMED, {"mine": writer})
    assert os.read(reader, 1) == b""
    os.close(reader)


async def test_a_descriptor_that_nobody_named_is_missed(devices: Chardevs) -> None:
    with pytest.raises(QmpError, match=r"File descriptor named 'mine' has not been found$"):
        await devices.plug("a", NAMED, {})
