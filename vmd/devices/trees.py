"""What boards and devices consist of beyond what users see of them: objects, buses, regions.

`trees.json` was recorded from QEMU 10.0.2 by tests/vmd/record_trees.py. A board has

- objects: name → object; those of `unattached` called `device[N]` have the number that they have
  in a machine with one CPU
- devices: the main system bus; a bus is {name, type, devices}, a device {type, rows, buses}, its
  rows being those of `info qtree`
- cpu: what is in the first CPU
- groups: those of `info mtree`, see mtree.py

and a type of device, as `/machine/peripheral/dev` of a q35: children, rows, inner (the rows of the
virtio device behind it), groups, and regions that it adds to spaces of the board: [around, region].

`categories` are [title, rows] of `info qdm`. `trees_kvm.json`, by tests/vmd/record_kvm.py, has the
boards as they are under KVM, by who has their interrupt controllers.

An object is {type, properties: {name: [type, value]}, children}; a list stands for a region of
memory (address, container, priority, size), 0 for an interrupt line.
"""

from __future__ import annotations

import copy
import re
from functools import cache as once
from typing import TYPE_CHECKING, Any

from vmd.devices import pci, qom
from vmd.devices.qom import Object, Property
from vmd.memory.addressspace import split_ram

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vmd.devices.bus import Device
    from vmd.machine import Machine

    Path = Callable[[str], str]

TIMER_OF_KVM = "kvm-pit"
RECORDED = "/machine/peripheral/dev"
_FIRST_CPU = "/machine/unattached/device[0]"
_NUMBERED = r"/machine/unattached/device\[(\d+)\]"
_LEGACY_REGION = "virtio-pci[1]"
_REGION = ("addr", "container", "priority", "size")
_KINDS = {"addr": "uint64", "container": "link<memory-region>", "priority": "uint32"}
# What a property of the machine takes away when it is off.
_PARTS = {
    "hpet": ("hpet",),
    "pic": ("isa-i8259", "kvm-i8259"),
    "i8042": ("i8042", "port92", "ps2-kbd", "ps2-mouse", "vmport", "vmmouse"),
    "pit": ("isa-pit", "kvm-pit", "isa-pcspk"),
    "sata": ("ich9-ahci",),
    "smbus": ("ICH9-SMB", "smbus-eeprom"),
    "vmport": ("vmport", "vmmouse"),
}


def board(machine: Machine) -> dict[str, Any]:
    """What was recorded of the machine's board."""
    if machine.kvm is not None and machine.board.has_cpus:
        under_kvm: dict[str, Any] = _under_kvm()[f"{machine.board.alias} {machine.kvm.irqchip}"]
        if machine.globals and machine.devices.lost_ticks != "delay":
            under_kvm = copy.deepcopy(under_kvm)
            _let_ticks_be(under_kvm["objects"], machine.devices.lost_ticks)
            _let_ticks_be(under_kvm["devices"], machine.devices.lost_ticks)
        return under_kvm
    found: dict[str, Any] = _data()["boards"][machine.board.alias or "none"]
    return found


def _let_ticks_be(node: Any, policy: str) -> None:
    """Put the policy of KVM's timer into a tree of objects or of devices."""
    if isinstance(node, dict) and node.get("type") == TIMER_OF_KVM:
        if "properties" in node:
            node["properties"]["lost_tick_policy"][1] = policy
        else:
            node["rows"] = [
                re.sub("(lost_tick_policy = ).*", rf'\1"{policy}"', r) for r in node["rows"]
            ]
    elif isinstance(node, dict | list):
        for inner in node.values() if isinstance(node, dict) else node:
            _let_ticks_be(inner, policy)


def of_type(name: str) -> dict[str, Any]:
    """What was recorded of a type of device; nothing of types that nobody can plug."""
    found: dict[str, Any] = _data()["types"].get(name, {})
    return found


def categories() -> list[tuple[str, list[str]]]:
    """The types of devices by what they are for: titles and rows of `info qdm`."""
    return [(title, rows) for title, rows in _data()["categories"]]


def absent(machine: Machine) -> set[str]:
    """The types of the board's devices that this machine does without."""
    off = [name for name in _PARTS if machine.properties.get(name) in (False, "off")]
    if machine.board.alias == "pc":
        off = [name for name in off if name not in ("sata", "smbus")]  # it does not listen to them
    return {kind for name in off for kind in _PARTS[name]}


def ram_pieces(machine: Machine) -> list[tuple[int, int, int]]:
    """Main RAM of a PC: (guest address, length, offset)."""
    return split_ram(machine.ram_size, q35=machine.board.alias == "q35")


# Objects


def add_board(root: Object, machine: Machine) -> None:
    """Add the objects that a board has of itself."""
    here = root.children["machine"]
    numbers = _numbers(machine)
    gone = absent(machine)

    def path(text: str) -> str:
        if not text.startswith("/machine/"):
            return text
        return re.sub(_NUMBERED, lambda m: _device(numbers.get(int(m[1]), -1)), text)

    for name, what in board(machine)["objects"].items():
        if name != "unattached":
            _add(here, name, what, path)
            continue
        for inner, part in what["children"].items():
            match = re.fullmatch(r"device\[(\d+)\]", inner)
            if match is None:
                _add(here.children[name], inner, part, path)
            elif part["type"] not in gone:
                number = f"device[{numbers[int(match[1])]}]"
                _add(here.children[name], number, part, path)
    if machine.board.has_cpus:
        _cut_wires(here.children["unattached"], gone, is_q35=machine.board.alias == "q35")
        _fit_ram(here.children["unattached"], machine)
        for index, processor in machine.processors.by_index.items():
            add_parts_of_cpu(qom.find(root, processor.path), machine, index)


