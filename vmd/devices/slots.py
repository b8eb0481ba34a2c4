"""Where on its bus a device goes: PCI slots, USB ports, SCSI and IDE units, ports and indices.

One function a type of bus; each finds or judges the place, notes it in `device.place` and in the
properties that tell it. QmpError with QEMU's text where there is no such place, or it is taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qapi.error import QmpError
from vmd.devices import usb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vmd.devices.bus import Bus, Device

    Warn = Callable[[str], None]

DOWNSTREAM_PORTS = ("pcie-root-port", "ioh3420", "xio3130-downstream")
_SLOTS = 32
_FUNCTIONS = 8
# Highest channel, target and unit of each SCSI controller.
_SCSI_LIMITS = {
    "virtio-scsi": (0, 255, 16383),
    "lsi53c895a": (0, 7, 0),
    "megasas": (0, 127, 255),
    "mptsas1068": (0, 7, 1),
    "pvscsi": (0, 63, 0),
    "usb-storage": (0, 0, 0),
}
_USB_PORTS = {"qemu-xhci": 4, "nec-usb-xhci": 4, "pci-ohci": 3, "usb-hub": 8}
_EHCI_PORTS = 6
_UHCI_PORTS = 2
_HUB = "usb-hub"
_SERIAL_INDICES = 4
_PARALLEL_INDICES = 3
_FLOPPIES = 2


def place(device: Device, bus: Bus, warn: Warn) -> None:
    """Find the device's place on this bus; it is not yet among the bus's devices."""
    placer = _PLACERS.get("PCI" if bus.is_a("PCI") else bus.type)
    if placer is not None:
        placer(device, bus, warn)


# PCI (hw/pci/pci.c)


def _pci(device: Device, bus: Bus, warn: Warn) -> None:
    name = device.type.name
    taken = {other.place["devfn"]: other for other in bus.devices}
    devfn = int(device.values.get("addr", -1))
    if devfn < 0:
        devfn = next((d for d in range(0, _SLOTS * _FUNCTIONS, _FUNCTIONS) if d not in taken), -1)
        if devfn < 0:
            text = f"PCI: no slot/function available for {name}, all in use or reserved"
            raise QmpError(text)
    slot, function = divmod(devfn, _FUNCTIONS)
    other = taken.get(devfn)
    if other is not None:
        raise QmpError(
            f"PCI: slot {slot} function {function} not available for {name}, in use by"
            f" {other.type.name},id={other.id or '(null)'}"
        )
    is_downstream = bus.parent is not None and bus.parent.type.name in DOWNSTREAM_PORTS
    first = taken.get(0 if is_downstream else slot * _FUNCTIONS)
    if device.hotplugged and first is not None:
        raise QmpError(
            f"PCI: slot {first.place['devfn'] // _FUNCTIONS} function 0 already occupied by"
            f" {first.type.name}, new func {name} cannot be exposed to guest."
        )
    _check_functions(device, slot, function, taken)
    if is_downstream and slot:
        warn(
            f"PCI: slot {slot} is not valid for {name}, parent device only allows plugging into"
            " slot 0."
        )
    device.place["devfn"] = devfn
    device.values["addr"] = devfn
    device.values["legacy-addr"] = f"{slot:02x}.{function:x}"


def _check_functions(device: Device, slot: int, function: int, taken: dict[int, Device]) -> None:
    base = slot * _FUNCTIONS
    if function:
        first = taken.get(base)
        if first is not None and not _is_multifunction(first):
            raise QmpError(
                f"PCI: single function device can't be populated in function {slot:x}.{function:x}"
            )
    elif not _is_multifunction(device):
        for other in range(1, _FUNCTIONS):
            if base + other in taken:
                raise QmpError(
                    f"PCI: {slot:x}.0 indicates single function, but {slot:x}.{other:x} is already"
                    " populated."
                )


def _is_multifunction(device: Device) -> bool:
    return bool(device.values.get("multifunction")) or device.type.name in ("ICH9-LPC", "PIIX3")


# USB (hw/usb/bus.c)


def usb_ports(bus: Bus) -> list[str]:
    """The names of a bus's ports, those of hubs on it included."""
    assert bus.parent is not None
    name = bus.parent.type.name
    count = _USB_PORTS.get(name, _EHCI_PORTS if "ehci" in name else _UHCI_PORTS)
    ports = [str(number + 1) for number in range(count)]
    for device in bus.devices:
        if device.type.name == _HUB:
            ports += [f"{device.place['port']}.{n + 1}" for n in range(_USB_PORTS[_HUB])]
    return ports


def _usb(device: Device, bus: Bus, warn: Warn) -> None:
    taken = {other.place["port"] for other in bus.devices}
    free = [port for port in usb_ports(bus) if port not in taken]
    wanted = device.values.get("port") or None
    if wanted is not None and wanted not in free:
        raise QmpError(f"usb port {wanted} (bus {bus.name}) not found (in use?)")
    if not free:
        raise QmpError(f"tried to attach usb device {device.type.name} to a bus with no free ports")
    device.place["port"] = wanted or free[0]
    if wanted is not None:
        device.values["port"] = wanted
    usb.check_speed(device, bus)


# virtio-serial (hw/char/virtio-serial-bus.c)


