"""Devices that stand in the way of a migration, and what else such devices ask for.

`nvme` has no state that could be saved. `vhost-scsi-pci` and `vfio-pci` have theirs in the host's
kernel: they forbid a normal migration, and the latter allows cpr-reboot only while the guest
sleeps. The hosts of these two are simulated: any target and any host address will do. Texts
observed from hw/vfio/pci.c, hw/vfio/migration.c, hw/vfio/cpr.c, hw/scsi/vhost-scsi.c and
hw/core/qdev.c.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qapi.error import QmpError
from vmd.runstate import RunState

if TYPE_CHECKING:
    from vmd.devices.bus import Device
    from vmd.machine import Machine

NORMAL, CPR_REBOOT = ("normal",), ("cpr-reboot",)
UNMIGRATABLE = ("nvme",)
_VHOST_SCSI = (
    "vhost-scsi does not support migration in all cases. When external environment supports it"
    " (Orchestrator migrates target SCSI device state or use shared storage over network), set"
    " 'migratable' property to true to enable migration."
)
_NEEDS_SLEEP = "VFIO device only supports cpr-reboot for runstate suspended"
_HOST = r"(?:([0-9a-fA-F]{1,8}):)?([0-9a-fA-F]{1,2}):([0-9a-fA-F]{1,2})\.([0-7])"


def check(machine: Machine, device: Device) -> None:
    """Refuse a device that -only-migratable forbids by its type; this comes before anything."""
    if device.type.name in UNMIGRATABLE:
        machine.blockers.check_device(device.type.name)


def put_up(machine: Machine, device: Device) -> None:
    """What a device that has its place forbids from now on; QmpError if it must not.

    Taking it out takes that back.
    """
    name = device.type.name
    if name in UNMIGRATABLE:
        state = f"{pci_path(device)}/{name}"
        machine.blockers.add_device(state)
        device.releases.append(lambda: machine.blockers.remove_device(state))
    elif name == "vhost-scsi-pci" and not device.values.get("migratable"):
        _forbid_normal(machine, device, _VHOST_SCSI)
    elif name == "vfio-pci":
        _assign(machine, device)


def pci_path(device: Device) -> str:
    """Where a PCI device is, from the root bus on: `0000:00:01.0:00.0`."""
    assert device.bus is not None
    here = "{:02x}.{:x}".format(*divmod(int(device.place["devfn"]), 8))
    above = device.bus.parent
    if above is None or "devfn" not in above.place:
        return f"0000:00:{here}"
    return f"{pci_path(above)}:{here}"


def host_address(text: str) -> str | None:
    """The full form `0000:01:00.0` of a host device's address, or None if it is none."""
    match = re.fullmatch(_HOST, text)
    if match is None or int(match[3], 16) > 31:
        return None
    domain, bus, slot = (int(part or "0", 16) for part in match.groups()[:3])
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{match[4]}"


def _forbid_normal(machine: Machine, device: Device, reason: str) -> None:
    blocker = machine.blockers.add(reason, NORMAL)
    device.releases.append(lambda: machine.blockers.remove(blocker))


def _assign(machine: Machine, device: Device) -> None:
    host = device.values["host"]
    others = [d for d in machine.devices.users() if d.type.name == "vfio-pci"]
    if any(other.values["host"] == host for other in others):
        raise QmpError(f"vfio {host}: device is already attached")
    wanted = device.values.get("enable-migration", "auto")
    reason = f"{host}: VFIO migration is not supported in kernel"
    if wanted == "off":
        reason = f"{host}: Migration is disabled for VFIO device"
    if wanted == "on":
        raise QmpError(f"vfio {host}: {reason}")
    _forbid_normal(machine, device, reason)
    state = machine.runstate

    def objection() -> str | None:
        asleep = state.state is RunState.SUSPENDED or state.was_suspended
        return None if asleep else _NEEDS_SLEEP

    machine.blockers.add_condition(objection, CPR_REBOOT)
    device.releases.append(lambda: machine.blockers.remove_condition(objection))
