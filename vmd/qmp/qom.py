"""Commands of qom.json: the tree of objects, their types, and those that a user may create."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qapi.error import DEVICE_NOT_FOUND, QmpError
from vmd.user_objects import add_object, delete_object

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmd.devices.cpu import PropertyInfo
    from vmd.machine import Machine


def qom_list(machine: Machine, path: str) -> list[dict[str, object]]:
    from vmd.devices import composition, qom

    try:
        found = composition.find_to_list(machine, path)
    except qom.Ambiguous:
        raise QmpError(f"Path '{path}' is ambiguous") from None
    if found is None:
        raise QmpError(f"Device '{path}' not found", DEVICE_NOT_FOUND)
    return [{"name": name, "type": kind} for name, kind in found.listed()]


def qom_get(machine: Machine, path: str, property: str) -> object:
    from vmd.devices import composition

    return composition.find(machine, path).get(property)


def qom_set(machine: Machine, path: str, property: str, value: object) -> None:
    from vmd.devices import composition

    composition.find(machine, path).set(property, value)


def qom_list_types(
    machine: Machine, implements: str | None = None, abstract: bool = False
) -> list[dict[str, object]]:
    from vmd.devices import types

    return [
        {
            "name": kind.name,
            **({"parent": kind.parent} if kind.parent is not None else {}),
            **({"abstract": True} if kind.abstract else {}),
        }
        for kind in types.TYPES.values()
        if (abstract or not kind.abstract)
        and (implements is None or types.is_a(kind.name, implements))
    ]


def qom_list_properties(machine: Machine, typename: str) -> list[dict[str, object]]:
    from vmd.devices import types

    kind = types.TYPES.get(typename)
    if kind is None:
        raise QmpError(f"Class '{typename}' not found", DEVICE_NOT_FOUND)
    if kind.is_interface:
        raise QmpError("Parameter 'typename' expects a QOM type")
    return property_list(types.properties(typename))


def property_list(infos: Iterable[PropertyInfo]) -> list[dict[str, object]]:
    """Properties of a type as clients are told of them."""
    return [
        {
            "name": name,
            "type": kind,
            **({} if default is None else {"default-value": default}),
        }
        for name, kind, default in infos
    ]


def object_add(machine: Machine, **options: object) -> None:
    add_object(machine, {name.replace("_", "-"): value for name, value in options.items()})


def object_del(machine: Machine, id: str) -> None:
    delete_object(machine, id)


HANDLERS = {
    "object-add": object_add,
    "object-del": object_del,
    "qom-get": qom_get,
    "qom-list": qom_list,
    "qom-list-properties": qom_list_properties,
    "qom-list-types": qom_list_types,
    "qom-set": qom_set,
}
