"""The life of a machine as the reference client, qemu.qmp, sees it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from qemu.qmp import ConnectError, ExecuteError, QMPClient, Runstate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.differential.stage import Stage

NONE = "-machine none -m 16"
SHARED = (
    "-machine none,memory-backend=ram0 -m 16"
    " -object memory-backend-file,id=ram0,size=16M,mem-path=ram0,share=on"
)
SERVER = "-qmp unix:other.sock,server=on,wait=off"


@pytest.fixture
async def client() -> AsyncIterator[QMPClient]:
    one = QMPClient("test")
    yield one
    if one.runstate != Runstate.IDLE:
        await hang_up(one)


async def hang_up(client: QMPClient) -> None:
    """Disconnect; the other side may have done so first."""
    with contextlib.suppress(EOFError):
        await client.disconnect()


async def connected(client: QMPClient, vmd: Stage, arguments: str) -> None:
    vmd.start(f"{arguments} {SERVER}")
    await client.connect(str(vmd.file("other.sock")))


async def events_of(client: QMPClient, command: str, last: str, **arguments: Any) -> list[str]:
    """Run a command; the events from then on, up to a MIGRATION with this status."""
    seen = []
    with client.listener() as listener:
        await client.execute(command, arguments)
        async for event in listener:
            status = event.get("data", {}).get("status")
            seen.append(status or event["event"])
            if status == last:
                break
    return seen


async def test_it_connects_and_negotiates(client: QMPClient, vmd: Stage) -> None:
    await connected(client, vmd, NONE)
    assert client.greeting is not None
    assert client.greeting.QMP.version["qemu"] == {"major": 10, "minor": 0, "micro": 2}
    assert client.runstate == Runstate.RUNNING
    assert await client.execute("query-status") == {"status": "running", "running": True}


async def test_a_machine_may_connect_to_the_client_instead(client: QMPClient, vmd: Stage) -> None:
    await client.start_server(str(vmd.file("listening.sock")))
    vmd.start(f"{NONE} -qmp unix:listening.sock", qmp=False)
    await client.accept()
    assert await client.execute("query-name") == {}


async def test_an_error_carries_class_and_text(client: QMPClient, vmd: Stage) -> None:
    await connected(client, vmd, NONE)
    with pytest.raises(ExecuteError) as caught:
        await client.execute("nope")
    assert caught.value.error_class == "CommandNotFound"
    assert str(caught.value) == "The command nope has not been found"


async def test_many_commands_may_be_under_way_at_once(client: QMPClient, vmd: Stage) -> None:
    await connected(client, vmd, f"{NONE} -name one")
    answers = await asyncio.gather(*(client.execute("query-name") for _ in range(100)))
    assert answers == [{"name": "one"}] * 100


async def test_events_arrive_in_order(client: QMPClient, vmd: Stage) -> None:
    await connected(client, vmd, NONE)
    with client.listener(("STOP", "RESUME")) as listener:
        await client.execute("stop")
        await client.execute("cont")
        await client.execute("stop")
        names = [(await listener.get())["event"] for _ in range(3)]
    assert names == ["STOP", "RESUME", "STOP"]


async def test_a_client_may_come_back(client: QMPClient, vmd: Stage) -> None:
    await connected(client, vmd, NONE)
    await client.execute("stop")
    await client.disconnect()
    await client.connect(str(vmd.file("other.sock")))
    assert (await client.execute("query-status"))["status"] == "paused"


async def test_after_quit_the_connection_ends(client: QMPClient, vmd: Stage) -> None:
    machine = vmd.start(f"{NONE} {SERVER}")
    await client.connect(str(vmd.file("other.sock")))
    with client.listener() as listener:
        await client.execute("quit")
        assert (await listener.get())["event"] == "SHUTDOWN"
    await hang_up(client)
    assert machine.exited() == 0
    with pytest.raises(ConnectError):
        await client.connect(str(vmd.file("other.sock")))


@pytest.mark.parametrize("shared", [True, False], ids=["shared RAM", "private RAM"])
async def test_a_live_update(vmd: Stage, shared: bool) -> None:
    arguments = SHARED if shared else NONE
    names = ["events", "x-ignore-shared"] if shared else ["events"]
    capabilities = [{"capability": name, "state": True} for name in names]

    async def prepared(more: str) -> QMPClient:
        client = QMPClient("test")
        await connected(client, vmd, f"{arguments}{more}")
        await client.execute("migrate-set-capabilities", {"capabilities": capabilities})
        await client.execute("migrate-set-parameters", {"mode": "cpr-reboot"})
        return client

    source = await prepared("")
    seen = await events_of(source, "migrate", "completed", uri="file:vm.state")
    passes = ["setup", "STOP", "MIGRATION_PASS", "active", "device", "MIGRATION_PASS", "completed"]
    assert seen == passes
    await source.execute("quit")
    await hang_up(source)

    target = await prepared(" -incoming defer")
    assert (await target.execute("query-status"))["status"] == "inmigrate"
    seen = await events_of(target, "migrate-incoming", "completed", uri="file:vm.state")
    assert seen == ["setup", "active", "RESUME", "completed"]
    assert (await target.execute("query-status"))["status"] == "running"
    await hang_up(target)
