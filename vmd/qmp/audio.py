"""Commands of audio.json."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmd.machine import Machine


def query_audiodevs(machine: Machine) -> list[dict[str, object]]:
    return machine.audiodevs[::-1]


HANDLERS = {"query-audiodevs": query_audiodevs}