def _virtio_serial(device: Device, bus: Bus, warn: Warn) -> None:
    assert bus.parent is not None
    is_console = device.type.name == "virtconsole"
    most = int(bus.parent.values.get("max_ports", 31))
    wanted = int(device.values.get("nr", 0xFFFFFFFF))
    taken = {int(other.place["nr"]) for other in bus.devices}
    if wanted == 0 and not is_console:
        raise QmpError(
            "Port number 0 on virtio-serial devices reserved for virtconsole devices for backward"
            " compatibility."
        )
    if wanted in taken:
        raise QmpError(f"virtio-serial-bus: A port already exists at id {wanted}")
    if wanted == 0xFFFFFFFF:
        first = 0 if is_console else 1
        free = (number for number in range(first, most) if number not in taken)
        wanted = next(free, most)
        if wanted == most:
            raise QmpError("virtio-serial-bus: Maximum port limit for this device reached")
    elif wanted >= most:
        raise QmpError(
            f"virtio-serial-bus: Out-of-range port id specified, max. allowed: {most - 1}"
        )
    device.place["nr"] = device.values["nr"] = wanted


# SCSI (hw/scsi/scsi-bus.c)


def _scsi(device: Device, bus: Bus, warn: Warn) -> None:
    assert bus.parent is not None
    controller = bus.parent.type.name.partition("-pci")[0]
    channels, targets, units = _SCSI_LIMITS[controller]
    values = device.values
    channel = int(values.get("channel", 0))
    target, unit = (_wished(values.get(name, -1)) for name in ("scsi-id", "lun"))
    if channel > channels:
        raise QmpError(f"bad scsi channel id: {channel}")
    if target != -1 and target > targets:
        raise QmpError(f"bad scsi device id: {target}")
    if unit != -1 and unit > units:
        raise QmpError(f"bad scsi device lun: {unit}")
    taken = {other.place["scsi"]: other for other in bus.devices}
    if target == -1:
        unit = max(unit, 0)
        places = ((channel, number, unit) for number in range(targets + 1))
        free = _first_free(places, taken)
        if free is None:
            raise QmpError("no free target")
    elif unit == -1:
        free = _first_free(((channel, target, number) for number in range(units + 1)), taken)
        if free is None:
            raise QmpError("no free lun")
    else:
        free = (channel, target, unit)
        if free in taken:
            raise QmpError(f"lun already used by '{taken[free].id or ''}'")
    device.place["scsi"] = free
    values["channel"], values["scsi-id"], values["lun"] = free


def _wished(number: int) -> int:
    """A place, or -1 for any: in 32 bits that is the largest number."""
    return -1 if number == 0xFFFFFFFF else number


def _first_free(
    places: Iterable[tuple[int, int, int]], taken: dict[Any, Device]
) -> tuple[int, int, int] | None:
    return next((place for place in places if place not in taken), None)


# IDE (hw/ide/ide-bus.c)


def _ide(device: Device, bus: Bus, warn: Warn) -> None:
    taken = {other.place["unit"] for other in bus.devices}
    unit = int(device.values.get("unit", 0xFFFFFFFF))
    most = 2 if bus.parent is not None and bus.parent.type.name == "piix3-ide" else 1
    if unit == 0xFFFFFFFF:
        unit = 1 if 0 in taken else 0
    if unit >= most:
        raise QmpError(f"Can't create IDE unit {unit}, bus supports only {most} units")
    if unit in taken:
        raise QmpError(f"IDE unit {unit} is in use")
    device.place["unit"] = device.values["unit"] = unit
    if "serial" not in device.given and bus.name.startswith("ide."):
        # The drives that a board could have are counted, two for each bus.
        number = 2 * int(bus.name.removeprefix("ide.")) + unit + 1
        device.values["serial"] = f"QM{number:05d}"


# Floppies (hw/block/fdc.c)


def _floppy(device: Device, bus: Bus, warn: Warn) -> None:
    taken = {other.place["unit"] for other in bus.devices}
    unit = int(device.values.get("unit", 0xFFFFFFFF))
    if unit == 0xFFFFFFFF:
        unit = next(number for number in range(_FLOPPIES + 1) if number not in taken)
    if unit >= _FLOPPIES:
        raise QmpError(f"Can't create floppy unit {unit}, bus supports only {_FLOPPIES} units")
    if unit in taken:
        raise QmpError(f"Floppy unit {unit} is in use")
    device.place["unit"] = device.values["unit"] = unit


# ISA (hw/char/serial-isa.c, hw/char/parallel.c)


def _isa(device: Device, bus: Bus, warn: Warn) -> None:
    name = device.type.name
    if name not in ("isa-serial", "isa-parallel"):
        return
    serial = name == "isa-serial"
    most = _SERIAL_INDICES if serial else _PARALLEL_INDICES
    index = int(device.values.get("index", 0xFFFFFFFF))
    if index == 0xFFFFFFFF:
        index = sum(1 for other in bus.devices if other.type.name == name)
    if index >= most:
        kind = "ISA serial" if serial else "parallel"
        raise QmpError(f"Max. supported number of {kind} ports is {most}.")
    device.place["index"] = device.values["index"] = index
    if serial:
        base, line = ((0x3F8, 4), (0x2F8, 3), (0x3E8, 4), (0x2E8, 3))[index]
        device.values["iobase"], device.values["irq"] = base, line
    elif "iobase" not in device.given:
        device.values["iobase"] = (0x378, 0x278, 0x3BC)[index]


_PLACERS: dict[str, Callable[[Device, Bus, Warn], None]] = {
    "PCI": _pci,
    "usb-bus": _usb,
    "virtio-serial-bus": _virtio_serial,
    "SCSI": _scsi,
    "IDE": _ide,
    "floppy-bus": _floppy,
    "ISA": _isa,
}
