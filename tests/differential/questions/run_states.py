"""What each command does in each run state, and what is said about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.differential.scenes import NONE, PC, Q35, capabilities, leave, save

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage


def _each(machine: Machine, *commands: str) -> None:
    for command in commands:
        machine.qmp.execute(command)
        machine.qmp.execute("query-status")


def stop_and_cont(stage: Stage) -> None:
    machine = stage.start(NONE)
    _each(machine, "query-status", "stop", "stop", "cont", "cont")
    leave(machine)


def a_start_in_prelaunch(stage: Stage) -> None:
    machine = stage.start(f"{NONE} -S", human="pipe")
    machine.human.type("info status")
    _each(machine, "stop", "system_reset", "system_wakeup", "system_powerdown", "cont", "stop")
    machine.human.type("info status")
    leave(machine)


def a_reset_running_and_paused(stage: Stage) -> None:
    machine = stage.start(NONE)
    _each(machine, "system_reset", "stop", "system_reset", "cont", "system_powerdown")
    leave(machine)


def after_a_migration(stage: Stage) -> None:
    machine = stage.start(NONE)
    capabilities(machine, "events")
    save(machine)
    _each(machine, "stop", "system_wakeup", "system_powerdown", "system_reset", "cont")
    leave(machine)


def while_waiting_for_a_migration(stage: Stage) -> None:
    machine = stage.start(f"{NONE} -incoming defer")
    _each(machine, "stop", "cont", "system_wakeup", "system_powerdown", "system_reset")
    leave(machine)


def wakeup_where_nobody_sleeps(stage: Stage) -> None:
    for arguments in (Q35, PC):
        machine = stage.start(f"{arguments} -S")
        machine.qmp.execute("query-current-machine")
        _each(machine, "system_wakeup")
        leave(machine)


def a_suspended_guest(stage: Stage) -> None:
    machine = stage.start(Q35, guest="ab-suspend", serial=True)
    machine.qmp.wait("SUSPEND")
    _each(machine, "cont", "stop", "system_wakeup", "cont")
    machine.qmp.execute("system_wakeup")
    machine.qmp.wait("RESET")  # by the firmware, which finds nobody to wake
    machine.qmp.execute("query-status")
    leave(machine)


def a_reset_while_suspended(stage: Stage) -> None:
    machine = stage.start(Q35, guest="ab-suspend")
    machine.qmp.wait("SUSPEND")
    _each(machine, "system_reset")
    leave(machine)


def reset_as_shutdown(stage: Stage) -> None:
    machine = stage.start(f"{NONE} -no-reboot")
    machine.qmp.execute("system_reset")
    machine.qmp.end()
    machine.exited()


def reset_as_shutdown_as_pause(stage: Stage) -> None:
    machine = stage.start(f"{NONE} -no-reboot -no-shutdown", human="pipe")
    _each(machine, "system_reset")
    machine.human.type("info status")
    machine.human.type("cont")
    _each(machine, "cont", "stop", "system_reset")
    leave(machine)


def actions_set_later(stage: Stage) -> None:
    machine = stage.start(NONE)
    machine.qmp.execute("set-action", {"reboot": "shutdown", "shutdown": "pause"})
    machine.qmp.execute("set-action", {"panic": "bogus"})
    machine.qmp.execute("set-action", {})
    _each(machine, "system_reset")
    machine.qmp.execute("set-action", {"reboot": "reset"})
    _each(machine, "system_reset", "cont")
    leave(machine)


def actions_on_the_command_line(stage: Stage) -> None:
    machine = stage.start(f"{NONE} -action reboot=shutdown,shutdown=pause")
    _each(machine, "system_reset")
    leave(machine)


def at_the_human_monitor(stage: Stage) -> None:
    machine = stage.start(NONE, qmp=False, human="pipe")
    for line in ("stop", "info status", "s", "cont", "info status", "c", "system_reset"):
        machine.human.type(line)
    for line in ("info status", "system_powerdown", "system_wakeup", "info status", "stop"):
        machine.human.type(line)
    for line in ("system_reset", "info status"):
        machine.human.type(line)
    machine.human.leave("q")
    machine.exited()
