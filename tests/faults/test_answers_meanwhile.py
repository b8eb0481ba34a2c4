"""The monitors answer while a gigabyte of RAM moves, out and in."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.differential.scenes import capabilities, leave
from tests.differential.stage import find_vmd, stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.differential.stage import Machine, Stage

BIG = "-machine none -nodefaults -m 1G"
# A loop that waited for the disk would answer once in a slice, or not before the end.
MANY = 20


@pytest.fixture
def scene() -> Iterator[Stage]:
    """A directory in memory, where there is one: what is measured is not the host's disk."""
    memory = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as directory,
        stage(find_vmd(), Path(directory)) as scene,
    ):
        yield scene


def answers_until_completed(scene: Stage, machine: Machine) -> int:
    """Ask again and again; how many answers came before the event."""
    start = len(scene.transcript)
    while not completed(scene, start):
        machine.qmp.execute("query-status")
    lines = scene.transcript[start:]
    end = next(index for index, line in enumerate(lines) if '"completed"' in line)
    return sum(line.startswith("<- return") for line in lines[:end])


def completed(scene: Stage, start: int) -> bool:
    return any('"completed"' in line for line in scene.transcript[start:])


def test_query_status_is_answered_while_ram_moves(scene: Stage) -> None:
    source = scene.start(BIG, guest="none")
    capabilities(source, "events")
    # Pages that were never touched are sent in full: a gigabyte flows without being there.
    source.qmp.execute(
        "migrate-set-parameters",
        {"mode": "cpr-reboot", "max-bandwidth": 0, "zero-page-detection": "none"},
    )
    source.qmp.execute("migrate", {"uri": "file:vm.state"})
    assert answers_until_completed(scene, source) > MANY
    leave(source)
    assert scene.file("vm.state").stat().st_size > 1 << 30

    target = scene.start(f"{BIG} -incoming defer", guest="none")
    capabilities(target, "events")
    target.qmp.execute("migrate-incoming", {"uri": "file:vm.state"})
    assert answers_until_completed(scene, target) > MANY
    leave(target)
