"""The devices that a board has before anybody plugs one: host bridge, south bridge, their buses.

Observed from hw/i386/pc_q35.c, hw/i386/pc_piix.c and query-pci of QEMU 10.0.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from qapi.error import QmpError
from vmd.devices import catalog, realize, rtc, trees
from vmd.devices.bus import Bus, Device

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmd.devices.board import Board
    from vmd.devices.plugging import Devices


class Part(NamedTuple):
    """A function of the root bus: its place, type, where it is in a tree with one CPU, its buses.

    A number is that among the unattached; `below` is where it is there.
    """

    slot: int
    function: int
    type: str
    at: int | str
    buses: tuple[tuple[str, str], ...] = ()
    below: str = ""


class Chipset(NamedTuple):
    """Host bridge and root bus of a board, the functions on it, and those of default devices."""

    host: str
    path: str
    bus_type: str
    bus: str
    hotpluggable: bool
    parts: tuple[Part, ...]
    defaults: tuple[Part, ...]


_TWO_IDE = (("IDE", "ide.0"), ("IDE", "ide.1"))
_ISA = (("ISA", "isa.0"),)
CHIPSETS = {
    "q35": Chipset(
        "q35-pcihost",
        "/machine/q35",
        "PCIE",
        "pcie.0",
        False,
        (
            Part(0, 0, "mch", "/machine/q35/mch"),
            Part(31, 0, "ICH9-LPC", 2, _ISA),
            Part(31, 2, "ich9-ahci", 12, tuple(("IDE", f"ide.{n}") for n in range(6))),
            Part(31, 3, "ICH9-SMB", 13),
        ),
        (Part(1, 0, "VGA", 22), Part(2, 0, "e1000e", 23)),
    ),
    "pc": Chipset(
        "i440FX-pcihost",
        "/machine/i440fx",
        "PCI",
        "pci.0",
        True,
        (
            Part(0, 0, "i440FX", 2),
            Part(1, 0, "PIIX3", 3, _ISA),
            Part(1, 1, "piix3-ide", 3, _TWO_IDE, "/ide"),
            Part(1, 3, "PIIX4_PM", 3, (), "/pm"),
        ),
        (Part(2, 0, "VGA", 6), Part(3, 0, "e1000", 23)),
    ),
}


# What a property of a q35 takes away: parts that are here, and how many devices with a number in
# front of them.
_SWITCHES = {"sata": ("ich9-ahci",), "smbus": ("ICH9-SMB",)}
_IN_FRONT = {
    "hpet": {"hpet"},
    "i8042": {"i8042", "port92", "vmmouse", "vmport"},
    "pit": {"pcspk", "pit"},
    "vmport": {"vmmouse", "vmport"},
}
_LAST_BRIDGE = 3


def add_board_devices(
    devices: Devices,
    board: Board,
    cpus: int,
    properties: Mapping[str, object],
    *,
    with_defaults: bool,
) -> None:
    """Put the board's own devices on the main system bus; `cpus` is how many are in front."""
    chipset = CHIPSETS.get(board.alias or "")
    if chipset is None:
        return
    kind = catalog.find(chipset.host)
    assert kind is not None
    host = Device(kind, None, chipset.path, devices.root)
    devices.root.devices.append(host)
    path = f"{chipset.path}/{chipset.bus}"
    root = Bus(chipset.bus_type, chipset.bus, path, host, hotpluggable=chipset.hotpluggable)
    host.buses.append(root)
    off = {name for name, value in properties.items() if value in (False, "off")}
    before = cpus - 1
    behind = before - len(set().union(*(_IN_FRONT[name] for name in off & _IN_FRONT.keys())))
    for part in (*chipset.parts, *(chipset.defaults if with_defaults else ())):
        if any(name in off and part.type in kinds for name, kinds in _SWITCHES.items()):
            behind -= 1
            continue
        is_behind = board.alias == "q35" and isinstance(part.at, int) and part.at > _LAST_BRIDGE
        _add_part(devices, part, root, behind if is_behind else before)


def _add_part(devices: Devices, part: Part, root: Bus, cpus: int) -> None:
    kind = catalog.find(part.type)
    assert kind is not None
    path = str(part.at)
    if isinstance(part.at, int):
        path = f"/machine/unattached/device[{part.at + cpus}]{part.below}"
    device = Device(kind, None, path, root)
    device.place["devfn"] = part.slot << 3 | part.function
    devices.set_defaults(device)
    device.values["addr"] = device.place["devfn"]
    root.devices.append(device)
    for type_, name in part.buses:
        most = realize.most_devices(type_)
        device.buses.append(Bus(type_, name, f"{device.path}/{name}", device, most=most))
    if part.buses == _ISA:
        rtc.plug(devices, device)


def judge_timer_of_kvm(devices: Devices) -> None:
    """The kernel's timer, of which only what -global says is looked at: it is on no bus that can be
    seen. Observed from hw/i386/kvm/i8254.c.
    """
    machine = devices.machine
    kernel = machine.kvm is not None and machine.kvm.irqchip == "on"
    if not (kernel and machine.board.has_cpus and machine.properties.get("pit") != "off"):
        return
    kind = catalog.find(trees.TIMER_OF_KVM)
    assert kind is not None
    timer = Device(kind, None, "", devices.root)
    devices.set_defaults(timer)
    devices.lost_ticks = timer.values["lost_tick_policy"]
    if devices.lost_ticks == "slew":
        raise QmpError("Lost tick policy not supported.")
