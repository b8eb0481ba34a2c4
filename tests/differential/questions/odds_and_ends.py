"""What else a management layer asks, and mostly gets an empty answer to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.differential.scenes import NONE, leave
from tests.differential.wires import OPTIONAL

if TYPE_CHECKING:
    from typing import Any

    from tests.differential.stage import Machine, Stage


def jobs(stage: Stage) -> None:
    machine = stage.start(NONE)
    machine.qmp.execute("query-jobs")
    leave(machine)


def statistics(stage: Stage) -> None:
    machine = stage.start("-machine pc -nodefaults -accel tcg -S")
    providers = [{"provider": "kvm", "names": ["x"]}]
    for target in ("vm", "vcpu", "cryptodev", "zz"):
        machine.qmp.execute("query-stats", {"target": target})
        machine.qmp.execute("query-stats", {"target": target, "providers": providers})
    machine.qmp.execute("query-stats", {"target": "vcpu", "vcpus": ["/x"]})
    machine.qmp.execute("query-stats", {"target": "vm", "vcpus": ["/x"]})
    machine.qmp.execute("query-stats-schemas", {"provider": "kvm"})
    machine.qmp.execute("query-stats-schemas", optional=True)
    leave(machine)


def the_watchdogs_action(stage: Stage) -> None:
    machine = stage.start(NONE)
    for action in ("none", "inject-nmi", "bogus"):
        machine.qmp.execute("watchdog-set-action", {"action": action})
    leave(machine)


def _without_help(options: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The words of help are everybody's own."""
    for option in options:
        for parameter in option["parameters"]:
            parameter.pop("help", None)
    return options


def options_of_the_command_line(stage: Stage) -> None:
    machine = stage.start(NONE)

    names = "action numa name msg overcommit object boot-opts smp-opts memory accel mon global rtc"
    for name in (*names.split(), "zz", "Name"):
        arguments = {"option": name}
        machine.qmp.execute("query-command-line-options", arguments, view=_without_help)
    _parameters_of(stage, machine, "machine")
    _parameters_of(stage, machine, "chardev")
    leave(machine)


def _parameters_of(stage: Stage, machine: Machine, option: str) -> None:
    """Note each parameter as one that vmd may lack."""
    (told,) = machine.qmp.execute("query-command-line-options", {"option": option}, quietly=True)
    for parameter in sorted(told["parameters"], key=lambda each: str(each["name"])):
        words = [parameter["name"], parameter["type"], parameter.get("default")]
        stage.note(OPTIONAL + f"{option}: {words}")


def displays_and_slots(stage: Stage) -> None:
    slots = "-m 64,slots=2,maxmem=128M"
    for arguments in (NONE, "-machine pc -nodefaults -accel tcg -S", f"-machine q35 -S {slots}"):
        machine = stage.start(arguments)
        machine.qmp.execute("query-display-options")
        machine.qmp.execute("query-vnc")
        machine.qmp.execute("query-vnc-servers")
        machine.qmp.execute("query-acpi-ospm-status")
        leave(machine)


def nodes(stage: Stage) -> None:
    halves = "".join(f" -object memory-backend-ram,id=m{n},size=8M" for n in (0, 1))
    pc = f"-machine pc -nodefaults -accel tcg -S -m 16 -smp 4,maxcpus=6{halves}"
    for arguments in (
        NONE,
        pc,
        f"{pc} -numa node,memdev=m0,cpus=0-2 -numa node,memdev=m1",
        f"{pc} -numa node,memdev=m0 -numa node,memdev=m1",
        f"{pc} -numa node,cpus=1 -numa node,memdev=m1 -numa node,memdev=m0,cpus=5",
    ):
        machine = stage.start(arguments, human="socket")
        machine.qmp.execute("x-query-numa")
        machine.human.type("info numa")
        leave(machine)
    stage.refused(f"{pc} -numa node")
    stage.refused(f"{pc} -numa node,memdev=m0 -numa node")


def blocks_of_ram(stage: Stage) -> None:
    machine = stage.start(NONE)
    machine.qmp.execute("x-query-ramblock")
    leave(machine)
