"""What QMP's tests stand on: a small schema, a character device, a monitor on it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from monitor.dispatcher import Dispatcher
from monitor.registry import QmpRegistry
from monitor.server import Frontend, QmpMonitor
from qapi.compiler import compile_source
from qapi.error import QmpError
from qapi.parser import parse_file
from qapi.schema import Schema

DATA = Path(__file__).parent / "data"
VERSION: dict[str, object] = {"qemu": {"major": 10, "minor": 0, "micro": 2}, "package": "vmd"}
NEGOTIATE = b'{"execute": "qmp_capabilities"}'
NEGOTIATE_OOB = b'{"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}}'
OK = b'{"return": {}}\r\n'


def recorded(name: str) -> Iterator[tuple[str, str, bytes, str]]:
    """The cases of a recording: name, setup, input, all that real QEMU sent."""
    for line in (DATA / name).read_text().splitlines():
        case = json.loads(line)
        yield case["name"], case.get("setup", ""), bytes.fromhex(case["input_hex"]), case["reply"]


@cache
def schema() -> Schema:
    return Schema(compile_source(parse_file(str(DATA / "qmp-schema.json"))))


def _device_add(machine: object, /, **properties: object) -> None:
    if not isinstance(properties.get("driver"), str):
        raise QmpError("Parameter 'driver' is missing")


def registry(
    handlers: Mapping[str, Callable[..., Any]] | None = None,
    session_handlers: Mapping[str, Callable[..., Any]] | None = None,
) -> QmpRegistry:
    """The small schema's commands: those given, the others do nothing."""
    table: dict[str, Callable[..., Any]] = dict.fromkeys(schema().commands, lambda *_, **__: None)
    del table["qmp_capabilities"]
    table["device_add"] = _device_add
    for name in session_handlers or {}:
        del table[name]
    table |= handlers or {}
    return QmpRegistry(schema(), table, session_handlers or {}, check_returns=True)


class Backend:
    """A character device whose peer is the test."""

    def __init__(self) -> None:
        self.frontend: Frontend | None = None
        self.writes: list[bytes] = []
        self.backlog = 0
        self.reads_nothing = False  # the peer: what is written stays in the backlog
        self.paused = False
        self.disconnected = False
        self.fds: list[int] = []

    def attach(self, frontend: Frontend) -> None:
        self.frontend = frontend
        frontend.opened()

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        if self.reads_nothing:
            self.backlog += len(data)

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def take_fd(self) -> int | None:
        return self.fds.pop(0) if self.fds else None

    def abort(self) -> None:
        self.disconnected = True
        self.backlog = 0
        if self.frontend is not None:
            self.frontend.closed()

    # The peer's side

    def send(self, data: bytes) -> bytes:
        """The peer sends; what it is sent meanwhile."""
        assert self.frontend is not None and not self.paused
        self.frontend.received(data)
        return self.read()

    def read(self) -> bytes:
        data = b"".join(self.writes)
        self.writes.clear()
        return data

    def reconnect(self) -> None:
        """The peer leaves, another comes."""
        assert self.frontend is not None
        self.leave()
        self.frontend.opened()

    def leave(self) -> None:
        assert self.frontend is not None
        self.read()
        self.backlog = 0
        self.frontend.closed()

    def catch_up(self) -> None:
        """The peer reads all that was written."""
        assert self.frontend is not None
        self.backlog = 0
        self.frontend.drained()


def connect(
    commands: QmpRegistry | None = None,
    dispatcher: Dispatcher | None = None,
    negotiate: bytes = NEGOTIATE,
    **options: Any,
) -> tuple[Backend, QmpMonitor]:
    """A monitor with a client that has read the greeting and, by default, negotiated."""
    backend = Backend()
    monitor = QmpMonitor(
        backend,
        commands or registry(),
        "machine",
        dispatcher or Dispatcher(),
        version=VERSION,
        **options,
    )
    if negotiate:
        backend.send(negotiate)
    backend.read()
    return backend, monitor


def execute(name: str, id_: object = None, **arguments: object) -> bytes:
    """A command as a client sends it; without id if that is None."""
    document: dict[str, object] = {"execute": name}
    if arguments:
        document["arguments"] = arguments
    if id_ is not None:
        document["id"] = id_
    return json.dumps(document).encode()


def failure(desc: str, error_class: str = "GenericError") -> dict[str, object]:
    return {"error": {"class": error_class, "desc": desc}}


def lines(data: bytes) -> list[Any]:
    """What a client makes of the bytes it got."""
    return [json.loads(line) for line in data.splitlines()]


async def turns(count: int = 1) -> None:
    """Let the event loop go round."""
    for _ in range(count):
        gone_round = asyncio.Event()
        asyncio.get_running_loop().call_soon(gone_round.set)
        await gone_round.wait()


class Gate:
    """A handler that waits until the test lets it go."""

    def __init__(self) -> None:
        self._entered = asyncio.Event()
        self._open = asyncio.Event()

    async def __call__(self, machine: object) -> None:
        self._entered.set()
        await self._open.wait()

    async def release(self) -> None:
        """Let the call end, and what follows from that happen."""
        await self._entered.wait()
        self._open.set()
        await turns(10)
