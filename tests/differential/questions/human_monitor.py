"""What a person types at the human monitor, right and wrong, and how the screen looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.differential.scenes import NONE, typed

if TYPE_CHECKING:
    from tests.differential.stage import Stage

LEFT, HOME, END, DELETE = b"\x1b[D", b"\x01", b"\x05", b"\x04"
UP, DOWN = b"\x1b[A", b"\x1b[B"


def lines_that_are_no_commands(stage: Stage) -> None:
    typed(
        stage,
        NONE,
        "",
        "   ",
        "foo bar",
        "INFO status",
        "inf status",
        "# x",
        "info foo",
        "info status extra",
        "stop now",
        "s now",
        "info -x",
        "/",
        "info/x status",
        "stop;cont",
        "  info   status  ",
        "help foo",
        "help info foo",
    )


def migration_lines_mistyped(stage: Stage) -> None:
    typed(
        stage,
        NONE,
        "migrate",
        "migrate zzz",
        "migrate -d",
        "migrate -d -r",
        "migrate -x file:f",
        "migrate --d file:f",
        "migrate file:a b",
        'migrate "file:a',
        'migrate "file:a"b',
        "migrate -r file:f",
        "migrate_incoming",
        "migrate_incoming x",
        "migrate_cancel now",
        "migrate_cancel",
        "migrate_continue foo",
        "migrate_continue pre-switchover",
        "migrate_set_capability",
        "migrate_set_capability events",
        "migrate_set_capability foo on",
        "migrate_set_capability events maybe",
        "migrate_set_capability events on",
        "migrate_set_capability events off now",
        "migrate_set_parameter",
        "migrate_set_parameter mode",
        "migrate_set_parameter foo 1",
        "migrate_set_parameter mode foo",
        "migrate_set_parameter mode cpr-reboot now",
        "migrate_set_parameter max-bandwidth x",
        "migrate_set_parameter max-bandwidth -1",
        "migrate_set_parameter max-bandwidth 1.5",
        "migrate_set_parameter downtime-limit x",
        "migrate_set_parameter downtime-limit 1k",
        "migrate_set_parameter downtime-limit 1.5",
        "migrate_set_parameter downtime-limit 3000000",
        "migrate_set_parameter zero-page-detection foo",
        "info migrate",
    )


def what_was_set_is_shown(stage: Stage) -> None:
    machine = stage.start(NONE, qmp=False, human="pipe")
    machine.human.type("migrate_set_parameter mode cpr-reboot")
    machine.human.type("migrate_set_parameter max-bandwidth 1.5")
    machine.human.type("migrate_set_parameter avail-switchover-bandwidth 2G")
    machine.human.type("migrate_set_parameter downtime-limit 0x10")
    machine.human.type("migrate_set_capability events on")
    machine.human.type("migrate_set_capability x-ignore-shared on")
    machine.human.type("migrate_set_capability events off")
    machine.human.type("info migrate_parameters", optional=True)
    machine.human.type("info migrate_capabilities", optional=True)
    machine.human.leave()
    machine.exited()


def _without_words(rows: list[str]) -> list[str]:
    return [row.partition(" -- ")[0] for row in rows[:2]]


def help_for_single_commands(stage: Stage) -> None:
    """The words of a help text are ours; the names and parameters before them are QEMU's."""
    machine = stage.start(NONE, qmp=False, human="pipe")
    for word in ("stop", "quit", "q", "migrate", "migrate_incoming", "migrate_set_parameter"):
        machine.human.type(f"help {word}", view=_without_words)
    for word in ("status", "migrate", "version"):
        machine.human.type(f"help info {word}", view=_without_words)
    machine.human.leave()
    machine.exited()


def _edited(stage: Stage, how: str) -> None:
    machine = stage.start(NONE, qmp=False, human=how)
    human = machine.human
    for keys in (
        b"nfo status" + HOME + b"i" + END,
        b"info stXatus" + LEFT * 4 + b"\x7f" + END,
        b"info Xstatus" + LEFT * 7 + DELETE,
        b"some words\x17\x17info name",
        b"wrong\x15info status",
        UP,
        UP + UP + UP + DOWN,
        b"inf\tvers\t",
    ):
        human.press(keys)
        human.type("")
    human.type("info history")
    human.leave()
    machine.exited()


def a_line_edited_on_a_pipe(stage: Stage) -> None:
    _edited(stage, "pipe")


def a_line_edited_on_a_terminal(stage: Stage) -> None:
    _edited(stage, "pty")


def a_line_edited_on_a_socket(stage: Stage) -> None:
    _edited(stage, "socket")


def names_completed_on_a_pipe(stage: Stage) -> None:
    """Only where the candidates are ours and QEMU's alike."""
    machine = stage.start(NONE, qmp=False, human="pipe")
    human = machine.human
    for keys, becomes in (
        (b"info mem_d\x17\x17info memory_s\t", "(qemu) info memory_size_summary"),
        (b"migrate_set_p\tmo\tcpr-reboot", "(qemu) migrate_set_parameter mode cpr-reboot"),
        (b"migrate_set_c\tx-i\to\tn", "(qemu) migrate_set_capability x-ignore-shared on"),
        (b"system_w\t", "(qemu) system_wakeup"),
    ):
        human.press(keys)
        human.shows(becomes)
        human.type("")
    human.leave()
    machine.exited()


def end_of_file_on_stdin_ends_nothing(stage: Stage) -> None:
    machine = stage.start(NONE, human="pipe")
    machine.human.type("info status")
    assert machine.process.stdin
    machine.process.stdin.close()
    machine.qmp.execute("query-status")
    machine.qmp.execute("stop")
    leave_by_qmp = machine.qmp
    leave_by_qmp.execute("quit")
    leave_by_qmp.end()
    machine.exited()


def a_socket_serves_one_person_after_the_other(stage: Stage) -> None:
    arguments = f"{NONE} -monitor unix:hmp.sock,server=on,wait=off"
    machine = stage.start(arguments)
    first = stage.human(stage.connect("hmp.sock"))
    first.banner()
    first.type("info status")
    second = stage.human(stage.connect("hmp.sock"))
    second.press(b"info na")
    first.press(b"half a li")
    first.close()
    second.shows("(qemu) info na")
    second.type("me")
    second.type("info status")
    second.close()
    machine.qmp.execute("quit")
    machine.qmp.end()
    machine.exited()
