"""Commands of qom.json: objects that a user may create."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmd.machine import Machine


def object_add(machine: Machine, **options: object) -> None:
    machine.add_object({name.replace("_", "-"): value for name, value in options.items()})


def object_del(machine: Machine, id: str) -> None:
    machine.delete_object(id)


HANDLERS = {"object-add": object_add, "object-del": object_del}
