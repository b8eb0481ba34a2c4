"""`info` and what it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monitor.hmp import HmpCommand, hmp_info_history
from vmd.qmp import char, control, misc, run_state
from vmd.qmp import machine as machine_commands

if TYPE_CHECKING:
    from monitor.hmp import Hmp
    from vmd.machine import Machine


def on_off(value: object) -> str:
    """A boolean as the human monitor writes it."""
    return "on" if value else "off"


def true_false(value: object) -> str:
    """A boolean property as the human monitor writes it."""
    return "true" if value else "false"


def info_version(machine: Machine, hmp: Hmp) -> None:
    version: Any = control.query_version(machine)
    qemu = version["qemu"]
    hmp.print(f"{qemu['major']}.{qemu['minor']}.{qemu['micro']}{version['package']}\n")


def info_status(machine: Machine, hmp: Hmp) -> None:
    status = run_state.query_status(machine)
    text = "running" if status["running"] else "paused"
    if not status["running"] and status["status"] != "paused":
        text += f" ({status['status']})"
    hmp.print(f"VM status: {text}\n")


def info_name(machine: Machine, hmp: Hmp) -> None:
    name = misc.query_name(machine)
    if name:
        hmp.print(f"{name['name']}\n")


def info_uuid(machine: Machine, hmp: Hmp) -> None:
    hmp.print(f"{machine_commands.query_uuid(machine)['UUID']}\n")


def info_kvm(machine: Machine, hmp: Hmp) -> None:
    kvm = machine_commands.query_kvm(machine)
    state = "enabled" if kvm["enabled"] else "disabled"
    hmp.print(f"kvm support: {state}\n")


def info_chardev(machine: Machine, hmp: Hmp) -> None:
    for chardev in char.query_chardev(machine):
        hmp.print(f"{chardev['label']}: filename={chardev['filename']}\n")


def info_cpus(machine: Machine, hmp: Hmp) -> None:
    for cpu in machine_commands.query_cpus_fast(machine):
        mark = "*" if cpu["cpu-index"] == (hmp.cpu_index or 0) else " "
        hmp.print(f"{mark} CPU #{cpu['cpu-index']}: thread_id={cpu['thread-id']}\n")


def info_memdev(machine: Machine, hmp: Hmp) -> None:
    for memdev in machine_commands.query_memdev(machine):
        nodes = memdev["host-nodes"]
        assert isinstance(nodes, list)
        hmp.print(f"memory backend: {memdev['id']}\n")
        hmp.print(f"  size:  {memdev['size']}\n")
        for name in ("merge", "dump", "prealloc", "share", "reserve"):
            hmp.print(f"  {name}: {true_false(memdev[name])}\n")
        hmp.print(f"  policy: {memdev['policy']}\n")
        hmp.print(f"  host nodes: {','.join(str(node) for node in nodes)}\n")
    hmp.print("\n")


def info_memory_size_summary(machine: Machine, hmp: Hmp) -> None:
    summary = machine_commands.query_memory_size_summary(machine)
    hmp.print(f"base memory: {summary['base-memory']}\n")
    hmp.print(f"plugged memory: {summary['plugged-memory']}\n")


def info_memory_devices(machine: Machine, hmp: Hmp) -> None:
    """Observed from hw/core/machine-hmp-cmds.c."""
    devices: Any = machine_commands.query_memory_devices(machine)
    for device in devices:
        value = device["data"]
        hmp.print(f'Memory device [{device["type"]}]: "{value.get("id", "")}"\n')
        for name, text in (("addr", f"0x{value['addr']:x}"), ("slot", value.get("slot"))):
            hmp.print(f"  {name}: {text}\n")
        for name in ("node", "size", "memdev"):
            hmp.print(f"  {name}: {value[name]}\n")
        for name in ("hotplugged", "hotpluggable"):
            hmp.print(f"  {name}: {true_false(value[name])}\n")


def info_hotpluggable_cpus(machine: Machine, hmp: Hmp) -> None:
    """Observed from hw/core/machine-hmp-cmds.c."""
    slots: Any = machine_commands.query_hotpluggable_cpus(machine)
    hmp.print("Hotpluggable CPUs:\n")
    for slot in slots:
        hmp.print(f'  type: "{slot["type"]}"\n')
        hmp.print(f'  vcpus_count: "{slot["vcpus-count"]}"\n')
        if "qom-path" in slot:
            hmp.print(f'  qom_path: "{slot["qom-path"]}"\n')
        hmp.print("  CPUInstance Properties:\n")
        for name in _PLACES:
            if name in slot["props"]:
                hmp.print(f'    {name}: "{slot["props"][name]}"\n')


_PLACES = (
    *("node-id", "drawer-id", "book-id", "socket-id", "die-id", "cluster-id", "module-id"),
    *("core-id", "thread-id"),
)


def _info(name: str, help_text: str, handler: Any, *, preconfig: bool = False) -> HmpCommand:
    return HmpCommand(name, "", "", help_text, handler, preconfig=preconfig)


COMMANDS = [
    _info(
        "version", "show the version of QEMU that this behaves like", info_version, preconfig=True
    ),
    _info("status", "show whether the guest runs, or why not", info_status, preconfig=True),
    _info("name", "show the name of the machine", info_name, preconfig=True),
    _info("uuid", "show the UUID of the machine", info_uuid, preconfig=True),
    _info("kvm", "show whether KVM is used", info_kvm),
    _info("chardev", "show the character devices", info_chardev, preconfig=True),
    _info("cpus", "show the virtual CPUs", info_cpus),
    _info("memdev", "show the memory backends", info_memdev, preconfig=True),
    _info("memory_size_summary", "show how much memory there is", info_memory_size_summary),
    _info("memory-devices", "show the memory modules", info_memory_devices),
    _info(
        "hotpluggable-cpus",
        "show which CPUs may be plugged",
        info_hotpluggable_cpus,
        preconfig=True,
    ),
    _info("history", "show the lines typed so far", hmp_info_history, preconfig=True),
]
