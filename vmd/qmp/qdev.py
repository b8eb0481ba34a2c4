"""Commands of qdev.json: the types of devices, and devices that come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qapi.error import DEVICE_NOT_FOUND, QmpError
from vmd.qmp.qom import property_list

if TYPE_CHECKING:
    from vmd.machine import Machine


def device_list_properties(machine: Machine, typename: str) -> list[dict[str, object]]:
    from vmd.devices import types

    kind = types.TYPES.get(typename)
    if kind is None:
        raise QmpError(f"Device '{typename}' not found", DEVICE_NOT_FOUND)
    if kind.abstract or not types.is_a(typename, "device"):
        raise QmpError("Parameter 'typename' expects a non-abstract device type")
    return property_list(types.properties(typename, device=True))


def device_add(machine: Machine, **options: object) -> None:
    machine.devices.add(options, hotplug=True)


def device_del(machine: Machine, id: str) -> None:
    machine.devices.remove(id)


HANDLERS = {
    "device-list-properties": device_list_properties,
    "device_add": device_add,
    "device_del": device_del,
}
