"""COLO: what a source makes of it, and a secondary that takes checkpoints over and fails over.

The primary is played by `tests.differential.primary`: QEMU 10.0.2's own never gets that far.
"""

from __future__ import annotations

import signal
import socket
from contextlib import closing
from typing import TYPE_CHECKING

from tests.differential.primary import (
    ENABLE,
    PAGE,
    RAM,
    RECEIVED,
    REQUEST,
    SEND,
    VMSTATE,
    Checkpoint,
    Primary,
    devices,
    live,
    stream,
)
from tests.differential.scenes import ask_qtest, capabilities, leave, settle
from tests.differential.stage import drained
from tests.vmd.stream_cases import (
    DESCRIBED,
    EOF,
    EOS,
    HEADER,
    be,
    command,
    config,
    end,
    globalstate,
    more,
    page,
    part,
    record,
    section,
    table,
    timer,
    xbzrle,
)

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage

SMALL = "-machine none -nodefaults -m 1"
FULL = b"A" * PAGE
DISK = (
    "-machine q35 -nodefaults -accel tcg -m 8 -blockdev driver=file,filename=img,node-name=n"
    " -device virtio-blk-pci,drive=n"
)


def _waiting(stage: Stage, options: str = "", *names: str, human: str | None = None) -> Machine:
    """A destination that waits for its stream, with x-colo on."""
    machine = stage.start(f"{RAM} {options} -incoming defer", human=human)
    capabilities(machine, "events", "x-colo", *names)
    machine.qmp.execute("migrate-incoming", {"uri": "unix:in", "exit-on-error": False})
    return machine


def _standing_by(
    stage: Stage, options: str = "", state: bytes = b"running", human: str | None = None
) -> tuple[Machine, Primary]:
    """A secondary, and its primary."""
    machine = _waiting(stage, options, human=human)
    primary = Primary(stage.directory)
    primary.send(stream(state=state))
    stage.note(f"secondary: {primary.hears()}")
    machine.qmp.wait("RESUME")
    return machine, primary


def _look(stage: Stage, machine: Machine) -> None:
    for question in ("query-migrate", "query-status", "query-colo-status"):
        machine.qmp.execute(question)
    _ram(stage)


def _ram(stage: Stage) -> None:
    """The first pages, by the letter that each begins with."""
    data = stage.file("ram0").read_bytes()
    stage.note(f"ram: {[data[at : at + 1] for at in range(0, 4 * PAGE, PAGE)]}")


def _fail_over(stage: Stage, machine: Machine) -> None:
    machine.qmp.execute("x-colo-lost-heartbeat")
    machine.qmp.wait("RESUME")
    _look(stage, machine)


# The source


def a_source_writes_that_it_wants_a_secondary_and_completes(stage: Stage) -> None:
    for names in ((), ("mapped-ram",), ("x-ignore-shared", "validate-uuid"), ("xbzrle",)):
        machine = stage.start(SMALL)
        capabilities(machine, "events", "x-colo", *names)
        machine.qmp.execute("migrate", {"uri": "file:vm.state"})
        settle(machine)
        machine.qmp.execute("query-colo-status")
        machine.qmp.execute("x-colo-lost-heartbeat")
        leave(machine)
        at = stage.file("vm.state").read_bytes().index(ENABLE)
        stage.note(f"# {stage.file('vm.state').read_bytes()[: at + 20]!r}")


def a_source_with_a_return_path_takes_its_guest_back(stage: Stage) -> None:
    for names in (("return-path",), ("return-path", "switchover-ack")):
        target = _small_target(stage, "x-colo", *names)
        source = stage.start(SMALL)
        capabilities(source, "events", "x-colo", *names)
        source.qmp.execute("migrate", {"uri": "unix:in"})
        source.qmp.wait("RESUME")
        target.qmp.wait("COLO_EXIT")
        for machine in (source, target):
            machine.qmp.execute("query-status")
        leave(source)
        leave(target)


