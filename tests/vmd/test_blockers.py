"""Who forbids a migration, and in which modes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qapi.error import QmpError
from tests.faults.stand import Subject
from vmd.migration.blockers import Blockers
from vmd.runstate import RunState

if TYPE_CHECKING:
    from pathlib import Path


def blockers(*, busy: bool = False, only_migratable: bool = False) -> Blockers:
    return Blockers(lambda: busy, only_migratable=only_migratable)


def test_the_oldest_reason_is_listed_first_and_the_newest_refuses() -> None:
    made = blockers()
    made.add("one")
    made.add("two")
    assert made.reasons("normal") == ["one", "two"]
    with pytest.raises(QmpError, match="two"):
        made.check("normal")


def test_a_blocker_stands_only_in_its_modes() -> None:
    made = blockers()
    made.add("no", ("normal",))
    assert made.reasons("cpr-reboot") == []
    made.check("cpr-reboot")


def test_a_blocker_that_was_removed_blocks_no_more() -> None:
    made = blockers()
    blocker = made.add("no")
    made.remove(blocker)
    made.remove(blocker)
    made.check("normal")


def test_devices_without_state_refuse_every_mode_and_are_listed_last() -> None:
    made = blockers()
    made.add_device("0000:00:01.0/nvme")
    made.add_device("0000:00:02.0/nvme")
    made.add("because")
    assert made.reasons("cpr-reboot") == [
        "because",
        "non-migratable device: 0000:00:02.0/nvme",
        "non-migratable device: 0000:00:01.0/nvme",
    ]
    with pytest.raises(QmpError, match="State blocked by non-migratable device '0000:00:01"):
        made.check("cpr-reboot")
    made.remove_device("0000:00:01.0/nvme")
    made.remove_device("0000:00:02.0/nvme")
    assert made.reasons("normal") == ["because"]


def test_nobody_begins_to_forbid_what_is_under_way() -> None:
    busy = "disallowing migration blocker \\(migration/snapshot in progress\\) for: no"
    with pytest.raises(QmpError, match=busy):
        blockers(busy=True).add("no")


def test_only_migratable_refuses_what_would_stand_against_normal_mode() -> None:
    made = blockers(only_migratable=True)
    with pytest.raises(QmpError, match="--only-migratable"):
        made.add("no")
    made.add("only in cpr", ("cpr-reboot",))
    made.add("for a moment", internal=True)
    with pytest.raises(QmpError, match="Device nvme is not migratable, but --only-migratable was"):
        made.check_device("nvme")


async def test_query_migrate_lists_the_reasons_of_the_mode_that_is_set() -> None:
    subject = Subject()
    subject.machine.blockers.add("live only", ("cpr-reboot",))
    assert subject.migration.query() == {}
    subject.migration.options.set_parameters({"mode": "cpr-reboot"})
    assert subject.migration.query() == {"blocked-reasons": ["live only"]}
    with pytest.raises(QmpError, match="live only"):
        subject.migration.migrate("file:vm.state")


def refuse_while_awake(subject: Subject) -> None:
    state = subject.machine.runstate

    def condition() -> str | None:
        asleep = state.state is RunState.SUSPENDED or state.was_suspended
        return None if asleep else "awake"

    subject.machine.blockers.add_condition(condition, ("cpr-reboot",))


async def test_a_condition_makes_the_migration_fail_before_the_guest_stops(tmp_path: Path) -> None:
    subject = Subject()
    refuse_while_awake(subject)
    subject.migration.options.set_parameters({"mode": "cpr-reboot"})
    subject.migration.migrate(f"file:{tmp_path / 'vm.state'}")
    assert subject.migration.query() == {"status": "failed", "error-desc": "awake"}
    assert subject.machine.runstate.state is RunState.RUNNING
    assert not any(event.name == "STOP" for event in subject.events)
    assert subject.reports == ["awake", "awake"]


@pytest.mark.parametrize("state", [RunState.SUSPENDED, RunState.PAUSED])
async def test_a_condition_that_holds_lets_the_migration_pass(
    state: RunState, tmp_path: Path
) -> None:
    subject = Subject()
    refuse_while_awake(subject)
    subject.bring_to(RunState.SUSPENDED)
    if state is RunState.PAUSED:
        subject.machine.stop()
    subject.migration.options.set_parameters({"mode": "cpr-reboot"})
    await subject.save(tmp_path / "vm.state")
