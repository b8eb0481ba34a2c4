"""What the monitors tell about the machine: query-… and info …."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.differential.scenes import NONE, PRIVATE, Q35, SHARED, capabilities, explained, leave
from tests.differential.wires import OPTIONAL

if TYPE_CHECKING:
    from tests.differential.stage import Stage

NAMED = f"{NONE} -name guest=a-name,debug-threads=on -uuid 12345678-9abc-DEF0-1234-56789abcdef0"
# The harness' own connection is described by its address, which each run chooses anew.
OWN = ("qmp", "hmp")


def _by_label(devices: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted((d for d in devices if d["label"] not in OWN), key=lambda d: str(d["label"]))


def the_greeting_and_the_version(stage: Stage) -> None:
    machine = stage.start(NONE, negotiate=False)
    machine.qmp.greeting()
    machine.qmp.execute("query-status")
    machine.qmp.execute("nope")
    machine.qmp.execute("qmp_capabilities", {"enable": ["bogus"]})
    machine.qmp.execute("qmp_capabilities", {"enable": ["oob"]})
    machine.qmp.execute("qmp_capabilities")
    machine.qmp.execute("query-version")
    machine.qmp.execute("nope")
    leave(machine)


def who_it_is(stage: Stage) -> None:
    for arguments in (NONE, NAMED, f"{NONE} -name plain"):
        machine = stage.start(f"{arguments} -accel tcg", human="socket")
        machine.qmp.execute("query-name")
        machine.qmp.execute("query-uuid")
        machine.human.type("info name")
        machine.human.type("info uuid")
        machine.human.type("info version")
        machine.human.type("info status")
        leave(machine)


def what_it_is(stage: Stage) -> None:
    machine = stage.start(f"{NONE} -accel tcg")
    for command in ("query-status", "query-target", "query-current-machine"):
        machine.qmp.execute(command)
    machine.qmp.execute("query-cpus-fast")
    machine.qmp.execute("query-fdsets")
    leave(machine)


def _some_machines(machines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    wanted = ("none", "pc-q35-10.0", "pc-i440fx-10.0")
    return sorted((m for m in machines if m["name"] in wanted), key=lambda m: str(m["name"]))


def machines_it_can_be(stage: Stage) -> None:
    machine = stage.start(NONE)
    machine.qmp.execute("query-machines", view=_some_machines)
    leave(machine)


def memory_of_each_kind(stage: Stage) -> None:
    memfd = "-machine none,memory-backend=m -m 16 -object memory-backend-memfd,id=m,size=16M"
    ram = "-machine none,memory-backend=m -m 16 -object memory-backend-ram,id=m,size=16M,share=on"
    extra = f"{NONE} -object memory-backend-ram,id=extra,size=2M"
    for arguments in (NONE, "-machine none", PRIVATE, SHARED, memfd, ram, extra):
        machine = stage.start(arguments, human="socket")
        machine.qmp.execute("query-memory-size-summary")
        machine.qmp.execute("query-memdev")
        machine.human.type("info memory_size_summary")
        machine.human.type("info memdev")
        machine.human.type("info ramblock")
        leave(machine)


def memory_sizes_as_they_may_be_written(stage: Stage) -> None:
    sizes = ("1", "2M", "4096k", "1G", "0.5G", "16m", "size=24M", "17", "1B", "5000000B")
    for size in sizes:
        machine = stage.start(f"-machine none -m {size}")
        machine.qmp.execute("query-memory-size-summary")
        leave(machine)


def memory_of_q35(stage: Stage) -> None:
    machine = stage.start(f"{Q35} -S", human="socket")
    machine.qmp.execute("query-memory-size-summary")
    machine.qmp.execute("query-memdev")
    machine.human.type("info memory_size_summary")
    machine.human.type("info memdev")
    leave(machine)


def character_devices(stage: Stage) -> None:
    devices = (
        "-chardev null,id=void -chardev file,id=log,path=log -chardev ringbuf,id=ring"
        " -chardev socket,id=server,path=server.sock,server=on,wait=off -chardev stdio,id=tty"
    )
    machine = stage.start(f"{NONE} {devices}", human="socket")
    machine.qmp.execute("query-chardev", view=_by_label)
    stage.connect("server.sock")
    leave(machine)


def what_a_fresh_migration_says(stage: Stage) -> None:
    machine = stage.start(NONE, human="socket")
    machine.qmp.execute("query-migrate")
    machine.qmp.execute("query-migrate-capabilities", optional=True)
    machine.qmp.execute("query-migrate-parameters", optional=True)
    machine.human.type("info migrate")
    machine.human.type("info migrate_capabilities", optional=True)
    machine.human.type("info migrate_parameters", optional=True)
    leave(machine)


def parameters_are_set_all_or_none(stage: Stage) -> None:
    machine = stage.start(NONE)

    def attempt(arguments: dict[str, Any]) -> None:
        machine.qmp.execute("migrate-set-parameters", arguments)

    attempt({})
    attempt({"mode": "bogus"})
    attempt({"mode": 1})
    attempt({"bogus": 1})
    attempt({"max-bandwidth": "1"})
    attempt({"max-bandwidth": 1.5})
    attempt({"max-bandwidth": -1})
    attempt({"downtime-limit": -1})
    attempt({"downtime-limit": 2000001})
    attempt({"mode": "cpr-reboot", "downtime-limit": 2000001})
    attempt({"avail-switchover-bandwidth": "1"})
    attempt({"zero-page-detection": "bogus"})
    attempt({"max-bandwidth": 18446744073709551616})
    machine.qmp.execute("query-migrate-parameters", optional=True)
    attempt({"mode": "cpr-reboot", "max-bandwidth": 0, "downtime-limit": 5})
    machine.qmp.execute("query-migrate-parameters", optional=True)
    leave(machine)


def capabilities_are_set_all_or_none(stage: Stage) -> None:
    machine = stage.start(NONE)

    def attempt(*states: Any) -> None:
        machine.qmp.execute("migrate-set-capabilities", {"capabilities": list(states)})

    attempt()
    attempt({"capability": "bogus", "state": True})
    attempt({"capability": "events"})
    attempt({"capability": "events", "state": "on"})
    attempt({"capability": "events", "state": True, "x": 1})
    attempt({"capability": "events", "state": True}, {"capability": "bogus", "state": True})
    attempt("events")
    machine.qmp.execute("migrate-set-capabilities", {"capabilities": {}})
    machine.qmp.execute("migrate-set-capabilities")
    machine.qmp.execute("query-migrate-capabilities", optional=True)
    capabilities(machine, "events", "x-ignore-shared", "validate-uuid")
    machine.qmp.execute("query-migrate-capabilities", optional=True)
    leave(machine)


def global_options_preset_migration(stage: Stage) -> None:
    arguments = f"{NONE} -global migration.mode=cpr-reboot -global migration.x-events=on"
    machine = stage.start(arguments, human="socket")
    machine.qmp.execute("query-migrate-capabilities", optional=True)
    machine.qmp.execute("query-migrate-parameters", optional=True)
    leave(machine)
    stage.refused(f"{NONE} -global migration.mode=bogus")
    stage.refused(f"{NONE} -global migration.x-ignore-shared=on")


def commands_that_exist(stage: Stage) -> None:
    """vmd may know fewer commands than QEMU, and none that QEMU does not know."""
    machine = stage.start(NONE, human="socket")
    machine.qmp.execute("query-commands", optional=True)
    for line in ("help", "help info"):
        machine.human.type(line, view=_names)
    leave(machine)


def _names(rows: list[str]) -> list[str]:
    """What a help screen lists: each entry without its words, which are our own."""
    return rows[:1] + [OPTIONAL + entry for entry in explained(rows[1:])]


def qmp_lines_that_are_no_commands(stage: Stage) -> None:
    machine = stage.start(NONE)
    for line in (
        "{}",
        "[]",
        "1",
        '{"execute": 1}',
        '{"execute": "query-status", "foo": 1}',
        '{"execute": "query-status", "arguments": 1}',
        '{"execute": "query-status", "arguments": {"foo": 1}}',
        '{"execute": "query-status", "id": [1, {"a": null}]}',
        '{"exec-oob": "query-status"}',
        '{"execute": "nope", "id": 5}',
        "{'execute': 'query-status'}",
    ):
        machine.qmp.send(line)
        machine.qmp.answer()
    leave(machine)


def human_monitor_command(stage: Stage) -> None:
    machine = stage.start(NONE)
    for line in ("info status", "", "nope", "info name", "stop", "cont"):
        machine.qmp.execute("human-monitor-command", {"command-line": line})
    machine.qmp.execute("human-monitor-command", {"command-line": "info name", "cpu-index": 7})
    machine.qmp.execute("human-monitor-command", {})
    leave(machine)
