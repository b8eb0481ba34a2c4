"""`info qtree`: the tree of buses and devices, with what each device says of itself.

What a device has been given, or got by its place, is taken from it; the rest of its rows was
recorded (trees.py). The newest comes first on every bus. Observed from system/qdev-monitor.c and
the print_dev functions of the buses.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from qapi.size_text import size_text
from vmd.devices import catalog, pci, trees, usb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmd.devices.bus import Bus, Device
    from vmd.machine import Machine

    Node = dict[str, Any]  # of what trees.py tells of a board

STEP = "  "
_ROW = re.compile(r"(\S+) = (.*)")
# What a backend or the bus decides is never what was recorded.
_OWN = ("addr", "mac", "nr", "serial", "index", "iobase", "irq", "unit", "cyls", "bios-chs-trans")
_SAS = 0x3525400000000000  # what an address begins with that comes from the place on the bus
# What the board has made before its ports.
_BEFORE_PORTS = ("isa-pcspk", "isa-pit", "kvm-pit", "isa-i8259", "kvm-i8259", "mc146818rtc")
_HELD = ("netdev", "drive", "chardev")  # of which nothing may be there


def text(machine: Machine, *, brief: bool = False) -> str:
    """What `info qtree` prints; `brief` leaves the rows of devices out."""
    printer = _Printer(machine, brief)
    board = trees.board(machine)["devices"]
    root = machine.devices.root
    return "".join(f"{row}\n" for row in printer.bus(root, board, ""))


class _Printer:
    def __init__(self, machine: Machine, brief: bool) -> None:
        self._machine = machine
        self._brief = brief
        self._absent = trees.absent(machine)
        self._usb = list(usb.buses(machine))

    def bus(self, bus: Bus | None, node: Node | None, indent: str) -> Iterator[str]:
        """A bus that vmd has, that the board has, or both."""
        name = node["name"] if bus is None and node is not None else bus.name if bus else ""
        kind = node["type"] if bus is None and node is not None else bus.type if bus else ""
        yield f"{indent}bus: {name}"
        indent += STEP
        yield f"{indent}type {kind}"
        ours = list(reversed(bus.devices)) if bus is not None else []
        nodes = [n for n in node["devices"] if n["type"] not in self._absent] if node else []
        built_in = {n["type"] for n in nodes}
        others = [d for d in ours if not (_is_built_in(d) and d.type.name in built_in)]
        ports = [d for d in others if _is_built_in(d) and kind == "ISA"]
        for device in others:
            if device not in ports:
                yield from self._device(device, None, indent)
        for each in nodes:
            if each["type"] in _BEFORE_PORTS:
                for device in ports:
                    yield from self._device(device, None, indent)
                ports = []
            found = next((d for d in ours if _is_built_in(d) and d.type.name == each["type"]), None)
            yield from self._device(found, each, indent)

    def _device(self, device: Device | None, node: Node | None, indent: str) -> Iterator[str]:
        kind = device.type.name if device is not None else node["type"] if node is not None else ""
        name = (device.id if device is not None else None) or ""
        yield f'{indent}dev: {kind}, id "{name}"'
        indent += STEP
        if not self._brief:
            yield from (indent + row for row in self._rows(device, node))
        buses = {b["name"]: b for b in node.get("buses", ())} if node is not None else {}
        if device is not None and device.type.backend is not None:
            yield from self._inner(device, indent)
            return
        known = [bus.name for bus in device.buses] if device is not None else []
        for name in [name for name in buses if name not in known]:
            yield from self.bus(None, buses[name], indent)
        for bus in reversed(device.buses) if device is not None else ():
            yield from self.bus(bus, buses.get(bus.name), indent)

    def _inner(self, device: Device, indent: str) -> Iterator[str]:
        """The virtio device behind a PCI function."""
        backend = device.type.backend
        assert backend is not None
        yield f"{indent}bus: virtio-bus"
        indent += STEP
        yield f"{indent}type virtio-pci-bus"
        yield f'{indent}dev: {backend.type}, id ""'
        indent += STEP
        if not self._brief:
            rows = trees.of_type(device.type.name).get("inner", ())
            yield from (
                indent + self._row(row, device, catalog_types(backend.type)) for row in rows
            )
        for bus in reversed(device.buses):
            yield from self.bus(bus, None, indent)

    # Rows

    def _rows(self, device: Device | None, node: Node | None) -> Iterator[str]:
        if device is None:
            assert node is not None
            yield from (self._of_board(row) for row in node.get("rows", ()))
            return
        kind = device.type.name
        rows = node.get("rows", ()) if node is not None else trees.of_type(kind).get("rows", ())
        types = {name: info.type for name, info in device.type.properties.items()}
        for row in rows:
            yield self._of_board(row) if node is not None else self._row(row, device, types)
        yield from self._said_by_bus(device)

    def _of_board(self, row: str) -> str:
        """A row of a board's device: some depend on RAM."""
        name = row.partition(" = ")[0]
        if name in ("below-4g-mem-size", "above-4g-mem-size"):
            pieces = [length for _, length, _ in trees.ram_pieces(self._machine)]
            return f"{name} = {_size([*pieces, 0][name.startswith('above')])}"
        return row

    def _row(self, row: str, device: Device, types: dict[str, str]) -> str:
        match = _ROW.fullmatch(row)
        if match is None:
            return row
        name = match[1]
        if name == "addr" and "devfn" in device.place:
            slot, function = divmod(int(device.place["devfn"]), 8)
            return f"addr = {slot:02x}.{function:x}"
        value = device.values.get(name)
        if name in _HELD:
            return f'{name} = "{value or ""}"'
        if name == "sas_address" and name not in device.given:
            return f"{name} = {shown(_SAS | int(device.place['devfn']) << 5, 'uint64')}"
        if name == "disable-legacy" and pci.variant(device) != device.type.name:
            return f'{name} = "on"'
        if value is None or not (name in device.given or name in _OWN):
            return row
        return f"{name} = {shown(value, types.get(name, 'str'))}"

    def _said_by_bus(self, device: Device) -> Iterator[str]:
        bus = device.bus
        if bus is None:
            return
        if bus.is_a("PCI"):
            yield from _pci(device, self._machine)
        elif bus.type == "usb-bus":
            number = self._usb.index(bus)
            speed = usb.speed(device, bus)
            product = usb.PRODUCTS[device.type.name]
            port = device.place["port"]
            yield f"addr {number}.0, port {port}, speed {speed}, name {product}, attached"
        elif bus.type == "virtio-serial-bus":
            # A console is connected to whatever it has; another port while somebody is there.
            is_console = device.type.name == "virtconsole" and device.values.get("chardev")
            host = "on" if is_console or _is_connected(device, self._machine) else "off"
            yield f"port {device.values['nr']}, guest off, host {host}, throttle off"


