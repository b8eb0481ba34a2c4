"""Killed in the middle of a save: what was there before is untouched, nothing half is taken.

The kill comes from inside, at an exact byte or system call of the new state file, so that it is
the same moment each time.
"""

from __future__ import annotations

import re
import shutil
import signal
from typing import TYPE_CHECKING

import pytest

from tests.differential.scenes import PRIVATE, SHARED, capabilities, ram_full_of_data, save
from tests.differential.stage import find_vmd, stage
from tests.faults.stand import Subject, faulty_vmd
from vmd.memory import RamBlock
from vmd.migration.stream import EOF, FOOTER, be32

if TYPE_CHECKING:
    from pathlib import Path

    from tests.differential.stage import Machine

SIZE = 16 << 20
FAST = "counter,interval=1"
GLOBALSTATE_ID = 3
CPR = {"mode": "cpr-reboot", "max-bandwidth": 0}


def killed(machine: Machine) -> bool:
    return machine.exited() == -signal.SIGKILL


# RAM that travels in the file.


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a RAM file and the state that was saved first."""
    directory = tmp_path_factory.mktemp("before")
    with stage(find_vmd(), directory) as scene:
        ram_full_of_data(scene)
        machine = scene.start(PRIVATE, guest="none")
        capabilities(machine, "events")
        machine.qmp.execute("migrate-set-parameters", CPR)
        save(machine, "file:old.state")
    return directory


def end_of_state(stream: bytes) -> int:
    """Where the last section and the mark behind it end; only a description follows."""
    return stream.rindex(bytes([FOOTER]) + be32(GLOBALSTATE_ID) + bytes([EOF])) + 6


def killed_while_saving(directory: Path, before: Path, fault: str) -> bytes:
    """Save beside the old state until the kill; what the new file then holds."""
    for name in ("ram0", "old.state"):
        shutil.copy(before / name, directory)
    with stage(faulty_vmd(fault, "new.state"), directory) as scene:
        machine = scene.start(PRIVATE, guest="none")
        machine.qmp.execute("migrate-set-parameters", CPR)
        machine.qmp.send('{"execute": "migrate", "arguments": {"uri": "file:new.state"}}')
        assert killed(machine)
    for name in ("ram0", "old.state"):
        assert (directory / name).read_bytes() == (before / name).read_bytes()
    new = directory / "new.state"
    return new.read_bytes() if new.exists() else b""


async def arrives(path: Path) -> bool:
    """Whether a state file is accepted; if it is, everything is there."""
    block = RamBlock.anonymous("ram0", SIZE)
    target = Subject(board="none", block=block, incoming=True, paused=True)
    target.migration.migrate_incoming(f"file:{path}", exit_on_error=False)
    await target.ended()
    status, ram = target.migration.query()["status"], bytes(block.view)
    target.close()
    assert status == "failed" or ram[4096:] == (path.parent / "ram0").read_bytes()[4096:]
    return status == "completed"


@pytest.mark.parametrize("part", [0, 1e-9, 4e-6, 1e-5, 0.01, 0.25, 0.5, 0.75, 0.999, 1])
async def test_a_half_file_is_refused_and_the_old_one_still_loads(
    part: float, before: Path, tmp_path: Path
) -> None:
    end = end_of_state((before / "old.state").read_bytes())
    where = min(round(end * part) + (0 < part < 1), end - 1)
    new = killed_while_saving(tmp_path, before, f"killed-at-byte={where}")
    assert len(new) == where
    assert not await arrives(tmp_path / "new.state")
    assert await arrives(tmp_path / "old.state")


@pytest.mark.parametrize("call", ["open", "ftruncate", "fsync", "close"])
async def test_a_file_is_whole_only_once_everything_is_written(
    call: str, before: Path, tmp_path: Path
) -> None:
    size = (before / "old.state").stat().st_size
    new = killed_while_saving(tmp_path, before, f"killed-at={call}")
    assert len(new) == (size if call in ("fsync", "close") else 0)
    assert not new or await arrives(tmp_path / "new.state")


def test_who_is_started_with_a_half_file_ends_and_with_the_old_one_lives(
    before: Path, tmp_path: Path
) -> None:
    killed_while_saving(tmp_path, before, "killed-at-byte=1000000")
    with stage(find_vmd(), tmp_path) as scene:
        heir = scene.start(f"{PRIVATE} -incoming file:new.state", qmp=False)
        assert heir.exited() == 1
        assert any("load of migration failed" in line for line in scene.transcript)
        heir = scene.start(f"{PRIVATE} -S -incoming file:old.state", qmp=False, human="pipe")
        heir.human.type_until("info status", "VM status: paused\n")


def test_a_target_killed_while_loading_leaves_the_file_for_the_next(
    before: Path, tmp_path: Path
) -> None:
    for name in ("ram0", "old.state"):
        shutil.copy(before / name, tmp_path)
    with stage(find_vmd(), tmp_path) as scene:
        target = scene.start(f"{PRIVATE} -incoming defer", guest="none")
        target.qmp.execute("migrate-incoming", {"uri": "file:old.state"})
        target.signal(signal.SIGKILL)
        assert killed(target)
        for name in ("ram0", "old.state"):
            assert (tmp_path / name).read_bytes() == (before / name).read_bytes()
        target = scene.start(f"{PRIVATE} -S -incoming file:old.state", qmp=False, human="pipe")
        target.human.type_until("info status", "VM status: paused\n")


# RAM that stays in its file.


def next_count(machine: Machine) -> int:
    """The next number that the guest says on its serial line."""
    said = b""
    while (match := re.search(rb"count (\d+)\r\n", said)) is None:
        said += machine.serial.read("the guest's count")
    return int(match[1])


@pytest.mark.parametrize(
    "fault",
    ["killed-at=open", "killed-at=ftruncate", "killed-at=fsync", "killed-at=close"]
    + [f"killed-at-byte={where}" for where in (0, 60, 200)],
)
def test_shared_ram_is_as_the_guest_left_it_and_goes_on_from_the_old_state(
    fault: str, tmp_path: Path
) -> None:
    with stage(faulty_vmd(fault, "new.state", FAST), tmp_path) as scene:
        machine = scene.start(SHARED, guest="none", serial=True)
        capabilities(machine, "events", "x-ignore-shared")
        machine.qmp.execute("migrate-set-parameters", CPR)
        save(machine, "file:old.state")
        old = scene.file("old.state").read_bytes()
        machine.qmp.execute("cont")
        next_count(machine)
        machine.qmp.execute("stop")
        ram = scene.file("ram0").read_bytes()
        machine.qmp.send('{"execute": "migrate", "arguments": {"uri": "file:new.state"}}')
        assert killed(machine)
        assert scene.file("ram0").read_bytes() == ram
        assert scene.file("old.state").read_bytes() == old
        count = Subject(board="none", block=block_with(ram), incoming=True).count

        heir = scene.start(f"{SHARED} -incoming defer", guest="none", serial=True)
        capabilities(heir, "events", "x-ignore-shared")
        heir.qmp.execute("migrate-incoming", {"uri": "file:old.state"})
        heir.qmp.wait("MIGRATION", status="completed")
        assert next_count(heir) == count + 1


def block_with(ram: bytes) -> RamBlock:
    block = RamBlock.anonymous("ram0", len(ram))
    block.write(0, ram)
    return block
