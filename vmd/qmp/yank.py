"""Commands of yank.json."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmd import yank as yanking

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vmd.machine import Machine


def query_yank(machine: Machine) -> list[dict[str, object]]:
    return yanking.instances(machine)


def yank(machine: Machine, instances: Sequence[Mapping[str, object]]) -> None:
    yanking.yank(machine, instances)


HANDLERS = {"query-yank": query_yank, "yank": yank}
