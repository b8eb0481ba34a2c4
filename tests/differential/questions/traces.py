"""What a trace shows, and how it is switched."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.differential.scenes import NONE, leave

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage

# What the log tells of events that vmd has; real QEMU has others of which it would tell too.
WITH_A_PAUSE = {"capabilities": [{"capability": "pause-before-switchover", "state": True}]}
PATTERNS = ("handle_*", "qmp_*", "monitor_qmp_cmd*", "monitor_qmp_err*", "monitor_qmp_respond")
MOMENT = re.compile(r'0x[0-9a-f]+|\{"timestamp": \{[^}]*\}|"(package|guest)": "[^"]*"')


def _log(stage: Stage, name: str = "log") -> None:
    """Note the log's lines without what depends on the moment."""
    text = stage.file(name).read_text()
    for line in text.splitlines():
        stage.note(stage.normal(f"{name}: {MOMENT.sub('<moment>', line)}"))


def _switch(machine: Machine, name: str, on: bool, **more: bool) -> None:
    machine.qmp.execute("trace-event-set-state", {"name": name, "enable": on, **more})


def _states(machine: Machine, name: str) -> None:
    machine.qmp.execute("trace-event-get-state", {"name": name})


def commands_and_replies(stage: Stage) -> None:
    files = ",".join(f"trace:{pattern}" for pattern in PATTERNS)
    machine = stage.start(f"{NONE} -S -D log -d {files}", human="socket")
    machine.qmp.execute("query-name")
    machine.qmp.send('{"execute": "query-uuid", "id": [1, "two"]}')
    machine.qmp.answer()
    machine.qmp.execute("nope")
    machine.qmp.execute("stop", {"x": 1})
    machine.qmp.execute("object-del", {"id": "none"})
    machine.qmp.send("{oops}")
    machine.qmp.answer()
    machine.qmp.send('"text"')
    machine.qmp.answer()
    machine.qmp.execute("cont")
    machine.qmp.execute("human-monitor-command", {"command-line": "info  name"})
    machine.human.type("info status")
    _switch(machine, "*qmp*", False)
    machine.qmp.execute("query-name")
    _log(stage)
    leave(machine)


def run_states(stage: Stage) -> None:
    machine = stage.start("-machine pc -nodefaults -accel tcg -m 8 -trace runstate_set -D log")
    _switch(machine, "vm_state_*", True)
    _switch(machine, "system_*", True)
    _switch(machine, "qemu_system_*", True)
    machine.qmp.execute("stop")
    machine.qmp.execute("stop")
    machine.qmp.execute("cont")
    machine.qmp.execute("system_wakeup")
    machine.qmp.execute("stop")
    machine.qmp.execute("system_powerdown")
    machine.qmp.execute("system_reset")
    _log(stage)
    leave(machine)


def migrations(stage: Stage) -> None:
    names = ("migrate_set_state", "runstate_set", "qmp_enter_migrate*", "qmp_exit_migrate*")
    traces = " ".join(f"-trace {name}" for name in names) + " -D log"
    machine = stage.start(f"{NONE} {traces}")
    machine.qmp.execute("migrate", {"uri": "file:nowhere/x"})
    machine.qmp.execute("migrate", {"uri": "nothing:x"})
    machine.qmp.execute("migrate-set-capabilities", WITH_A_PAUSE)
    machine.qmp.execute("migrate", {"uri": "file:state"})
    machine.qmp.wait("STOP")
    while machine.qmp.execute("query-migrate", quietly=True)["status"] != "pre-switchover":
        pass
    machine.qmp.execute("migrate-continue", {"state": "pre-switchover"})
    while machine.qmp.execute("query-status", quietly=True)["status"] != "postmigrate":
        pass
    _log(stage)
    leave(machine)
    for name, text in (("state", None), ("garbage", b"garbage" * 100)):
        if text is not None:
            stage.file(name).write_bytes(text)
        machine = stage.start(f"{NONE} -incoming defer {traces}")
        arguments = {"uri": f"file:{name}", "exit-on-error": False}
        machine.qmp.execute("migrate-incoming", arguments)
        while machine.qmp.execute("query-migrate", quietly=True)["status"] in ("setup", "active"):
            pass
        _log(stage)
        leave(machine)


def names_and_patterns(stage: Stage) -> None:
    machine = stage.start(f"{NONE} -trace qmp_e*_query_name")
    for name in (
        "runstate_set",
        "runst*",
        "run?tate_*",
        "run?tate_set",
        "zz",
        "zz*",
        "",
        "*_query_uuid",
    ):
        _states(machine, name)
        _switch(machine, name, True)
        _states(machine, name)
    _states(machine, "qmp_e*_query_name")
    _switch(machine, "runst*", False)
    _switch(machine, "zz", False, **{"ignore-unavailable": True})
    _states(machine, "runstate_set")
    machine.qmp.execute("trace-event-get-state", {"name": "runstate_set", "vcpu": 0})
    leave(machine)


def switched_by_hand(stage: Stage) -> None:
    machine = stage.start(f"{NONE} -D log", human="socket")
    for line in (
        "info trace-events runstate*",
        "trace-event runstate_set on",
        "info trace-events runstate_set",
        "stop",
        "logfile other",
        "cont",
        "log none",
        "stop",
        "log trace:zz",
        "cont",
        "log trace:-runstate_set",
        "info trace-events runstate_set",
        "trace-event zz on",
        "trace-event runstate_set maybe",
        "trace-event runstate_set on 5",
        "info trace-events zz",
        "info trace-events zz*",
        "logfile /nonexistent/log",
        "logfile %x",
    ):
        machine.human.type(line)
    _log(stage)
    _log(stage, "other")
    leave(machine)


def options_that_make_no_sense(stage: Stage) -> None:
    stage.file("events").write_text("nope\n\n#comment\nrunstate_set\n runstate_set \n-qmp_zz\n")
    for options in (
        "-trace zz",
        "-trace -zz",
        "-trace zz*",
        "-trace zz=1",
        "-trace events=events",
        "-trace events=nowhere",
        "-trace runstate_set,file=/nonexistent/log",
        "-D /nonexistent/log",
        "-D %x",
        "-D ''",
        "-d trace:zz",
        "-d trace:-zz,trace:yy",
    ):
        # Where the option is not refused the machine is: what was said before counts.
        stage.refused(f"{options} -machine none,foo=bar")