def _small_target(stage: Stage, *names: str) -> Machine:
    machine = stage.start(f"{SMALL} -incoming defer")
    capabilities(machine, "events", *names)
    machine.qmp.execute("migrate-incoming", {"uri": "unix:in"})
    return machine


def a_source_that_waits_before_the_switchover_completes_too(stage: Stage) -> None:
    listener = stage.listener("in")
    source = stage.start(SMALL)
    capabilities(source, "events", "x-colo", "pause-before-switchover")
    source.qmp.execute("migrate", {"uri": "unix:in"})
    peer = listener.accept()
    source.qmp.wait("MIGRATION", status="pre-switchover")
    source.qmp.execute("query-colo-status")
    source.qmp.execute("migrate-continue", {"state": "pre-switchover"})
    drained(peer, b"}]}")
    settle(source)
    source.qmp.execute("query-migrate")
    source.qmp.execute("query-colo-status")
    leave(source)


def only_one_side_knows_of_a_secondary(stage: Stage) -> None:
    for source_names, target_names in (((), ("x-colo",)), (("x-colo",), ())):
        source = stage.start(SMALL)
        capabilities(source, "events", *source_names)
        source.qmp.execute("migrate", {"uri": "file:vm.state"})
        settle(source)
        leave(source)
        target = stage.start(f"{SMALL} -incoming defer")
        capabilities(target, "events", *target_names)
        target.qmp.execute("migrate-incoming", {"uri": "file:vm.state"})
        if source_names:
            target.qmp.end()
            target.exited()
        else:
            target.qmp.wait("MIGRATION", status="completed")
            target.qmp.execute("query-colo-status")
            leave(target)


def a_source_keeps_its_images(stage: Stage) -> None:
    stage.file("img").write_bytes(bytes(1 << 16))
    machine = stage.start(f"{DISK} -S")
    for names in ((), ("x-colo",)):
        capabilities(machine, "events", *names)
        machine.qmp.execute("migrate", {"uri": "file:vm.state"})
        settle(machine)
        _owner(stage, machine)
        machine.qmp.execute("cont")
        _owner(stage, machine)
        machine.qmp.execute("stop")
    leave(machine)


def _owner(stage: Stage, machine: Machine) -> None:
    (node,) = machine.qmp.execute("query-named-block-nodes", quietly=True)
    stage.note(f"# the image is its own: {node['active']}")


def a_secondary_whose_image_is_anothers_never_starts(stage: Stage) -> None:
    """Real QEMU tells the reason twice, and does not survive to take over."""
    stage.file("img").write_bytes(bytes(1 << 16))
    other = stage.start(f"{DISK} -S")
    machine = stage.start(f"{DISK} -incoming defer")
    capabilities(machine, "events", "x-colo")
    machine.qmp.execute("migrate-incoming", {"uri": "unix:in"})
    with closing(Primary(stage.directory)) as primary:
        head = HEADER + config(b"pc-q35-10.0") + ENABLE
        primary.send(head + section(be(8, 4) + EOS) + end() + globalstate() + DESCRIBED)
        machine.qmp.wait("MIGRATION", status="colo")
        for question in ("query-migrate", "query-status", "query-colo-status"):
            machine.qmp.execute(question)
        _owner(stage, machine)
        machine.qmp.execute("quit")
        machine.qmp.end()
    leave(other)


def a_mode_that_cannot_be_had_with_it(stage: Stage) -> None:
    machine = stage.start(SMALL)
    capabilities(machine, "x-colo")
    machine.qmp.execute("migrate-set-parameters", {"mode": "cpr-reboot"})
    machine.qmp.execute("migrate", {"uri": "file:vm.state"})
    machine.qmp.execute("query-migrate")
    machine.qmp.execute("migrate", {"uri": "bogus:"})
    leave(machine)


# The secondary


