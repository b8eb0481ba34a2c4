"""The devices that a board has before anybody plugs one: host bridge, south bridge, their buses.

Observed from hw/i386/pc_q35.c, hw/i386/pc_piix.c and query-pci of QEMU 10.0.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from qapi.error import QmpError
from vmd.devices import catalog, furniture, realize, rtc, trees
from vmd.devices.bus import Bus, Device

if TYPE_CHECKING:
    from vmd.devices.plugging import Devices


class Part(NamedTuple):
    """A function of the root bus: its place, type, buses; `at` is where it is, if not among the
    unattached, or the part that it belongs to, `below` where it is there.
    """

    slot: int
    function: int
    type: str
    buses: tuple[tuple[str, str], ...] = ()
    at: str = ""
    below: str = ""


class Chipset(NamedTuple):
    """Host bridge and root bus of a board, and the functions on it."""

    host: str
    path: str
    bus_type: str
    bus: str
    hotpluggable: bool
    parts: tuple[Part, ...]


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
            Part(0, 0, "mch", at="/machine/q35/mch"),
            Part(31, 0, "ICH9-LPC", _ISA),
            Part(31, 2, "ich9-ahci", tuple(("IDE", f"ide.{n}") for n in range(6))),
            Part(31, 3, "ICH9-SMB"),
        ),
    ),
    "pc": Chipset(
        "i440FX-pcihost",
        "/machine/i440fx",
        "PCI",
        "pci.0",
        True,
        (
            Part(0, 0, "i440FX"),
            Part(1, 0, "PIIX3", _ISA),
            Part(1, 1, "piix3-ide", _TWO_IDE, "PIIX3", "/ide"),
            Part(1, 3, "PIIX4_PM", (), "PIIX3", "/pm"),
        ),
    ),
}


def add_board_devices(devices: Devices) -> None:
    """Put the board's own devices on the main system bus."""
    machine = devices.machine
    chipset = CHIPSETS.get(machine.board.alias or "")
    if chipset is None:
        return
    kind = catalog.find(chipset.host)
    assert kind is not None
    host = Device(kind, None, chipset.path, devices.root)
    devices.root.devices.append(host)
    path = f"{chipset.path}/{chipset.bus}"
    root = Bus(chipset.bus_type, chipset.bus, path, host, hotpluggable=chipset.hotpluggable)
    host.buses.append(root)
    gone = trees.absent(machine)
    paths = furniture.paths(machine)
    for part in chipset.parts:
        if part.type not in gone:
            place = part.at if part.at.startswith("/") else paths[part.at or part.type][0]
            _add_part(devices, part, root, place + part.below)
    if machine.board.alias == "pc":
        _add_floppies(devices, paths[furniture.FLOPPIES][0])


def _add_floppies(devices: Devices, path: str) -> None:
    """The controller of a PC's floppy drives."""
    kind = catalog.find(furniture.FLOPPIES)
    isa = next(bus for device in devices.all() for bus in device.buses if bus.type == "ISA")
    assert kind is not None
    controller = Device(kind, None, path, isa)
    devices.set_defaults(controller)
    isa.devices.append(controller)
    devices.add_buses(controller)


def _add_part(devices: Devices, part: Part, root: Bus, path: str) -> None:
    kind = catalog.find(part.type)
    assert kind is not None
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
