"""Commands of machine.json: what the machine is made of, and its buttons."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qapi.error import QmpError
from vmd.devices.board import BOARDS
from vmd.machine import NIL_UUID

if TYPE_CHECKING:
    from vmd.devices.board import Board
    from vmd.machine import Machine

MEMDEV_PROPERTIES = ("merge", "dump", "prealloc", "share", "reserve", "policy", "host-nodes")
DEFAULT_CPU_TYPE = "qemu64-x86_64-cpu"


def query_machines(machine: Machine) -> list[dict[str, object]]:
    return [_machine_info(board) for board in BOARDS]


def _machine_info(board: Board) -> dict[str, object]:
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
    return info


def query_current_machine(machine: Machine) -> dict[str, object]:
    return {"wakeup-suspend-support": machine.board.wakeup_support}


def query_target(machine: Machine) -> dict[str, object]:
    return {"arch": "x86_64"}


def query_kvm(machine: Machine) -> dict[str, object]:
    return {"enabled": False, "present": False}


def query_uuid(machine: Machine) -> dict[str, object]:
    return {"UUID": machine.uuid or NIL_UUID}


def query_cpus_fast(machine: Machine) -> list[dict[str, object]]:
    count = machine.cpus if machine.board.has_cpus else 0
    return [
        {
            "cpu-index": index,
            "qom-path": f"/machine/unattached/device[{index}]",
            "thread-id": os.getpid(),
            "props": {"socket-id": index, "core-id": 0, "thread-id": 0},
            "target": "x86_64",
        }
        for index in range(count)
    ]


def query_memdev(machine: Machine) -> list[dict[str, object]]:
    return [
        {
            "id": name,
            "size": backend.size,
            **{key: backend.properties[key] for key in MEMDEV_PROPERTIES},
        }
        for name, backend in machine.backends.items()
    ]


def query_memory_size_summary(machine: Machine) -> dict[str, object]:
    return {"base-memory": machine.ram_size, "plugged-memory": 0}


def pmemsave(machine: Machine, val: int, size: int, filename: str) -> None:
    try:
        with open(filename, "wb") as file:
            for start in range(val, val + size, 1 << 20):
                file.write(machine.memory.read(start, min(1 << 20, val + size - start)))
    except OSError as error:
        raise QmpError(f"Could not open '{filename}': {os.strerror(error.errno or 0)}") from None


def system_reset(machine: Machine) -> None:
    machine.system_reset()


def system_powerdown(machine: Machine) -> None:
    machine.system_powerdown()


def system_wakeup(machine: Machine) -> None:
    machine.system_wakeup()


HANDLERS = {
    "pmemsave": pmemsave,
    "query-cpus-fast": query_cpus_fast,
    "query-current-machine": query_current_machine,
    "query-kvm": query_kvm,
    "query-machines": query_machines,
    "query-memdev": query_memdev,
    "query-memory-size-summary": query_memory_size_summary,
    "query-target": query_target,
    "query-uuid": query_uuid,
    "system_powerdown": system_powerdown,
    "system_reset": system_reset,
    "system_wakeup": system_wakeup,
}
