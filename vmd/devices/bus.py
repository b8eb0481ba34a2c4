"""Buses and the devices on them: a tree that begins at the main system bus.

Observed from hw/core/bus.c and system/qdev-monitor.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qapi.error import QmpError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vmd.devices.catalog import DeviceType
    from vmd.devices.drives import Drive
    from vmd.devices.qom import Property

SYSTEM = "System"
# What a bus of one type is a kind of.
_KINDS = {"PCIE": ("PCIE", "PCI")}


class Bus:
    """A bus. `most` is how many devices fit; None if there is no limit by number."""

    __slots__ = ("devices", "hotpluggable", "most", "name", "parent", "path", "type")

    def __init__(
        self,
        type_: str,
        name: str,
        path: str,
        parent: Device | None = None,
        *,
        hotpluggable: bool = False,
        most: int | None = None,
    ) -> None:
        self.type = type_
        self.name = name
        self.path = path
        self.parent = parent
        self.hotpluggable = hotpluggable
        self.most = most
        self.devices: list[Device] = []

    @property
    def is_full(self) -> bool:
        return self.most is not None and len(self.devices) >= self.most

    def is_a(self, type_: str) -> bool:
        return type_ in _KINDS.get(self.type, (self.type,))


class Device:
    """A device at its place. `values` are those of its properties, `place` what its bus says of
    where it is, `given` names what users set. `releases` let go of what it holds, and
    `own` are properties that are more than remembered. `unplugging`: a user wants it gone;
    `asked`: so the guest is asked to give it up."""

    __slots__ = (
        *("asked", "bus", "buses", "drive", "given", "hotplugged", "id", "own", "path", "place"),
        *("releases", "state", "type", "unplugging", "values"),
    )

    def __init__(self, type_: DeviceType, identifier: str | None, path: str, bus: Bus | None):
        self.type = type_
        self.id = identifier
        self.path = path
        self.bus = bus
        self.buses: list[Bus] = []
        self.values: dict[str, Any] = {}
        self.given: set[str] = set()
        self.place: dict[str, Any] = {}
        self.hotplugged = False
        self.unplugging = self.asked = False
        self.releases: list[Callable[[], None]] = []
        self.state: Any = None
        self.own: dict[str, Property] = {}
        self.drive: Drive | None = None

    def below(self) -> Iterator[Device]:
        """The device itself, and all that hang on its buses."""
        for bus in self.buses:
            for device in list(bus.devices):
                yield from device.below()
        yield self


def find_by_type(bus: Bus, type_: str) -> Bus | None:
    """The bus that a device without a wish goes on: the newest first, one with room if any."""
    return _search(bus, lambda candidate: candidate.is_a(type_))


def find_by_name(root: Bus, path: str) -> Bus:
    """The bus that a user names: `NAME`, or a path `/BUS/DEVICE/BUS`; QmpError if there is none."""
    if path.startswith("/"):
        bus: Bus | None = root
        elements = [element for element in path.split("/") if element]
    else:
        first, *elements = path.split("/")
        bus = _search(root, lambda candidate: candidate.name == first)
        if bus is None:
            raise QmpError(f"Bus '{first}' not found")
    assert bus is not None
    while elements:
        name = elements.pop(0)
        device = next((d for d in bus.devices if name in (d.id, d.type.name, d.type.alias)), None)
        if device is None:
            raise QmpError(f"Device '{name}' not found", "DeviceNotFound")
        bus = _bus_of(device, name, elements)
    if bus.is_full:
        raise QmpError(f"Bus '{path}' is full")
    return bus


def _bus_of(device: Device, name: str, elements: list[str]) -> Bus:
    if not device.buses:
        raise QmpError(f"Device '{name}' has no child bus")
    if not elements:
        if len(device.buses) > 1:
            raise QmpError(f"Device '{name}' has multiple child buses")
        return device.buses[0]
    wanted = elements.pop(0)
    for bus in device.buses:
        if bus.name == wanted:
            return bus
    raise QmpError(f"Bus '{wanted}' not found")


def _search(bus: Bus, fits: Callable[[Bus], bool]) -> Bus | None:
    pick = None
    if fits(bus):
        if not bus.is_full:
            return bus
        pick = bus
    for device in reversed(bus.devices):
        for child in reversed(device.buses):
            found = _search(child, fits)
            if found is not None and not found.is_full:
                return found
            pick = pick or found
    return pick
