"""Limits of what drives may do: each alone, or all of a group together.

No guest of ours does anything that could be too much; a limit is kept, judged and told. Observed
from util/throttle.c, block/throttle-groups.c and block/qapi-sysemu.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qapi.error import QmpError
from vmd.devices import drives

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmd.machine import Machine

KINDS = ("bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr")
MOST = 10**15
_BOTH = "bps/iops/max total values and read/write values cannot be used at the same time"
_OPERATIONS = ("iops", "iops_rd", "iops_wr")


class Group:
    """Drives with common limits: those of block_set_io_throttle, by their names there."""

    __slots__ = ("limits", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.limits: Mapping[str, int] = {}

    def describe(self) -> dict[str, object]:
        """Their part of the schema's BlockDeviceInfo."""
        told: dict[str, object] = {"group": self.name}
        for kind in KINDS:
            told[kind] = self.limits[kind]
            if burst := self.limits.get(f"{kind}_max"):
                told[f"{kind}_max"] = burst
                told[f"{kind}_max_length"] = self.limits.get(f"{kind}_max_length", 1)
        if size := self.limits.get("iops_size"):
            told["iops_size"] = size
        return told


def limit(
    machine: Machine,
    device: str | None,
    identifier: str | None,
    group: str | None,
    limits: Mapping[str, int],
) -> None:
    """Give a drive new limits; QmpError if they make no sense. Only zeros free it."""
    drive = drives.find(machine, device, identifier)
    if drive.node is None:
        raise QmpError("Device has no medium")
    judge(limits)
    if not any(limits[kind] for kind in KINDS):
        drive.group = None
        return
    if group is not None or drive.group is None:
        drive.group = _group(machine, group or device or str(identifier))
    drive.group.limits = limits


def _group(machine: Machine, name: str) -> Group:
    from vmd.devices.throttle_object import ThrottleGroup

    made = machine.objects.get(name)
    if isinstance(made, ThrottleGroup):
        return made.group
    return next((group for group in groups(machine) if group.name == name), Group(name))


def groups(machine: Machine) -> list[Group]:
    """Those that drives are in."""
    return [drive.group for drive in drives.of(machine) if drive.group is not None]


def judge(limits: Mapping[str, int]) -> None:
    """QmpError if the limits make no sense together."""
    if limits.get("iops_size") and not any(limits[kind] for kind in _OPERATIONS):
        raise QmpError("iops size requires an iops value to be set")
    for end in ("", "_max"):
        for what in ("bps", "iops"):
            parts = (limits.get(f"{what}_rd{end}"), limits.get(f"{what}_wr{end}"))
            if limits.get(what + end) and any(parts):
                raise QmpError(_BOTH)
    # QEMU's order: bytes, then operations; of each the total first.
    for kind in KINDS:
        burst = limits.get(f"{kind}_max", 0)
        _judge_one(limits[kind], burst, limits.get(f"{kind}_max_length", 1))


def _judge_one(rate: int, burst: int, length: int) -> None:
    if not (0 <= rate <= MOST and 0 <= burst <= MOST):
        raise QmpError(f"bps/iops/max values must be within [0, {MOST}]")
    if not length:
        raise QmpError("the burst length cannot be 0")
    if length > 1 and not burst:
        raise QmpError("burst length set without burst rate")
    if burst and length > MOST // burst:
        raise QmpError("burst length too high for this burst rate")
    if burst and not rate:
        raise QmpError("bps_max/iops_max require corresponding bps/iops values")
    if burst and burst < rate:
        raise QmpError("bps_max/iops_max cannot be lower than bps/iops")
