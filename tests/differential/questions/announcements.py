"""How network devices tell where they are: by a command, and after a migration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.differential.scenes import capabilities, leave, load, save

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage

NICS = (
    "-machine q35 -nodefaults -accel tcg -m 8"
    " -netdev user,id=n0 -device virtio-net-pci,netdev=n0,id=v0 -netdev user,id=n1"
    " -device e1000e,netdev=n1,mac=52:54:00:12:34:57 -netdev user,id=n2"
    " -device e1000,netdev=n2,id=e0"
)
LOG = "-D log -trace qemu_announce_*"


def _ended(stage: Stage, machine: Machine, ends: int) -> None:
    """Wait until so many announcements have ended, and tell what the log says."""
    while stage.file("log").read_text().count("free named: 1") < ends:
        machine.qmp.execute("query-status", quietly=True)
    for line in stage.file("log").read_text().splitlines():
        stage.note(f"log: {line}")


def _announce(machine: Machine, *pace: int, **more: object) -> None:
    names = ("initial", "max", "rounds", "step")
    machine.qmp.execute("announce-self", {**dict(zip(names, pace, strict=True)), **more})


def by_a_command(stage: Stage) -> None:
    machine = stage.start(f"{NICS} {LOG} -S")
    _announce(machine, 10, 50, 3, 20)
    _ended(stage, machine, 1)
    _announce(machine, 1, 1, 1, 1, interfaces=["e1000e.0", "none"], id="few")
    _announce(machine, 1, 1, 1, 1, interfaces=[], id="nobody")
    _announce(machine, 1, 1, 0, 1, id="never")
    _announce(machine, 60000, 60000, 5, 1, id="long")
    _announce(machine, 60000, 60000, 1, 1, id="long")
    _announce(machine, 60000, 60000, 5, 1)
    _announce(machine, 60000, 60000, 0, 1)
    _ended(stage, machine, 6)
    leave(machine)


def what_is_no_announcement(stage: Stage) -> None:
    machine = stage.start(f"{NICS} -S", human="pipe")
    machine.qmp.execute("announce-self")
    machine.qmp.execute("announce-self", {"initial": 1, "max": 1, "rounds": 1})
    _announce(machine, 1, 1, 1, 1, nobody=True)
    _announce(machine, 1, 1, 1, 1, interfaces="v0")
    _announce(machine, 1, 1, 1, 1, id=1)
    _announce(machine, 1 << 63, 1, 1, 1)
    machine.human.type("announce_self v0 a b")
    machine.human.type("announce_self v0 a")
    machine.human.type("announce_self")
    leave(machine)


def at_the_human_monitor(stage: Stage) -> None:
    machine = stage.start(f"{NICS} {LOG} -S", human="pipe")
    for name, value in (("initial", 1), ("max", 1), ("rounds", 2), ("step", 1)):
        machine.human.type(f"migrate_set_parameter announce-{name} {value}")
    machine.human.type("announce_self v0,e0 two")
    _ended(stage, machine, 1)
    machine.human.type("announce_self")
    _ended(stage, machine, 2)
    leave(machine)


def the_addresses_of_network_devices(stage: Stage) -> None:
    machine = stage.start(f"{NICS} -S -device pcie-root-port,id=rp")
    machine.qmp.execute("device_add", {"driver": "e1000e", "bus": "rp", "id": "late"})
    for path in ("v0", "e0", "/machine/peripheral-anon/device[0]", "late"):
        machine.qmp.execute("qom-get", {"path": path, "property": "mac"})
    leave(machine)


def numbers_that_the_parameters_take(stage: Stage) -> None:
    machine = stage.start(f"{NICS} -S", human="pipe")
    for name, values in (
        ("announce-initial", (0, 100000, 100001, -1, "1", 1.5)),
        ("announce-max", (0, 100000, 100001)),
        ("announce-rounds", (0, 1000, 1001)),
        ("announce-step", (0, 1, 10000, 10001)),
    ):
        for value in values:
            machine.qmp.execute("migrate-set-parameters", {name: value})
    several = {"announce-step": 0, "announce-initial": 100001, "max-cpu-throttle": 0}
    machine.qmp.execute("migrate-set-parameters", several)
    machine.qmp.execute("migrate-set-parameters", {**several, "max-cpu-throttle": 99})
    for name, value in (("initial", "1k"), ("step", "0"), ("rounds", "abc"), ("max", "1.5")):
        machine.human.type(f"migrate_set_parameter announce-{name} {value}")
    machine.human.type("info migrate_parameters", optional=True)
    leave(machine)


def numbers_given_as_globals(stage: Stage) -> None:
    for option in (
        "announce-rounds=1001",
        "announce-step=0",
        "announce-max=abc",
        "x-announce-max=1",
    ):
        stage.refused(f"{NICS} -global migration.{option}")
    options = ("announce-initial=1k", "announce-max=2000", "announce-rounds=9", "announce-step=7")
    machine = stage.start(f"{NICS} -S {' '.join(f'-global migration.{o}' for o in options)}")
    machine.qmp.execute("query-migrate-parameters", optional=True)
    leave(machine)


def _arrives(stage: Stage, arguments: str, **parameters: int) -> None:
    source = stage.start(f"{NICS} -S")
    capabilities(source, "events")
    save(source)
    leave(source)
    target = stage.start(f"{NICS} {LOG} -trace runstate_set -incoming defer {arguments}")
    capabilities(target, "events")
    named = {f"announce-{name}": value for name, value in parameters.items()}
    target.qmp.execute("migrate-set-parameters", named)
    load(target)
    _ended(stage, target, 1)
    leave(target)


def after_a_migration(stage: Stage) -> None:
    _arrives(stage, "", rounds=3, initial=1, step=1)


def after_a_migration_into_a_machine_that_stands_still(stage: Stage) -> None:
    _arrives(stage, "-S", rounds=1)


def after_a_migration_without_rounds(stage: Stage) -> None:
    _arrives(stage, "", rounds=0)