def checkpoints_are_taken_over(stage: Stage) -> None:
    machine, primary = _standing_by(stage)
    _look(stage, machine)
    taken = (
        Checkpoint(live(page(0, FULL))),
        Checkpoint(live()),
        Checkpoint(EOF),
        Checkpoint(part(page(0, b"B" * PAGE)) + part(more(PAGE)) + live()),
        Checkpoint(live(record(PAGE, 2, "ram", b"\0"), more(3 * PAGE, b"D" * PAGE))),
        Checkpoint(section(table(("ram", 16 * PAGE)) + EOS) + live(page(0, FULL))),
        Checkpoint(live(xbzrle(b"\0\1X"))),
        Checkpoint(command(11) + ENABLE + live(more(0, FULL))),
        Checkpoint(end(page(0, b"E" * PAGE)) + timer() + EOF),
        Checkpoint(live(page(0, b"F" * PAGE)), EOF),
        Checkpoint(live(page(0, b"G" * PAGE)), devices(b"paused")),
        Checkpoint(live(page(0, b"H" * PAGE)), devices() + b"more"),
    )
    for checkpoint in taken:
        stage.note(f"secondary: {primary.checkpoint(checkpoint)}")
        _look(stage, machine)
    primary.close()
    machine.qmp.wait("COLO_EXIT")
    _look(stage, machine)
    _fail_over(stage, machine)
    machine.qmp.execute("x-colo-lost-heartbeat")
    leave(machine)


def a_checkpoint_undoes_what_the_guest_wrote(stage: Stage) -> None:
    backend = "memory-backend-file,id=ram,size=4M,mem-path=ram0,share=on"
    machine = stage.start(
        f"-machine q35,memory-backend=ram -nodefaults -accel tcg -object {backend} -incoming defer"
        " -qtest unix:qtest,server=on,wait=off -qtest-log none",
        guest="none",
    )
    capabilities(machine, "x-colo")
    machine.qmp.execute("migrate-incoming", {"uri": "unix:in"})
    qtest = stage.connect("qtest")
    primary = Primary(stage.directory)
    blocks = section(table(("ram", 4 << 20)) + EOS)
    # Far from where firmware writes
    sent = part(page(2 << 20, FULL), more((2 << 20) + PAGE, FULL))
    head = HEADER + config(b"pc-q35-10.0") + ENABLE
    primary.send(head + blocks + sent + end() + globalstate() + DESCRIBED)
    stage.note(f"secondary: {primary.hears()}")
    states = globalstate() + EOF
    for given in (live(page(2 << 20, b"B" * PAGE)), live()):
        ask_qtest(stage, qtest, *(f"writeb {at:#x} 0x5a" for at in (0x200000, 0x201001, 0x202002)))
        stage.note(f"secondary: {primary.checkpoint(Checkpoint(given, states))}")
        ask_qtest(stage, qtest, *(f"readl {at:#x}" for at in (0x200000, 0x201000, 0x202000)))
    ask_qtest(stage, qtest, "writeb 0x201001 0x5a")
    primary.close()
    machine.qmp.wait("COLO_EXIT")
    machine.qmp.execute("x-colo-lost-heartbeat")
    machine.qmp.wait("RESUME")
    ask_qtest(stage, qtest, *(f"readl {at:#x}" for at in (0x200000, 0x201000, 0x202000)))
    leave(machine)


def nothing_is_lost_when_the_primary_goes_in_the_middle(stage: Stage) -> None:
    whole = Checkpoint(live(page(0, FULL)))
    pieces = (
        b"\0",
        be(4, REQUEST),
        be(4, REQUEST) + be(4, SEND),
        be(4, REQUEST) + be(4, SEND) + whole.ram[:-1],
        be(4, REQUEST) + be(4, SEND) + whole.ram,
        be(4, REQUEST) + be(4, SEND) + whole.ram + whole.size[:-3],
        be(4, REQUEST) + be(4, SEND) + whole.ram + whole.size,
        be(4, REQUEST) + be(4, SEND) + whole.ram + whole.size + whole.devices[:-1],
    )
    for piece in pieces:
        _goes_wrong(stage, piece, close=True)