def _numbers(machine: Machine) -> dict[int, int]:
    """The number that a device has here, by the one it has beside one CPU and with all parts."""
    parts = board(machine)["objects"]["unattached"]["children"]
    gone = absent(machine)
    # The first part comes with the first CPU, and all other CPUs behind it.
    taken = {0, *range(2, machine.cpus + 1), *_furniture(machine)}
    found, number = {}, 0
    for recorded in range(1, len(parts)):
        part = parts.get(f"device[{recorded}]")
        if part is not None and part["type"] not in gone:
            while number in taken:
                number += 1
            found[recorded] = number
            number += 1
    return found


def _furniture(machine: Machine) -> Iterator[int]:
    """The numbers of what is not the board's own."""
    from vmd.devices import furniture

    for kind, places in furniture.paths(machine).items():
        if kind in furniture.kinds(machine):
            yield from (int(place.rpartition("[")[2].removesuffix("]")) for place in places)


def _device(number: int) -> str:
    return f"/machine/unattached/device[{number}]"


def _cut_wires(unattached: Object, gone: set[str], *, is_q35: bool) -> None:
    """Interrupt lines of parts that are gone: of all lines the last ones go."""
    count = sum(name.startswith("non-qdev-gpio[") for name in unattached.children)
    less = 2 * ("i8042" in gone) + ("isa-i8259" in gone) + 8 * ("hpet" in gone and not is_q35)
    for number in range(less):
        del unattached.children[f"non-qdev-gpio[{count - 1 - number}]"]


def add_parts_of_cpu(cpu: Object, machine: Machine, index: int) -> None:
    def path(text: str) -> str:
        return cpu.path + text[len(_FIRST_CPU) :] if text.startswith(_FIRST_CPU) else text

    for name, what in board(machine)["cpu"].items():
        _add(cpu, name, what, path)
    lapic = cpu.children["lapic"]
    _know(lapic, "id", Property("uint32", _constant(index)))
    if index:  # all have it at the same place, but only the first one's is there
        message = lapic.children["apic-msi[0]" if machine.kvm is None else "kvm-apic-msi[0]"]
        _know(message, "container", Property(_KINDS["container"], _constant("")))


def _know(found: Object, name: str, better: Property) -> None:
    """Let one of its properties be another than was recorded."""
    others = found.more or dict
    found.more = lambda: others() | {name: better}


def _fit_ram(unattached: Object, machine: Machine) -> None:
    for name, (address, length, _) in zip(
        ("ram-below-4g[0]", "ram-above-4g[0]"), ram_pieces(machine), strict=False
    ):
        unattached.children.pop(name, None)
        where = "/machine/unattached/system[0]"
        _add(unattached, name, [address, where, 0, length], str)


def add_parts(parent: Object, device: Device) -> None:
    """Add what a device that users plugged consists of."""

    def path(text: str) -> str:
        return device.path + text[len(RECORDED) :] if text.startswith(RECORDED) else text

    is_modern = pci.variant(device) != device.type.name
    for name, what in of_type(device.type.name).get("children", {}).items():
        if not (is_modern and name == _LEGACY_REGION):
            _add(parent, name, what, path)
    if device.type.name.startswith("virtio-rng") and "rng" not in device.given:
        parent.children["virtio-backend"].add("default-backend", "rng-builtin")


def _add(parent: Object, name: str, what: Any, path: Path) -> None:
    """Add an object with all below it; of one that is there already what it lacks."""
    found = parent.children.get(name)
    if what == 0:
        if found is None:
            parent.add(name, "irq")
        return
    if isinstance(what, list):
        if found is None:
            parent.add(name, "memory-region").more = lambda: _region(what, path)
        return
    if found is None:
        found = parent.add(name, what["type"])
        found.more = lambda: _properties(what.get("properties", {}), path)
    for key, child in what.get("children", {}).items():
        _add(found, key, child, path)


def _region(values: list[Any], path: Path) -> dict[str, Property]:
    told = dict(zip(_REGION, values, strict=True))
    kinds = {name: [_KINDS.get(name, "uint64"), value] for name, value in told.items()}
    return _properties(kinds, path)


def _properties(told: dict[str, list[Any]], path: Path) -> dict[str, Property]:
    return {
        name: Property(kind, _constant(path(value) if isinstance(value, str) else value))
        for name, (kind, value) in told.items()
    }


def _constant(value: object) -> Callable[[], object]:
    return lambda: value


@once
def _data() -> dict[str, Any]:
    return _load("trees.json")


@once
def _under_kvm() -> dict[str, Any]:
    return _load("trees_kvm.json")


def _load(name: str) -> dict[str, Any]:
    import json
    from os.path import dirname, join

    with open(join(dirname(__file__), name), encoding="ascii") as stream:
        data: dict[str, Any] = json.load(stream)
    return data
