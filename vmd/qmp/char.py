"""Commands of char.json: the character devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmd.machine import Machine


def query_chardev(machine: Machine) -> list[dict[str, object]]:
    return [
        {
            "label": chardev.label,
            "filename": chardev.filename,
            "frontend-open": chardev.frontend_open,
        }
        for chardev in (machine.chardevs.values() if machine.chardevs is not None else ())
    ]


HANDLERS = {"query-chardev": query_chardev}
