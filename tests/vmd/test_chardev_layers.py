"""Sockets on which TLS, a websocket or telnet is spoken: handshakes, and peers that spoil them."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.certificates import credentials
from tests.vmd.chardev_stand import PATIENCE, Listener, Stage, dial, read, read_exactly
from tests.vmd.test_websocket import BINARY, REQUEST, masked
from vmd.chardev import Chardev
from vmd.chardev.telnet import GREETING, TN3270_GREETING, Telnet
from vmd.devices.credentials import TlsCredentials

HIDDEN = b"\x82\x05"  # the head of a frame with five bytes


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pki")
    credentials(directory)
    return directory


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "sock")


def web(path: str) -> str:
    return f"unix:{path},server=on,wait=off,websocket=on"


def objects(stage: Stage, pki: Path, **more: Any) -> None:
    """Credentials `server` and `client` for chardevs of the stage."""
    for endpoint in ("server", "client"):
        options = {"id": endpoint, "qom-type": "tls-creds-x509", "endpoint": endpoint}
        made = TlsCredentials({**options, "dir": str(pki / "both"), **more}, None)
        stage.objects[endpoint] = made


def context(pki: Path, end: str = "client", shows: str = "both") -> ssl.SSLContext:
    """Python's own end."""
    purpose = ssl.PROTOCOL_TLS_CLIENT if end == "client" else ssl.PROTOCOL_TLS_SERVER
    made = ssl.SSLContext(purpose)
    made.load_verify_locations(pki / "both/ca-cert.pem")
    made.load_cert_chain(pki / shows / f"{end}-cert.pem", pki / shows / f"{end}-key.pem")
    return made


async def tls_server(stage: Stage, pki: Path) -> tuple[Chardev, Listener, int]:
    """A server with certificates on TCP, and its port."""
    objects(stage, pki)
    device, listener = await stage.open("tcp:127.0.0.1:0,server=on,wait=off,tls-creds=server")
    return device, listener, int(device.filename.partition("127.0.0.1:")[2].partition(",")[0])


