"""Very many clients, clients that do not read, very many commands: nobody else notices."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from monitor import server
from monitor.dispatcher import Dispatcher
from monitor.json_lexer import MAX_TOKEN_SIZE
from monitor.server import QmpMonitor, broadcast_event
from tests.bench.subject import Session
from tests.differential.stage import find_vmd
from tests.monitor.stand import VERSION, registry
from tests.robust.soak import ALLOWED, Soak
from tests.vmd.chardev_stand import Stage, dial, read

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
PATIENCE = 60.0


class Client:
    """A negotiated client on a blocking socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("rb")
        assert "QMP" in self.message()
        assert self.execute("qmp_capabilities") == {"return": {}}

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def send_without_reading(self, data: bytes) -> int:
        """Until the other side takes no more; how much it took."""
        self._socket.setblocking(False)
        taken = 0
        with contextlib.suppress(BlockingIOError):
            while taken < len(data):
                taken += self._socket.send(data[taken:])
        return taken

    def message(self) -> Any:
        return json.loads(self._lines.readline())

    def execute(self, command: str) -> Any:
        self.send(json.dumps({"execute": command}).encode())
        while "event" in (message := self.message()):
            pass
        return message

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


@contextlib.contextmanager
def running(arguments: str) -> Iterator[Session]:
    session = Session(find_vmd().argv, f"-machine none -nodefaults {arguments}")
    try:
        yield session
        session.end()
    finally:
        session.process.kill()
        session.process.wait()


def open_files(session: Session) -> int:
    return len(os.listdir(f"/proc/{session.process.pid}/fd"))


def test_a_thousand_connections_leave_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "qmp"
    with running(f"-qmp unix:{path},server=on,wait=off") as session:
        files = memory = 0
        for number in range(1000):
            if number % 2:
                Client(path).close()
            else:
                with socket.socket(socket.AF_UNIX) as hasty:
                    hasty.connect(str(path))
                    hasty.sendall(b'{"execute": "qmp_cap')
            if number == 200:
                memory, files = session.resident(), open_files(session)
        last = Client(path)
        assert last.execute("query-status")["return"]["status"] == "running"
        assert open_files(session) <= files + 1
        assert session.resident() < memory + MIB
        last.close()


def test_two_hundred_clients_are_served_at_once(tmp_path: Path) -> None:
    paths = [tmp_path / f"q{number}" for number in range(200)]
    with running(" ".join(f"-qmp unix:{path},server=on,wait=off" for path in paths)) as session:
        clients = [Client(path) for path in paths]
        for client in clients:
            client.send(b'{"execute": "query-status"}' * 20)
        for client in clients:
            answers = [client.message() for _ in range(20)]
            assert answers == [{"return": {"status": "running", "running": True}}] * 20
        session.execute("stop")
        assert [client.message()["event"] for client in clients] == ["STOP"] * 200
        for client in clients:
            client.close()


def test_a_client_that_never_reads_costs_bounded_memory_and_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "qmp"
    with running(f"-qmp unix:{path},server=on,wait=off") as session:
        idle = Client(path)
        before = session.resident()
        asked = idle.send_without_reading(b'{"execute": "query-qmp-schema"}\n' * 100_000)
        assert asked < 100_000 * 32
        for _ in range(200):
            session.execute("stop")
            session.execute("cont")
        assert session.resident() - before < 2 * server.HIGH_WATER
        idle.close()
        again = Client(path)
        assert again.execute("query-status")["return"]["status"] == "running"
        again.close()


@pytest.mark.parametrize(
    ("begin", "nothing", "most"),
    [
        ("", " ", MIB),
        ("", "\r\n\t", MIB),
        ("@", "x", MIB),
        ("'", "x", MAX_TOKEN_SIZE + 16 * MIB),
        ("", "9", MAX_TOKEN_SIZE + 16 * MIB),
    ],
    ids=["blanks", "lines", "garbage", "a string", "a number"],
)
def test_a_hundred_megabytes_of_nothing_cost_bounded_memory_and_nobody_else(
    tmp_path: Path, begin: str, nothing: str, most: int
) -> None:
    path = tmp_path / "qmp"
    with running(f"-qmp unix:{path},server=on,wait=off") as session:
        chatty = Client(path)
        before = session.resident()
        chatty.send(begin.encode())
        block = nothing.encode() * (MIB // len(nothing))
        for _ in range(100):
            chatty.send(block)
            assert session.execute("query-status") == {"status": "running", "running": True}
            assert session.resident() - before < most
        chatty.send(b"\xff")  # whatever was begun is thrown away
        chatty.send(b'{"execute": "query-name", "id": "last"}')
        while chatty.message().get("id") != "last":
            pass
        chatty.close()


async def test_beyond_the_hard_limit_a_connection_ends_though_nobody_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HARD_LIMIT", MIB)
    path = str(tmp_path / "qmp")
    stage = Stage()
    device, _ = await stage.open(f"unix:{path},server=on,wait=off")
    monitor = QmpMonitor(device, registry(), None, Dispatcher(), version=VERSION)
    with contextlib.closing(dial(path)) as idle:
        idle.sendall(b'{"execute": "qmp_capabilities"}')
        while not monitor.session.hears_events:
            await read(idle)
        for _ in range(20_000):
            broadcast_event([monitor], "STOP", None, 1, 2)
        assert device.backlog == 0
        assert not device.is_open
        with contextlib.closing(dial(path)) as other:
            assert b"QMP" in await read(other)
    stage.close()


def test_memory_is_flat_over_many_commands() -> None:
    soak = Soak()
    warm = soak.run(10_000)
    assert soak.run(50_000) - warm < ALLOWED
    soak.session.end()
