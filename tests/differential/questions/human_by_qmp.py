"""The human monitor's lines, given by QMP: the same text, for the CPU that is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.differential.scenes import leave

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage


def _say(machine: Machine, *lines: str, **more: int) -> None:
    for line in lines:
        machine.qmp.execute("human-monitor-command", {"command-line": line, **more})


def lines_of_a_client(stage: Stage) -> None:
    machine = stage.start("-machine pc -nodefaults -accel tcg -m 16 -S -smp 2")
    _say(
        machine,
        "",
        "foo",
        "info foo",
        "info status",
        "info status extra",
        "info registers 9",
        "info history",
        "info mem",
        "p/x $pc",
        "p/c 39",
        "x/4xb 0x100000",
        "xp/4xb 0x100000\ninfo status",
        "cpu 1",
        "info registers",
        "device_add foo",
        "netdev_add foo",
        "object_add iothread,id=i",
        "info qtree -b",
        "info pci",
        "change vnc password",
        "migrate zzz",
        "getfd x",
        "closefd x",
        "boot_set c",
        "sum 0x100000 16",
        "i/b 0x1234",
        "stop",
        "quit now",
    )
    leave(machine)


def lines_for_a_cpu(stage: Stage) -> None:
    machine = stage.start("-machine pc -nodefaults -accel tcg -m 16 -S -smp 2")
    for index in (0, 1):
        _say(machine, "info registers", "info lapic", "p $eip", "cpu 0", **{"cpu-index": index})
    for index in (2, -1):
        _say(machine, "info registers", "info status", **{"cpu-index": index})
    leave(machine)


def lines_for_a_cpu_of_none(stage: Stage) -> None:
    machine = stage.start("-machine none -nodefaults -m 16")
    _say(machine, "info registers", **{"cpu-index": 0})
    _say(machine, "info registers", "x 0", "xp 0", "memsave 0 16 f")
    leave(machine)
