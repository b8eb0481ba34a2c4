"""A disk that fails at any system call of a save: the guest lives on, and the next save is good."""

from __future__ import annotations

import errno
import itertools
import os
from typing import TYPE_CHECKING, Any

import pytest

from qapi.error import QmpError
from tests.faults.disk import Disk
from tests.faults.stand import SECOND, Subject, load
from vmd.migration.channels import file, stream
from vmd.migration.controller import Asker
from vmd.migration.ram import RamSaver
from vmd.runstate import RunState

if TYPE_CHECKING:
    from pathlib import Path

STATES = (RunState.RUNNING, RunState.PAUSED, RunState.SUSPENDED)
FULL = "No space left on device"


class FullAt:
    """The disk is full from one call on; what fits before that is still written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
        self._number = number
        self.struck: str | None = None
        self.disk = Disk(self._before)
        monkeypatch.setattr(file, "os", self.disk)

    def _before(self, number: int, name: str, arguments: tuple[Any, ...]) -> int | None:
        if number < self._number or (name == "close" and number > self._number):
            return None
        self.struck = self.struck or name
        if name == "writev" and number == self._number:
            fd, views = arguments
            return os.write(fd, views[0][: len(views[0]) // 2])
        if name == "pwrite" and number == self._number:
            fd, data, place = arguments
            return os.pwrite(fd, data[: len(data) // 2], place)
        if name == "close":
            os.close(arguments[0])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def try_to_save(subject: Subject, path: Path) -> None:
    try:
        subject.migration.migrate(f"file:{path}")
    except QmpError as error:
        assert FULL in error.desc
    await subject.ended()


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.value)
@pytest.mark.parametrize("mode", ["normal", "cpr-reboot"])
async def test_a_machine_whose_save_fails_is_as_it_was_before(
    mode: str, state: RunState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    struck = []
    for number in itertools.count():
        subject = Subject()
        subject.fill()
        subject.migration.options.set_parameters({"mode": mode})
        subject.clock.advance(SECOND)
        subject.bring_to(state)
        ram, half = bytes(subject.block.view), tmp_path / f"half{number}"
        subject.events.clear()
        full = FullAt(monkeypatch, number)

        await try_to_save(subject, half)
        if full.struck is None:
            break
        monkeypatch.setattr(file, "os", os)
        struck.append(full.struck)
        assert subject.names()[-1] == ("RESUME" if "STOP" in subject.names() else "failed")
        tell_of_half_files(subject, half)
        is_as_before(subject, state, ram)
        await can_be_saved(subject, tmp_path / "good")
    assert struck[0] == "open"
    assert struck[-2:] == ["fsync", "close"]
    assert struck.count("writev") >= 5


def tells_of_the_disk(info: dict[str, object]) -> bool:
    """Of a failure in setup QEMU says no more than that it was one."""
    reason = str(info["error-desc"])
    return FULL in reason or reason == "ram_save_setup failed: Input/output error"


def tell_of_half_files(subject: Subject, half: Path) -> None:
    size = half.stat().st_size if half.exists() else 0
    told = f"info: the state file '{half}' is incomplete ({size} bytes)"
    assert [line for line in subject.reports if "incomplete" in line] == [told] * (size > 0)


def lives_on(subject: Subject, state: RunState) -> None:
    """The guest counts on exactly if it was running."""
    before = subject.count
    subject.clock.advance(SECOND)
    assert (subject.count > before) == (state is RunState.RUNNING)


def is_as_before(subject: Subject, state: RunState, ram: bytes) -> None:
    """But it knows what went wrong."""
    info = subject.migration.query()
    assert info["status"] == "failed"
    assert tells_of_the_disk(info)
    assert subject.state is state
    assert bytes(subject.block.view) == ram
    lives_on(subject, state)


async def can_be_saved(subject: Subject, path: Path, *capabilities: str) -> None:
    """Another save is good: its file holds the whole guest. That is the subject's end."""
    await subject.save(path)
    target = await load(path, *capabilities, paused=True)
    assert target.migration.query()["status"] == "completed"
    assert bytes(target.block.view) == bytes(subject.block.view)
    target.close()
    subject.close()


@pytest.mark.parametrize("mode", ["normal", "cpr-reboot"])
async def test_a_machine_whose_save_with_mapped_ram_fails_is_as_it_was_before(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    struck = []
    for number in itertools.count():
        subject = Subject()
        subject.fill()
        subject.migration.set_capabilities([("mapped-ram", True)])
        subject.migration.options.set_parameters({"mode": mode})
        ram = bytes(subject.block.view)
        full = FullAt(monkeypatch, number)
        await try_to_save(subject, tmp_path / "half")
        if full.struck is None:
            break
        monkeypatch.setattr(file, "os", os)
        struck.append(full.struck)
        is_as_before(subject, RunState.RUNNING, ram)
        await can_be_saved(subject, tmp_path / "good", "mapped-ram")
    assert struck[0] == "open"
    assert struck[-2:] == ["fsync", "close"]
    assert struck.count("pwrite") >= 5


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.value)
@pytest.mark.parametrize("mode", ["normal", "cpr-reboot"])
async def test_a_machine_whose_save_into_a_descriptor_fails_is_as_it_was_before(
    mode: str, state: RunState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    struck = []
    for number in itertools.count():
        subject = Subject()
        subject.fill()
        subject.migration.options.set_parameters({"mode": mode})
        subject.bring_to(state)
        ram = bytes(subject.block.view)
        fd = os.open(tmp_path / "half", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        full = FullAt(monkeypatch, number)
        monkeypatch.setattr(stream, "os", full.disk)
        subject.migration.migrate("fd:half", asker=Asker(lambda name, fd=fd: fd, print))
        await subject.ended()
        monkeypatch.undo()
        if full.struck not in ("writev", "fsync"):
            break
        struck.append(full.struck)
        is_as_before(subject, state, ram)
        await can_be_saved(subject, tmp_path / "good")
    assert struck.count("writev") >= 5
    assert struck[-1] == "fsync"
    assert subject.state is RunState.POSTMIGRATE
    subject.close()


async def test_short_writes_are_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hesitant(Disk):
        def __getattr__(self, name: str) -> Any:
            if name == "writev":
                return lambda fd, views: os.write(fd, views[0][:1000])
            return super().__getattr__(name)

    subject = Subject(1 << 17)
    subject.fill()
    monkeypatch.setattr(file, "os", Hesitant(lambda *_: None))
    await subject.save(tmp_path / "good")
    target = await load(tmp_path / "good", size=1 << 17, paused=True)
    assert bytes(target.block.view) == bytes(subject.block.view)
    target.close()
    subject.close()


async def test_a_fault_of_our_own_loses_no_guest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    subject = Subject()
    monkeypatch.setattr(RamSaver, "part", broken)
    subject.migration.migrate(f"file:{tmp_path / 'half'}")
    await subject.ended()
    assert subject.migration.query()["error-desc"] == "ZeroDivisionError: a bug"
    assert subject.state is RunState.RUNNING
    lives_on(subject, RunState.RUNNING)
    monkeypatch.undo()
    await can_be_saved(subject, tmp_path / "good")
