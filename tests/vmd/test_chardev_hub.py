"""Several devices with one user, datagrams, and terminals of the host."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.vmd.chardev_stand import Listener, Stage, dial, read
from vmd.chardev import Chardev, create


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


async def hub_of(stage: Stage, devices: list[Chardev]) -> tuple[Chardev, Listener]:
    """A hub on top of open devices, with a listener."""
    known = {f"d{number}": device for number, device in enumerate(devices)}
    backend = {"type": "hub", "data": {"chardevs": list(known)}}
    hub = create("h", backend, stage.host, find=known.get)
    stage.made.insert(0, hub)
    await hub.open()
    listener = Listener()
    hub.attach(listener)
    return hub, listener


async def two_sockets(stage: Stage, directory: Path) -> list[Chardev]:
    made = []
    for name in ("a", "b"):
        address = {"type": "unix", "data": {"path": str(directory / name)}}
        device = stage.make({"type": "socket", "data": {"addr": address}}, label=name)
        await device.open()
        made.append(device)
    return made


async def test_a_hub_speaks_to_all_and_hears_each(stage: Stage, tmp_path: Path) -> None:
    hub, listener = await hub_of(stage, await two_sockets(stage, tmp_path))
    with closing(dial(str(tmp_path / "a"))) as first, closing(dial(str(tmp_path / "b"))) as second:
        first.send(b"one")
        await listener.has_input(b"one")
        second.send(b"two")
        await listener.has_input(b"onetwo")
        hub.write(b"hello")
        assert await read(first) == b"hello"
        assert await read(second) == b"hello"


async def test_a_hub_is_open_while_one_of_its_devices_is(stage: Stage, tmp_path: Path) -> None:
    devices = await two_sockets(stage, tmp_path)
    hub, listener = await hub_of(stage, devices)
    assert not hub.is_open
    first, second = dial(str(tmp_path / "a")), dial(str(tmp_path / "b"))
    await listener.hears("opened")
    first.send(b"1")
    second.send(b"2")
    await listener.until(lambda: len(listener.input) == 2)
    first.close()
    second.send(b"3")
    await listener.until(lambda: len(listener.input) == 3)
    assert hub.is_open
    second.close()
    await listener.hears("closed")
    assert listener.heard.count("opened") == 1


async def test_who_does_not_listen_to_a_hub_holds_up_its_devices(
    stage: Stage, tmp_path: Path
) -> None:
    hub, listener = await hub_of(stage, await two_sockets(stage, tmp_path))
    listener.on_opened = hub.pause_reading
    with closing(dial(str(tmp_path / "a"))) as peer, closing(dial(str(tmp_path / "b"))) as other:
        peer.send(b"early")
        other.send(b"early")
        await listener.hears("opened")
        hub.write(b"ping")
        assert await read(peer) == b"ping"
        assert listener.input == b""
        hub.resume_reading()
        await listener.has_input(b"earlyearly")


async def test_datagrams_come_and_go_whole(stage: Stage) -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as peer:
        peer.bind(("127.0.0.1", 0))
        port = peer.getsockname()[1]
        device, listener = await stage.open(f"udp:127.0.0.1:{port}@127.0.0.1:0")
        device.write(b"hello")
        peer.setblocking(True)
        data, address = peer.recvfrom(100)
        assert data == b"hello"
        peer.sendto(b"", address)
        peer.sendto(b"there", address)
        await listener.has_input(b"there")


async def test_a_datagram_that_nobody_takes_is_lost_and_that_is_all(stage: Stage) -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as peer:
        peer.bind(("127.0.0.1", 0))
        port = peer.getsockname()[1]
        device, _listener = await stage.open(f"udp:127.0.0.1:{port}")
        peer.close()
    for _ in range(3):
        device.write(b"x" * 100)
    device.write(b"x" * 100_000)
    assert device.is_open


async def test_bytes_are_bytes_on_a_terminal_of_the_host(stage: Stage) -> None:
    master, slave = os.openpty()
    try:
        device, listener = await stage.open(os.ttyname(slave))
        os.write(master, b"a\x03\r\n")
        await listener.has_input(b"a\x03\r\n")
        device.write(b"b\r\n")
        assert os.read(master, 100) == b"b\r\n"
    finally:
        os.close(master)
        os.close(slave)
