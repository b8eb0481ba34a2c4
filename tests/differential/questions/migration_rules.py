"""What migration allows: capabilities, parameters, modes, blockers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.differential.scenes import (
    NONE,
    PRIVATE,
    Q35,
    capabilities,
    leave,
    ram_full_of_data,
    save,
    settle,
)

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
    for value in (0, 4095, 4096, 8192, 3 * 4096, -1, -4096, 2**62, 2**63, 1.5, "1"):
        attempt(xbzrle_cache_size=value)
    attempt(xbzrle_cache_size=3, max_cpu_throttle=0)
    attempt(xbzrle_cache_size=3, downtime_limit=2000001)
    attempt(cpu_throttle_tailslow="on")
    attempt(direct_io="on")
    attempt(direct_io=True)
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
        ("xbzrle-cache-size", "1k 5000 64k 1.5k abc 4k -4096 0 0x10000 18446744073709551616 1M"),
        ("mode", "fast cpr-reboot"),
        ("direct-io", "1 maybe on no yes"),
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
        "xbzrle-cache-size=5000",
        "x-xbzrle-cache-size=8192",
        "xbzrle=on",
        "x-mapped-ram=on",
        "direct-io=on",
        "return-path=on",
        "x-switchover-ack=on",
    ):
        stage.refused(f"{NONE} -global migration.{option}")
    options = (
        "x-switchover-ack=on",
        "x-return-path=on",
        "x-auto-converge=on",
        "max-cpu-throttle=50",
        "x-cpu-throttle-tailslow=on",
    )
    machine = stage.start(f"{NONE} {' '.join(f'-global migration.{o}' for o in options)}")
    machine.qmp.execute("query-migrate-capabilities", optional=True)
    machine.qmp.execute("query-migrate-parameters", optional=True)
    leave(machine)


def capabilities_that_do_not_go_together(stage: Stage) -> None:
    machine = stage.start(NONE, human="pipe")
    capabilities(machine, "mapped-ram", "xbzrle")
    capabilities(machine, "switchover-ack", "mapped-ram", "xbzrle")
    capabilities(machine, "switchover-ack")
    capabilities(machine, "xbzrle", "events")
    capabilities(machine, "events", "mapped-ram")
    machine.human.type("migrate_set_capability mapped-ram on")
    machine.qmp.execute("query-migrate-capabilities", optional=True)
    states = [("xbzrle", False), ("mapped-ram", True), ("auto-converge", True)]
    arguments = [{"capability": name, "state": state} for name, state in states]
    machine.qmp.execute("migrate-set-capabilities", {"capabilities": arguments})
    machine.human.type("migrate_set_capability xbzrle on")
    machine.human.type("info migrate_capabilities", optional=True)
    leave(machine)
    stage.refused(f"{NONE} -global migration.x-xbzrle=on -global migration.mapped-ram=on")


def nothing_changes_during_a_migration(stage: Stage) -> None:
    machine = _slowly(stage)
    capabilities(machine, "xbzrle")
    capabilities(machine)
    machine.qmp.execute("migrate-set-parameters", {"mode": "cpr-reboot", "downtime-limit": 10})
    machine.qmp.execute("migrate-set-parameters", {"xbzrle-cache-size": 8192})
    machine.qmp.execute("query-migrate-parameters", optional=True)
    machine.qmp.execute("migrate_cancel")
    settle(machine, "cancelled")
    capabilities(machine, "xbzrle")
    leave(machine)


def changes_in_pages_that_nobody_writes(stage: Stage) -> None:
    ram_full_of_data(stage)
    stage.exact = True
    machine = stage.start(f"{PRIVATE} -S", human="pipe")
    capabilities(machine, "events", "xbzrle")
    machine.qmp.execute("migrate-set-parameters", {"max-bandwidth": 0, "mode": "cpr-reboot"})
    machine.qmp.execute("migrate", {"uri": "file:vm.state"})
    settle(machine)
    machine.qmp.execute("query-migrate")
    machine.human.type("info migrate")
    leave(machine)


PORT = "-device pcie-root-port,id=rp,chassis=1"


def a_device_whose_state_cannot_be_saved(stage: Stage) -> None:
    devices = "-device nvme,serial=a -device nvme,serial=b,addr=5.1,multifunction=on"
    machine = stage.start(f"{Q35} {PORT} {devices} -S", human="pipe")
    machine.qmp.execute("query-migrate")
    machine.qmp.execute("device_add", {"driver": "nvme", "serial": "c", "bus": "rp", "id": "n"})
    machine.qmp.execute("query-migrate")
    for mode in ("normal", "cpr-reboot"):
        machine.qmp.execute("migrate-set-parameters", {"mode": mode})
        machine.qmp.execute("migrate", {"uri": "file:vm.state"})
    machine.human.type("migrate -d file:vm.state")
    machine.human.type("info migrate")
    leave(machine)


def only_what_can_be_migrated(stage: Stage) -> None:
    stage.refused(f"{Q35} -only-migratable -device nvme")
    stage.refused(f"{Q35} -only-migratable -device nvme,serial=a")
    machine = stage.start(f"{Q35} {PORT} -only-migratable -S", human="pipe")
    machine.qmp.execute("device_add", {"driver": "nvme", "serial": "c", "bus": "rp"})
    machine.qmp.execute("device_add", {"driver": "nvme", "bus": "rp"})
    machine.qmp.execute("device_add", {"driver": "e1000e", "bus": "rp"})
    machine.qmp.execute("query-migrate")
    machine.human.type("info migrate")
    leave(machine)


def a_device_that_comes_during_a_migration(stage: Stage) -> None:
    machine = stage.start(f"{Q35} {PORT} -S")
    capabilities(machine, "events")
    machine.qmp.execute("migrate-set-parameters", {**SLOW, "zero-page-detection": "none"})
    machine.qmp.execute("migrate", {"uri": "file:vm.state"})
    machine.qmp.wait("MIGRATION", status="active")
    machine.qmp.execute("device_add", {"driver": "nvme", "serial": "c", "bus": "rp"})
    machine.qmp.execute("device_add", {"driver": "e1000e", "bus": "rp"})
    machine.qmp.execute("device_add", {"driver": "e1000e", "bus": "pcie.0"})
    machine.qmp.execute("device_add", {"driver": "bogus"})
    machine.qmp.execute("migrate_cancel")
    settle(machine, "cancelled")
    leave(machine)


def devices_of_a_host_that_are_refused(stage: Stage) -> None:
    stage.refused(f"{Q35} -device nvme")
    stage.refused(f"{Q35} -device vfio-pci")
    for host in ("1", "zz", "01:00.8", "01:20.0", "01:00.0.0", ""):
        stage.refused(f"{Q35} -device vfio-pci,host={host}")
    stage.refused(f"{Q35} -device vfio-pci,host=01:00.0,enable-migration=maybe")
    stage.refused(f"{Q35} -device vhost-scsi-pci")
    stage.refused("-machine none -device vfio-pci,host=01:00.0")


DISK = (
    "-blockdev file,node-name=file,filename=image -blockdev raw,node-name=disk,file=file"
    " -device virtio-blk-pci,drive=disk"
)


def _owner(machine: Machine) -> None:
    machine.qmp.execute(
        "query-named-block-nodes",
        view=lambda nodes: [(node["node-name"], node["active"]) for node in nodes],
    )


def _with_disk(stage: Stage, *arguments: str) -> Machine:
    with stage.file("image").open("ab") as image:
        image.truncate(1 << 20)
    machine = stage.start(" ".join((Q35, DISK, *arguments)))
    capabilities(machine, "events")
    _owner(machine)
    return machine


def images_of_a_machine_that_migrates_away(stage: Stage) -> None:
    machine = _with_disk(stage)
    for uri in ("file:none/vm.state", "file:vm.state"):
        machine.qmp.execute("migrate", {"uri": uri})
        settle(machine, "failed" if "none" in uri else "completed")
        _owner(machine)
    machine.qmp.execute("blockdev-add", {"driver": "null-co", "node-name": "new"})
    _owner(machine)
    machine.qmp.execute("cont")
    _owner(machine)
    leave(machine)
    machine = _with_disk(stage)
    capabilities(machine, "pause-before-switchover")
    machine.qmp.execute("migrate", {"uri": "file:vm.state"})
    machine.qmp.wait("MIGRATION", status="pre-switchover")
    _owner(machine)
    machine.qmp.execute("migrate_cancel")
    settle(machine, "cancelled")
    _owner(machine)
    leave(machine)


def images_of_a_machine_that_arrives(stage: Stage) -> None:
    source = _with_disk(stage)
    source.qmp.execute("migrate", {"uri": "file:vm.state"})
    settle(source)
    leave(source)
    for names in ((), ("late-block-activate",)):
        for arguments in ("", "-S"):
            machine = _with_disk(stage, "-incoming defer", arguments)
            capabilities(machine, "events", *names)
            machine.qmp.execute("blockdev-add", {"driver": "null-co", "node-name": "new"})
            machine.qmp.execute("migrate-incoming", {"uri": "file:vm.state"})
            machine.qmp.wait("MIGRATION", status="completed")
            _owner(machine)
            machine.qmp.execute("cont")
            _owner(machine)
            leave(machine)


def caches_that_no_host_has_room_for(stage: Stage) -> None:
    machine = stage.start(NONE)
    capabilities(machine, "events", "xbzrle")
    for size in (1 << 50, 1 << 62):
        machine.qmp.execute("migrate-set-parameters", {"xbzrle-cache-size": size})
        machine.qmp.execute("migrate", {"uri": "file:vm.state"})
        settle(machine, "failed")
        machine.qmp.execute("query-migrate")
    machine.qmp.execute("migrate-set-parameters", {"xbzrle-cache-size": 4096})
    machine.qmp.execute("migrate", {"uri": "file:vm.state"})
    settle(machine)
    leave(machine)


def a_destination_that_has_got_other_wishes_meanwhile(stage: Stage) -> None:
    for names in (("mapped-ram",), ("mapped-ram", "x-ignore-shared")):
        target = stage.start(f"{NONE} -incoming unix:in")
        capabilities(target, *names)
        source = stage.start(f"{NONE} -S")
        source.qmp.execute("migrate", {"uri": "unix:in"}, quietly=True)
        target.qmp.end()
        target.exited()
        source.qmp.execute("migrate_cancel", quietly=True)
        source.process.kill()


def limits_that_are_lower_than_what_is_sent_at_once(stage: Stage) -> None:
    for limit in (9, 10, 100):
        machine = stage.start(f"{PRIVATE} -S")
        capabilities(machine, "events")
        machine.qmp.execute("migrate-set-parameters", {"max-bandwidth": limit})
        save(machine)
        leave(machine)
    ram_full_of_data(stage)
    machine = stage.start(f"{PRIVATE} -S")
    capabilities(machine, "events")
    machine.qmp.execute("migrate-set-parameters", {"max-bandwidth": 9})
    save(machine)
    leave(machine)
