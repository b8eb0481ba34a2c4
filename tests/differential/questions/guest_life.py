"""What a guest does to its machine: it powers off, sleeps, resets, panics.

The human monitor writes to I/O ports in the guest's place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.differential.scenes import PC, Q35, leave

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage

PANIC = f"{Q35} -device pvpanic"


def _type(machine: Machine, line: str) -> None:
    machine.qmp.execute("human-monitor-command", {"command-line": line})


def _until_firmware_is_there(machine: Machine) -> None:
    """It is what places the ports of power management."""
    nothing = {"command-line": "i /h 0x604"}
    while "0xffff" in machine.qmp.execute("human-monitor-command", nothing, quietly=True):
        pass


def it_panics(stage: Stage) -> None:
    for actions in (
        "panic=pause",
        "panic=none",
        "shutdown=pause",
        "panic=exit-failure,shutdown=pause",
    ):
        machine = stage.start(f"{PANIC} -action {actions}")
        for line in ("i /b 0x505", "i /h 0x505", "i 0x505", "i /b 0x506", "o /b 0x505 1"):
            _type(machine, line)
        machine.qmp.execute("query-status")
        _type(machine, "o /b 0x505 1")
        machine.qmp.execute("cont")
        machine.qmp.execute("query-status")
        leave(machine)
    for actions in ("", "-action panic=exit-failure", "-S"):
        machine = stage.start(f"{PANIC} {actions}")
        _type(machine, "o /b 0x505 1")
        machine.qmp.end()
        machine.exited()


def it_tells_less_than_a_panic(stage: Stage) -> None:
    machine = stage.start(f"{PANIC} -no-shutdown")
    for value in (0, 8, 2, 6, 4):
        _type(machine, f"o /b 0x505 {value}")
        machine.qmp.execute("query-status")
    leave(machine)
    machine = stage.start(f"{Q35} -device pvpanic,ioport=0x600,events=1")
    for line in ("i /b 0x505", "i /b 0x600"):
        _type(machine, line)
    leave(machine)


def it_powers_off_and_sleeps(stage: Stage) -> None:
    for board in (Q35, PC):
        machine = stage.start(f"{board} -no-shutdown -S")
        for line in ("i /h 0x604", "o /h 0x604 0x2000"):
            _type(machine, line)
        machine.qmp.execute("cont")
        _until_firmware_is_there(machine)
        for line in ("i /h 0x604", "i /b 0x604", "i 0x604", "o /h 0x604 0", "o /h 0x604 0x2400"):
            _type(machine, line)
        machine.qmp.execute("query-status")
        leave(machine)
        machine = stage.start(f"{board} -no-shutdown")
        _until_firmware_is_there(machine)
        for value in ("0x2c00", "0x2800"):
            _type(machine, f"o /h 0x604 {value}")
            machine.qmp.execute("query-status")
        machine.qmp.execute("cont")
        leave(machine)
    machine = stage.start(Q35)
    _until_firmware_is_there(machine)
    _type(machine, "o /h 0x604 0x2000")
    machine.qmp.end()
    machine.exited()


def it_resets(stage: Stage) -> None:
    for line in ("o /b 0xcf9 6", "o /b 0x64 0xfe"):
        machine = stage.start(f"{Q35} -no-reboot -no-shutdown")
        _type(machine, "o /b 0xcf9 0")
        _type(machine, line)
        machine.qmp.execute("query-status")
        leave(machine)
        machine = stage.start(f"{Q35} -S")
        _type(machine, line)
        machine.qmp.execute("query-status")
        leave(machine)


def a_reset_that_shuts_down_finds_nobody_running(stage: Stage) -> None:
    machine = stage.start(f"{Q35} -S -no-reboot -no-shutdown")
    for command in ("system_reset", "query-status", "cont", "stop", "system_reset", "query-status"):
        machine.qmp.execute(command)
    leave(machine)


def ports_in_wrong_words(stage: Stage) -> None:
    machine = stage.start(f"{PANIC} -S -no-shutdown")
    for line in (
        *("i", "i zz", "i /b 0x505 3", "i /2xb 0x10505", "i /zb 1", "i /b 0x505.3", "i /g 0x999"),
        *("o", "o 0x505", "o /b 0x999 0x1ff", "o /w 0x999 1", "o /b 0x505 0x100"),
    ):
        _type(machine, line)
    leave(machine)
