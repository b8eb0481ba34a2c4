"""Commands of introspect.json: the schema tells itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from monitor.server import QmpMonitor
    from vmd.machine import Machine


def query_qmp_schema(machine: Machine, monitor: QmpMonitor) -> object:
    if not monitor.session.pretty:
        return monitor.registry.introspection()
    from qapi.introspect import introspect

    return introspect(monitor.registry.schema)  # type: ignore[arg-type]


HANDLERS: dict[str, object] = {}
MONITOR_HANDLERS = {"query-qmp-schema": query_qmp_schema}
