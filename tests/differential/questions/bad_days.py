"""What goes wrong: targets that cannot be written, state files that are not what they should be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.differential.scenes import (
    NONE,
    PRIVATE,
    Q35,
    SHARED,
    capabilities,
    leave,
    one_page_of_ram,
    ram_full_of_data,
    save,
    settle,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.differential.stage import Machine, Stage

SLOW = {"max-bandwidth": 4096}


# Going out.


def _cannot_write(stage: Stage, uri: str, arguments: str = NONE, mode: str = "cpr-reboot") -> None:
    machine = stage.start(arguments)
    capabilities(machine, "events")
    machine.qmp.execute("migrate-set-parameters", {"mode": mode})
    machine.qmp.execute("migrate", {"uri": uri})
    machine.qmp.execute("query-migrate")
    machine.qmp.execute("query-status")
    save(machine)
    machine.qmp.execute("query-status")
    leave(machine)


def a_directory_that_does_not_exist(stage: Stage) -> None:
    _cannot_write(stage, "file:nowhere/vm.state")


def a_directory_that_does_not_exist_in_normal_mode(stage: Stage) -> None:
    _cannot_write(stage, "file:nowhere/vm.state", mode="normal")


def a_directory_instead_of_a_file(stage: Stage) -> None:
    stage.file("folder").mkdir()
    _cannot_write(stage, "file:folder")


def a_device_that_cannot_be_truncated(stage: Stage) -> None:
    _cannot_write(stage, "file:/dev/full")


def an_empty_file_name(stage: Stage) -> None:
    _cannot_write(stage, "file:")


def a_stopped_machine_that_cannot_write(stage: Stage) -> None:
    _cannot_write(stage, "file:nowhere/vm.state", f"{NONE} -S")


def _disk_full(stage: Stage, mode: str, *before: str) -> None:
    machine = stage.start(NONE, file_limit=8192)
    capabilities(machine, "events")
    machine.qmp.execute("migrate-set-parameters", {"mode": mode})
    for command in before:
        machine.qmp.execute(command)
    machine.qmp.execute("migrate", {"uri": "file:vm.state"})
    settle(machine, "failed")
    machine.qmp.execute("query-migrate")
    machine.qmp.execute("query-status")
    stage.note(f"# half file: {stage.file('vm.state').stat().st_size <= 8192}")
    machine.qmp.execute("migrate", {"uri": "file:vm.state"})
    settle(machine, "failed")
    leave(machine)


def a_full_disk_in_cpr_reboot(stage: Stage) -> None:
    _disk_full(stage, "cpr-reboot")


def a_full_disk_in_normal_mode(stage: Stage) -> None:
    _disk_full(stage, "normal")


def a_full_disk_for_a_paused_machine(stage: Stage) -> None:
    _disk_full(stage, "cpr-reboot", "stop")


def a_disk_that_is_really_full(stage: Stage) -> None:
    ram_full_of_data(stage)
    machine = stage.start(PRIVATE, disk="1m")
    capabilities(machine, "events")
    machine.qmp.execute("migrate-set-parameters", {"mode": "cpr-reboot"})
    machine.qmp.execute("migrate", {"uri": "file:disk/vm.state"})
    settle(machine, "failed")
    machine.qmp.execute("query-migrate")
    machine.qmp.execute("query-status")
    save(machine)
    leave(machine)


def a_full_disk_at_the_human_monitor(stage: Stage) -> None:
    machine = stage.start(NONE, qmp=False, human="pipe", file_limit=8192)
    machine.human.type("migrate_set_parameter mode cpr-reboot")
    machine.human.type("migrate -d file:vm.state")
    machine.human.type_until("info status", "VM status: running")
    machine.human.type("info migrate")
    machine.human.leave()
    machine.exited()


def an_unwritable_path_at_the_human_monitor(stage: Stage) -> None:
    machine = stage.start(NONE, qmp=False, human="pipe")
    machine.human.type("migrate_set_parameter mode cpr-reboot")
    machine.human.type("migrate -d file:nowhere/vm.state")
    machine.human.type("info migrate")
    machine.human.type("info status")
    machine.human.type("migrate file:nowhere/vm.state")
    machine.human.type("info status")
    machine.human.leave()
    machine.exited()


def _slow(stage: Stage, mode: str, *before: str) -> Machine:
    """A machine in the middle of a migration that will not end by itself."""
    ram_full_of_data(stage)
    machine = stage.start(PRIVATE)
    capabilities(machine, "events")
    machine.qmp.execute("migrate-set-parameters", {**SLOW, "mode": mode})
    for command in before:
        machine.qmp.execute(command)
    machine.qmp.execute("migrate", {"uri": "file:vm.state"})
    machine.qmp.wait("MIGRATION", status="active")
    return machine


def _ram_is_moving(answer: dict[str, object]) -> dict[str, object]:
    ram = answer["ram"]
    assert isinstance(ram, dict)
    return {**answer, "ram": dict.fromkeys(ram, "<number>")}


def a_second_migrate_during_the_first(stage: Stage) -> None:
    machine = _slow(stage, "cpr-reboot")
    machine.qmp.execute("query-status")
    machine.qmp.execute("query-migrate", view=_ram_is_moving)
    machine.qmp.execute("migrate", {"uri": "file:other.state"})
    machine.qmp.execute("migrate-incoming", {"uri": "file:other.state"})
    capabilities(machine, "x-ignore-shared")
    machine.qmp.execute("cont")
    machine.qmp.execute("stop")
    machine.qmp.execute("migrate_cancel")
    settle(machine, "cancelled")
    machine.qmp.execute("query-migrate")
    machine.qmp.execute("query-status")
    stage.note(f"# another file: {stage.file('other.state').exists()}")
    leave(machine)


def cancel_in_normal_mode(stage: Stage) -> None:
    machine = _slow(stage, "normal")
    machine.qmp.execute("query-status")
    machine.qmp.execute("query-migrate", view=_ram_is_moving)
    machine.qmp.execute("migrate_cancel")
    settle(machine, "cancelled")
    machine.qmp.execute("query-migrate")
    machine.qmp.execute("query-status")
    machine.qmp.execute("migrate_cancel")
    leave(machine)


def stop_during_migration_stands(stage: Stage) -> None:
    machine = _slow(stage, "normal")
    machine.qmp.execute("stop")
    machine.qmp.execute("query-status")
    machine.qmp.execute("migrate_cancel")
    settle(machine, "cancelled")
    machine.qmp.execute("query-status")
    leave(machine)


def cancel_of_a_paused_machine(stage: Stage) -> None:
    machine = _slow(stage, "cpr-reboot", "stop")
    machine.qmp.execute("migrate_cancel")
    settle(machine, "cancelled")
    machine.qmp.execute("query-status")
    leave(machine)


def a_migration_after_a_cancelled_one(stage: Stage) -> None:
    machine = _slow(stage, "cpr-reboot")
    machine.qmp.execute("migrate_cancel")
    settle(machine, "cancelled")
    machine.qmp.execute("query-status")
    machine.qmp.execute("migrate-set-parameters", {"max-bandwidth": 0})
    save(machine)
    machine.qmp.execute("query-status")
    leave(machine)


def lifting_the_limit_ends_a_slow_migration(stage: Stage) -> None:
    machine = _slow(stage, "cpr-reboot")
    machine.qmp.execute("migrate-set-parameters", {"max-bandwidth": 0})
    settle(machine)
    leave(machine)


def quit_during_migration(stage: Stage) -> None:
    machine = _slow(stage, "normal")
    leave(machine)


def a_cancel_at_the_human_monitor(stage: Stage) -> None:
    ram_full_of_data(stage)
    machine = stage.start(PRIVATE, qmp=False, human="pipe")
    machine.human.type("migrate_set_parameter max-bandwidth 4k")
    machine.human.type("migrate_set_parameter mode cpr-reboot")
    machine.human.type("migrate -d file:vm.state")
    machine.human.type_until("info migrate", "Migration status: active")
    machine.human.type("info status")
    machine.human.type("migrate -d file:other.state")
    machine.human.type("migrate_set_capability x-ignore-shared on")
    machine.human.type("migrate_cancel")
    machine.human.type_until("info status", "VM status: running")
    machine.human.type("info migrate")
    machine.human.leave()
    machine.exited()


def a_second_migrate_after_completion(stage: Stage) -> None:
    machine = stage.start(NONE, human="pipe")
    capabilities(machine, "events")
    save(machine)
    machine.qmp.execute("migrate", {"uri": "file:vm.state"})
    machine.human.type("migrate -d file:vm.state")
    machine.human.type("migrate file:vm.state")
    machine.human.type("info status")
    machine.qmp.execute("query-migrate")
    leave(machine)


def what_is_no_migration_address(stage: Stage) -> None:
    machine = stage.start(NONE)
    for uri in ("", "vm.state", "zzz:1", "file:vm.state,offset=abc", "file:vm.state,offset=-1"):
        machine.qmp.execute("migrate", {"uri": uri})
    main = {
        "channel-type": "main",
        "addr": {"transport": "file", "filename": "vm.state", "offset": 0},
    }
    for arguments in (
        {},
        {"channels": []},
        {"uri": "file:vm.state", "channels": [main]},
        {"channels": [main, main]},
        {"channels": [{"channel-type": "main"}]},
        {"channels": [{**main, "channel-type": "bogus"}]},
        {"channels": [{**main, "addr": {"transport": "bogus"}}]},
        {"channels": [{**main, "addr": {"transport": "file", "filename": "vm.state"}}]},
        {"channels": [{**main, "addr": {"transport": "file", "offset": 0}}]},
        {"channels": [{**main, "addr": {**main["addr"], "offset": "0"}}]},
        {"channels": [{**main, "addr": {**main["addr"], "extra": 1}}]},
        {"channels": "main"},
        {"uri": 5},
        {"uri": "file:vm.state", "foo": 1},
        {"uri": "file:vm.state", "detach": "yes"},
        {"uri": "file:vm.state", "resume": True},
    ):
        machine.qmp.execute("migrate", arguments)
    machine.qmp.execute("query-migrate")
    machine.qmp.execute("query-status")
    leave(machine)


def incoming_without_the_option(stage: Stage) -> None:
    machine = stage.start(NONE, human="pipe")
    machine.qmp.execute("migrate-incoming", {"uri": "file:vm.state"})
    machine.qmp.execute("migrate-incoming", {"uri": "zzz"})
    machine.qmp.execute("migrate-incoming")
    machine.human.type("migrate_incoming file:vm.state")
    machine.qmp.execute("query-migrate")
    leave(machine)


def while_it_waits_for_a_migration(stage: Stage) -> None:
    machine = stage.start(f"{NONE} -incoming defer", human="pipe")
    capabilities(machine, "events")
    machine.qmp.execute("migrate", {"uri": "file:vm.state"})
    machine.human.type("migrate -d file:vm.state")
    machine.qmp.execute("query-migrate")
    machine.qmp.execute("system_reset")
    machine.qmp.execute("query-status")
    for uri in ("", "vm.state", "zzz:1", "file:vm.state,offset=abc"):
        machine.qmp.execute("migrate-incoming", {"uri": uri})
    machine.qmp.execute("migrate-incoming", {})
    machine.qmp.execute("query-migrate")
    machine.qmp.execute("migrate-incoming", {"uri": "file:missing"})
    machine.qmp.execute("query-migrate")
    machine.qmp.execute("migrate-incoming", {"uri": "file:missing"})
    machine.qmp.execute("query-status")
    leave(machine)


def a_second_incoming_after_the_first(stage: Stage) -> None:
    source = stage.start(NONE)
    capabilities(source, "events")
    save(source)
    leave(source)
    machine = stage.start(f"{NONE} -incoming defer")
    capabilities(machine, "events")
    machine.qmp.execute("migrate-incoming", {"uri": "file:vm.state"})
    machine.qmp.wait("MIGRATION", status="completed")
    machine.qmp.execute("migrate-incoming", {"uri": "file:vm.state"})
    machine.qmp.execute("query-migrate")
    leave(machine)


def an_incoming_file_that_is_missing(stage: Stage) -> None:
    stage.refused(f"{NONE} -incoming file:missing")
    machine = stage.start(f"{NONE} -incoming defer", qmp=False, human="pipe")
    machine.human.type("migrate_incoming file:missing")
    machine.human.type("migrate_incoming file:missing")
    machine.human.type("info status")
    machine.human.type("info migrate")
    machine.human.leave()
    machine.exited()


# Coming in: the state file is not what it should be.


def _written(stage: Stage) -> bytes:
    """A state file of machine none with one page in use, as the program itself writes it."""
    one_page_of_ram(stage)
    source = stage.start(f"{PRIVATE} -S")
    capabilities(source, "events")
    save(source)
    leave(source)
    stage.transcript.clear()
    return stage.file("vm.state").read_bytes()


def _rejected(stage: Stage, what: str, state: bytes) -> None:
    """Load a spoiled file on the command line: the program must end with an error."""
    stage.note(f"# {what}")
    stage.file("bad.state").write_bytes(state)
    stage.refused(f"{PRIVATE} -incoming file:bad.state")


def _exposed(stage: Stage, state: bytes, how: Callable[[Machine], None]) -> None:
    stage.file("bad.state").write_bytes(state)
    machine = stage.start(f"{PRIVATE} -incoming defer", human="pipe")
    capabilities(machine, "events")
    how(machine)


def files_that_are_no_state(stage: Stage) -> None:
    good = _written(stage)
    _rejected(stage, "empty", b"")
    _rejected(stage, "garbage", b"garbage in\n" * 100)
    _rejected(stage, "zeros", bytes(4096))
    _rejected(stage, "the magic alone", good[:4])
    _rejected(stage, "half a magic", good[:2])
    _rejected(stage, "version 2", good[:7] + b"\2" + good[8:])
    _rejected(stage, "version 4", good[:7] + b"\4" + good[8:])
    _rejected(stage, "version 3 and no more", good[:8])
    _rejected(stage, "a wrong magic", b"R" + good[1:])
    _rejected(stage, "an unknown section type", good[:8] + b"\x55" + good[9:])


def truncated_state_files(stage: Stage) -> None:
    good = _written(stage)
    at = good.index(b"\x03ram")
    _rejected(stage, "in the machine type", good[:11])
    _rejected(stage, "in the header of the first section", good[: at + 2])
    _rejected(stage, "in the version of the first section", good[: at + 6])
    _rejected(stage, "in the list of RAM blocks", good[: at + 18])
    _rejected(stage, "after the list of RAM blocks", good[: at + 50])
    _rejected(stage, "in a page", good[: len(good) // 20])
    _rejected(stage, "in the zero pages", good[: len(good) // 2])
    globalstate = good.index(b"\x0bglobalstate")
    _rejected(stage, "in the name of a device", good[: globalstate + 5])
    _rejected(stage, "in the run state", good[: globalstate + 30])


def a_state_file_without_its_description_still_loads(stage: Stage) -> None:
    good = _written(stage)
    end = good.index(b"\x7e\x00\x00\x00\x03\x00\x06") + 6

    def load(machine: Machine) -> None:
        machine.qmp.execute("migrate-incoming", {"uri": "file:bad.state"})
        machine.qmp.wait("MIGRATION", status="completed")
        machine.qmp.execute("query-status")
        leave(machine)

    _exposed(stage, good[:end], load)
    _exposed(stage, good[: end + 1], load)
    _exposed(stage, good[:-40], load)


def spoiled_bytes(stage: Stage) -> None:
    good = _written(stage)

    def with_byte(place: int, value: int) -> bytes:
        return good[:place] + bytes([value]) + good[place + 1 :]

    at = good.index(b"\x03ram")
    _rejected(stage, "another machine type", good.replace(b"\x04none", b"\x04nine", 1))
    _rejected(stage, "a section name that nobody has", good.replace(b"\x03ram", b"\x03rum", 1))
    _rejected(stage, "an instance that nobody has", with_byte(at + 7, 1))
    _rejected(stage, "a version too new", with_byte(at + 11, 9))
    _rejected(stage, "a wrong sum of RAM", with_byte(at + 17, 2))
    block = good.index(b"ram0") if b"ram0" in good else good.index(b"/objects/ram0")
    _rejected(stage, "another RAM block", with_byte(block, ord("X")))
    footer = good.index(b"\x7e\x00\x00\x00\x01")
    _rejected(stage, "a wrong footer mark", with_byte(footer, 0))
    _rejected(stage, "a wrong footer number", with_byte(footer + 4, 9))
    section = good.index(b"\x0bglobalstate")
    _rejected(stage, "another device name", with_byte(section + 1, ord("G")))
    _rejected(stage, "a run state that does not exist", good.replace(b"prelaunch", b"postlunch", 1))


def a_bad_file_over_qmp_ends_the_target(stage: Stage) -> None:
    good = _written(stage)

    def load(machine: Machine) -> None:
        machine.qmp.execute("migrate-incoming", {"uri": "file:bad.state"})
        machine.qmp.wait("MIGRATION", status="failed")
        machine.qmp.end()
        machine.exited()

    _exposed(stage, good[: len(good) // 2], load)


def a_bad_file_leaves_the_target_when_asked(stage: Stage) -> None:
    good = _written(stage)

    def load(machine: Machine) -> None:
        machine.qmp.execute("migrate-incoming", {"uri": "file:bad.state", "exit-on-error": False})
        machine.qmp.wait("MIGRATION", status="failed")
        machine.qmp.execute("query-migrate")
        machine.qmp.execute("query-status")
        machine.qmp.execute("cont")
        machine.qmp.execute("query-status")
        machine.qmp.execute("migrate-incoming", {"uri": "file:vm.state"})
        leave(machine)

    _exposed(stage, good[: len(good) // 2], load)
    _exposed(stage, b"", load)


def a_bad_file_at_the_human_monitor(stage: Stage) -> None:
    good = _written(stage)

    def load(machine: Machine) -> None:
        machine.human.type("migrate_incoming file:bad.state")
        machine.qmp.wait("MIGRATION", status="failed")
        machine.human.type("info status")
        machine.human.type("info migrate")
        machine.human.type("migrate_incoming file:vm.state")
        machine.human.leave()
        machine.qmp.end()
        machine.exited()

    _exposed(stage, good[: len(good) // 2], load)
    _exposed(stage, b"garbage" * 100, load)


def a_machine_that_does_not_match(stage: Stage) -> None:
    one_page_of_ram(stage)
    source = stage.start(f"{PRIVATE} -S")
    capabilities(source, "events")
    save(source)
    leave(source)
    incoming = "-incoming file:vm.state"
    backend = "-object memory-backend-ram,id=ram0,size=32M"
    stage.refused(f"-machine none,memory-backend=ram0 -m 32 {backend} {incoming}")
    backend = "-object memory-backend-ram,id=other,size=16M"
    stage.refused(f"-machine none,memory-backend=other -m 16 {backend} {incoming}")
    stage.refused(f"{NONE} {incoming}")
    stage.refused(f"{Q35} {incoming}")


def another_kind_of_ram_matches(stage: Stage) -> None:
    one_page_of_ram(stage)
    source = stage.start(f"{PRIVATE} -S")
    capabilities(source, "events")
    save(source)
    leave(source)
    backend = "-object memory-backend-memfd,id=ram0,size=16M"
    arguments = f"-machine none,memory-backend=ram0 -m 16 {backend} -incoming defer"
    target = stage.start(arguments)
    capabilities(target, "events")
    target.qmp.execute("migrate-incoming", {"uri": "file:vm.state"})
    target.qmp.wait("MIGRATION", status="completed")
    leave(target)


def ignore_shared_on_one_side_only(stage: Stage) -> None:
    source = stage.start(SHARED)
    capabilities(source, "events", "x-ignore-shared")
    save(source)
    leave(source)
    stage.refused(f"{SHARED} -incoming file:vm.state")
    source = stage.start(SHARED)
    capabilities(source, "events")
    save(source)
    leave(source)
    target = stage.start(f"{SHARED} -incoming defer", human="pipe")
    capabilities(target, "events", "x-ignore-shared")
    target.human.type("migrate_incoming file:vm.state")
    target.qmp.wait("MIGRATION", status="failed")
    target.qmp.execute("query-migrate")
    leave(target)


def uuids_are_compared_only_when_asked(stage: Stage) -> None:
    one, two = ("00000000-0000-0000-0000-00000000000" + digit for digit in "12")
    source = stage.start(f"{NONE} -uuid {one}")
    capabilities(source, "events", "validate-uuid")
    save(source)
    leave(source)
    for option in (f" -uuid {two}", f" -uuid {one}", ""):
        target = stage.start(f"{NONE}{option} -incoming defer")
        capabilities(target, "events", "validate-uuid")
        arguments = {"uri": "file:vm.state", "exit-on-error": False}
        target.qmp.execute("migrate-incoming", arguments)
        target.qmp.wait("MIGRATION", status="failed" if two in option else "completed")
        target.qmp.execute("query-migrate")
        leave(target)


def a_uuid_in_the_stream_is_compared_unasked(stage: Stage) -> None:
    one, two = "11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-aaaaaaaaaaaa"
    source = stage.start(f"{NONE} -uuid {one}")
    capabilities(source, "events", "validate-uuid")
    save(source)
    leave(source)
    target = stage.start(f"{NONE} -uuid {two} -incoming defer")
    capabilities(target, "events")
    target.qmp.execute("migrate-incoming", {"uri": "file:vm.state", "exit-on-error": False})
    target.qmp.wait("MIGRATION", status="failed")
    target.qmp.execute("query-migrate")
    leave(target)