def nothing_is_lost_when_the_primary_says_nonsense(stage: Stage) -> None:
    begun = be(4, REQUEST) + be(4, SEND)
    for piece in (
        *(be(4, number) for number in (0, 2, 3, 7, 1 << 31)),
        be(4, REQUEST) + be(4, REQUEST),
        be(4, REQUEST) + be(4, 99),
        begun + b"\x09",
        begun + live(record(0, 8, "foo", FULL)),
        begun + live(page(1 << 40, FULL)),
        begun + section(bytes(10), 9, "foo", 0, 1, 4),
        begun + command(8, b"x"),
        begun + live(page(0, FULL)) + be(4, RECEIVED),
    ):
        _goes_wrong(stage, piece)


def _goes_wrong(stage: Stage, piece: bytes, *, close: bool = False) -> None:
    """A checkpoint of which only so much comes."""
    shown = piece if len(piece) < 100 else piece[:50] + b" ... " + piece[-20:]
    stage.note(f"## {shown!r}{' and then nothing more' * close}")
    machine, primary = _standing_by(stage)
    primary.send(piece)
    if close:
        if len(piece) >= 4:
            stage.note(f"secondary: {primary.hears()}")
        primary.close()
    machine.qmp.wait("COLO_EXIT")
    _look(stage, machine)
    _fail_over(stage, machine)
    primary.close()
    leave(machine)


def devices_that_cannot_be_understood(stage: Stage) -> None:
    """Real QEMU has the new RAM by then, with the old devices; hence RAM is not looked at."""
    for data in (
        b"",
        b"\x09",
        devices()[:-1],
        devices()[:-20],
        globalstate(b"nonsense") + EOF,
        section(bytes(10), 9, "foo", 0, 1, 4) + EOF,
        b"QEVM" + be(4, 3) + devices(),
    ):
        stage.note(f"## {data!r}")
        machine, primary = _standing_by(stage)
        primary.begin()
        checkpoint = Checkpoint(live(page(0, FULL)), data)
        primary.send(checkpoint.ram + checkpoint.size + checkpoint.devices)
        stage.note(f"secondary: {primary.hears()}")
        machine.qmp.wait("COLO_EXIT")
        machine.qmp.execute("query-status")
        machine.qmp.execute("x-colo-lost-heartbeat")
        machine.qmp.wait("RESUME")
        machine.qmp.execute("query-status")
        primary.close()
        leave(machine)


def it_takes_over_in_the_middle_of_a_checkpoint(stage: Stage) -> None:
    given = Checkpoint(live(page(0, FULL)))
    for piece in (
        be(4, REQUEST),
        be(4, REQUEST) + be(4, SEND) + given.ram,
        be(4, REQUEST) + be(4, SEND) + given.ram + given.size + given.devices[:-1],
    ):
        machine, primary = _standing_by(stage)
        primary.send(piece)
        stage.note(f"secondary: {primary.hears()}")
        machine.qmp.wait("STOP")
        _fail_over(stage, machine)
        _whatever_the_reason(stage)
        stage.note(f"secondary: {primary.hears()!r}")
        primary.close()
        leave(machine)


def _whatever_the_reason(stage: Stage) -> None:
    """A secondary that is just reading finds that out before or after the one that takes over."""
    told = '<- event COLO_EXIT {"mode": "secondary", "reason": '
    for index, line in enumerate(stage.transcript):
        if line.startswith(told):
            stage.transcript[index] = f"{told}<one or the other>"


def what_state_the_source_had_does_not_matter(stage: Stage) -> None:
    for state in (b"paused", b"shutdown", b"guest-panicked", b"colo", b"suspended"):
        machine, primary = _standing_by(stage, state=state)
        machine.qmp.execute("query-status")
        primary.close()
        machine.qmp.wait("COLO_EXIT")
        _fail_over(stage, machine)
        leave(machine)


