"""Help, objects, file descriptors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.hmp import HmpCommand
from vmd.qmp import qom

if TYPE_CHECKING:
    from monitor.hmp import Hmp
    from vmd.machine import Machine


def object_del(machine: Machine, hmp: Hmp, id: str) -> None:
    qom.object_del(machine, id)


COMMANDS = [
    HmpCommand("object_del", "id:s", "id", "delete an object", object_del, preconfig=True),
]
