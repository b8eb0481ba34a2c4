"""Names of hosts that take long to look up: nothing else waits for them."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from qapi.error import QmpError
from tests.faults.stand import Subject
from vmd.runstate import RunState

if TYPE_CHECKING:
    from collections.abc import Iterator


class NameServer:
    """Knows that every name is this host, or that none is; answers when it is let."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.may_answer = threading.Event()
        self.knows = True
        self._real = socket.getaddrinfo

    def look_up(self, host: str, *how: Any) -> Any:
        self.asked.set()
        assert self.may_answer.wait(30)
        if not self.knows:
            raise socket.gaierror(-2, "Name or service not known")
        return self._real("127.0.0.1", *how)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    server = NameServer()
    monkeypatch.setattr(socket, "getaddrinfo", server.look_up)
    yield server
    server.may_answer.set()


async def asked(names: NameServer) -> None:
    """The loop lives on until somebody asks, and beyond."""
    assert await asyncio.to_thread(names.asked.wait, 30)


async def test_a_destination_that_looks_up_a_name_lives_meanwhile(names: NameServer) -> None:
    target = Subject(incoming=True, paused=True)
    opening = target.migration.migrate_incoming("tcp:host.example:0", exit_on_error=False)
    assert opening is not None
    waiting = asyncio.ensure_future(opening)
    await asked(names)
    assert not waiting.done()
    assert target.migration.query() == {"status": "setup"}
    names.may_answer.set()
    await waiting
    (where,) = target.migration.query()["socket-address"]  # type: ignore[misc]
    source = Subject()
    source.fill()
    source.migration.migrate(f"tcp:host.example:{where['port']}")
    await source.ended()
    await target.ended()
    assert target.migration.query() == {"status": "completed"}
    assert bytes(source.block.view) == bytes(target.block.view)
    source.close()
    target.close()


async def test_a_destination_whose_name_nobody_knows_says_so(names: NameServer) -> None:
    names.knows = False
    names.may_answer.set()
    target = Subject(incoming=True)
    opening = target.migration.migrate_incoming("tcp:host.example:0")
    assert opening is not None
    with pytest.raises(QmpError, match=r"address resolution failed for .*: Name or"):
        await opening
    assert target.migration.query() == {"status": "setup"}
    assert not target.exits
    target.close()


async def test_a_source_that_looks_up_a_name_lives_meanwhile_and_can_be_cancelled(
    names: NameServer,
) -> None:
    source = Subject()
    source.events.clear()
    source.migration.migrate("tcp:host.example:4444")
    await asked(names)
    assert source.migration.query()["status"] == "setup"
    assert source.state is RunState.RUNNING
    source.migration.cancel()
    await source.ended()
    assert source.names() == ["setup", "cancelling", "cancelled"]
    source.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", ""])
async def test_a_number_is_not_looked_up(host: str, names: NameServer) -> None:
    names.may_answer.set()
    target = Subject(incoming=True)
    assert target.migration.migrate_incoming(f"tcp:{host}:0") is None
    assert target.migration.query()["socket-address"]
    target.migration.abandon()
    await target.ended()
    target.close()
