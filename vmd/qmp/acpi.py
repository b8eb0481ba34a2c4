"""Commands of acpi.json."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qapi.error import QmpError

if TYPE_CHECKING:
    from vmd.machine import Machine


def query_acpi_ospm_status(machine: Machine) -> list[dict[str, object]]:
    if not machine.board.has_cpus:
        raise QmpError("command is not supported, missing ACPI device")
    from vmd.devices.dimms import plugged

    names = {dimm.values["slot"]: dimm.id for dimm in plugged(machine) if dimm.id is not None}
    # No guest program knows ACPI, so none has told of a slot.
    return [
        {
            **({"device": names[slot]} if slot in names else {}),
            "slot": str(slot),
            "slot-type": "DIMM",
            "source": 0,
            "status": 0,
        }
        for slot in range(machine.memory_slots)
    ]


HANDLERS = {"query-acpi-ospm-status": query_acpi_ospm_status}
