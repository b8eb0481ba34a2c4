"""A state file that cannot be read at some call: its source can go on, and who reads next can."""

from __future__ import annotations

import errno
import itertools
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.disk import Disk
from tests.faults.stand import SECOND, Subject, load
from vmd.migration.channels import file, stream
from vmd.runstate import RunState

if TYPE_CHECKING:
    from pathlib import Path

SLICE = 50_000
READING = ("readv", "preadv", "lseek")
STATES = (RunState.RUNNING, RunState.PAUSED, RunState.SUSPENDED)


def bad_sector(place: int) -> Disk:
    """Reads little by little, and from one call on not at all."""

    def before(number: int, name: str, arguments: tuple[Any, ...]) -> int | None:
        if number >= place:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if name == "readv":
            fd, views = arguments
            return os.readv(fd, [views[0][:SLICE]])
        return None

    return Disk(before, READING)


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.value)
@pytest.mark.parametrize("names", [(), ("mapped-ram",)], ids=["", "mapped-ram"])
@pytest.mark.parametrize("mode", ["normal", "cpr-reboot"])
async def test_whichever_read_fails_the_source_has_the_guest(
    mode: str,
    names: tuple[str, ...],
    state: RunState,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = Subject()
    source.fill()
    source.clock.advance(SECOND)
    source.bring_to(state)
    source.migration.set_capabilities([(name, True) for name in names])
    source.migration.options.set_parameters({"mode": mode})
    await source.save(tmp_path / "state")
    ram = bytes(source.block.view)

    for number in itertools.count():
        disk = bad_sector(number)
        for module in (file, stream):
            monkeypatch.setattr(module, "os", disk)
        target = await load(tmp_path / "state", *names)
        for module in (file, stream):
            monkeypatch.setattr(module, "os", os)
        if len(disk.calls) <= number:
            break
        # What is behind all devices need not be read.
        if target.migration.query()["status"] == "failed":
            assert target.state is RunState.INMIGRATE
            assert target.reports
        else:
            assert bytes(target.block.view) == ram
        target.close()
    assert len(disk.calls) >= 10
    assert target.migration.query() == {"status": "completed"}
    assert bytes(target.block.view) == ram
    assert target.state is state
    target.close()

    # The one that nobody could load is still here.
    assert source.state is RunState.POSTMIGRATE
    assert bytes(source.block.view) == ram
    if state is not RunState.SUSPENDED:
        before = source.count
        source.machine.cont()
        source.clock.advance(SECOND)
        assert source.count > before
    source.close()
