"""The socket chardev on real sockets."""

from __future__ import annotations

import array
import asyncio
import itertools
import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qapi.error import QmpError
from tests.vmd.chardev_stand import (
    PATIENCE,
    Listener,
    Stage,
    a_look_around,
    dial,
    read,
    read_exactly,
)
from vmd.chardev.telnet import GREETING, IAC, Telnet

MS = 1_000_000


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "sock")


def server(path: str) -> str:
    return f"unix:{path},server=on,wait=off"


def send_fds(peer: socket.socket, data: bytes, *fds: int) -> None:
    peer.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])


async def test_a_client_is_greeted_heard_and_missed(stage: Stage, path: str) -> None:
    device, listener = await stage.open(server(path))
    listener.on_opened = lambda: device.write(b"hello")
    with closing(dial(path)) as peer:
        assert await read(peer) == b"hello"
        peer.send(b"command")
        await listener.has_input(b"command")
    await listener.hears("closed")
    assert listener.heard == ["opened", b"command", "closed"]


async def test_the_filename_tells_whether_somebody_is_there(stage: Stage, path: str) -> None:
    device, listener = await stage.open(server(path))
    assert device.filename == f"disconnected:unix:{path},server=on"
    with closing(dial(path)):
        await listener.hears("opened")
        assert (device.filename, device.is_open) == (f"unix:{path},server=on", True)
    await listener.hears("closed")
    assert (device.filename, device.is_open) == (f"disconnected:unix:{path},server=on", False)


async def test_one_client_at_a_time_the_next_is_served_afterwards(stage: Stage, path: str) -> None:
    _device, listener = await stage.open(server(path))
    with closing(dial(path)) as first, closing(dial(path)) as second:
        await listener.hears("opened")
        second.send(b"two")
        first.send(b"one")
        await listener.has_input(b"one")
        first.close()
        await listener.has_input(b"onetwo")
    assert listener.heard[:5] == ["opened", b"one", "closed", "opened", b"two"]


async def test_half_a_close_lets_the_peer_read_on(stage: Stage, path: str) -> None:
    device, listener = await stage.open(server(path))
    with closing(dial(path)) as peer:
        peer.send(b"last words")
        peer.shutdown(socket.SHUT_WR)
        await listener.until(lambda: listener.input == b"last words")
        device.write(b"answer")
        assert await read(peer) == b"answer"
        await listener.hears("closed")
        assert await read(peer) == b""


async def test_whatever_stood_at_the_path_is_replaced_and_removed_at_the_end(
    stage: Stage, path: str
) -> None:
    Path(path).write_text("not a socket")
    device, _ = await stage.open(server(path))
    dial(path).close()
    device.close()
    assert not os.path.exists(path)


async def test_output_that_the_peer_does_not_take_waits_and_is_told_when_gone(
    stage: Stage, path: str
) -> None:
    device, listener = await stage.open(server(path))
    with closing(dial(path)) as peer:
        await listener.hears("opened")
        data = os.urandom(1 << 20) * 4
        for at in range(0, len(data), 1 << 16):
            device.write(data[at : at + (1 << 16)])
        assert 0 < device.backlog < len(data)
        assert await read_exactly(peer, len(data)) == data
        await listener.until(lambda: listener.heard[-1] == "drained" and device.backlog == 0)


async def test_reading_stops_while_paused_and_nothing_is_lost(stage: Stage, path: str) -> None:
    device, listener = await stage.open(server(path))
    with closing(dial(path)) as peer:
        await listener.hears("opened")
        device.pause_reading()
        peer.send(b"early")
        device.write(b"still writing")
        assert await read(peer) == b"still writing"
        assert listener.input == b""
        device.resume_reading()
        await listener.has_input(b"early")


async def test_a_paused_device_notices_that_its_peer_is_gone(stage: Stage, path: str) -> None:
    device, listener = await stage.open(server(path))
    with closing(dial(path)) as peer:
        await listener.hears("opened")
        device.pause_reading()
        peer.send(b"never read")
    await listener.hears("closed")
    assert listener.input == b""


async def test_a_frontend_may_pause_in_its_first_breath(stage: Stage, path: str) -> None:
    device, listener = await stage.open(server(path))
    listener.on_opened = device.pause_reading
    with closing(dial(path)) as peer:
        peer.send(b"x")
        await listener.hears("opened")
        device.write(b"y")
        assert await read(peer) == b"y"
        assert listener.input == b""