def catalog_types(name: str) -> dict[str, str]:
    """The types of a type's properties, by name."""
    return {name: info.type for name, info in catalog.type_properties(name).items()}


def _is_connected(device: Device, machine: Machine) -> bool:
    label = str(device.values.get("chardev", ""))
    chardev = machine.chardevs.get(label) if machine.chardevs is not None else None
    return chardev is not None and chardev.is_open and chardev.kind != "null"


def _is_built_in(device: Device) -> bool:
    return not device.path.startswith("/machine/peripheral")


def _pci(device: Device, machine: Machine) -> Iterator[str]:
    told = pci.function(device, machine.board.alias or "")
    kind, number = told["class_info"], told["id"]
    name = kind.get("desc") or f"Class {kind['class']:04x}"
    sub = f"{number.get('subsystem-vendor', 0):04x}:{number.get('subsystem', 0):04x}"
    place = f"{told['slot']:02x}.{told['function']:x}"
    ids = f"{number['vendor']:04x}:{number['device']:04x}"
    yield f"class {name}, addr {told['bus']:02x}:{place}, pci id {ids} (sub {sub})"
    for region in told["regions"]:
        where, size = region["address"], region["size"]
        kind = "i/o" if region["type"] == "io" else "mem"
        last = (where + size - 1) % (1 << 64)
        yield f"bar {region['bar']}: {kind} at 0x{where % (1 << 64):x} [0x{last:x}]"


def shown(value: object, kind: str) -> str:
    """A value as human-readable output has it (qapi/string-output-visitor.c)."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        if kind == "size":
            return _size(value)
        return f"{value} (0x{value % (1 << 64):x})"
    return f'"{value}"'


def _size(value: int) -> str:
    return f"{value} ({size_text(value)})"
