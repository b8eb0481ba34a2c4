"""How a machine ends: quit, signals, the other side hanging up; and daemons."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from tests.differential.scenes import NONE, SHARED, capabilities, leave, save

if TYPE_CHECKING:
    from tests.differential.stage import Stage


def _by_signal(stage: Stage, arguments: str, number: signal.Signals) -> None:
    machine = stage.start(arguments)
    machine.signal(number)
    machine.qmp.end()
    machine.exited()


def by_sigterm(stage: Stage) -> None:
    _by_signal(stage, NONE, signal.SIGTERM)


def by_sigint(stage: Stage) -> None:
    _by_signal(stage, NONE, signal.SIGINT)


def by_sighup(stage: Stage) -> None:
    _by_signal(stage, NONE, signal.SIGHUP)


def by_sigterm_in_prelaunch(stage: Stage) -> None:
    _by_signal(stage, f"{NONE} -S", signal.SIGTERM)


def by_sigterm_in_inmigrate(stage: Stage) -> None:
    _by_signal(stage, f"{NONE} -incoming defer", signal.SIGTERM)


def by_sigterm_in_spite_of_no_shutdown(stage: Stage) -> None:
    _by_signal(stage, f"{NONE} -no-shutdown", signal.SIGTERM)


def by_sigterm_after_a_migration(stage: Stage) -> None:
    machine = stage.start(SHARED)
    capabilities(machine, "events", "x-ignore-shared")
    save(machine)
    machine.signal(signal.SIGTERM)
    machine.qmp.end()
    machine.exited()


def by_sigterm_with_a_person_at_the_monitor(stage: Stage) -> None:
    machine = stage.start(NONE, qmp=False, human="pipe")
    machine.human.type("info status")
    machine.signal(signal.SIGTERM)
    machine.human.end()
    machine.exited()


def by_ctrl_c_on_the_terminal(stage: Stage) -> None:
    machine = stage.start(NONE, human="pty")
    machine.human.type("info status")
    machine.human.press(b"\x03")
    machine.qmp.end()
    machine.human.end()
    machine.exited()


def by_quit(stage: Stage) -> None:
    leave(stage.start(NONE))


def by_quit_in_spite_of_no_shutdown(stage: Stage) -> None:
    leave(stage.start(f"{NONE} -no-shutdown"))


def by_quit_in_prelaunch(stage: Stage) -> None:
    leave(stage.start(f"{NONE} -S"))


def by_quit_in_inmigrate(stage: Stage) -> None:
    leave(stage.start(f"{NONE} -incoming defer"))


def by_quit_on_a_terminal(stage: Stage) -> None:
    machine = stage.start(NONE, qmp=False, human="pty")
    machine.human.leave("q")
    machine.exited()


def what_is_sent_behind_quit_is_lost(stage: Stage) -> None:
    machine = stage.start(NONE)
    machine.qmp.send('{"execute":"quit"}{"execute":"query-status"}')
    machine.qmp.end()
    machine.exited()


def a_qmp_client_comes_and_goes(stage: Stage) -> None:
    arguments = f"{NONE} -qmp unix:other.sock,server=on,wait=off"
    machine = stage.start(arguments)
    for _ in range(2):
        other = stage.qmp(stage.connect("other.sock"), "other ")
        other.negotiate()
        other.execute("stop")
        machine.qmp.wait("STOP")
        other.execute("cont")
        machine.qmp.wait("RESUME")
        other.close()
    machine.qmp.execute("query-status")
    leave(machine)


def powerdown_of_a_machine_without_a_button(stage: Stage) -> None:
    machine = stage.start(NONE, guest="none")
    machine.qmp.execute("system_powerdown")
    machine.qmp.execute("query-status")
    leave(machine)


def as_a_daemon(stage: Stage) -> None:
    machine = stage.start(
        f"{NONE} -daemonize -pidfile vm.pid -qmp unix:other.sock,server=on,wait=off"
    )
    machine.exited()
    other = stage.qmp(stage.connect("other.sock"), "other ")
    other.negotiate()
    other.execute("query-status")
    pid = int(stage.file("vm.pid").read_text())
    stage.note(f"# a process of its own: {pid != machine.process.pid}")
    machine.qmp.execute("quit")
    machine.qmp.end()
    other.end()


def a_daemon_that_cannot_start(stage: Stage) -> None:
    stage.refused(f"{NONE} -daemonize -qmp unix:nowhere/x,server=on,wait=off")
    stage.refused(f"{NONE} -daemonize -incoming file:missing")


def a_daemon_with_a_monitor_on_stdio(stage: Stage) -> None:
    stage.refused(f"{NONE} -daemonize -monitor stdio")
