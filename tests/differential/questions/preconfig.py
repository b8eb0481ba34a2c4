"""Before the machine is made: what may be asked, and how it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.differential.scenes import NONE, leave

if TYPE_CHECKING:
    from tests.differential.stage import Stage

PC = "-machine pc -nodefaults -accel tcg -m 8 -smp 2 -name early"
BACKEND = {"qom-type": "memory-backend-ram", "id": "late", "size": 1 << 20}


def commands_before_and_after(stage: Stage) -> None:
    machine = stage.start(f"{PC} -preconfig", human="socket")
    for command in ("query-status", "query-name", "query-hotpluggable-cpus", "stop", "cont"):
        machine.qmp.execute(command)
    for command in ("system_reset", "query-cpus-fast", "migrate", "nope"):
        machine.qmp.execute(command)
    machine.qmp.execute("human-monitor-command", {"command-line": "info status"})
    machine.qmp.execute("object-add", BACKEND)
    machine.qmp.execute("query-memdev")
    for line in ("info status", "stop", "info cpus", "nope", "info name"):
        machine.human.type(line)
    machine.qmp.execute("x-exit-preconfig", {"a": 1})
    machine.qmp.execute("x-exit-preconfig")
    machine.qmp.execute("query-status")
    machine.qmp.execute("x-exit-preconfig")
    machine.qmp.execute("query-hotpluggable-cpus")
    machine.human.type("exit_preconfig")
    machine.human.type("info status")
    leave(machine)


def stays_stopped_or_waits(stage: Stage) -> None:
    for arguments in (f"{NONE} -S", f"{NONE} -incoming defer", f"{PC} -S"):
        machine = stage.start(f"{arguments} -preconfig", human="socket")
        machine.qmp.execute("query-status")
        machine.human.type("exit_preconfig")
        machine.qmp.execute("query-status")
        leave(machine)


def ends_early(stage: Stage) -> None:
    machine = stage.start(f"{NONE} -preconfig")
    leave(machine)
    stage.refused(f"{NONE} -preconfig -incoming file:x")


def a_machine_that_cannot_be_made(stage: Stage) -> None:
    machine = stage.start(f"{PC} -numa node -preconfig")
    machine.qmp.execute("query-status")
    machine.qmp.send('{"execute": "x-exit-preconfig"}')
    machine.qmp.end()
    machine.exited()


def errors_that_come_after_the_banner(stage: Stage) -> None:
    for arguments in (
        f"{NONE} -machine memory-backend=zz",
        f"{NONE} -cpu zz",
        f"{NONE} -serial zz",
        f"{NONE} -global migration.zz=1",
        f"{NONE} -machine foo=1",
        f"{NONE} -object memory-backend-ram,id=m,size=0",
    ):
        stage.refused(f"{arguments} -chardev file,id=out,path=out -mon out")
        stage.note(f"# said before: {stage.file('out').read_text()!r}")


def nodes_of_numa(stage: Stage) -> None:
    halves = "".join(f" -object memory-backend-ram,id=m{n},size=8M" for n in (0, 1))
    pc = f"-machine pc -nodefaults -accel tcg -S -m 16 -smp 4,maxcpus=6 -preconfig{halves}"
    machine = stage.start(pc)
    for options in (
        {"memdev": "nobody"},
        {"nodeid": 0, "memdev": "m0", "cpus": [0, 1]},
        {"memdev": "m1"},
        {"nodeid": 0},
        {"nodeid": 128},
        {"nodeid": 2, "cpus": [9]},
        {"nodeid": 2, "cpus": [0]},
        {"nodeid": 65536},
    ):
        machine.qmp.execute("set-numa-node", {"type": "node", **options})
    for place in (
        {},
        {"node-id": 1},
        {"node-id": 5, "socket-id": 0},
        {"node-id": 0, "socket-id": 9},
        {"node-id": 0, "die-id": 0},
        {"node-id": 0, "module-id": 0, "die-id": 0},
        {"node-id": 0, "core-id": 1},
        {"node-id": 1, "core-id": 1},
        {"node-id": 1, "socket-id": 0, "core-id": 3, "thread-id": 0},
        {"node-id": 1, "core-id": 2, "book-id": 7},
    ):
        machine.qmp.execute("set-numa-node", {"type": "cpu", **place})
        machine.qmp.execute("query-hotpluggable-cpus", view=lambda cpus: [c["props"] for c in cpus])
    machine.qmp.execute("x-exit-preconfig")
    machine.qmp.execute("query-hotpluggable-cpus")
    machine.qmp.execute("x-query-numa")
    machine.qmp.execute("set-numa-node", {"type": "node"})
    leave(machine)
    machine = stage.start("-machine none -preconfig")
    machine.qmp.execute("set-numa-node", {"type": "node"})
    machine.qmp.execute("set-numa-node", {"type": "cpu"})
    leave(machine)
