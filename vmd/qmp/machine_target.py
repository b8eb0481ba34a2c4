"""Commands of machine-target.json: the CPU models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vmd.machine import Machine


def query_cpu_definitions(machine: Machine) -> list[dict[str, object]]:
    from vmd.devices import cpu

    return cpu.definitions(machine.host_cpu)


def query_cpu_model_expansion(
    machine: Machine, type: str, model: dict[str, Any]
) -> dict[str, object]:
    from vmd.devices import cpu

    return cpu.expand(type, model["name"], model.get("props", {}), machine.host_cpu)


HANDLERS = {
    "query-cpu-definitions": query_cpu_definitions,
    "query-cpu-model-expansion": query_cpu_model_expansion,
}
