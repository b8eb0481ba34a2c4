"""The live update: cpr-reboot, file: and what becomes of the guest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.differential.scenes import (
    NONE,
    PC,
    PC_SHARED,
    PRIVATE,
    Q35,
    Q35_SHARED,
    SEED,
    SHARED,
    capabilities,
    leave,
    load,
    one_page_of_ram,
    save,
    settle,
)

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage

# The session of the manual, at the human monitor.


def _session(stage: Stage, arguments: str, how: str, *, ignore_shared: bool) -> None:
    source = stage.start(arguments, qmp=False, human=how)
    person = source.human
    person.type("info status")
    if ignore_shared:
        person.type("migrate_set_capability x-ignore-shared on")
    person.type("migrate_set_parameter mode cpr-reboot")
    person.type("migrate -d file:vm.state")
    person.type_until("info status", "VM status: paused (postmigrate)")
    person.leave()
    source.exited()

    target = stage.start(f"{arguments} -incoming defer", qmp=False, human=how)
    person = target.human
    person.type("info status")
    if ignore_shared:
        person.type("migrate_set_capability x-ignore-shared on")
    person.type("migrate_set_parameter mode cpr-reboot")
    person.type("migrate_incoming file:vm.state")
    person.type_until("info status", "VM status: running")
    person.leave()
    target.exited()


def shared_ram_typed_on_a_pipe(stage: Stage) -> None:
    _session(stage, SHARED, "pipe", ignore_shared=True)


def shared_ram_typed_on_a_terminal(stage: Stage) -> None:
    _session(stage, SHARED, "pty", ignore_shared=True)


def shared_ram_typed_on_a_socket(stage: Stage) -> None:
    _session(stage, SHARED, "socket", ignore_shared=True)


def the_session_of_the_manual_on_a_terminal(stage: Stage) -> None:
    _session(stage, SEED, "pty", ignore_shared=True)


def the_session_of_the_manual_on_a_pipe(stage: Stage) -> None:
    _session(stage, SEED, "pipe", ignore_shared=True)


def private_ram_typed_on_a_pipe(stage: Stage) -> None:
    _session(stage, NONE, "pipe", ignore_shared=False)


def private_ram_typed_on_a_terminal(stage: Stage) -> None:
    _session(stage, NONE, "pty", ignore_shared=False)


def private_ram_on_q35(stage: Stage) -> None:
    _session(stage, Q35, "pipe", ignore_shared=False)


def shared_ram_on_q35(stage: Stage) -> None:
    _session(stage, Q35_SHARED, "pipe", ignore_shared=True)


def private_ram_on_pc(stage: Stage) -> None:
    _session(stage, PC, "pipe", ignore_shared=False)


def shared_ram_on_pc(stage: Stage) -> None:
    _session(stage, PC_SHARED, "pipe", ignore_shared=True)


def migrate_in_the_foreground_holds_the_prompt(stage: Stage) -> None:
    machine = stage.start(NONE, qmp=False, human="pipe")
    machine.human.type("migrate file:vm.state")
    machine.human.type("info status")
    machine.human.leave()
    machine.exited()


def migrate_in_the_foreground_answers_typing_ahead_afterwards(stage: Stage) -> None:
    machine = stage.start(NONE, qmp=False, human="pipe")
    machine.human.type("migrate_set_parameter mode cpr-reboot")
    machine.human.press(b"migrate file:vm.state\ninfo status\nquit\n")
    machine.human.end()
    machine.exited()


def an_error_of_a_foreground_migrate_is_not_shown_on_the_screen(stage: Stage) -> None:
    machine = stage.start(NONE, qmp=False, human="pipe", file_limit=8192)
    machine.human.type("migrate file:vm.state")
    machine.human.type("info migrate")
    machine.human.type("info status")
    machine.human.leave()
    machine.exited()


def migrate_through_human_monitor_command(stage: Stage) -> None:
    machine = stage.start(NONE)
    capabilities(machine, "events")
    for line in ("info status", "migrate_set_parameter mode cpr-reboot", "migrate file:vm.state"):
        machine.qmp.execute("human-monitor-command", {"command-line": line})
    settle(machine)
    machine.qmp.execute("human-monitor-command", {"command-line": "info status"})
    machine.qmp.execute("human-monitor-command", {"command-line": "info migrate"})
    leave(machine)


# The same over QMP: every event in its place.


def _update(
    stage: Stage,
    arguments: str,
    *capability: str,
    before: tuple[str, ...] = (),
    target: str = "",
    while_incoming: tuple[str, ...] = (),
    guest: str = "idle",
) -> Machine:
    """cpr-reboot on QMP with events; returns the target, running."""
    source = stage.start(arguments, guest=guest)
    capabilities(source, "events", *capability)
    source.qmp.execute("migrate-set-parameters", {"mode": "cpr-reboot"})
    for command in before:
        source.qmp.execute(command)
    save(source)
    source.qmp.execute("query-migrate")
    source.qmp.execute("query-status")
    leave(source)
    result = stage.start(f"{arguments} {target} -incoming defer".replace("  ", " "), guest=guest)
    capabilities(result, "events", *capability)
    result.qmp.execute("migrate-set-parameters", {"mode": "cpr-reboot"})
    result.qmp.execute("query-status")
    for command in while_incoming:
        result.qmp.execute(command)
    load(result)
    result.qmp.execute("query-migrate")
    result.qmp.execute("query-status")
    return result


def private_ram_over_qmp(stage: Stage) -> None:
    one_page_of_ram(stage)
    leave(_update(stage, PRIVATE))


def shared_ram_over_qmp(stage: Stage) -> None:
    one_page_of_ram(stage)
    leave(_update(stage, SHARED, "x-ignore-shared"))


def shared_ram_without_ignore_shared_travels_in_the_file(stage: Stage) -> None:
    one_page_of_ram(stage)
    leave(_update(stage, SHARED))


def a_memfd_is_not_ignored_even_when_shared(stage: Stage) -> None:
    backend = "-object memory-backend-memfd,id=ram0,size=16M,share=on"
    arguments = f"-machine none,memory-backend=ram0 -m 16 {backend}"
    leave(_update(stage, arguments, "x-ignore-shared"))


def q35_over_qmp(stage: Stage) -> None:
    leave(_update(stage, Q35))


def q35_with_shared_ram_over_qmp(stage: Stage) -> None:
    leave(_update(stage, Q35_SHARED, "x-ignore-shared"))


def pc_over_qmp(stage: Stage) -> None:
    leave(_update(stage, PC))


def without_the_events_capability_only_the_vm_speaks(stage: Stage) -> None:
    source = stage.start(NONE)
    source.qmp.execute("migrate-set-parameters", {"mode": "cpr-reboot"})
    source.qmp.execute("migrate", {"uri": "file:vm.state"})
    while source.qmp.execute("query-status", quietly=True)["status"] != "postmigrate":
        pass
    source.qmp.execute("query-status")
    leave(source)
    target = stage.start(f"{NONE} -incoming defer")
    target.qmp.execute("migrate-incoming", {"uri": "file:vm.state"})
    target.qmp.wait("RESUME")
    while target.qmp.execute("query-migrate", quietly=True)["status"] != "completed":
        pass
    target.qmp.execute("query-status")
    leave(target)


def an_incoming_uri_on_the_command_line(stage: Stage) -> None:
    source = stage.start(NONE)
    capabilities(source, "events")
    save(source)
    leave(source)
    target = stage.start(f"{NONE} -S -incoming file:vm.state", qmp=False, human="pipe")
    target.human.type_until("info status", "VM status: paused\n")
    target.human.type("cont")
    target.human.type("info status")
    target.human.leave()
    target.exited()


def an_incoming_channel_on_the_command_line(stage: Stage) -> None:
    source = stage.start(NONE)
    capabilities(source, "events")
    save(source)
    leave(source)
    channel = '{"channel-type":"main","addr":{"transport":"file","filename":"vm.state","offset":0}}'
    target = stage.start(f"{NONE} -incoming '{channel}'", qmp=False, human="pipe")
    target.human.type_until("info status", "VM status: running")
    target.human.leave()
    target.exited()


def the_target_may_stay_in_normal_mode(stage: Stage) -> None:
    source = stage.start(NONE)
    capabilities(source, "events")
    source.qmp.execute("migrate-set-parameters", {"mode": "cpr-reboot"})
    save(source)
    leave(source)
    target = stage.start(f"{NONE} -incoming defer")
    capabilities(target, "events")
    load(target)
    target.qmp.execute("query-status")
    leave(target)


# What state it arrives in.


def a_paused_vm_arrives_paused(stage: Stage) -> None:
    target = _update(stage, NONE, before=("stop",))
    target.qmp.execute("cont")
    target.qmp.execute("query-status")
    leave(target)


def a_vm_that_never_ran_arrives_in_prelaunch(stage: Stage) -> None:
    source = stage.start(f"{NONE} -S")
    capabilities(source, "events")
    save(source)
    source.qmp.execute("query-status")
    leave(source)
    target = stage.start(f"{NONE} -incoming defer")
    capabilities(target, "events")
    load(target)
    target.qmp.execute("query-status")
    target.qmp.execute("cont")
    target.qmp.execute("query-status")
    leave(target)


def a_running_vm_arrives_paused_at_a_target_started_with_S(stage: Stage) -> None:
    target = _update(stage, NONE, target="-S")
    target.qmp.execute("cont")
    target.qmp.execute("query-status")
    leave(target)


def a_running_vm_arrives_paused_after_stop_while_incoming(stage: Stage) -> None:
    leave(_update(stage, NONE, while_incoming=("stop", "query-status")))


def cont_while_incoming_undoes_S(stage: Stage) -> None:
    leave(_update(stage, NONE, target="-S", while_incoming=("cont", "query-status")))


def _suspended(stage: Stage, target_arguments: str = "", machine: str = Q35) -> Machine:
    source = stage.start(machine, guest="ab-suspend", serial=True)
    source.qmp.wait("SUSPEND")
    capabilities(source, "events")
    source.qmp.execute("migrate-set-parameters", {"mode": "cpr-reboot"})
    source.qmp.execute("query-status")
    save(source)
    source.qmp.execute("query-status")
    leave(source)
    arguments = f"{machine}{target_arguments} -incoming defer"
    target = stage.start(arguments, guest="ab-suspend", serial=True)
    capabilities(target, "events")
    load(target)
    target.qmp.execute("query-status")
    return target


def a_suspended_vm_arrives_suspended_and_wakes(stage: Stage) -> None:
    target = _suspended(stage)
    target.qmp.execute("cont")
    target.qmp.execute("query-status")
    target.qmp.execute("system_wakeup")
    target.qmp.wait("RESET")  # by the firmware, which finds nobody to wake
    target.qmp.execute("query-status")
    target.serial.read("the woken guest")
    target.qmp.execute("system_wakeup")
    leave(target)


def a_suspended_vm_arrives_suspended_on_pc(stage: Stage) -> None:
    target = _suspended(stage, machine=PC)
    target.qmp.execute("system_wakeup")
    target.qmp.wait("RESET")  # by the firmware, which finds nobody to wake
    target.qmp.execute("query-status")
    leave(target)


def a_suspended_vm_arrives_paused_at_a_target_started_with_S(stage: Stage) -> None:
    target = _suspended(stage, " -S")
    target.qmp.execute("system_wakeup")
    target.qmp.execute("cont")
    target.qmp.execute("query-status")
    target.qmp.execute("system_wakeup")
    target.qmp.wait("RESET")  # by the firmware, which finds nobody to wake
    target.qmp.execute("query-status")
    leave(target)


def a_suspended_vm_at_the_human_monitor(stage: Stage) -> None:
    source = stage.start(Q35, guest="ab-suspend", human="pipe")
    source.qmp.wait("SUSPEND")
    capabilities(source, "events")
    source.human.type("info status")
    source.human.type("migrate_set_parameter mode cpr-reboot")
    source.human.type("migrate -d file:vm.state")
    settle(source)
    source.human.type("info status")
    source.human.leave()
    source.qmp.end()
    source.exited()
    target = stage.start(f"{Q35} -incoming defer", guest="ab-suspend", human="pipe")
    target.human.type("migrate_incoming file:vm.state")
    target.human.type_until("info status", "VM status: paused (suspended)")
    target.human.type("system_wakeup")
    target.qmp.wait("RESET")
    target.human.type("info status")
    target.human.leave()
    target.qmp.end()
    target.exited()


# Normal mode, offsets, and the source afterwards.


def normal_mode_to_a_file(stage: Stage) -> None:
    one_page_of_ram(stage)
    source = stage.start(PRIVATE)
    capabilities(source, "events")
    source.qmp.execute("query-migrate")
    save(source)
    source.qmp.execute("query-migrate")
    source.qmp.execute("query-status")
    source.qmp.execute("migrate", {"uri": "file:other.state"})
    source.qmp.execute("cont")
    source.qmp.execute("query-status")
    source.qmp.execute("query-migrate")
    save(source)
    source.qmp.execute("query-status")
    source.qmp.execute("system_reset")
    source.qmp.execute("query-status")
    save(source)
    leave(source)
    target = stage.start(f"{PRIVATE} -incoming defer")
    capabilities(target, "events")
    load(target)
    target.qmp.execute("query-status")
    save(target, "file:again.state")
    target.qmp.execute("query-migrate")
    leave(target)


def a_stopped_vm_is_migrated_without_stopping_it(stage: Stage) -> None:
    source = stage.start(NONE)
    capabilities(source, "events")
    source.qmp.execute("stop")
    save(source)
    source.qmp.execute("stop")
    source.qmp.execute("query-status")
    source.qmp.execute("cont")
    source.qmp.execute("query-status")
    leave(source)


def cont_after_cpr_reboot(stage: Stage) -> None:
    source = stage.start(NONE)
    capabilities(source, "events")
    source.qmp.execute("migrate-set-parameters", {"mode": "cpr-reboot"})
    save(source)
    source.qmp.execute("cont")
    source.qmp.execute("query-status")
    save(source)
    leave(source)


def an_offset_keeps_what_stands_before_it(stage: Stage) -> None:
    one_page_of_ram(stage)
    stage.file("vm.state").write_bytes(b"header!" * 1000)
    source = stage.start(PRIVATE)
    capabilities(source, "events")
    save(source, "file:vm.state,offset=4k")
    transferred = source.qmp.execute("query-migrate")["ram"]["transferred"]
    kept = stage.file("vm.state").read_bytes()
    stage.note(f"# header kept: {kept[:4096] == (b'header!' * 1000)[:4096]}")
    stage.note(f"# bytes after it: {len(kept) - 4096 - transferred}")
    leave(source)
    target = stage.start(f"{PRIVATE} -incoming defer")
    capabilities(target, "events")
    load(target, "file:vm.state,offset=0x1000")
    target.qmp.execute("query-status")
    leave(target)


def an_offset_in_a_channel(stage: Stage) -> None:
    source = stage.start(NONE)
    capabilities(source, "events")
    addr = {"transport": "file", "filename": "vm.state", "offset": 512}
    channels = {"channels": [{"channel-type": "main", "addr": addr}]}
    source.qmp.execute("migrate", channels)
    settle(source)
    leave(source)
    target = stage.start(f"{NONE} -incoming defer")
    capabilities(target, "events")
    target.qmp.execute("migrate-incoming", channels)
    target.qmp.wait("MIGRATION", status="completed")
    leave(target)


def the_state_file_is_private_to_its_owner(stage: Stage) -> None:
    source = stage.start(NONE)
    capabilities(source, "events")
    save(source)
    stage.note(f"# mode {stage.file('vm.state').stat().st_mode:o}")
    leave(source)


def machine_none_writes_the_same_bytes(stage: Stage) -> None:
    """Not only loadable: the stream of machine none is QEMU's, byte for byte."""
    stage.file("ram0").write_bytes(b"guest" + bytes((1 << 20) - 5))
    backend = "-object memory-backend-file,id=ram0,size=1M,mem-path=ram0,share=on"
    source = stage.start(
        f"-machine none,memory-backend=ram0 -nodefaults -m 1 {backend} -S", guest="none"
    )
    capabilities(source, "events", "x-ignore-shared")
    save(source)
    leave(source)
    state = stage.file("vm.state").read_bytes()
    for start in range(0, len(state), 32):
        stage.note(f"# {start:04x} {state[start : start + 32].hex()}")
