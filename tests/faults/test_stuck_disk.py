"""A disk that never answers: the monitors do, and the process ends when it is told to."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from typing import TYPE_CHECKING

import pytest

from tests.differential.scenes import NONE, capabilities, leave, save
from tests.differential.stage import find_vmd, stage
from tests.differential.wires import GUARD
from tests.faults.stand import faulty_vmd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.differential.stage import Machine, Stage


def by_quit(machine: Machine) -> None:
    machine.qmp.execute("quit")


def by_sigterm(machine: Machine) -> None:
    machine.signal(signal.SIGTERM)


ENDINGS = pytest.mark.parametrize("end", [by_quit, by_sigterm], ids=lambda end: end.__name__)


def ended(machine: Machine) -> None:
    machine.qmp.end()
    assert machine.exited() == 0


def answers(machine: Machine, status: str) -> None:
    """Commands are answered as ever."""
    for _ in range(20):
        assert machine.qmp.execute("query-status")["status"] == status
    assert "status" in machine.qmp.execute("query-migrate")


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[int]:
    """The writing end of the fifo `stream`."""
    os.mkfifo(tmp_path / "stream")
    fd = os.open(tmp_path / "stream", os.O_RDWR | os.O_NONBLOCK)
    yield fd
    os.close(fd)


@contextlib.contextmanager
def stuck(directory: Path, fault: str) -> Iterator[Machine]:
    """A machine whose save hangs in a system call."""
    os.mkfifo(directory / "stuck")
    told = os.open(directory / "stuck", os.O_RDWR)
    with stage(faulty_vmd(fault, "vm.state"), directory) as scene:
        machine = scene.start(NONE, guest="none")
        capabilities(machine, "events")
        machine.qmp.execute("migrate-set-parameters", {"mode": "cpr-reboot"})
        machine.qmp.execute("migrate", {"uri": "file:vm.state"})
        ready, _, _ = select.select([told], [], [], GUARD)
        assert ready, "the call in which it should hang is never made"
        yield machine
    os.close(told)


@ENDINGS
@pytest.mark.parametrize("call", ["writev,1", "writev,3", "fsync", "close"])
def test_a_save_that_hangs_holds_nobody(
    call: str, end: Callable[[Machine], None], tmp_path: Path
) -> None:
    with stuck(tmp_path, f"stuck-at={call}") as machine:
        answers(machine, "finish-migrate")
        end(machine)
        ended(machine)


def test_a_cancel_of_a_save_that_hangs_is_taken_note_of(tmp_path: Path) -> None:
    with stuck(tmp_path, "stuck-at=writev,2") as machine:
        machine.qmp.execute("migrate_cancel")
        machine.qmp.wait("MIGRATION", status="cancelling")
        answers(machine, "finish-migrate")
        error = machine.qmp.execute("migrate", {"uri": "file:other"})
        assert error["desc"] == "There's a migration process in progress"
        leave(machine)


def saved(scene: Stage) -> bytes:
    machine = scene.start(NONE, guest="none")
    capabilities(machine, "events")
    save(machine)
    leave(machine)
    return scene.file("vm.state").read_bytes()


@ENDINGS
@pytest.mark.parametrize("part", [0, 0.5])
def test_a_stream_that_stalls_holds_nobody(
    part: float, end: Callable[[Machine], None], fifo: int, tmp_path: Path
) -> None:
    with stage(find_vmd(), tmp_path) as scene:
        stream = saved(scene)
        target = scene.start(f"{NONE} -incoming file:stream", guest="none")
        assert os.write(fifo, stream[: int(len(stream) * part)]) == int(len(stream) * part)
        answers(target, "inmigrate")
        end(target)
        ended(target)


def test_a_stream_that_stalled_and_goes_on_arrives(fifo: int, tmp_path: Path) -> None:
    with stage(find_vmd(), tmp_path) as scene:
        stream = saved(scene)
        target = scene.start(f"{NONE} -incoming defer", guest="none")
        capabilities(target, "events")
        target.qmp.execute("migrate-incoming", {"uri": "file:stream"})
        answers(target, "inmigrate")
        os.write(fifo, stream[:-1000])
        target.qmp.wait("MIGRATION", status="active")
        answers(target, "inmigrate")
        os.write(fifo, stream[-1000:])
        # The end of the description is the end of the stream: nothing is waited for behind it.
        target.qmp.wait("MIGRATION", status="completed")
        leave(target)


def test_a_fifo_without_a_writer_is_waited_for(tmp_path: Path) -> None:
    with stage(find_vmd(), tmp_path) as scene:
        stream = saved(scene)
        os.mkfifo(tmp_path / "stream")
        target = scene.start(f"{NONE} -incoming defer", guest="none")
        capabilities(target, "events")
        target.qmp.execute("migrate-incoming", {"uri": "file:stream"})
        answers(target, "inmigrate")
        (tmp_path / "stream").write_bytes(stream)
        target.qmp.wait("MIGRATION", status="completed")
        leave(target)


def test_a_writer_that_goes_in_the_middle_is_the_end_of_the_stream(tmp_path: Path) -> None:
    with stage(find_vmd(), tmp_path) as scene:
        stream = saved(scene)
        os.mkfifo(tmp_path / "stream")
        target = scene.start(f"{NONE} -incoming file:stream", guest="none")
        (tmp_path / "stream").write_bytes(stream[: len(stream) // 2])
        target.qmp.end()
        assert target.exited() == 1
        assert "stderr: <program>: load of migration failed: Input/output error" in scene.transcript


def test_saving_into_a_fifo_is_refused_and_not_waited_for(fifo: int, tmp_path: Path) -> None:
    with stage(find_vmd(), tmp_path) as scene:
        machine = scene.start(NONE, guest="none")
        error = machine.qmp.execute("migrate", {"uri": "file:stream"})
        assert "failed to truncate migration file" in error["desc"]
        answers(machine, "running")
        leave(machine)
