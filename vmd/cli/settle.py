"""What QEMU judges after the options are read: the machine's type, its properties, its accelerator.

Two steps, because errors must come in QEMU's order: `choose_machine` before chardevs open,
`settle` after. Observed from system/vl.c, hw/core/machine.c and hw/core/machine-smp.c.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qapi.error import QmpError
from qapi.size import parse_size
from vmd.cli.config import Config, Memory
from vmd.devices.machines import MachineType, find_machine
from vmd.devices.topology import Topology
from vmd.options import BOOLEANS, Tree, scan_unsigned

if TYPE_CHECKING:
    from vmd.cli.report import Report

VGA_TYPES = ("none", "std", "cirrus", "virtio")
ON_OFF_AUTO = ("auto", "on", "off")
LEVELS = ("drawers", "books", "sockets", "dies", "clusters", "modules", "cores", "threads")
RAM_ALIGNMENT = 8192
MAX_SLOTS = 256
# The last two are for KVM: see accelerators.py.
SETTLED_ELSEWHERE = ("type", "accel", "boot", "smp", "memory", "kernel-irqchip", "kvm-shadow-mem")
_DATE = r"\d+-\d+-\d+(T\d+:\d+:\d+)?"


# Before chardevs open


def choose_machine(config: Config, report: Report) -> None:
    """Name the machine's type; Quit if it is unknown, or if -rtc or -vga make no sense."""
    try:
        _check_rtc(config)
        machine = find_machine(config.machine_tree)
        if machine is None:
            name = config.machine_tree["type"]
            hint = "Use -machine help to list supported machines"
            raise QmpError(f'unsupported machine type: "{name}"', hint=hint)
        config.machine = machine.board.name
        if config.preconfig and any(given.kind != "defer" for given in config.incoming):
            raise QmpError("'preconfig' supports '-incoming defer' only")
        if config.vga is not None and config.vga not in VGA_TYPES:
            raise QmpError(f"unknown vga type: {config.vga}")
    except QmpError as error:
        raise report.refuse(error) from None


def _check_rtc(config: Config) -> None:
    base, clock, driftfix = config.rtc
    if base not in ("utc", "localtime") and re.fullmatch(_DATE, base) is None:
        hint = "valid formats: '2006-06-17T16:01:21' or '2006-06-17'"
        raise QmpError("invalid datetime format", hint=hint)
    for value, known in ((clock, ("host", "rt", "vm")), (driftfix, ("slew", "none"))):
        if value not in known:
            raise QmpError(f"invalid option value '{value}'")


# After chardevs are open


def settle(config: Config, report: Report) -> None:
    """Judge the machine's properties and choose its accelerator; Quit where one is wrong."""
    machine = find_machine(config.machine_tree)
    assert machine is not None
    try:
        _settle_properties(config, machine)
    except QmpError as error:
        raise report.refuse(error) from None
    if config.accels or "accel" in config.machine_tree or config.program.endswith("kvm"):
        from vmd.cli.accelerators import settle_accelerator

        settle_accelerator(config, report)
    else:
        config.accel = "tcg"
    if config.vga not in (None, "none") and not machine.is_pc:
        report.warning(
            "A -vga option was passed but this machine type does not use that option; "
            "No VGA device has been created"
        )


def _settle_properties(config: Config, machine: MachineType) -> None:
    tree = config.machine_tree
    if config.slots_without_max:
        raise QmpError("slots specified but no max-size")
    config.boot = _boot(_object(tree, "boot"))
    config.smp = topology(_object(tree, "smp"), machine)
    config.memory = memory(_object(tree, "memory"), machine)
    for name, value in tree.items():
        if name in SETTLED_ELSEWHERE:
            continue
        found = machine.properties.get(name)
        if found is None:
            raise QmpError(f"Property '{machine.type_name}.{name}' not found")
        config.machine_properties[name] = _scalar(name, found[0], value)


def _object(tree: dict[str, Tree | str], name: str) -> dict[str, Tree | str]:
    found = tree.get(name, {})
    if not isinstance(found, dict):
        raise QmpError(f"Invalid parameter type for '{name}', expected: object")
    return found


_JSON_KINDS = {"bool": "boolean", "integer": "integer", "size": "uint64"}


def _scalar(name: str, kind: str, value: Tree | str) -> object:
    """A property's value from its text: what the keyval visitor says of it. QmpError if unfit."""
    if not isinstance(value, str):
        expected = _JSON_KINDS.get(kind, "string")
        raise QmpError(f"Invalid parameter type for '{name}', expected: {expected}")
    if kind == "bool":
        if value not in BOOLEANS:
            raise QmpError(f"Parameter '{name}' expects 'on' or 'off'")
        return BOOLEANS[value]
    if kind == "OnOffAuto":
        if value not in ON_OFF_AUTO:
            raise QmpError(f"Parameter '{name}' does not accept value '{value}'")
        return value
    if kind == "size":
        size, error = parse_size(value)
        if error is not None:
            raise QmpError(f"Parameter '{name}' expects size")
        return size
    if kind == "integer":
        return _integer(name, value)
    return value


