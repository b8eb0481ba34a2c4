"""`info mtree`: the guest's address spaces as trees of regions.

A group is {kind, names, regions}: an address space, with others that have the same root, or a
region that an alias leads to. A region is [first, last, priority, kind, name, alias or None,
regions in it], an alias [name of the target, first, last in it]. Regions of boards and devices were
recorded (trees.py); main RAM is as the machine has it. Observed from system/memory.c.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from vmd.devices import dimms, pci, trees

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmd.devices.bus import Device
    from vmd.machine import Machine

    Region = list[Any]
    Group = dict[str, Any]

FIRST, LAST, PRIORITY, KIND, NAME, ALIAS, INNER = range(7)
_PORTS = 1 << 16
_RAM = "pc.ram"  # the name that was recorded
_REGIONS_OF = {"hpet": ("hpet",), "i8042": ("i8042-data", "i8042-cmd"), "vmport": ("vmport",)}
_REGIONS_OF |= {"kvm-pit": ("kvm-pit",)}
_REGIONS_OF |= {"isa-i8259": ("pic", "elcr")}
_REGIONS_OF |= {"isa-pit": ("pit",), "isa-pcspk": ("pcspk",), "port92": ("port92",)}


def text(machine: Machine) -> str:
    found: list[str] = []
    for group in groups(machine):
        found += [f"{group['kind']}: {name}" for name in group["names"]]
        found += rows(group["regions"], 1)
        found.append("")
    return "".join(f"{row}\n" for row in found)


def rows(regions: list[Region], depth: int) -> Iterator[str]:
    """A row for each region, those in others further right."""
    for first, last, priority, kind, name, alias, inner in regions:
        about = f"{first:016x}-{last:016x} (prio {priority}, {kind}): "
        about += (
            name if alias is None else f"alias {name} @{alias[0]} {alias[1]:016x}-{alias[2]:016x}"
        )
        # A region that is switched off shows only what is in it.
        if name:
            yield "  " * depth + about
        yield from rows(inner, depth + 1)


def groups(machine: Machine) -> list[Group]:
    """All groups of the machine as it is now."""
    found: list[Group] = copy.deepcopy(trees.board(machine)["groups"])
    _take_away(found, machine)
    behind: dict[Device, list[Group]] = {}
    plugged = set(machine.devices.plugged())
    for device in machine.devices.all():
        behind[device] = _add_device(found, behind, device) if device in plugged else []
    _fit_ram(found, machine)
    if machine.board.has_cpus and machine.max_ram_size > machine.ram_size:
        _add_modules(found, machine)
    if machine.board.has_cpus:
        _add_cpus(found, list(machine.processors.by_index))
    return found


def _add_cpus(found: list[Group], cpus: list[int]) -> None:
    for group in list(found):
        if "cpu-memory-0" in group["names"]:
            names = [f"cpu-memory-{number}" for number in cpus]
            group["names"] = [*names, *(n for n in group["names"] if n != "cpu-memory-0")]
        if group["names"] == ["cpu-smm-0"]:
            found += [{**group, "names": [f"cpu-smm-{number}"]} for number in cpus[1:]]


def _take_away(found: list[Group], machine: Machine) -> None:
    kinds = trees.absent(machine)
    gone = {name for kind in kinds for name in _REGIONS_OF.get(kind, ())}
    # What a function sees of memory bears the name of its type.
    found[:] = [group for group in found if not kinds.issuperset(group["names"])]

    def without(regions: list[Region]) -> list[Region]:
        kept = [region for region in regions if region[NAME] not in gone]
        for region in kept:
            region[INNER] = without(region[INNER])
        return kept

    if gone:
        for group in found:
            group["regions"] = without(group["regions"])


def _add_device(
    found: list[Group], behind: dict[Device, list[Group]], device: Device
) -> list[Group]:
    """Add what a device brings: the groups of its own. `behind` are those of others by now."""
    like = pci.variant(device)
    told = trees.of_type(like)
    for name, others in told.get("joins", {}).items():
        for group in found:
            if name in group["names"]:
                group["names"] += others
    bridge = device.bus.parent if device.bus is not None else None
    around_it = behind.get(bridge, []) if bridge is not None else []
    for around, region in copy.deepcopy(told.get("regions", [])):
        _move(region, device)
        if around_it:
            around = _OF_BRIDGES.get(around, around)
        for group in around_it or found:
            _put(group["regions"], around, region)
    own = []
    for group in copy.deepcopy(told.get("groups", [])):
        names = [name.replace(like, device.type.name) for name in group["names"]]
        own.append({**group, "names": names})
    found += own
    return own


_OF_BRIDGES = {"pci": "pci_bridge_pci", "io": "pci_bridge_io"}


def _move(region: Region, device: Device) -> None:
    """An ISA device has its ports where it was told to."""
    base = device.values.get("iobase")
    if isinstance(base, int):
        usual = device.type.properties["iobase"].default
        move = base - (usual if usual in range(_PORTS) else region[FIRST])
        region[FIRST] += move
        region[LAST] += move


def _put(regions: list[Region], around: str, region: Region) -> None:
    """Put a region into every one of that name: by address, of equal ones the stronger first."""
    for each in regions:
        if each[NAME] == around and each[ALIAS] is None:
            inner = each[INNER]
            place = next(
                (
                    index
                    for index, other in enumerate(inner)
                    if (region[FIRST], -region[PRIORITY]) < (other[FIRST], -other[PRIORITY])
                ),
                len(inner),
            )
            inner.insert(place, region)
        else:
            _put(each[INNER], around, region)


def _fit_ram(found: list[Group], machine: Machine) -> None:
    """Let main RAM be as large, and be called, as it is."""
    name = machine.main_ram[0].idstr if machine.main_ram else None
    if not machine.board.has_cpus:
        for group in found:
            for region in group["regions"]:
                if region[NAME] == "system":
                    end = machine.ram_size - 1
                    ram = [[0, end, 0, "ram", name, None, []]] if name else []
                    region[INNER] = ram
        return
    pieces = trees.ram_pieces(machine)
    for group in found:
        if group["names"] == [_RAM]:
            group["names"] = [name]
            group["regions"] = [[0, machine.ram_size - 1, 0, "ram", name, None, []]]
        _fit_aliases(group["regions"], pieces, name)


def _add_modules(found: list[Group], machine: Machine) -> None:
    """The room for memory modules, with those that are there."""
    start, length = dimms.region(machine)
    inner = []
    for dimm in dimms.plugged(machine):
        first, size = dimm.values["addr"], dimm.values["size"]
        name = dimms.backend_of(machine, dimm).block.idstr
        inner.append([first, first + size - 1, 0, "ram", name, None, []])
    room: Region = [start, start + length - 1, 0, "i/o", "device-memory", None, inner]
    for group in found:
        _put(group["regions"], "system", room)
    found.append({"kind": "address-space", "names": ["device-memory"], "regions": [room]})


def _fit_aliases(
    regions: list[Region], pieces: list[tuple[int, int, int]], name: str | None
) -> None:
    for region in regions:
        if region[NAME] == "ram-below-4g":
            length = pieces[0][1]
            region[LAST], region[ALIAS] = length - 1, [name, 0, length - 1]
        elif region[ALIAS] is not None and region[ALIAS][0] == _RAM:
            region[ALIAS][0] = name
        _fit_aliases(region[INNER], pieces, name)
    if len(pieces) > 1 and any(region[NAME] == "ram-below-4g" for region in regions):
        start, length, offset = pieces[1]
        alias = [name, offset, offset + length - 1]
        regions.append([start, start + length - 1, 0, "ram", "ram-above-4g", alias, []])
