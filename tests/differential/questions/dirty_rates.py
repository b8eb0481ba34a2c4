"""How fast RAM is dirtied: measuring it, and limiting it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.differential.scenes import NONE, Q35, capabilities, leave

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage


RING = "-nodefaults -m 16 -accel kvm,dirty-ring-size=4096 -S"


def _without_moment(told: dict[str, Any]) -> dict[str, Any]:
    return {**told, "start-time": "<s>"} if told["start-time"] else told


def _no_start(rows: list[str]) -> list[str]:
    return [row for row in rows if not row.startswith("Start Time: ")]


def _measured(machine: Machine, **arguments: object) -> None:
    """Measure for 50 ms, and ask for what is found."""
    named = {name.replace("_", "-"): value for name, value in arguments.items()}
    shortly = {"calc-time": 50, "calc-time-unit": "millisecond"}
    machine.qmp.execute("calc-dirty-rate", shortly | named)
    while machine.qmp.execute("query-dirty-rate", quietly=True)["status"] != "measured":
        pass
    machine.qmp.execute("query-dirty-rate", view=_without_moment)
    machine.human.type("info dirty_rate", view=_no_start)


def measurements_that_are_refused(stage: Stage) -> None:
    machine = stage.start(NONE, human="pipe")
    machine.qmp.execute("query-dirty-rate")
    machine.human.type("info dirty_rate")
    times: tuple[object, ...] = (0, 61, -1, "a", 1.5, None)
    for value in times:
        machine.qmp.execute("calc-dirty-rate", {"calc-time": value})
    for ms in (49, 60_001, 1 << 62, -(1 << 62)):
        arguments = {"calc-time": ms, "calc-time-unit": "millisecond"}
        machine.qmp.execute("calc-dirty-rate", arguments)
    for pages in (0, 127, 16385, -1):
        for mode in ("page-sampling", "dirty-ring", "dirty-bitmap"):
            arguments = {"calc-time": 1, "sample-pages": pages, "mode": mode}
            machine.qmp.execute("calc-dirty-rate", arguments)
    machine.qmp.execute("calc-dirty-rate", {})
    machine.qmp.execute("calc-dirty-rate", {"calc-time": 1, "mode": "dirty-ring"})
    machine.qmp.execute("calc-dirty-rate", {"calc-time": 100, "mode": "dirty-ring"})
    machine.qmp.execute("calc-dirty-rate", {"calc-time": 1, "mode": "bogus"})
    machine.qmp.execute("calc-dirty-rate", {"calc-time": 1, "calc-time-unit": "hour"})
    machine.qmp.execute("query-dirty-rate", {"calc-time-unit": "hour"})
    machine.qmp.execute("query-dirty-rate", {"calc-time-unit": "millisecond"})
    for line in ("", " -r 1", " -r -b 1", " -r -b 0", " 0", " 100", " -x 1", " 1 1", " -b 1 512"):
        machine.human.type(f"calc_dirty_rate{line}")
    for line in (" a", " 1 512 3", " -1", " 1 -1", " 1 16385"):
        machine.human.type(f"calc_dirty_rate{line}")
    leave(machine)


def what_is_measured_of_a_machine_that_stands(stage: Stage) -> None:
    machine = stage.start(f"{NONE} -S", human="pipe")
    _measured(machine)
    _measured(machine, sample_pages=16384)
    _measured(machine, mode="dirty-bitmap")
    leave(machine)
    machine = stage.start("-machine none -m 1", human="pipe")
    _measured(machine)
    leave(machine)
    machine = stage.start(f"{NONE} -incoming defer", human="pipe")
    _measured(machine)
    leave(machine)


def a_measurement_that_takes_a_second(stage: Stage) -> None:
    machine = stage.start(NONE, human="pipe")
    machine.human.type("calc_dirty_rate 1 1000")
    machine.human.type_until("info dirty_rate", "Status: measuring\n")
    machine.qmp.execute("query-dirty-rate", view=_without_moment)
    machine.human.type("calc_dirty_rate -b 1")
    machine.qmp.execute("calc-dirty-rate", {"calc-time": 100, "mode": "dirty-ring"})
    machine.human.type_until("info dirty_rate", "Status: measured\n")
    machine.human.type("info dirty_rate", view=_no_start)
    leave(machine)


def a_guest_that_is_measured(stage: Stage) -> None:
    machine = stage.start(Q35, guest="ab", serial=True)
    heard = b""
    while b"B" not in heard:
        heard += machine.serial.read("the guest's second letter")
    arguments = {"calc-time": 100, "calc-time-unit": "millisecond", "sample-pages": 16384}
    machine.qmp.execute("calc-dirty-rate", arguments)
    told = {"status": ""}
    while told["status"] != "measured":
        told = machine.qmp.execute("query-dirty-rate", quietly=True)
    stage.note(f"# writes: {told['dirty-rate'] > 0}")  # type: ignore[operator]
    leave(machine)


def limits_without_a_dirty_ring(stage: Stage) -> None:
    machine = stage.start(f"{Q35} -smp 2", human="pipe")
    for index in (None, 0, 7, -1):
        for rate in (0, 5, -1):
            arguments = {"dirty-rate": rate} | ({} if index is None else {"cpu-index": index})
            machine.qmp.execute("set-vcpu-dirty-limit", arguments)
        machine.qmp.execute(
            "cancel-vcpu-dirty-limit", None if index is None else {"cpu-index": index}
        )
    machine.qmp.execute("set-vcpu-dirty-limit", {})
    machine.qmp.execute("set-vcpu-dirty-limit", {"dirty-rate": "5"})
    machine.qmp.execute("query-vcpu-dirty-limit")
    for line in (
        *("set_vcpu_dirty_limit", "set_vcpu_dirty_limit 5", "set_vcpu_dirty_limit 5 9"),
        *("set_vcpu_dirty_limit -1", "set_vcpu_dirty_limit 0", "set_vcpu_dirty_limit x"),
        *("cancel_vcpu_dirty_limit", "cancel_vcpu_dirty_limit 9", "cancel_vcpu_dirty_limit x"),
        "info vcpu_dirty_limit",
    ):
        machine.human.type(line)
    leave(machine)


def threads_of_no_migration(stage: Stage) -> None:
    machine = stage.start(NONE)
    machine.qmp.execute("query-migrationthreads")
    leave(machine)


def limits_with_a_dirty_ring(stage: Stage) -> None:
    two = f"-machine q35 -smp 2 -cpu qemu64,check=off {RING}"
    for options in (f"-machine none {RING}", two):
        machine = stage.start(options, human="pipe", kvm=True)
        machine.qmp.execute("cancel-vcpu-dirty-limit", {"cpu-index": 7})
        for index in (None, 0, 7, -1):
            for rate in (0, 5, -1, 1 << 40):
                arguments = {"dirty-rate": rate} | ({} if index is None else {"cpu-index": index})
                machine.qmp.execute("set-vcpu-dirty-limit", arguments)
                machine.qmp.execute("query-vcpu-dirty-limit")
        machine.human.type("info vcpu_dirty_limit")
        for index in (7, 0, None):
            machine.qmp.execute(
                "cancel-vcpu-dirty-limit", None if index is None else {"cpu-index": index}
            )
            machine.qmp.execute("query-vcpu-dirty-limit")
        for line in (
            *("set_vcpu_dirty_limit 5", "set_vcpu_dirty_limit 6 0", "set_vcpu_dirty_limit 5 9"),
            *("set_vcpu_dirty_limit -1", "info vcpu_dirty_limit", "cancel_vcpu_dirty_limit 9"),
            *("cancel_vcpu_dirty_limit 0", "info vcpu_dirty_limit", "cancel_vcpu_dirty_limit"),
            "info vcpu_dirty_limit",
        ):
            machine.human.type(line)
        machine.qmp.execute("calc-dirty-rate", {"calc-time": 1, "mode": "dirty-bitmap"})
        for names in (("auto-converge", "dirty-limit"), ("dirty-limit",), ("auto-converge",)):
            capabilities(machine, *names)
        machine.qmp.execute("set-vcpu-dirty-limit", {"dirty-rate": 5})
        leave(machine)
    machine = stage.start(two, human="pipe", kvm=True)
    _measured(machine, mode="dirty-ring")
    leave(machine)


def _until(machine: Machine, status: str) -> None:
    while machine.qmp.execute("query-migrate", quietly=True)["status"] != status:
        pass


def a_migration_with_a_dirty_ring(stage: Stage) -> None:
    machine = stage.start(f"-machine q35 -cpu qemu64,check=off {RING}", human="pipe", kvm=True)
    capabilities(machine, "dirty-limit", "pause-before-switchover")
    machine.qmp.execute("set-vcpu-dirty-limit", {"dirty-rate": 5})
    machine.qmp.execute("migrate", {"uri": "file:vm.state"})
    _until(machine, "pre-switchover")
    machine.qmp.execute("set-vcpu-dirty-limit", {"dirty-rate": 9})
    machine.qmp.execute("set-vcpu-dirty-limit", {"dirty-rate": 0})
    machine.qmp.execute("set-vcpu-dirty-limit", {"dirty-rate": 9, "cpu-index": 7})
    machine.qmp.execute("cancel-vcpu-dirty-limit")
    machine.qmp.execute("query-migrate", view=sorted)
    machine.human.type("info migrate", view=lambda rows: [row for row in rows if "limit" in row])
    machine.qmp.execute("migrate-continue", {"state": "pre-switchover"})
    _until(machine, "completed")
    machine.qmp.execute("query-vcpu-dirty-limit")
    machine.qmp.execute("migrate_cancel")
    machine.qmp.execute("query-vcpu-dirty-limit")
    leave(machine)