async def test_without_a_frontend_nothing_is_read(stage: Stage, path: str) -> None:
    device, listener = await stage.open(server(path))
    listener.on_opened = device.detach
    with closing(dial(path)) as peer:
        peer.send(b"waiting")
        await listener.hears("opened")
        await a_look_around()
        late = Listener()
        device.attach(late)
        await late.has_input(b"waiting")


async def test_abort_drops_what_the_peer_has_not_taken(stage: Stage, path: str) -> None:
    device, listener = await stage.open(server(path))
    with closing(dial(path)) as peer:
        await listener.hears("opened")
        device.write(bytes(8 << 20))
        assert device.backlog > 0
        device.abort()
        assert listener.heard == ["opened", "closed"]
        assert (device.backlog, device.is_open) == (0, False)
        data = await read(peer)
        while data:
            data = await read(peer)
    with closing(dial(path)):
        await listener.until(lambda: listener.heard.count("opened") == 2)


async def test_writing_to_a_peer_that_is_gone_is_quiet(stage: Stage, path: str) -> None:
    device, listener = await stage.open(server(path))
    peer = dial(path)
    await listener.hears("opened")
    peer.close()
    for _ in range(3):
        device.write(b"anybody?")
    await listener.hears("closed")
    device.write(b"nobody")
    assert device.backlog == 0


async def test_unsent_output_is_not_for_the_next_client(stage: Stage, path: str) -> None:
    device, listener = await stage.open(server(path))
    first = dial(path)
    await listener.hears("opened")
    device.write(bytes(1 << 20))
    first.close()
    await listener.hears("closed")
    with closing(dial(path)) as second:
        await listener.until(lambda: listener.heard.count("opened") == 2)
        device.write(b"fresh")
        assert await read(second) == b"fresh"


async def test_the_first_descriptor_that_comes_with_input_is_kept(
    stage: Stage, path: str, tmp_path: Path
) -> None:
    device, listener = await stage.open(server(path))
    with (
        closing(dial(path)) as peer,
        open(tmp_path / "a", "w+") as a,
        open(tmp_path / "b", "w") as b,
    ):
        assert device.take_fd() is None
        send_fds(peer, b"x", a.fileno(), b.fileno())
        await listener.has_input(b"x")
        fd = device.take_fd()
        assert fd is not None
        assert os.path.samestat(os.fstat(fd), os.fstat(a.fileno()))
        assert not os.get_inheritable(fd)
        os.close(fd)
        assert device.take_fd() is None


async def test_descriptors_that_nobody_took_are_closed_by_the_next_ones_and_by_the_end(
    stage: Stage, path: str
) -> None:
    device, listener = await stage.open(server(path))
    (first, first_sent), (second, second_sent) = socket.socketpair(), socket.socketpair()
    with closing(first), closing(second):
        with closing(dial(path)) as peer:
            send_fds(peer, b"1", first_sent.fileno())
            first_sent.close()
            await listener.has_input(b"1")
            send_fds(peer, b"2", second_sent.fileno())
            second_sent.close()
            assert await read(first) == b""
        assert await read(second) == b""
    assert device.take_fd() is None


async def test_each_message_brings_its_own_descriptor(stage: Stage, path: str) -> None:
    device, listener = await stage.open(server(path))
    taken: list[tuple[bytes, int]] = []

    def take(data: bytes) -> None:
        listener.heard.append(data)
        listener.happened.set()
        fd = device.take_fd()
        if fd is not None:
            taken.append((data, os.fstat(fd).st_ino))
            os.close(fd)

    listener.received = take  # type: ignore[method-assign]
    pipes = [os.pipe(), os.pipe()]
    with closing(dial(path)) as peer:
        for number, (reader, _) in enumerate(pipes):
            send_fds(peer, b"%d cmd" % number, reader)
        await listener.has_input(b"0 cmd1 cmd")
        assert taken == [
            (b"%d" % number, os.fstat(reader).st_ino) for number, (reader, _) in enumerate(pipes)
        ]
    for fd in (fd for pair in pipes for fd in pair):
        os.close(fd)


async def test_a_waiting_server_says_so_and_opens_with_its_first_client(
    stage: Stage, path: str
) -> None:
    opening = asyncio.ensure_future(stage.open(f"unix:{path},server=on"))
    await stage.says_something()
    assert stage.said == [f"QEMU waiting for connection on: disconnected:unix:{path},server=on"]
    with closing(dial(path)):
        device, listener = await opening
        assert (device.is_open, listener.heard) == (True, ["opened"])


