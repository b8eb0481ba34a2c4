"""Connections that can be cut when a peer hangs. Observed from util/yank.c.

An instance is the schema's YankInstance. A migration to a file or into a command is one too, but
has nothing to cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qapi.error import DEVICE_NOT_FOUND, QmpError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vmd.machine import Machine


def _cuts(machine: Machine) -> list[tuple[dict[str, object], Callable[[], None]]]:
    """Every instance, and how to cut it."""
    sockets = machine.chardevs.yankable() if machine.chardevs is not None else {}
    cuts: list[tuple[dict[str, object], Callable[[], None]]] = [
        ({"type": "chardev", "id": label}, cut) for label, cut in sockets.items()
    ]
    if machine.migration.can_be_yanked:
        cuts.append(({"type": "migration"}, machine.migration.yank))
    return cuts


def instances(machine: Machine) -> list[dict[str, object]]:
    """What can be yanked, the oldest first."""
    return [instance for instance, _ in _cuts(machine)]


def yank(machine: Machine, wanted: Sequence[Mapping[str, object]]) -> None:
    """Cut all of these, or none if one of them does not exist."""
    cuts = _cuts(machine)
    known = [instance for instance, _ in cuts]
    if any(instance not in known for instance in wanted):
        raise QmpError("Instance not found", DEVICE_NOT_FOUND)
    for instance, cut in cuts:
        if instance in wanted:
            cut()
