"""The types of devices that can be plugged, as data, read when somebody first asks for one.

`device_types.json` was recorded from QEMU 10.0.2 by tests/vmd/record_devices.py:

- properties: name, type and, where one is told, default of every property, once
- types: type → its parent, whether it is abstract, and which properties its parent has not
- devices: type → the bus it goes on, its alias, whether users may plug it and when, the values of
  its properties once it is plugged, its buses, its virtio backend, what query-pci tells of it
- boards: what query-pci tells of the devices that a board has anyway
"""

from __future__ import annotations

from functools import cache as once
from typing import TYPE_CHECKING, Any, NamedTuple

from vmd.devices.cpu import PropertyInfo

if TYPE_CHECKING:
    from collections.abc import Iterable

OF_EVERY_OBJECT = ("type", "parent_bus", "realized", "hotplugged", "hotpluggable")
"""Properties that device-list-properties does not tell (nor those that begin with `legacy-`)."""

# Some properties belong to a part of a device that bears the name of another type.
_PART_OF = {"isa-serial": "serial", "pci-serial": "serial"}


class Backend(NamedTuple):
    """The virtio device behind a PCI function."""

    type: str
    values: dict[str, Any]


class DeviceType(NamedTuple):
    """A type of device. `bus` is the type of bus it goes on; `buses` are (type, end of its name).

    `values` are those of properties that have no default, or another one once plugged.
    """

    name: str
    alias: str | None
    bus: str | None
    pluggable: bool
    hotpluggable: bool
    values: dict[str, Any]
    buses: tuple[tuple[str, str], ...]
    backend: Backend | None
    pci: dict[str, Any] | None
    properties: dict[str, PropertyInfo]

    def settable(self, name: str) -> PropertyInfo | None:
        """A property that a user may give."""
        return self.properties.get(name) if is_told_of_devices(name) else None

    def owner(self, name: str) -> str:
        """The type that messages about a property name: a part of the device may own it."""
        if self.backend is not None and name in type_properties(self.backend.type):
            return self.backend.type
        if name in ("chardev", "baudbase", "wakeup"):
            return _PART_OF.get(self.name, self.name)
        return self.name


def is_told_of_devices(name: str) -> bool:
    """Whether device-list-properties tells a property of this name."""
    return name not in OF_EVERY_OBJECT and not name.startswith("legacy-")


def find(name: str) -> DeviceType | None:
    """The type of that name or alias."""
    return _find(_aliases().get(name, name))


def names() -> Iterable[str]:
    """All types that are devices of PCs, those of boards included."""
    yield from _data()["devices"]


def lineage() -> Iterable[tuple[str, str | None, bool]]:
    """Every type, abstract ones too, with its parent and whether it is abstract."""
    for name, (parent, abstract, _) in _data()["types"].items():
        yield name, parent, bool(abstract)


def has_type(name: str) -> bool:
    return name in _data()["types"]


@once
def type_properties(name: str) -> dict[str, PropertyInfo]:
    """All properties of a type, with those of its ancestors."""
    data = _data()
    parent, _, own = data["types"][name]
    found = {} if parent is None else dict(type_properties(parent))
    for index in own:
        info = PropertyInfo(*data["properties"][index])
        found[info.name] = info
    return found


def board_functions(name: str) -> list[dict[str, Any]]:
    """What query-pci tells of the functions of a board ("q35" or "pc") itself."""
    return list(_data()["boards"].get(name, ()))


@once
def _find(name: str) -> DeviceType | None:
    row = _data()["devices"].get(name)
    if row is None:
        return None
    backend = row.get("backend")
    return DeviceType(
        name,
        row.get("alias"),
        row.get("bus"),
        row.get("pluggable", True) and "values" in row,
        row.get("hotpluggable", True),
        row.get("values", {}),
        tuple((kind, end) for kind, end in row.get("buses", ())),
        Backend(backend["type"], backend["values"]) if backend else None,
        row.get("pci"),
        type_properties(name),
    )


@once
def _aliases() -> dict[str, str]:
    rows = _data()["devices"].items()
    return {row["alias"]: name for name, row in rows if "alias" in row}


@once
def _data() -> dict[str, Any]:
    import json
    from os.path import dirname, join

    with open(join(dirname(__file__), "device_types.json"), encoding="ascii") as stream:
        data: dict[str, Any] = json.load(stream)
    return data
