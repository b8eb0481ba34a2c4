"""Commands of job.json. What makes jobs, block devices and their snapshots, is not here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmd.machine import Machine


def query_jobs(machine: Machine) -> list[dict[str, object]]:
    return []


HANDLERS = {"query-jobs": query_jobs}
