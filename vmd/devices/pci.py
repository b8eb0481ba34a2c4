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
_BEHIND = {
    "number": 0,
    "secondary": 0,
    "subordinate": 0,
    "io_range": {"base": 0xF000, "limit": 0xFFF},
    "memory_range": {"base": 0xFFF00000, "limit": 0xFFFFF},
    "prefetchable_range": {"base": 0xFFF00000, "limit": 0xFFFFF},
}


def describe(devices: Devices, board: str) -> list[dict[str, object]]:
    """The schema's list of PciInfo; `board` is "q35" or "pc"."""
    built_in = {(row["slot"], row["function"]): row for row in catalog.board_functions(board)}
    return [
        {"bus": 0, "devices": _functions(bus, built_in)}
        for host in devices.root.devices
        for bus in host.buses
        if bus.is_a("PCI")
    ]


def _functions(bus: Bus, built_in: dict[tuple[int, int], dict[str, Any]]) -> list[object]:
    placed = sorted(bus.devices, key=lambda device: int(device.place["devfn"]))
    return [_function(device, built_in) for device in placed]


def _function(device: Device, built_in: dict[tuple[int, int], dict[str, Any]]) -> object:
    slot, function = divmod(int(device.place["devfn"]), 8)
    known = device.type.pci if device.path.startswith("/machine/peripheral") else None
    known = known or built_in.get((slot, function)) or device.type.pci or {}
    told: dict[str, Any] = {
        "bus": 0,
        "slot": slot,
        "function": function,
        "class_info": known["class_info"],
        "id": known["id"],
        "irq_pin": known["irq_pin"],
        "qdev_id": device.id or "",
        "regions": known["regions"],
    }
    if known["irq_pin"]:
        told["irq"] = 0
    if known["class_info"]["class"] == _BRIDGE:
        told["pci_bridge"] = {"bus": _BEHIND}
    return told
