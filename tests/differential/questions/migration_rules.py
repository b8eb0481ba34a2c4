"""What migration allows: capabilities, parameters, modes, blockers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.differential.scenes import NONE, PRIVATE, capabilities, leave, ram_full_of_data, settle

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage

SLOW = {"max-bandwidth": 4096, "downtime-limit": 0}


def _slowly(stage: Stage, *names: str) -> Machine:
    """A machine in the middle of a migration that does not end by itself."""
    ram_full_of_data(stage)
    machine = stage.start(PRIVATE)
    capabilities(machine, "events", *names)
    machine.qmp.execute("migrate-set-parameters", SLOW)
    machine.qmp.execute("migrate", {"uri": "file:vm.state"})
    machine.qmp.wait("MIGRATION", status="active")
    return machine


def a_dump_cannot_begin_during_a_migration(stage: Stage) -> None:
    machine = _slowly(stage)
    machine.qmp.execute("dump-guest-memory", {"paging": False, "protocol": "file:core"})
    machine.qmp.execute("query-dump")
    stage.note(f"# a core file: {stage.file('core').exists()}")
    machine.qmp.execute("migrate_cancel")
    settle(machine, "cancelled")
    machine.qmp.execute("dump-guest-memory", {"paging": False, "protocol": "file:core"})
    machine.qmp.execute("query-migrate")
    leave(machine)


def numbers_that_parameters_take(stage: Stage) -> None:
    machine = stage.start(NONE, human="pipe")

    def attempt(**parameters: object) -> None:
        named = {name.replace("_", "-"): value for name, value in parameters.items()}
        machine.qmp.execute("migrate-set-parameters", named)

    for name in ("cpu_throttle_initial", "cpu_throttle_increment", "throttle_trigger_threshold"):
        for value in (0, 1, 99, 100, 101, 300, -1, 1.5, "1", True):
            attempt(**{name: value})
    attempt(cpu_throttle_initial=20, cpu_throttle_increment=10, throttle_trigger_threshold=50)
    for value in (0, 19, 20, 100):
        attempt(max_cpu_throttle=value)
    attempt(cpu_throttle_initial=21)
    attempt(cpu_throttle_initial=30, max_cpu_throttle=40)
    attempt(cpu_throttle_tailslow="on")
    attempt(cpu_throttle_tailslow=True)
    attempt(
        max_cpu_throttle=0,
        downtime_limit=2000001,
        cpu_throttle_increment=0,
        cpu_throttle_initial=0,
        throttle_trigger_threshold=0,
    )
    attempt(max_cpu_throttle=0, downtime_limit=2000001, cpu_throttle_increment=0)
    attempt(max_cpu_throttle=0, downtime_limit=2000001)
    machine.qmp.execute("query-migrate-parameters", optional=True)
    machine.human.type("info migrate_parameters", optional=True)
    leave(machine)


def numbers_typed_at_the_human_monitor(stage: Stage) -> None:
    machine = stage.start(NONE, qmp=False, human="pipe")
    for name, values in (
        ("cpu-throttle-initial", "abc 0 100 300 1.5 -1 0x10 020 1k 30"),
        ("cpu-throttle-tailslow", "maybe on yes off n"),
        ("max-cpu-throttle", "5 100 40"),
        ("downtime-limit", "abc 1.5 1.5k -1 18446744073709551616 2000001 1k"),
        ("max-bandwidth", "abc -1 1.5 4k 8796093022207"),
        ("mode", "fast cpr-reboot"),
        ("zero-page-detection", "no none"),
    ):
        for value in values.split():
            machine.human.type(f"migrate_set_parameter {name} {value}")
    machine.human.type("info migrate_parameters", optional=True)
    machine.human.type("migrate_set_capability auto-converge on")
    machine.human.type("migrate_set_capability auto-converge 1")
    machine.human.type("info migrate_capabilities", optional=True)
    machine.human.leave()
    machine.exited()


def parameters_given_as_globals(stage: Stage) -> None:
    for option in (
        "x-cpu-throttle-initial=0",
        "x-cpu-throttle-initial=abc",
        "x-cpu-throttle-initial=300",
        "cpu-throttle-initial=30",
        "max-cpu-throttle=5",
        "x-max-cpu-throttle=50",
        "x-throttle-trigger-threshold=101",
        "x-cpu-throttle-tailslow=maybe",
        "x-auto-converge=maybe",
        "auto-converge=on",
    ):
        stage.refused(f"{NONE} -global migration.{option}")
    options = ("x-auto-converge=on", "max-cpu-throttle=50", "x-cpu-throttle-tailslow=on")
    machine = stage.start(f"{NONE} {' '.join(f'-global migration.{o}' for o in options)}")
    machine.qmp.execute("query-migrate-capabilities", optional=True)
    machine.qmp.execute("query-migrate-parameters", optional=True)
    leave(machine)
