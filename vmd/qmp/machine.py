"""Commands of machine.json: what the machine is made of, and its buttons."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qapi.error import DEVICE_NOT_ACTIVE, QmpError
from vmd.devices.board import BOARDS, is_rom
from vmd.machine import NIL_UUID

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmd.devices.balloon import Balloon
    from vmd.devices.board import Board
    from vmd.machine import Machine
    from vmd.memory import RamBlock
    from vmd.memory.backends import MemoryBackend

MEMDEV_PROPERTIES = ("merge", "dump", "prealloc", "share", "reserve", "policy", "host-nodes")
RAM_OFFSET_ALIGN = 64 << 12
DEFAULT_CPU_TYPE = "qemu64-x86_64-cpu"


def query_machines(machine: Machine, compat_props: bool | None = None) -> list[dict[str, object]]:
    return [_machine_info(board, compat_props=bool(compat_props)) for board in BOARDS]


def _machine_info(board: Board, *, compat_props: bool) -> dict[str, object]:
    info: dict[str, object] = {
        "name": board.name,
        "cpu-max": board.max_cpus,
        "hotpluggable-cpus": board.has_cpus,
        "numa-mem-supported": False,
        "deprecated": False,
        "acpi": board.has_cpus,
        "default-ram-id": board.default_ram_id,
    }
    if board.alias is not None:
        info["alias"] = board.alias
    if board.is_default:
        info["is-default"] = True
    if board.has_cpus:
        info["default-cpu-type"] = DEFAULT_CPU_TYPE
    if compat_props:
        info["compat-props"] = [
            {"qom-type": name, "property": key, "value": value}
            for name, key, value in board.compat_props
        ]
    return info


def query_current_machine(machine: Machine) -> dict[str, object]:
    return {"wakeup-suspend-support": machine.board.wakeup_support}


def query_target(machine: Machine) -> dict[str, object]:
    return {"arch": "x86_64"}


def query_kvm(machine: Machine) -> dict[str, object]:
    # Present is what the program can do, wherever it runs.
    return {"enabled": machine.kvm is not None, "present": True}


def query_uuid(machine: Machine) -> dict[str, object]:
    return {"UUID": machine.uuid or NIL_UUID}


def query_cpus_fast(machine: Machine) -> list[dict[str, object]]:
    return [
        {
            "cpu-index": index,
            "qom-path": processor.path,
            "thread-id": processor.thread_id,
            "props": _cpu_place(machine, index),
            "target": "x86_64",
        }
        for index, processor in machine.processors.by_index.items()
    ]


def _cpu_place(machine: Machine, index: int) -> dict[str, int]:
    """Where a CPU is, and its NUMA node if the machine has nodes."""
    node = machine.node_of_cpu.get(index)
    return machine.topology.told(index) | ({} if node is None else {"node-id": node})


def query_hotpluggable_cpus(machine: Machine) -> list[dict[str, object]]:
    from vmd.devices.cpu import SUFFIX

    if not machine.board.has_cpus:
        raise QmpError("machine does not support hot-plugging CPUs")
    present = machine.processors.by_index if machine.equipped else {}
    return [
        {
            "type": machine.cpu_model + SUFFIX,
            "vcpus-count": 1,
            "props": _cpu_place(machine, index),
            **({"qom-path": present[index].path} if index in present else {}),
        }
        # QEMU puts each in front of those that it knows.
        for index in reversed(range(machine.topology.maxcpus))
    ]


def query_memdev(machine: Machine) -> list[dict[str, object]]:
    return [
        {
            "id": name,
            "size": backend.size,
            **{key: backend.properties[key] for key in MEMDEV_PROPERTIES},
        }
        for name, backend in _as_walked(machine)
    ]


def _as_walked(machine: Machine) -> list[tuple[str, MemoryBackend]]:
    """The memory backends as QEMU meets them: each is put in front of those before it."""
    from qapi.order import table_order

    names = table_order([*machine.backends, *machine.objects])
    backends = machine.backends
    return [(name, backends[name]) for name in reversed(names) if name in backends]


def query_memory_size_summary(machine: Machine) -> dict[str, object]:
    from vmd.devices.dimms import total

    return {"base-memory": machine.ram_size, "plugged-memory": total(machine)}


def query_memory_devices(machine: Machine) -> list[dict[str, object]]:
    from vmd.devices.dimms import described

    return described(machine)


def balloon(machine: Machine, value: int) -> None:
    _balloon(machine).want(value)


def query_balloon(machine: Machine) -> dict[str, object]:
    return {"actual": _balloon(machine).actual}


def _balloon(machine: Machine) -> Balloon:
    found = machine.devices.balloon
    if found is None:
        raise QmpError("No balloon device has been activated", DEVICE_NOT_ACTIVE)
    return found


def query_vm_generation_id(machine: Machine) -> dict[str, object]:
    for device in machine.devices.users() if machine.board.has_cpus else ():
        if device.type.name == "vmgenid":
            return {"guid": device.values["guid"]}
    raise QmpError("VM Generation ID device not found")


def inject_nmi(machine: Machine) -> None:
    if not machine.board.has_cpus:
        raise QmpError("machine does not provide NMIs")
    # None of the guests minds an NMI.


async def memsave(
    machine: Machine, val: int, size: int, filename: str, cpu_index: int | None = None
) -> None:
    """Save what a CPU sees: the guests do without paging, so it sees what there is."""
    if (cpu_index or 0) not in machine.processors.by_index:
        raise QmpError("Parameter 'cpu-index' expects a CPU number")

    def pieces() -> Iterator[bytes]:
        # QEMU goes on up to the first kilobyte that is not all there.
        for start in range(val, val + size, 1024):
            length = min(1024, val + size - start)
            if not machine.memory.covers(start, length):
                raise QmpError(f"Invalid addr 0x{val:016x}/size {size} specified")
            yield machine.memory.read(start, length)

    await _save(filename, pieces())


async def pmemsave(machine: Machine, val: int, size: int, filename: str) -> None:
    end, step = val + size, 1 << 20
    starts = range(val, end, step)
    await _save(filename, (machine.memory.read(at, min(step, end - at)) for at in starts))


async def _save(filename: str, pieces: Iterator[bytes]) -> None:
    """Not on the event loop: it may be all of RAM, and the file a slow one."""
    from vmd.fdset import open_at_once
    from vmd.worker import in_a_thread

    def write() -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with open(open_at_once(filename, flags, 0o666), "wb") as file:
            for piece in pieces:
                file.write(piece)

    try:
        await in_a_thread(write)
    except OSError as error:
        raise QmpError(f"Could not open '{filename}': {os.strerror(error.errno or 0)}") from None


def system_reset(machine: Machine) -> None:
    machine.system_reset()


def system_powerdown(machine: Machine) -> None:
    machine.system_powerdown()


def system_wakeup(machine: Machine) -> None:
    machine.system_wakeup()


def x_query_roms(machine: Machine) -> dict[str, str]:
    """From hw/core/loader.c."""
    lines = []
    for rom in machine.board.roms:
        if rom.address is None:
            lines.append(f'fw={rom.folder}/{rom.name} size=0x{rom.size:06x} name="{rom.name}"\n')
        else:
            where = f"addr={rom.address:016x} size=0x{rom.size:06x} mem=rom"
            lines.append(f'{where} name="{rom.name}"\n')
    for block in machine.board.acpi:
        name = block.idstr.removeprefix("/rom@")
        lines.append(f'{block.idstr} size=0x{block.max_size:06x} name="{name}"\n')
    return {"human-readable-text": "".join(lines)}


def x_query_numa(machine: Machine) -> dict[str, str]:
    """Observed from hw/core/machine-hmp-cmds.c."""
    from vmd.devices.dimms import total

    lines = [f"{len(machine.node_sizes)} nodes"]
    for node, size in machine.node_sizes.items():
        there = machine.processors.by_index
        cpus = "".join(f" {cpu}" for cpu in there if machine.node_of_cpu[cpu] == node)
        plugged = total(machine, node)
        lines += [f"node {node} cpus:{cpus}", f"node {node} size: {size + plugged >> 20} MB"]
        lines.append(f"node {node} plugged: {plugged >> 20} MB")
    return _readable(lines)


def x_query_irq(machine: Machine) -> dict[str, str]:
    from vmd.devices import interrupts

    return _readable(interrupts.statistics(machine))


def x_query_interrupt_controllers(machine: Machine) -> dict[str, str]:
    from vmd.devices import interrupts

    return _readable(interrupts.registers(machine))


def x_query_jit(machine: Machine) -> dict[str, str]:
    if machine.accel != "tcg":
        raise QmpError("JIT information is only available with accel=tcg")
    from vmd.devices import tcg

    return {"human-readable-text": tcg.text(machine)}


def x_query_opcount(machine: Machine) -> dict[str, str]:
    if machine.accel != "tcg":
        raise QmpError("Opcode count information is only available with accel=tcg")
    return _readable(["[TCG profiler not compiled]"])


def x_query_usb(machine: Machine) -> dict[str, str]:
    """Observed from hw/usb/bus.c."""
    from vmd.devices import usb

    return {"human-readable-text": usb.text(machine)}


def query_hv_balloon_status_report(machine: Machine) -> dict[str, object]:
    raise QmpError("no hv-balloon device present")


def dumpdtb(machine: Machine, filename: str) -> None:
    hint = "(Perhaps it doesn't support FDT at all, or perhaps you need to provide an FDT with the"
    raise QmpError("This machine doesn't have an FDT", hint=f"{hint} -fdt option?)")


def x_query_ramblock(machine: Machine) -> dict[str, str]:
    """Columns observed from system/physmem.c. The offset is where QEMU would have put it."""
    titles = ("Block Name", "PSize", "Offset", "Used", "Total", "HVA", "RO")
    lines = ["{:>24} {:>8}  {:>18} {:>18} {:>18} {:>18} {:>3}".format(*titles)]
    for block, offset in _ram_offsets(machine):
        numbers = (offset, block.size, block.max_size, block.address())
        columns = " ".join(f"0x{number:016x}" for number in numbers)
        access = "ro" if block.readonly or is_rom(block.idstr) else "rw"
        page = f"{block.page_size >> 10} KiB"
        name = block.idstr if block in machine.ram_blocks else ""
        lines.append(f"{name:>24} {page:>8}  {columns} {access:>3}")
    return _readable(lines)


def _ram_offsets(machine: Machine) -> list[tuple[RamBlock, int]]:
    """All RAM blocks, unused backends too, largest first, each with QEMU's offset for it.

    QEMU lays blocks out in the order of their creation, each on a boundary of 64 pages.
    """
    offset = 0
    placed = []
    for block in machine.all_blocks:
        placed.append((block, offset))
        offset += -(-block.max_size // RAM_OFFSET_ALIGN) * RAM_OFFSET_ALIGN
    return sorted(placed, key=lambda entry: -entry[0].max_size)


def _readable(lines: list[str]) -> dict[str, str]:
    return {"human-readable-text": "".join(f"{line}\n" for line in lines)}


def set_numa_node(machine: Machine, **asked: object) -> None:
    if machine.set_numa_node is None:
        raise QmpError("The command is permitted only before the machine has been created")
    machine.set_numa_node({name.replace("_", "-"): value for name, value in asked.items()})


HANDLERS = {
    "balloon": balloon,
    "dumpdtb": dumpdtb,
    "inject-nmi": inject_nmi,
    "memsave": memsave,
    "pmemsave": pmemsave,
    "query-balloon": query_balloon,
    "query-cpus-fast": query_cpus_fast,
    "query-current-machine": query_current_machine,
    "query-hotpluggable-cpus": query_hotpluggable_cpus,
    "query-hv-balloon-status-report": query_hv_balloon_status_report,
    "query-kvm": query_kvm,
    "query-machines": query_machines,
    "query-memdev": query_memdev,
    "query-memory-devices": query_memory_devices,
    "query-memory-size-summary": query_memory_size_summary,
    "query-target": query_target,
    "query-uuid": query_uuid,
    "query-vm-generation-id": query_vm_generation_id,
    "set-numa-node": set_numa_node,
    "system_powerdown": system_powerdown,
    "system_reset": system_reset,
    "system_wakeup": system_wakeup,
    "x-query-interrupt-controllers": x_query_interrupt_controllers,
    "x-query-irq": x_query_irq,
    "x-query-jit": x_query_jit,
    "x-query-numa": x_query_numa,
    "x-query-opcount": x_query_opcount,
    "x-query-roms": x_query_roms,
    "x-query-ramblock": x_query_ramblock,
    "x-query-usb": x_query_usb,
}
