"""Commands of stats.json. Only KVM and cryptographic devices keep statistics; neither is here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vmd.machine import Machine


def query_stats(
    machine: Machine,
    target: str,
    providers: Sequence[Mapping[str, object]] = (),
    vcpus: Sequence[str] = (),
) -> list[dict[str, object]]:
    return []


def query_stats_schemas(machine: Machine, provider: str | None = None) -> list[dict[str, object]]:
    return []


HANDLERS = {"query-stats": query_stats, "query-stats-schemas": query_stats_schemas}