async def visit(port: int, pki: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect as Python's own client."""
    return await asyncio.open_connection("localhost", port, ssl=context(pki), family=socket.AF_INET)


# Websockets


async def test_the_chardev_hears_of_a_peer_after_the_handshake(stage: Stage, path: str) -> None:
    device, listener = await stage.open(web(path))
    listener.on_opened = lambda: device.write(b"hello")
    with closing(dial(path)) as peer:
        peer.send(REQUEST[:20])
        assert not device.is_open
        assert device.filename.startswith("disconnected:")
        peer.send(REQUEST[20:])
        await listener.hears("opened")
        assert device.filename == f"unix:{path},server=on"
        assert (await read(peer)).endswith(HIDDEN + b"hello")


async def test_what_comes_with_the_handshake_waits_for_a_reader(stage: Stage, path: str) -> None:
    device, listener = await stage.open(web(path))
    listener.on_opened = device.pause_reading
    with closing(dial(path)) as peer:
        peer.send(REQUEST + masked(BINARY, b"early"))
        await listener.hears("opened")
        assert listener.input == b""
        device.resume_reading()
        await listener.has_input(b"early")


async def test_without_a_frontend_nothing_is_lost(stage: Stage, path: str) -> None:
    device, first = await stage.open(web(path))
    device.detach()
    with closing(dial(path)) as peer:
        peer.send(REQUEST + masked(BINARY, b"early"))
        assert (await read(peer)).startswith(b"HTTP/1.1 101 ")
        second = Listener()
        device.attach(second)
        await second.has_input(b"early")
    assert first.input == b""


async def test_a_refused_handshake_is_answered_and_the_next_served(stage: Stage, path: str) -> None:
    _device, listener = await stage.open(web(path))
    with closing(dial(path)) as peer:
        peer.send(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await read(peer)).startswith(b"HTTP/1.1 404 Not Found\r\n")
        assert await read(peer) == b""
    with closing(dial(path)) as peer:
        peer.send(REQUEST)
        await listener.hears("opened")
    assert listener.heard[0] == "opened"


async def test_a_farewell_is_returned(stage: Stage, path: str) -> None:
    _device, listener = await stage.open(web(path))
    with closing(dial(path)) as peer:
        peer.send(REQUEST)
        await read(peer)
        peer.send(masked(8, b""))
        assert await read(peer) == b"\x88\x16\x03\xe8peer requested close"
        assert await read(peer) == b""
    assert listener.heard == ["opened", "closed"]


@pytest.mark.parametrize(("option", "offer"), [("telnet", GREETING), ("tn3270", TN3270_GREETING)])
async def test_telnet_stands_above_a_websocket(
    stage: Stage, path: str, option: str, offer: bytes
) -> None:
    _device, listener = await stage.open(f"{web(path)},{option}=on")
    with closing(dial(path)) as peer:
        peer.send(REQUEST)
        assert (await read(peer)).endswith(bytes((0x82, len(offer))) + offer)
        peer.send(masked(BINARY, b"a\xff\xf1b"))
        await listener.has_input(b"ab")


def test_marks_of_records_stay_for_a_3270() -> None:
    plain = Telnet(tn3270=True).receive(b"a\xff\xefb\xff\xfa\x18\xff\xf0c\xff\xf1d")
    assert plain == b"a\xff\xefb\xff\xfa\x18\xff\xf0cd"


# TLS


async def test_a_client_of_python_talks_to_a_server(stage: Stage, pki: Path) -> None:
    device, listener, port = await tls_server(stage, pki)
    listener.on_opened = lambda: device.write(b"hello" * 20_000)
    reader, writer = await visit(port, pki)
    assert await reader.readexactly(100_000) == b"hello" * 20_000
    writer.write(b"x" * 300_000)
    await listener.has_input(b"x" * 300_000)
    writer.close()
    await listener.hears("closed")
    await writer.wait_closed()


async def test_a_server_of_python_is_talked_to(stage: Stage, pki: Path) -> None:
    objects(stage, pki)
    said: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        said.set_result(await reader.readexactly(5))
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context(pki, "server"))
    port = server.sockets[0].getsockname()[1]
    device, listener = await stage.open(f"tcp:127.0.0.1:{port},tls-creds=client")
    await listener.has_input(b"hello")
    device.write(b"world")
    async with asyncio.timeout(PATIENCE):
        assert await said == b"world"
    await listener.hears("closed")
    server.close()
    await server.wait_closed()


async def test_vmd_talks_to_vmd(stage: Stage, pki: Path) -> None:
    server, listener, port = await tls_server(stage, pki)
    client, other = await stage.open(f"tcp:localhost:{port},ipv4=on,tls-creds=client")
    await listener.hears("opened")
    await other.hears("opened")
    server.write(b"down")
    client.write(b"up")
    await other.has_input(b"down")
    await listener.has_input(b"up")


@pytest.mark.parametrize("shows", ["another", "foreign", "expired"])
async def test_a_server_that_cannot_prove_who_it_is_is_left(
    stage: Stage, pki: Path, shows: str
) -> None:
    objects(stage, pki)
    made = context(pki, "server", shows)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.setblocking(False)
        port = server.getsockname()[1]
        device, listener = await stage.open(f"tcp:localhost:{port},ipv4=on,tls-creds=client")
        loop = asyncio.get_running_loop()
        peer, _ = await loop.sock_accept(server)
    with closing(peer):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        end = made.wrap_bio(incoming, outgoing, server_side=True)
        while data := await read(peer):
            incoming.write(data)
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
            await loop.sock_sendall(peer, outgoing.read())
    assert listener.heard == []
    assert device.filename.startswith("disconnected:")


async def test_a_peer_that_stalls_in_the_handshake_hinders_nobody_else(
    stage: Stage, pki: Path, path: str
) -> None:
    device, _listener, port = await tls_server(stage, pki)
    _other, heard = await stage.open(f"unix:{path},server=on,wait=off")
    with socket.create_connection(("127.0.0.1", port)) as stalled, closing(dial(path)) as peer:
        stalled.send(b"\x16\x03\x01\x02\x00")
        peer.send(b"alive")
        await heard.has_input(b"alive")
        assert device.filename.startswith("disconnected:")
        device.driver.yank()  # type: ignore[attr-defined]
        assert await read(stalled) == b""


