"""A throttle group that users make: limits that drives may have together (block_set_io_throttle).

Observed from block/throttle-groups.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import qapi
from qapi.error import QmpError
from vmd.devices.qom import Property
from vmd.devices.throttle import KINDS, Group, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# The names of limits here, by their names in block_set_io_throttle.
_WORDS = {"": "total", "rd": "read", "wr": "write"}
_OF_KINDS = {
    kind: f"{kind.partition('_')[0]}-{_WORDS[kind.partition('_')[2]]}"
    for kind in ("iops", "iops_rd", "iops_wr", "bps", "bps_rd", "bps_wr")
}
NAMES = {
    **{
        kind + end: name + end.replace("_", "-")
        for kind, name in _OF_KINDS.items()
        for end in ("", "_max", "_max_length")
    },
    "iops_size": "iops-size",
}
_LONGEST = (1 << 32) - 1


class ThrottleGroup:
    """The object; `group` is what drives see of it."""

    __slots__ = ("group", "id")
    qom_type = "throttle-group"

    def __init__(self, options: Mapping[str, object]) -> None:
        self.id = str(options["id"])
        self.group = Group(self.id)
        self.group.limits = dict.fromkeys(KINDS, 0)
        given = {name[2:]: _number(options[name]) for name in options if name[:2] == "x-"}
        for name, value in given.items():
            if value < 0:
                raise QmpError("Property values cannot be negative")
            if name.endswith("-length") and value > _LONGEST:
                text = f"x-{name} value must be in therange [0, {_LONGEST}]"  # as QEMU writes it
                raise QmpError(text)
        asked = options.get("limits")
        self._limit(given | (asked if isinstance(asked, dict) else {}))

    def _limit(self, asked: Mapping[str, object]) -> None:
        """Change those limits that are named; QmpError if all together make no sense."""
        limits = dict(self.group.limits)
        for ours, name in NAMES.items():
            if name in asked:
                limits[ours] = _number(asked[name])
                if name.endswith("-length") and limits[ours] > _LONGEST:
                    raise QmpError(f"{name} value must be in the range [0, {_LONGEST}]")
                if name.endswith("-length"):
                    limits[ours] %= 1 << 64
        judge(limits)
        self.group.limits = limits

    def _told(self, ours: str) -> int:
        return self.group.limits.get(ours, int(ours.endswith("_length")))

    def _set_limits(self, value: object) -> None:
        checked = qapi.load().check("ThrottleGroupProperties", {"limits": value})
        assert isinstance(checked, dict)
        self._limit(checked["limits"])

    def properties(self) -> dict[str, Property]:
        def made(ours: str) -> Callable[[], object]:
            return lambda: self._told(ours)

        def all_limits() -> object:
            return {name: self._told(ours) for ours, name in NAMES.items()}

        found = {f"x-{name}": Property("int", made(ours), _fixed) for ours, name in NAMES.items()}
        return found | {"limits": Property("ThrottleLimits", all_limits, self._set_limits)}

    def close(self) -> None:
        """There is nothing to let go of."""


def _fixed(value: object) -> None:
    raise QmpError("Property cannot be set after initialization")


def _number(value: object) -> int:
    assert isinstance(value, int)
    return value
