"""What query-pci tells: functions, where they are, and what is behind bridges.

No firmware of ours places regions or numbers buses, so all is as it is at power-on: what is behind
a bridge without a number is not told. Observed from
hw/pci/pci-qmp-cmds.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vmd.devices import catalog

if TYPE_CHECKING:
    from vmd.devices.bus import Bus, Device
    from vmd.devices.plugging import Devices

_BRIDGE = 0x0604
_VECTORS = 1
_NUMBERS = {"number": 0, "secondary": 0, "subordinate": 0}
_BEHIND = {
    **_NUMBERS,
    "io_range": {"base": 0, "limit": 0xFFF},
    "memory_range": {"base": 0, "limit": 0xFFFFF},
    "prefetchable_range": {"base": 0, "limit": 0xFFFFF},
}
# A port that is always behind another, where query-pci does not look.
_NEVER_SEEN: dict[str, Any] = {
    "class_info": {"class": _BRIDGE, "desc": "PCI bridge"},
    "id": {"device": 0x8233, "vendor": 0x104C},
    "irq_pin": 0,
    "regions": [],
}
# A reset lets nothing through these.
_ROOT_PORTS = ("pcie-root-port", "ioh3420")
_BEHIND_ROOT_PORT = {
    **_NUMBERS,
    "io_range": {"base": 0xF000, "limit": 0xFFF},
    "memory_range": {"base": 0xFFF00000, "limit": 0xFFFFF},
    "prefetchable_range": {"base": 0xFFF00000, "limit": 0xFFFFF},
}


def describe(devices: Devices, board: str) -> list[dict[str, object]]:
    """The schema's list of PciInfo; `board` is "q35" or "pc"."""
    return [
        {"bus": 0, "devices": _functions(bus, board)}
        for host in devices.root.devices
        for bus in host.buses
        if bus.is_a("PCI")
    ]


def _functions(bus: Bus, board: str) -> list[object]:
    placed = sorted(bus.devices, key=lambda device: int(device.place["devfn"]))
    return [function(device, board) for device in placed]


def function(device: Device, board: str) -> dict[str, Any]:
    """The schema's PciDeviceInfo."""
    built_in = {(row["slot"], row["function"]): row for row in catalog.board_functions(board)}
    slot, function = divmod(int(device.place["devfn"]), 8)
    kind = catalog.find(variant(device)) or device.type
    if device.path.startswith("/machine/peripheral"):
        known = kind.pci or _NEVER_SEEN
    else:
        known = built_in.get((slot, function)) or kind.pci or _NEVER_SEEN
    told: dict[str, Any] = {
        "bus": 0,
        "slot": slot,
        "function": function,
        "class_info": known["class_info"],
        "id": known["id"],
        "irq_pin": known["irq_pin"],
        "qdev_id": device.id or "",
        "regions": [each for each in known["regions"] if _is_there(each, device)],
    }
    if known["irq_pin"]:
        told["irq"] = 0
    if known["class_info"]["class"] == _BRIDGE:
        is_root_port = device.type.name in _ROOT_PORTS
        told["pci_bridge"] = {"bus": _BEHIND_ROOT_PORT if is_root_port else _BEHIND}
    return told


def _is_there(region: dict[str, Any], device: Device) -> bool:
    """A virtio function without interrupt vectors has no table of them."""
    is_table = region["bar"] == _VECTORS and device.type.backend is not None
    return not (is_table and device.values.get("vectors") == 0)


def variant(device: Device) -> str:
    """The type that a device is like: behind a PCI Express port virtio has nothing of the past."""
    name, bus = device.type.name, device.bus
    behind_port = bus is not None and bus.type == "PCIE" and bus.parent is not None
    if (
        behind_port
        and device.type.backend is not None
        and name.endswith("-pci")
        and bus is not None
        and bus.parent is not None
        and bus.parent.bus is not None
        and bus.parent.bus.is_a("PCI")
        and "disable-legacy" not in device.given
        and catalog.has_type(f"{name}-non-transitional")
    ):
        return f"{name}-non-transitional"
    return name