def a_suspended_guest_runs_after_a_checkpoint(stage: Stage) -> None:
    machine, primary = _standing_by(stage, state=b"suspended")
    stage.note(f"secondary: {primary.checkpoint(Checkpoint(live()))}")
    _look(stage, machine)
    primary.close()
    machine.qmp.wait("COLO_EXIT")
    leave(machine)


def a_secondary_that_was_to_stay_stopped_runs(stage: Stage) -> None:
    machine, primary = _standing_by(stage, "-S")
    machine.qmp.execute("stop")
    stage.note(f"secondary: {primary.checkpoint(Checkpoint(live()))}")
    machine.qmp.execute("query-status")
    machine.qmp.execute("stop")
    primary.close()
    machine.qmp.wait("COLO_EXIT")
    _fail_over(stage, machine)
    leave(machine)


def a_secondary_asked_for_on_the_command_line(stage: Stage) -> None:
    presets = "-global migration.x-colo=on -global migration.x-events=on"
    machine = stage.start(f"{RAM} -incoming unix:in {presets}", human="pipe")
    primary = Primary(stage.directory)
    primary.send(stream())
    stage.note(f"secondary: {primary.hears()}")
    machine.qmp.wait("RESUME")
    stage.note(f"secondary: {primary.checkpoint(Checkpoint(live(page(0, FULL))))}")
    primary.close()
    machine.qmp.wait("COLO_EXIT")
    machine.human.type("x_colo_lost_heartbeat")
    machine.qmp.wait("RESUME")
    _look(stage, machine)
    leave(machine)


# What may be asked of it


def _ask_much(machine: Machine) -> None:
    asked: tuple[tuple[str, dict[str, object] | None], ...] = (
        ("query-yank", None),
        ("migrate_cancel", None),
        ("query-migrate", None),
        ("migrate-continue", {"state": "colo"}),
        ("migrate-incoming", {"uri": "unix:other"}),
        ("migrate-set-parameters", {"x-checkpoint-delay": 5}),
        ("stop", None),
        ("query-status", None),
        ("cont", None),
        ("system_reset", None),
        ("system_powerdown", None),
        ("system_wakeup", None),
        ("query-status", None),
        ("query-migrationthreads", None),
        ("migrate", {"uri": "file:out"}),
        ("query-migrate", None),
        ("migrate", {"uri": "file:out"}),
        ("migrate-set-capabilities", {"capabilities": [{"capability": "events", "state": True}]}),
        ("query-colo-status", None),
        ("migrate_cancel", None),
        ("query-migrate", None),
        ("human-monitor-command", {"command-line": "info migrate"}),
        ("migrate-set-capabilities", {"capabilities": [{"capability": "x-colo", "state": False}]}),
    )
    for command_name, arguments in asked:
        machine.qmp.execute(command_name, arguments)


def commands_of_a_secondary(stage: Stage) -> None:
    machine, primary = _standing_by(stage)
    _ask_much(machine)
    primary.close()
    machine.qmp.wait("COLO_EXIT")
    _fail_over(stage, machine)
    machine.qmp.execute("query-yank")
    leave(machine)


def commands_in_the_middle_of_a_checkpoint(stage: Stage) -> None:
    machine, primary = _standing_by(stage)
    primary.says(REQUEST)
    stage.note(f"secondary: {primary.hears()}")
    machine.qmp.wait("STOP")
    machine.qmp.execute("query-status")
    _ask_much(machine)
    primary.close()
    machine.qmp.wait("COLO_EXIT")
    _fail_over(stage, machine)
    leave(machine)


def a_migration_that_was_asked_for_too_early_waits_for_its_cancel(stage: Stage) -> None:
    machine, primary = _standing_by(stage)
    machine.qmp.execute("migrate", {"uri": "file:out"})
    primary.close()
    machine.qmp.wait("COLO_EXIT")
    _fail_over(stage, machine)
    machine.qmp.execute("migrate", {"uri": "file:out"})
    machine.qmp.execute("migrate_cancel")
    machine.qmp.execute("query-migrate")
    machine.qmp.execute("migrate", {"uri": "file:out"})
    settle(machine)
    machine.qmp.execute("query-status")
    stage.note(f"# {ENABLE in stage.file('out').read_bytes()[:50]}")
    leave(machine)