async def test_garbage_ends_a_handshake_without_a_word(stage: Stage, pki: Path) -> None:
    _device, listener, port = await tls_server(stage, pki)
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.send(b"GET / HTTP/1.1\r\n\r\n")
        assert await read(peer) == b""
    assert listener.heard == []


async def test_a_peer_that_goes_in_the_middle_makes_room_for_the_next(
    stage: Stage, pki: Path
) -> None:
    _device, listener, port = await tls_server(stage, pki)
    for size in (0, 1, 5, 100):
        with socket.create_connection(("127.0.0.1", port)) as peer:
            peer.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[:size])
            peer.shutdown(socket.SHUT_WR)
            assert await read(peer) == b""
    _reader, writer = await visit(port, pki)
    await listener.hears("opened")
    writer.close()
    await writer.wait_closed()


async def test_a_websocket_stands_above_tls(stage: Stage, pki: Path) -> None:
    objects(stage, pki)
    options = "server=on,wait=off,tls-creds=server,websocket=on"
    device, listener = await stage.open(f"tcp:127.0.0.1:0,{options}")
    assert device.filename.startswith("disconnected:websocket:127.0.0.1:")
    port = int(device.filename.rpartition(":")[2].partition(",")[0])
    reader, writer = await visit(port, pki)
    writer.write(REQUEST + masked(BINARY, b"hello"))
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    await listener.has_input(b"hello")
    device.write(b"there")
    assert await reader.readexactly(7) == HIDDEN + b"there"
    writer.close()
    await listener.hears("closed")
    await writer.wait_closed()


async def test_credentials_live_on_with_the_devices_that_have_them(stage: Stage, pki: Path) -> None:
    _device, listener, port = await tls_server(stage, pki)
    stage.objects.pop("server")
    _reader, writer = await visit(port, pki)
    await listener.hears("opened")
    writer.close()
    await writer.wait_closed()


async def test_a_client_dials_again_when_the_handshake_fails(stage: Stage, pki: Path) -> None:
    objects(stage, pki, priority="JUNK")
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.setblocking(False)
        port = server.getsockname()[1]
        await stage.open(f"tcp:127.0.0.1:{port},tls-creds=client,reconnect-ms=50")
        loop = asyncio.get_running_loop()
        for _ in range(3):
            peer, _ = await loop.sock_accept(server)
            with closing(peer):
                assert await read(peer) == b""
            await stage.clock.pass_by(50_000_000)


@settings(max_examples=30)
@given(pieces=st.lists(st.binary(max_size=100), max_size=5))
def test_no_bytes_break_a_session(pki: Path, pieces: list[bytes]) -> None:
    options = {"id": "x", "qom-type": "tls-creds-x509", "endpoint": "server"}
    made = TlsCredentials({**options, "dir": str(pki / "both")}, None)
    session = made.new_session(None, None)
    for piece in pieces:
        assert session.receive(piece) == b""
        session.take_output()


async def test_anonymous_ends_find_each_other(stage: Stage) -> None:
    for endpoint in ("server", "client"):
        options = {"id": endpoint, "qom-type": "tls-creds-anon", "endpoint": endpoint}
        stage.objects[endpoint] = TlsCredentials(options, None)
    server, heard = await stage.open("tcp:127.0.0.1:0,server=on,wait=off,tls-creds=server")
    port = server.filename.rpartition(":")[2].partition(",")[0]
    client, listener = await stage.open(f"tcp:127.0.0.1:{port},tls-creds=client")
    await heard.hears("opened")
    server.write(b"hello")
    await listener.has_input(b"hello")
    client.write(b"there")
    await heard.has_input(b"there")


async def test_telnets_offer_is_read_whole(stage: Stage, path: str) -> None:
    await stage.open(f"unix:{path},server=on,wait=off,tn3270=on")
    with closing(dial(path)) as peer:
        assert await read_exactly(peer, len(TN3270_GREETING)) == TN3270_GREETING
