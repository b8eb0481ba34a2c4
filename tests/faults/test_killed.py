"""Killed in the middle of a save: what was there before is untouched, nothing half is taken.

The kill is bound to a point of the migration (a reply, an event, a size of the file), not a time.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.differential.scenes import PRIVATE, SHARED, capabilities, ram_full_of_data, save
from tests.differential.stage import find_vmd, stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.differential.stage import Machine, Stage

# About 13 MB of RAM at 4 MB/s: the save is far from over when the kill comes.
SLOW = 4 << 20


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Stage]:
    with stage(find_vmd(), tmp_path) as one:
        yield one


def at_the_reply(machine: Machine, state: Path) -> None:
    """Nothing more to wait for."""


def at_active(machine: Machine, state: Path) -> None:
    machine.qmp.wait("MIGRATION", status="active")


def at_the_first_bytes(machine: Machine, state: Path) -> None:
    while state.stat().st_size == 0:
        machine.qmp.execute("query-migrate")


def at_a_megabyte(machine: Machine, state: Path) -> None:
    while state.stat().st_size < 1 << 20:
        machine.qmp.execute("query-migrate")


def kill(machine: Machine) -> None:
    machine.signal(signal.SIGKILL)
    assert machine.exited() == -signal.SIGKILL


@pytest.mark.parametrize(
    "moment", [at_the_reply, at_active, at_the_first_bytes, at_a_megabyte], ids=lambda m: m.__name__
)
def test_a_half_file_is_refused_and_the_old_one_still_loads(
    scene: Stage, moment: Callable[[Machine, Path], None]
) -> None:
    ram_full_of_data(scene)
    machine = scene.start(PRIVATE, guest="none")
    capabilities(machine, "events")
    machine.qmp.execute("migrate-set-parameters", {"max-bandwidth": 0})
    save(machine, "file:old.state")
    machine.qmp.execute("cont")
    old = scene.file("old.state").read_bytes()

    machine.qmp.execute("migrate-set-parameters", {"max-bandwidth": SLOW, "mode": "cpr-reboot"})
    machine.qmp.execute("migrate", {"uri": "file:new.state"})
    moment(machine, scene.file("new.state"))
    kill(machine)
    assert scene.file("old.state").read_bytes() == old

    heir = scene.start(f"{PRIVATE} -incoming file:new.state", qmp=False)
    assert heir.exited() == 1
    assert any("load of migration failed" in line for line in scene.transcript)
    heir = scene.start(f"{PRIVATE} -S -incoming file:old.state", qmp=False, human="pipe")
    heir.human.type_until("info status", "VM status: paused\n")


def test_shared_ram_is_left_as_the_guest_left_it(scene: Stage) -> None:
    machine = scene.start(SHARED, guest="none", serial=True)
    capabilities(machine, "events", "x-ignore-shared")
    machine.serial.read("the guest's count")
    machine.qmp.execute("stop")
    ram = scene.file("ram0").read_bytes()
    machine.qmp.execute("migrate-set-parameters", {"mode": "cpr-reboot"})
    machine.qmp.execute("migrate", {"uri": "file:vm.state"})
    kill(machine)
    assert scene.file("ram0").read_bytes() == ram


def test_a_target_killed_while_loading_leaves_the_file_for_the_next(scene: Stage) -> None:
    ram_full_of_data(scene)
    machine = scene.start(PRIVATE, guest="none")
    capabilities(machine, "events")
    machine.qmp.execute("migrate-set-parameters", {"max-bandwidth": 0})
    save(machine)
    state = scene.file("vm.state").read_bytes()

    target = scene.start(f"{PRIVATE} -incoming defer", guest="none")
    target.qmp.execute("migrate-incoming", {"uri": "file:vm.state"})
    kill(target)
    assert scene.file("vm.state").read_bytes() == state

    target = scene.start(f"{PRIVATE} -S -incoming file:vm.state", qmp=False, human="pipe")
    target.human.type_until("info status", "VM status: paused\n")
