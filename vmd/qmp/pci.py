"""Commands of pci.json."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmd.machine import Machine


def query_pci(machine: Machine) -> list[dict[str, object]]:
    from vmd.devices import pci

    return pci.describe(machine.devices, machine.board.alias or "")


HANDLERS = {"query-pci": query_pci}