async def test_a_client_connects_once_and_stays_gone(stage: Stage, path: str) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(path)
        listening.listen()
        device, listener = await stage.open(f"unix:{path}")
        assert (device.filename, listener.heard) == (f"unix:{path}", ["opened"])
        listening.accept()[0].close()
        await listener.hears("closed")
        assert device.filename == f"disconnected:unix:{path}"


async def test_a_client_that_may_reconnect_tries_at_its_own_pace(stage: Stage, path: str) -> None:
    device, listener = await stage.open(f"unix:{path},reconnect-ms=100")
    complaint = (
        f"Unable to connect character device c: Failed to connect to '{path}': "
        "No such file or directory"
    )
    assert (device.is_open, stage.said) == (False, [complaint])
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        await stage.clock.pass_by(100 * MS)
        await stage.clock.waited_for()
        listening.bind(path)
        listening.listen()
        await stage.clock.pass_by(100 * MS)
        await listener.hears("opened")
        listening.accept()[0].close()
        await listener.hears("closed")
        await stage.clock.pass_by(100 * MS)
        await listener.until(lambda: listener.heard.count("opened") == 2)
    # A row of failures is complained about once.
    assert stage.said == [complaint]


async def test_closing_ends_the_dialling(stage: Stage, path: str) -> None:
    device, _ = await stage.open(f"unix:{path},reconnect-ms=100")
    (dialling,) = asyncio.all_tasks() - {asyncio.current_task()}
    device.close()
    done, _ = await asyncio.wait([dialling], timeout=PATIENCE)
    assert done


async def test_tcp_names_both_ends(stage: Stage) -> None:
    device, listener = await stage.open("tcp:127.0.0.1:0,server=on,wait=off,nodelay=on")
    found = re.fullmatch(r"disconnected:tcp:127\.0\.0\.1:(\d+),server=on", device.filename)
    assert found is not None
    with closing(socket.create_connection(("127.0.0.1", int(found[1])))) as peer:
        await listener.hears("opened")
        port = peer.getsockname()[1]
        assert device.filename == f"tcp:127.0.0.1:{found[1]},server=on <-> 127.0.0.1:{port}"
        peer.send(b"x")
        await listener.has_input(b"x")
        device.write(b"y")
        assert await read(peer) == b"y"
        assert device.take_fd() is None


async def test_a_busy_port_is_passed_over_up_to_the_last(stage: Stage) -> None:
    device, _ = await stage.open("tcp:127.0.0.1:0,server=on,wait=off")
    port = int(device.filename.split(":")[-1].split(",")[0])
    with pytest.raises(QmpError, match="Failed to find an available port: Address already in use"):
        await stage.open(f"tcp:127.0.0.1:{port},server=on,wait=off")
    # Some port above is free.
    other, _ = await stage.open(
        f"tcp:127.0.0.1:{port},to={min(port + 50, 65535)},server=on,wait=off"
    )
    assert other.filename.startswith("disconnected:tcp:127.0.0.1:")
    assert other.filename != device.filename


async def test_an_inherited_listener_serves_and_its_path_goes_at_the_end(
    stage: Stage, path: str
) -> None:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    number = listening.detach()
    device = stage.make(
        {
            "type": "socket",
            "data": {
                "addr": {"type": "fd", "data": {"str": str(number)}},
                "server": True,
                "wait": False,
            },
        }
    )
    await device.open()
    listener = Listener()
    device.attach(listener)
    assert device.filename == f"disconnected:unix:{path},server=on"
    with closing(dial(path)) as peer:
        peer.send(b"x")
        await listener.has_input(b"x")
    device.close()
    assert not os.path.exists(path)


async def test_an_inherited_connection_is_used_as_it_is(stage: Stage) -> None:
    near, far = socket.socketpair()
    device = stage.make(
        {
            "type": "socket",
            "data": {
                "addr": {"type": "fd", "data": {"str": str(far.detach())}},
                "server": False,
            },
        }
    )
    await device.open()
    assert device.filename == "unix:"
    with closing(near):
        device.write(b"hello")
        assert await read(near) == b"hello"


async def test_an_abstract_name_leaves_no_file(stage: Stage, tmp_path: Path) -> None:
    name = f"vmd-test-{os.getpid()}"
    device, listener = await stage.open(f"unix:{name},abstract=on,server=on,wait=off")
    assert device.filename == f"disconnected:unix:{name},abstract=on,tight=on,server=on"
    with closing(dial(f"\0{name}")):
        await listener.hears("opened")
        assert device.filename == "unix:,server=on"
    assert not os.path.exists(name)


