"""The CPUs that a machine has now: those of its start, and those that users plugged in.

Observed from hw/i386/x86-common.c and hw/acpi/cpu.c. A CPU is unplugged by a guest that listens;
as long as there is none QEMU's firmware has no word for that, and refuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qapi.error import QmpError
from vmd.devices import cpu
from vmd.devices.catalog import DeviceType

if TYPE_CHECKING:
    from vmd.devices.bus import Device
    from vmd.devices.topology import Topology
    from vmd.machine import Machine
    from vmd.sleeper import Sleeper

_LEVELS = ("socket", "die", "module", "core", "thread")


class Processor:
    """One CPU: where it is in the tree, and its thread, there from the first question on."""

    __slots__ = ("_name", "_thread", "device", "path")

    def __init__(self, name: str | None, path: str, device: Device | None = None) -> None:
        self._name = name  # of the thread
        self.path = path
        self.device = device  # None for those of the start
        self._thread: Sleeper | None = None

    @property
    def thread_id(self) -> int:
        if self._thread is None:
            from vmd.sleeper import Sleeper

            self._thread = Sleeper(self._name)
        return self._thread.number

    def close(self) -> None:
        if self._thread is not None:
            self._thread.close()


class Processors:
    """All CPUs, by index."""

    def __init__(self, machine: Machine) -> None:
        from vmd.devices.composition import cpu_path

        count = machine.cpus if machine.board.has_cpus else 0
        self._accelerator = "TCG" if machine.kvm is None else "KVM"
        self._named = machine.debug_threads
        self.by_index = {
            index: Processor(self._name(index), cpu_path(index)) for index in range(count)
        }

    def _name(self, index: int) -> str | None:
        return f"CPU {index}/{self._accelerator}" if self._named else None

    def add(self, device: Device) -> None:
        """A device that `check` has let through is there."""
        index = int(device.place["cpu"])
        self.by_index[index] = Processor(self._name(index), device.path, device)
        self.by_index = dict(sorted(self.by_index.items()))

    def remove(self, device: Device) -> None:
        self.by_index.pop(int(device.place["cpu"])).close()


def find_type(name: str) -> DeviceType | None:
    """A CPU model as a type of device, or None if that is none."""
    model = name.removesuffix(cpu.SUFFIX)
    if model == name or model not in cpu.names():
        return None
    properties = {info.name: info for info in cpu.properties(name, device=True)}
    return DeviceType(name, None, None, True, True, {}, (), None, None, properties)


def is_cpu(device: Device) -> bool:
    return device.type.name.endswith(cpu.SUFFIX)


def check(machine: Machine, device: Device) -> None:
    """Find the place of a new CPU; QmpError if it has none."""
    expected = machine.cpu_model + cpu.SUFFIX
    if not machine.board.has_cpus or device.type.name != expected:
        raise QmpError(f"Invalid CPU type, expected cpu type: '{expected}'")
    topology = machine.topology
    given = {name: device.values[name] for name in device.given}
    apic_id = given.get("apic-id")
    if apic_id is None:
        apic_id = _apic_id(topology, given)
    numbers = {topology.apic_id(index): index for index in range(topology.maxcpus)}
    index = numbers.get(apic_id)
    if index is None:
        place = _place(topology, apic_id)
        where = ", ".join(f"{level}: {place[f'{level}-id']}" for level in _LEVELS)
        raise QmpError(
            f"Invalid CPU [{where}] with APIC ID {apic_id}, valid index range"
            f" 0:{topology.maxcpus - 1}"
        )
    if index in machine.processors.by_index:
        raise QmpError(f"CPU[{index}] with APIC ID {apic_id} exists")
    for name, own in topology.place(index).items():
        if given.get(name, own) != own:
            raise QmpError(
                f"property {name}: {given[name]} doesn't match set apic-id: 0x{apic_id:x}"
                f" ({name}: {own})"
            )
    node = machine.node_of_cpu.get(index, 0)
    if given.get("node-id", node) != node:
        raise QmpError(f"invalid node-id, must be {node}")
    device.place["cpu"] = index


def _apic_id(topology: Topology, given: dict[str, Any]) -> int:
    """The id of the place that is given level by level."""
    sizes = (topology.sockets, topology.dies, topology.modules, topology.cores, topology.threads)
    number = 0
    for level, size in zip(_LEVELS, sizes, strict=True):
        name = f"{level}-id"
        at = given.get(name, -1)
        if at < 0 and level in ("die", "module") and size == 1:
            at = 0
        if at < 0:
            raise QmpError(f"CPU {name} is not set")
        if at >= size:
            raise QmpError(f"Invalid CPU {name}: {at} must be in range 0:{size - 1}")
        bits = (size - 1).bit_length() if level != "socket" else 0
        number = number << bits | at
    return number


def _place(topology: Topology, apic_id: int) -> dict[str, int]:
    """What a CPU's number says of its place, if there is such a place or not."""
    place = {}
    sizes = (topology.threads, topology.cores, topology.modules, topology.dies)
    for level, size in zip(reversed(_LEVELS[1:]), sizes, strict=True):
        bits = (size - 1).bit_length()
        place[f"{level}-id"] = apic_id & (1 << bits) - 1
        apic_id >>= bits
    return {"socket-id": apic_id, **place}


def ask_to_go(machine: Machine, device: Device) -> None:
    """Refuse to unplug a CPU where nobody would let go of it."""
    if not machine.guest.listens:
        raise unpluggable(device.type.name)


def unpluggable(type_name: str) -> QmpError:
    text = "acpi: device unplug request for not supported device type"
    return QmpError(f"{text}: {type_name}")