def _integer(name: str, value: str) -> int:
    number = scan_unsigned(value)
    negative = value.lstrip().startswith("-")
    if number is not None and negative:
        number -= 1 << 64 if number else 0
    if number is None or not -(1 << 63) <= number < 1 << 63:
        raise QmpError(f"Parameter '{name}' expects integer")
    return number


_BOOT_KINDS = {
    "order": "string",
    "once": "string",
    "menu": "bool",
    "splash": "string",
    "splash-time": "integer",
    "reboot-timeout": "integer",
    "strict": "bool",
}


def _boot(tree: dict[str, Tree | str]) -> dict[str, object]:
    boot = _members("boot", _BOOT_KINDS, tree)
    for name in ("order", "once"):
        _check_boot_devices(str(boot.get(name, "")))
    return boot


def _check_boot_devices(letters: str) -> None:
    for at, letter in enumerate(letters):
        if not "a" <= letter <= "p":
            raise QmpError(f"Invalid boot device '{letter}'")
        if letter in letters[:at]:
            raise QmpError(f"Boot device '{letter}' was given twice")


def _members(path: str, kinds: dict[str, str], tree: dict[str, Tree | str]) -> dict[str, object]:
    """The members of a property that is an object, in the order of its kinds."""
    found = {
        name: _scalar(f"{path}.{name}", kind, tree[name])
        for name, kind in kinds.items()
        if name in tree
    }
    for name in tree:
        if name not in kinds:
            raise QmpError(f"Parameter '{path}.{name}' is unexpected")
    return found


_SMP_KINDS = dict.fromkeys(("cpus", *LEVELS, "maxcpus"), "integer")


def topology(tree: dict[str, Tree | str], machine: MachineType) -> Topology:
    """The CPU topology that `-smp` asks for, its missing numbers filled in; QmpError if unsound.

    Where only some levels are given, cores take what is left of maxcpus, else sockets, else
    threads.
    """
    asked: dict[str, int] = {}
    for name, value in _members("smp", _SMP_KINDS, tree).items():
        assert isinstance(value, int)
        asked[name] = value
    if 0 in asked.values():
        raise _unsound("CPU topology parameters must be greater than zero")
    for level in ("modules", "clusters", "dies", "books", "drawers"):
        if asked.get(level, 1) > 1 and level not in machine.levels:
            raise QmpError(f"{level} > 1 not supported by this machine's CPU topology")
    levels = _fill_in(asked)
    total = 1
    for count in levels.values():
        total *= count
    maxcpus = asked.get("maxcpus", asked.get("cpus", total))
    cpus = asked.get("cpus", maxcpus)
    shown = ("sockets", *machine.levels, "cores", "threads")
    told = " * ".join(f"{level} ({levels[level]})" for level in shown)
    if total != maxcpus:
        raise _unsound(
            f"product of the hierarchy must match maxcpus: {told} != maxcpus ({maxcpus})"
        )
    if maxcpus < cpus:
        raise _unsound(
            "maxcpus must be equal to or greater than smp: "
            f"{told} == maxcpus ({maxcpus}) < smp_cpus ({cpus})"
        )
    board = machine.board
    if not 0 < maxcpus <= board.max_cpus:
        raise QmpError(
            f"Invalid SMP CPUs {maxcpus}. The max CPUs supported by machine "
            f"'{board.name}' is {board.max_cpus}"
        )
    return Topology(cpus, maxcpus, **levels)


def _unsound(text: str) -> QmpError:
    return QmpError(f"Invalid CPU topology: {text}")


def _fill_in(asked: dict[str, int]) -> dict[str, int]:
    levels = {level: asked.get(level, 1) for level in LEVELS}
    maxcpus = asked.get("maxcpus", asked.get("cpus"))
    if maxcpus is None:
        return levels
    for level in ("cores", "sockets", "threads"):
        if level not in asked:
            others = 1
            for other, count in levels.items():
                others *= count if other != level else 1
            levels[level] = maxcpus // others
            break
    return levels


def memory(tree: dict[str, Tree | str], machine: MachineType) -> Memory:
    """RAM as `-m` asks for it, in bytes; QmpError where its parts do not fit together."""
    asked: dict[str, int] = {}
    kinds = {"size": "size", "max-size": "size", "slots": "integer"}
    for name, value in _members("memory", kinds, tree).items():
        assert isinstance(value, int)
        asked[name] = value
    # A size of 0 asks for the machine's own.
    size = asked.get("size") or machine.board.default_ram_size
    size = -(-size // RAM_ALIGNMENT) * RAM_ALIGNMENT
    slots = asked.get("slots", 0)
    max_size = asked.get("max-size", size)
    if max_size < size:
        raise QmpError(
            f"invalid value of maxmem: maximum memory size (0x{max_size:x}) "
            f"must be at least the initial memory size (0x{size:x})"
        )
    if slots and max_size == size:
        raise QmpError(
            "invalid value of maxmem: memory slots were specified but maximum memory size "
            f"(0x{max_size:x}) is equal to the initial memory size (0x{size:x})"
        )
    if machine.is_pc and slots > MAX_SLOTS:
        raise QmpError(f"unsupported amount of memory slots: {slots}")
    return Memory(size, slots, max_size, "size" in asked)
