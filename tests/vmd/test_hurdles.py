"""Devices that stand in the way of a migration: simulated hosts, and what they forbid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qapi.error import QmpError
from tests.faults.stand import Subject
from vmd.devices.hurdles import host_address
from vmd.runstate import RunState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VFIO = {"driver": "vfio-pci", "host": "01:00.0"}
IN_THE_KERNEL = "0000:01:00.0: VFIO migration is not supported in kernel"
NEEDS_SLEEP = "VFIO device only supports cpr-reboot for runstate suspended"


@pytest.fixture
def subject() -> Iterator[Subject]:
    made = Subject(board="q35")
    yield made
    made.close()


def plug(subject: Subject, **options: object) -> None:
    subject.machine.devices.add(options, hotplug=False)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("01:00.0", "0000:01:00.0"),
        ("1:a.7", "0000:01:0a.7"),
        ("10000:01:1f.0", "10000:01:1f.0"),
        ("01:20.0", None),
        ("01:00.8", None),
        ("01:00", None),
    ],
)
def test_a_host_address_has_one_full_form(text: str, address: str | None) -> None:
    assert host_address(text) == address


async def test_a_vfio_device_forbids_normal_migration_only(subject: Subject) -> None:
    plug(subject, **VFIO)
    assert subject.migration.query() == {"blocked-reasons": [IN_THE_KERNEL]}
    with pytest.raises(QmpError, match="not supported in kernel"):
        subject.migration.migrate("file:vm.state")
    subject.migration.options.set_parameters({"mode": "cpr-reboot"})
    assert subject.migration.query() == {}


async def test_it_says_so_when_its_migration_was_switched_off(subject: Subject) -> None:
    plug(subject, **VFIO, **{"enable-migration": "off"})
    reasons = subject.machine.blockers.reasons("normal")
    assert reasons == ["0000:01:00.0: Migration is disabled for VFIO device"]


async def test_it_is_refused_when_it_must_be_able_to_migrate(subject: Subject) -> None:
    with pytest.raises(QmpError, match="not supported in kernel"):
        plug(subject, **VFIO, **{"enable-migration": "on"})
    assert subject.machine.blockers.reasons("normal") == []


async def test_a_host_device_is_assigned_once(subject: Subject) -> None:
    plug(subject, **VFIO)
    with pytest.raises(QmpError, match="device is already attached"):
        plug(subject, driver="vfio-pci", host="0000:01:00.0")
    plug(subject, driver="vfio-pci", host="01:00.1")


async def test_an_awake_guest_with_a_vfio_device_cannot_be_updated(
    subject: Subject, tmp_path: Path
) -> None:
    plug(subject, **VFIO)
    subject.migration.options.set_parameters({"mode": "cpr-reboot"})
    subject.migration.migrate(f"file:{tmp_path / 'vm.state'}")
    assert subject.migration.query() == {"status": "failed", "error-desc": NEEDS_SLEEP}
    assert subject.state is RunState.RUNNING
    assert "STOP" not in subject.names()


@pytest.mark.parametrize("paused", [False, True])
async def test_a_sleeping_guest_with_a_vfio_device_can(
    subject: Subject, tmp_path: Path, paused: bool
) -> None:
    plug(subject, **VFIO)
    subject.migration.options.set_parameters({"mode": "cpr-reboot"})
    subject.bring_to(RunState.SUSPENDED)
    if paused:
        subject.machine.stop()
    await subject.save(tmp_path / "vm.state")
    assert subject.state is RunState.POSTMIGRATE


async def test_a_vhost_scsi_device_forbids_normal_migration_unless_told_otherwise(
    subject: Subject,
) -> None:
    plug(subject, driver="vhost-scsi-pci", wwpn="naa.5001405b", migratable=True)
    assert subject.machine.blockers.reasons("normal") == []
    plug(subject, driver="vhost-scsi-pci", wwpn="naa.5001405c")
    (reason,) = subject.machine.blockers.reasons("normal")
    assert reason.startswith("vhost-scsi does not support migration in all cases.")
    assert subject.machine.blockers.reasons("cpr-reboot") == []


async def test_what_is_unplugged_stands_in_the_way_no_more(subject: Subject) -> None:
    plug(subject, driver="pcie-root-port", id="rp", chassis=1)
    machine = subject.machine
    machine.devices.add({**VFIO, "bus": "rp", "id": "v"}, hotplug=True)
    assert machine.blockers.reasons("normal") == [IN_THE_KERNEL]
    machine.devices.remove("v")
    machine.system_reset()
    assert machine.blockers.reasons("normal") == []
    subject.migration.options.set_parameters({"mode": "cpr-reboot"})
    assert machine.blockers.objection("cpr-reboot") is None
