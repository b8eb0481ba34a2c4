"""A watchdog that expires. A test arms it by its port, as a guest would."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.differential.scenes import ask_qtest, leave

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage

DEVICE = "-machine pc -nodefaults -accel tcg -m 16 -device ib700"
SERVED = f"{DEVICE} -qtest unix:qtest,server=on,wait=off -qtest-log none"
AT_ONCE, IN_TWO_SECONDS = "outb 0x443 0xf", "outb 0x443 0xfe"
OFF = "outb 0x441 0"


def _armed(stage: Stage, arguments: str) -> Machine:
    machine = stage.start(f"{SERVED} {arguments}")
    ask_qtest(stage, stage.connect("qtest"), AT_ONCE)
    return machine


def nothing_is_done(stage: Stage) -> None:
    for action in ("none", "debug", "inject-nmi"):
        machine = _armed(stage, f"-action watchdog={action}")
        machine.qmp.wait("WATCHDOG")
        machine.qmp.execute("query-status")
        leave(machine)


def reset(stage: Stage) -> None:
    machine = _armed(stage, "")
    machine.qmp.wait("RESET")
    machine.qmp.execute("query-status")
    leave(machine)


def reset_where_that_is_the_end(stage: Stage) -> None:
    machine = _armed(stage, "-no-reboot")
    machine.qmp.end()
    machine.exited()
    machine = _armed(stage, "-action reboot=shutdown,shutdown=pause")
    machine.qmp.wait("STOP")
    machine.qmp.execute("query-status")
    leave(machine)


def shutdown(stage: Stage) -> None:
    machine = stage.start(f"{SERVED} -watchdog-action shutdown", guest="ab")
    ask_qtest(stage, stage.connect("qtest"), AT_ONCE)
    machine.qmp.wait("POWERDOWN")
    machine.qmp.execute("query-status")
    leave(machine)


def poweroff(stage: Stage) -> None:
    for more in ("", "-no-shutdown"):
        machine = _armed(stage, f"-action watchdog=poweroff {more}")
        machine.qmp.end()
        machine.exited()


def pause(stage: Stage) -> None:
    machine = _armed(stage, "-action watchdog=pause")
    machine.qmp.wait("STOP")
    machine.qmp.execute("query-status")
    machine.qmp.execute("stop")
    machine.qmp.execute("query-status")
    machine.qmp.execute("cont")
    machine.qmp.execute("query-status")
    leave(machine)


def pause_and_reset(stage: Stage) -> None:
    machine = _armed(stage, "-action watchdog=pause")
    machine.qmp.wait("STOP")
    machine.qmp.execute("system_reset")
    machine.qmp.execute("query-status")
    leave(machine)


def the_action_is_chosen_while_it_watches(stage: Stage) -> None:
    machine = stage.start(f"{SERVED} -action watchdog=reset -S")
    ask_qtest(stage, stage.connect("qtest"), IN_TWO_SECONDS)
    machine.qmp.execute("set-action", {"watchdog": "pause"})
    machine.qmp.execute("watchdog-set-action", {"action": "none"})
    machine.qmp.execute("cont")
    machine.qmp.wait("WATCHDOG")
    leave(machine)


def nobody_watches_any_more(stage: Stage) -> None:
    """Switched off, or reset: what comes is the second time that it is armed."""
    machine = stage.start(f"{SERVED} -action watchdog=none -S")
    wire = stage.connect("qtest")
    ask_qtest(stage, wire, AT_ONCE, OFF)
    machine.qmp.execute("cont")
    machine.qmp.execute("stop")
    ask_qtest(stage, wire, AT_ONCE)
    machine.qmp.execute("system_reset")
    machine.qmp.execute("cont")
    machine.qmp.execute("set-action", {"watchdog": "debug"})
    ask_qtest(
        stage, wire, "inb 0x443", "inw 0x441", "outw 0x443 0x0f", "outw 0x442 0x0f0f", AT_ONCE
    )
    machine.qmp.wait("WATCHDOG")
    leave(machine)


def two_of_them(stage: Stage) -> None:
    machine = stage.start(
        "-machine q35 -nodefaults -accel tcg -m 16 -device ib700 -device i6300esb"
    )
    machine.qmp.execute("query-pci", view=lambda buses: len(buses[0]["devices"]))
    machine.qmp.execute("device_add", {"driver": "i6300esb", "id": "w"})
    leave(machine)
