"""Memory modules: RAM in slots, at guest addresses above all other.

Observed from hw/mem/pc-dimm.c, hw/mem/memory-device.c and hw/i386/pc.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qapi.error import QmpError

if TYPE_CHECKING:
    from vmd.devices.bus import Device
    from vmd.machine import Machine
    from vmd.memory.backends import MemoryBackend

TYPE = "pc-dimm"
_GIB = 1 << 30
_FOUR_GIB = 1 << 32
_PAGE, _HUGE = 1 << 12, 2 << 20


def is_dimm(device: Device) -> bool:
    return device.type.name == TYPE


def plugged(machine: Machine) -> list[Device]:
    """The modules that are there, by address."""
    found = [device for device in machine.devices.plugged() if is_dimm(device)]
    return sorted(found, key=lambda device: int(device.values["addr"]))


def total(machine: Machine, node: int | None = None) -> int:
    """Bytes of all modules, or of those that belong to a node."""
    there = plugged(machine) if machine.board.has_cpus else []
    return sum(d.values["size"] for d in there if node in (None, d.values["node"]))


def region(machine: Machine) -> tuple[int, int]:
    """Where modules may be: first address and bytes; each slot has room to be aligned in."""
    from vmd.memory.addressspace import split_ram

    pieces = split_ram(machine.ram_size, q35=machine.board.alias == "q35")
    above = sum(length for start, length, _ in pieces if start >= _FOUR_GIB)
    start = -(-(_FOUR_GIB + above) // _GIB) * _GIB
    return start, machine.max_ram_size - machine.ram_size + machine.memory_slots * _GIB


def backend_of(machine: Machine, device: Device) -> MemoryBackend:
    return machine.backends[str(device.values["memdev"]).rpartition("/")[2]]


def check(machine: Machine, device: Device, *, hotplug: bool) -> None:
    """Find the slot and the address of a new module; QmpError if there is none."""
    if not machine.board.has_cpus:
        verb = "hotplugged" if hotplug else "plugged"
        raise QmpError(f"Device '{TYPE}' can not be {verb} on this machine")
    if not device.values.get("memdev"):
        raise QmpError("'memdev' property must be set")
    backend = backend_of(machine, device)
    if backend.block in machine.ram_blocks:
        name = str(device.values["memdev"]).rpartition("/")[2]
        raise QmpError(f"can't use already busy memdev: {name}")
    device.values["slot"] = _slot(machine, int(device.values.get("slot", -1)))
    device.values["addr"] = _address(machine, device, backend)
    device.values["size"] = backend.size
    nodes, node = max(len(machine.node_sizes), 1), int(device.values.get("node", 0))
    if node >= nodes:
        text = f"'DIMM property node has value {node}'"
        raise QmpError(f"{text} which exceeds the number of numa nodes: {nodes}")


def _slot(machine: Machine, wanted: int) -> int:
    most = machine.memory_slots
    taken = {device.values["slot"] for device in plugged(machine)}
    if not most:
        raise QmpError("no slots where allocated, please specify the 'slots' option")
    if wanted != -1:
        if not 0 <= wanted < most:
            raise QmpError(f"invalid slot number {wanted}, valid range is [0-{most - 1}]")
        if wanted in taken:
            raise QmpError(f"slot {wanted} is busy")
        return wanted
    free = next((slot for slot in range(most) if slot not in taken), None)
    if free is None:
        raise QmpError("no free slots available")
    return free


def _address(machine: Machine, device: Device, backend: MemoryBackend) -> int:
    size, used = backend.size, total(machine)
    room = machine.max_ram_size - machine.ram_size
    if used + size > room:
        text = f"not enough space, currently 0x{used:x} in use of total space"
        raise QmpError(f"{text} for memory devices 0x{room:x}")
    start, length = region(machine)
    align = _HUGE if backend.qom_type == "memory-backend-ram" else _PAGE
    wanted = int(device.values["addr"]) if "addr" in device.given else 0
    if wanted % align:
        raise QmpError(f"address must be aligned to 0x{align:x} bytes")
    if size % align:
        raise QmpError(f"backend memory size must be multiple of 0x{align:x}")
    if wanted and not (start <= wanted and wanted + size <= start + length):
        raise QmpError(
            f"can't add memory device [0x{wanted:x}:0x{size:x}], usable range for memory devices"
            f" [0x{start:x}:0x{length:x}]"
        )
    found = wanted or start
    for other in plugged(machine):
        first, end = other.values["addr"], other.values["addr"] + other.values["size"]
        if found < end and first < found + size:
            if wanted:
                name = f"id='{other.id or ''}'"
                raise QmpError(f"address range conflicts with memory device {name}")
            found = -(-end // align) * align
    if found + size > start + length:
        raise QmpError(
            "could not find position in guest address space for memory device - "
            "memory fragmented due to alignments"
        )
    return found


def plug(machine: Machine, device: Device) -> None:
    """The guest has its RAM from now on."""
    block = backend_of(machine, device).block
    machine.ram_blocks.append(block)
    machine.memory.map(device.values["addr"], block)


def unplug(machine: Machine, device: Device) -> None:
    block = backend_of(machine, device).block
    machine.ram_blocks.remove(block)
    machine.memory.unmap(block)


def described(machine: Machine) -> list[dict[str, Any]]:
    """The schema's MemoryDeviceInfo of all modules."""
    found = []
    for device in plugged(machine) if machine.board.has_cpus else ():
        values = device.values
        told: dict[str, Any] = {} if device.id is None else {"id": device.id}
        told |= {name: values[name] for name in ("addr", "slot", "node", "memdev", "size")}
        told |= {"hotplugged": device.hotplugged, "hotpluggable": True}
        found.append({"type": "dimm", "data": told})
    return found