async def test_telnet_offers_first_and_its_commands_are_not_input(stage: Stage) -> None:
    device, listener = await stage.open("telnet:127.0.0.1:0,server=on,wait=off")
    listener.on_opened = lambda: device.write(b"greeting")
    port = int(device.filename.split(":")[-1].split(",")[0])
    with closing(socket.create_connection(("127.0.0.1", port))) as peer:
        assert await read_exactly(peer, len(GREETING) + 8) == GREETING + b"greeting"
        peer.send(bytes((IAC, 253, 1)) + b"a" + bytes((IAC, IAC)) + b"b" + bytes((IAC, 241)))
        await listener.has_input(b"a\xffb")


@given(st.binary(max_size=30), st.lists(st.integers(0, 60), max_size=4))
def test_telnet_gives_back_what_was_escaped_however_it_is_cut(data: bytes, cuts: list[int]) -> None:
    escaped = data.replace(b"\xff", b"\xff\xff")
    places = [0, *sorted(min(cut, len(escaped)) for cut in cuts), len(escaped)]
    telnet = Telnet()
    pieces = [telnet.receive(escaped[a:b]) for a, b in itertools.pairwise(places)]
    assert b"".join(pieces) == data


async def test_output_is_logged_as_well(stage: Stage, path: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"old ")
    device, listener = await stage.open(f"{server(path)},logfile={log},logappend=on")
    with closing(dial(path)) as peer:
        await listener.hears("opened")
        device.write(b"new")
        assert await read(peer) == b"new"
    assert log.read_bytes() == b"old new"


async def test_bytes_without_descriptors_are_read_before_those_that_bring_some(
    stage: Stage, path: str
) -> None:
    device, listener = await stage.open(server(path))
    reader, writer = os.pipe()
    with closing(dial(path)) as peer:
        await listener.hears("opened")
        device.pause_reading()
        peer.send(b"first ")
        peer.send(b"second ")
        send_fds(peer, b"third ", reader)
        peer.send(b"fourth")
        had_fd: list[bool] = []

        def look(data: bytes) -> None:
            listener.heard.append(data)
            listener.happened.set()
            fd = device.take_fd()
            had_fd.append(fd is not None)
            if fd is not None:
                os.close(fd)

        listener.received = look  # type: ignore[method-assign]
        device.resume_reading()
        await listener.has_input(b"first second third fourth")
    assert listener.heard[1:3] == [b"first second ", b"t"]
    assert had_fd[:2] == [False, True]
    assert not any(had_fd[2:])
    os.close(reader)
    os.close(writer)


async def test_a_path_may_fill_all_its_room(stage: Stage, tmp_path: Path) -> None:
    path = str(tmp_path / "s").ljust(108, "s")
    _, there = await stage.open(server(path))
    client, here = await stage.open(f"unix:{path}")
    await there.hears("opened")
    await here.hears("opened")
    assert client.filename == f"unix:{path}"
    assert os.path.exists(path)


async def test_a_last_byte_with_a_descriptor_waits_for_its_reader(stage: Stage, path: str) -> None:
    device, listener = await stage.open(server(path))
    reader, writer = os.pipe()
    with closing(dial(path)) as peer:
        await listener.hears("opened")
        device.pause_reading()
        peer.send(b"first")
        send_fds(peer, b"!", reader)

        def pause(data: bytes) -> None:
            listener.heard.append(data)
            listener.happened.set()
            device.pause_reading()

        listener.received = pause  # type: ignore[method-assign]
        device.resume_reading()
        await listener.has_input(b"first")
        assert device.take_fd() is None
        device.resume_reading()
        await listener.has_input(b"first!")
        fd = device.take_fd()
        assert fd is not None
        os.close(fd)
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize(
    "slow",
    ["tcp:host.example:1", "tcp:host.example:1,server=on,wait=off", "udp:host.example:1"],
    ids=["client", "server", "udp"],
)
async def test_a_name_that_takes_long_makes_nobody_else_wait(
    stage: Stage, path: str, slow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, may_answer = threading.Event(), threading.Event()

    def look_up(*_: object) -> None:
        asked.set()
        may_answer.wait(PATIENCE)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    slowly = asyncio.create_task(stage.open(slow))
    _device, listener = await stage.open(server(path))
    with closing(dial(path)) as peer:
        peer.send(b"alive")
        await listener.has_input(b"alive")
    may_answer.set()
    with pytest.raises(QmpError, match=r"failed for host\.example:1: Temporary"):
        await slowly
    assert asked.is_set()
