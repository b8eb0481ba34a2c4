"""One life of a machine, lived with each client: from the greeting to the end of the connection."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.clients.drivers import DRIVERS, Missing
from tests.differential.stage import find_vmd, stage

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.clients.drivers import Driver

VM = "-machine none -m 16 -qmp unix:other.sock,server=on,wait=off"
EVENTS = {"capabilities": [{"capability": "events", "state": True}]}


def live(client: Driver) -> None:
    assert client.greeting == "10.0.2"
    client.run("stop")
    client.hears("STOP")
    assert client.run("query-status") == {"status": "paused", "running": False}
    client.run("cont")
    client.hears("RESUME")
    with pytest.raises(RuntimeError, match="The command nope has not been found"):
        client.run("nope")
    client.run("migrate-set-capabilities", EVENTS)
    client.run("migrate", {"uri": "file:vm.state"})
    client.hears("MIGRATION", status="completed")
    assert client.run("query-migrate")["status"] == "completed"
    client.run("quit")


@pytest.mark.parametrize("opened", DRIVERS, ids=lambda opened: opened.__name__)
def test_a_client_lives_through_a_machines_life(
    opened: Callable[[Path], AbstractContextManager[Driver]], tmp_path: Path
) -> None:
    with stage(find_vmd(), tmp_path) as scene:
        machine = scene.start(VM)
        try:
            with opened(scene.file("other.sock")) as client:
                live(client)
        except Missing as missing:
            if os.environ.get("VMD_REQUIRE_QEMU") == "1":
                raise  # where everything is installed nothing is left out
            pytest.skip(str(missing))
        assert machine.exited() == 0
        assert scene.file("vm.state").stat().st_size > 0
