"""Commands of misc-target.json: what only a PC has."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmd.machine import Machine


def rtc_reset_reinjection(machine: Machine) -> None:
    """The guest's clock never misses a tick, so there is none to forget."""


HANDLERS = {"rtc-reset-reinjection": rtc_reset_reinjection}