def at_the_human_monitor(stage: Stage) -> None:
    machine, primary = _standing_by(stage, human="pipe")
    machine.human.type("info migrate")
    machine.human.type("info status")
    primary.close()
    machine.qmp.wait("COLO_EXIT")
    machine.human.type("x_colo_lost_heartbeat")
    machine.qmp.wait("RESUME")
    machine.human.type("info migrate")
    machine.human.type("info status")
    machine.human.type("x_colo_lost_heartbeat")
    leave(machine)


def how_a_secondary_ends(stage: Stage) -> None:
    for middle in (False, True):
        for number in (None, 15):
            machine, primary = _standing_by(stage)
            if middle:
                primary.says(REQUEST)
                stage.note(f"secondary: {primary.hears()}")
                machine.qmp.wait("STOP")
            _end(machine, number)
            stage.note(f"secondary: {primary.hears()!r}")
            primary.close()


def _end(machine: Machine, number: int | None) -> None:
    if number is None:
        leave(machine)
        return
    machine.signal(signal.Signals(number))
    machine.qmp.end()
    machine.exited()


def a_secondary_whose_connection_is_cut(stage: Stage) -> None:
    machine, primary = _standing_by(stage)
    machine.qmp.execute("yank", {"instances": [{"type": "migration"}]})
    machine.qmp.wait("COLO_EXIT")
    stage.note(f"secondary: {primary.hears()!r}")
    _look(stage, machine)
    _fail_over(stage, machine)
    primary.close()
    leave(machine)


def somebody_else_connects(stage: Stage) -> None:
    machine, primary = _standing_by(stage)
    with closing(Primary(stage.directory)) as other:
        stage.note(f"secondary to another: {other.hears()!r}")
    stage.note(f"secondary: {primary.checkpoint(Checkpoint(live(page(0, FULL))))}")
    primary.close()
    machine.qmp.wait("COLO_EXIT")
    _fail_over(stage, machine)
    stage.note(f"# its socket: {stage.file('in').exists()}")
    leave(machine)


def a_state_file_makes_a_secondary_without_a_primary(stage: Stage) -> None:
    source = stage.start(SMALL)
    capabilities(source, "events", "x-colo")
    source.qmp.execute("migrate", {"uri": "file:vm.state"})
    settle(source)
    leave(source)
    machine = stage.start(f"{SMALL} -incoming defer")
    capabilities(machine, "events", "x-colo")
    machine.qmp.execute("migrate-incoming", {"uri": "file:vm.state"})
    machine.qmp.wait("COLO_EXIT")
    machine.qmp.execute("query-migrate")
    machine.qmp.execute("x-colo-lost-heartbeat")
    machine.qmp.wait("RESUME")
    machine.qmp.execute("query-status")
    leave(machine)


def a_descriptor_makes_a_secondary(stage: Stage) -> None:
    ours, its = socket.socketpair()
    machine = stage.start(f"{RAM} -incoming defer")
    capabilities(machine, "events", "x-colo")
    machine.qmp.execute("getfd", {"fdname": "in"}, fd=its.fileno())
    its.close()
    machine.qmp.execute("migrate-incoming", {"uri": "fd:in"})
    ours.sendall(stream())
    machine.qmp.wait("RESUME")
    stage.note(f"secondary: {ours.recv(4)!r}")
    ours.sendall(be(4, REQUEST))
    stage.note(f"secondary: {ours.recv(4)!r}")
    ours.sendall(be(4, VMSTATE))
    machine.qmp.wait("COLO_EXIT")
    machine.qmp.execute("query-migrate")
    machine.qmp.execute("x-colo-lost-heartbeat")
    machine.qmp.wait("RESUME")
    ours.close()
    leave(machine)
