"""The human monitor on a terminal: the screen is QEMU's, and the terminal is given back."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from tests.monitor.record_hmp import DATA, SYNC, synchronised
from tests.monitor.screen import DEMO, ROOT, Screen

RECORDED: list[dict[str, Any]] = json.loads((DATA / "hmp_screens.json").read_text())
BANNER = "QEMU 10.0.2 monitor - type 'help' for more information"


LOADED = b"\x1b[?25h"  # what prompt_toolkit writes once it is there


def start(*arguments: str, **environment: str) -> Screen:
    """The demo, at its first prompt, with prompt_toolkit's editing."""
    screen = Screen([*DEMO, *arguments], **environment)
    screen.wait_for(Screen.at_prompt)
    screen.wait_for(lambda screen: LOADED in screen.raw)
    return screen


def start_plainly(*arguments: str, **environment: str) -> Screen:
    """The demo, at its first prompt, without prompt_toolkit, or before it is loaded."""
    screen = Screen([*DEMO, *arguments], **environment)
    screen.wait_for(Screen.at_prompt)
    return screen


def stop(screen: Screen) -> None:
    screen.type(b"quit\n")
    assert screen.wait_for_end() == 0


every_case = pytest.mark.parametrize("case", RECORDED, ids=lambda case: case["name"])


@every_case
def test_the_screen_is_qemus(case: dict[str, Any]) -> None:
    check_screen(start(), case)


@every_case
def test_the_screen_is_qemus_before_prompt_toolkit_is_loaded(case: dict[str, Any]) -> None:
    check_screen(start_plainly(), case)


@every_case
def test_the_screen_is_qemus_with_qemus_own_editor(case: dict[str, Any]) -> None:
    check_screen(start_plainly("qemu"), case)


def check_screen(screen: Screen, case: dict[str, Any]) -> None:
    screen.type(case["typed"].encode("latin-1"))
    if "quit" in case["typed"]:
        assert screen.wait_for_end() == 0
    else:
        screen.type(SYNC)
        screen.wait_for(synchronised)
    assert screen.lines() == case["lines"]
    assert list(screen.cursor) == case["cursor"]
    screen.child.close(force=True)


def test_typing_key_by_key_shows_the_line_grow() -> None:
    screen = start()
    for end, key in enumerate(b"info sta", start=1):
        screen.type(bytes([key]))
        screen.wait_for_line("(qemu) info sta"[: 7 + end])
    screen.type(b"\t\n")
    screen.wait_for(Screen.at_prompt)
    assert screen.lines()[1:] == ["(qemu) info status", "VM status: running", "(qemu)"]
    stop(screen)


def test_prompt_and_answer_are_written_as_often_as_qemu_writes_them() -> None:
    screen = start()
    screen.type(b"info sta")
    screen.wait_for_line("info [subcommand]  show")
    screen.type(b"\tus\x7f\x7f\nfoo\n")
    screen.wait_for(lambda screen: screen.lines()[-2:] == ["unknown command: 'foo'", "(qemu)"])
    assert screen.raw.count(b"(qemu) ") == 3
    assert screen.raw.endswith(b"unknown command: 'foo'\r\r\n(qemu) ")
    stop(screen)


def test_a_dumb_terminal_gets_no_escape_sequences() -> None:
    screen = start_plainly(TERM="dumb")
    screen.type(b"info stat\x7f\x01\x05t\tX\x7f")
    screen.wait_for_line("(qemu) info status")
    screen.type(b"\ninfo mi\t\x15ab\x0c\x10\x10\n")
    screen.type(SYNC)
    screen.wait_for(synchronised)
    assert b"\x1b" not in screen.raw
    assert screen.lines().count("VM status: running") == 2
    stop(screen)


def test_nothing_is_asked_of_the_terminal() -> None:
    screen = start()
    screen.type(b"info status\n")
    screen.type(SYNC)
    screen.wait_for(synchronised)
    assert b"\x1b[6n" not in screen.raw and b"\x1b[?2004h" not in screen.raw
    stop(screen)


def test_the_bar_explains_the_command_that_is_being_typed() -> None:
    screen = start()
    screen.type(b"migrate")
    explained = "migrate [-d] [-r] uri  migrate to URI (using -d to not wait for completion)"
    screen.wait_for(lambda screen: screen.lines()[1:] == ["(qemu) migrate", explained])
    screen.type(b"x")
    screen.wait_for_line("(qemu) migratex")
    screen.type(b"\x15info status")
    screen.wait_for(lambda screen: screen.lines()[-1].startswith("info status"))
    screen.type(b"\n")
    screen.wait_for(Screen.at_prompt)
    assert screen.lines()[1:] == ["(qemu) info status", "VM status: running", "(qemu)"]
    stop(screen)


def test_the_history_can_be_searched() -> None:
    screen = start()
    screen.type(b"info status\nstop\ncont\n")
    screen.wait_for(lambda screen: screen.at_prompt() and "(qemu) cont" in screen.lines())
    screen.type(b"\x12sta")
    screen.wait_for(
        lambda screen: screen.lines()[-1].startswith("(reverse-i-search)`sta': info status")
    )
    screen.type(b"\n")
    screen.wait_for(lambda screen: screen.at_prompt() and screen.lines()[-3:-1] == [
        "(qemu) info status", "VM status: running"])  # fmt: skip
    screen.type(b"\x12co\x07x")
    screen.wait_for_line("(qemu) x")
    screen.type(b"\x15")
    stop(screen)


def test_many_pasted_lines_are_all_run() -> None:
    screen = start()
    screen.type(b"".join(b"foo%d\r" % number for number in range(200)))
    screen.type(SYNC)
    screen.wait_for(synchronised)
    for number in range(200):
        assert b"unknown command: 'foo%d'\r\r\n" % number in screen.raw
    stop(screen)


def test_a_changed_size_leaves_the_line_whole() -> None:
    screen = start()
    screen.type(b"migrate " + b"x" * 60)
    screen.wait_for(lambda screen: "x" * 60 in "".join(screen.lines()))
    screen.resize(20, 40)
    screen.type(b"yz")
    screen.wait_for(lambda screen: "x" * 60 + "yz" in "".join(screen.lines()))
    screen.resize(24, 80)
    screen.type(b"\x15info status\n")
    screen.wait_for(lambda screen: screen.at_prompt() and "VM status: running" in screen.lines())
    stop(screen)


def test_a_line_begun_before_prompt_toolkit_is_loaded_goes_on() -> None:
    screen = start_plainly()
    screen.type(b"info sXus\x1b[D\x1b[D")
    screen.wait_for(lambda screen: LOADED in screen.raw)
    screen.type(b"\x7ftat\n")
    screen.wait_for(Screen.at_prompt)
    assert screen.lines()[1:] == ["(qemu) info status", "VM status: running", "(qemu)"]
    stop(screen)


def test_the_terminal_is_raw_while_the_monitor_lives_and_as_before_afterwards() -> None:
    screen = Screen(["sh", "-c", "stty -a; " + " ".join(DEMO) + "; stty -a; cat"])
    screen.wait_for(Screen.at_prompt)
    local_modes = termios.tcgetattr(screen.child.child_fd)[3]
    assert not local_modes & (termios.ECHO | termios.ICANON)
    before = screen.raw[: screen.raw.index(b"QEMU 10.0.2")]
    screen.type(b"quit\n")
    screen.wait_for(lambda screen: screen.raw.count(b"ixon") == 2)
    screen.wait_for(lambda screen: screen.raw.endswith(before))
    screen.child.close(force=True)


def test_ctrl_c_ends_the_program_behind_the_half_typed_line() -> None:
    screen = start()
    screen.type(b"info")
    screen.wait_for_line("(qemu) info")
    screen.type(b"\x03")
    assert screen.wait_for_end() == 0
    assert screen.lines() == [BANNER, "(qemu) infodemo: terminating on signal 2"]
    assert screen.cursor == (2, 0)


@pytest.mark.parametrize("kind", ["xterm", "dumb"])
def test_ctrl_c_interrupts_a_command_that_holds_the_prompt(kind: str) -> None:
    screen = start_plainly(TERM=kind)
    screen.type(b"wait\n")
    screen.wait_for(lambda screen: screen.lines()[-1].startswith("2 waits"))
    screen.type(b"info status\x03\n")
    screen.wait_for(lambda screen: screen.at_prompt() and "VM status: running" in screen.lines())
    assert screen.lines()[1:] == [
        "(qemu) wait", "waiting", "interrupted", "waited",
        "(qemu) info status", "VM status: running", "(qemu)",
    ]  # fmt: skip
    screen.type(b"\x03")
    screen.wait_for_end()
    assert screen.lines()[-1].endswith("demo: terminating on signal 2")


def test_how_a_command_goes_is_shown_in_one_line_that_fits() -> None:
    screen = start()
    screen.type(b"wait\n")
    screen.wait_for(lambda screen: screen.lines()[1:] == ["(qemu) wait", "waiting", "2 waits"])
    assert b"0 waits" in screen.raw and b"1 waits " + b"x" * 71 in screen.raw
    screen.child.kill(signal.SIGUSR2)
    screen.wait_for(lambda screen: screen.lines()[3:] == ["from beside", "2 waits"])
    screen.child.kill(signal.SIGUSR1)
    screen.wait_for(Screen.at_prompt)
    assert screen.lines()[-3:] == ["from beside", "waited", "(qemu)"]
    stop(screen)


def test_a_stopped_program_gives_the_terminal_back_and_goes_on_where_it_was() -> None:
    shell = f"set -m; stty -a; {' '.join(DEMO)}; stty -a; echo stopped; fg"
    screen = Screen(["bash", "-c", shell])
    screen.wait_for(Screen.at_prompt)
    screen.wait_for(lambda screen: LOADED in screen.raw)
    before = modes(screen.raw)
    screen.type(b"info sta")
    screen.wait_for(lambda screen: "(qemu) info sta" in screen.lines())
    screen.type(b"\x1a")
    screen.wait_for(lambda screen: b"stopped" in screen.raw and "(qemu) info sta" in screen.lines())
    assert modes(screen.raw.partition(b"info sta")[2]) == before
    screen.type(b"tus\n")
    screen.wait_for(lambda screen: screen.at_prompt() and "VM status: running" in screen.lines())
    screen.type(b"quit\n")
    screen.wait_for_end()


def modes(raw: bytes) -> list[bytes]:
    """What `stty -a` has said of the local modes."""
    found = re.search(rb"isig .*\r\n.*", raw)
    assert found is not None, raw
    return found[0].split()


def test_where_nobody_could_let_it_go_on_the_program_is_not_stopped() -> None:
    screen = start()
    screen.type(b"info ")
    screen.wait_for_line("(qemu) info")
    screen.type(b"\x1astatus\n")
    screen.wait_for(lambda screen: screen.at_prompt() and "VM status: running" in screen.lines())
    stop(screen)


def test_a_signal_ends_the_program_and_leaves_the_screen() -> None:
    screen = start()
    screen.child.kill(signal.SIGTERM)
    assert screen.wait_for_end() == 0
    assert screen.lines() == [BANNER, "(qemu) demo: terminating on signal 15"]


def test_ctrl_backslash_dumps() -> None:
    screen = start()
    screen.type(b"x")
    screen.wait_for_line("(qemu) x")
    screen.type(b"\x1c")
    assert screen.wait_for_end() == -signal.SIGQUIT


def test_an_exception_gives_the_terminal_back() -> None:
    screen = Screen(["sh", "-c", " ".join(DEMO) + "; stty -a; cat"])
    screen.wait_for(Screen.at_prompt)
    screen.type(b"fail\n")
    screen.wait_for(lambda screen: b" icanon" in screen.raw and b" echo " in screen.raw)
    assert b"CancelledError" in screen.raw
    screen.child.close(force=True)


def test_the_key_for_the_end_of_input_does_not_end_the_program() -> None:
    screen = start()
    screen.type(b"info status\n")
    screen.type(SYNC)
    screen.wait_for(synchronised)
    screen.child.sendeof()
    screen.type(SYNC)
    screen.wait_for(lambda screen: screen.raw.count(b"unknown command: '@'") == 2)
    stop(screen)


def test_lines_typed_while_a_command_holds_the_prompt_wait() -> None:
    screen = start()
    screen.type(b"wait\ninfo status\n@\n")
    screen.wait_for(lambda screen: "waiting" in screen.lines())
    screen.child.kill(signal.SIGUSR1)
    screen.wait_for(synchronised)
    assert screen.lines() == [
        BANNER,
        "(qemu) wait",
        "waiting",
        "waited",
        "(qemu) info status",
        "VM status: running",
        "(qemu) @",
        "unknown command: '@'",
        "(qemu)",
    ]
    stop(screen)


def test_a_message_from_beside_stands_above_the_half_typed_line() -> None:
    screen = start()
    screen.type(b"info")
    screen.wait_for_line("(qemu) info")
    screen.child.kill(signal.SIGUSR2)
    screen.wait_for(lambda screen: screen.lines()[1:3] == ["from beside", "(qemu) info"])
    screen.type(b"rmation\n")
    screen.wait_for(lambda screen: "unknown command: 'information'" in screen.lines())
    stop(screen)


def test_history_is_remembered_only_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "history"
    screen = start(f"history={file}")
    screen.type(b"info status\n")
    screen.wait_for(Screen.at_prompt)
    stop(screen)
    assert file.read_text() == "info status\nquit\n"
    screen = start(f"history={file}")
    screen.type(b"\x10\x10")
    screen.wait_for_line("(qemu) info status")
    screen.type(b"\x15")
    stop(screen)


def test_the_whole_help_of_a_slow_reader_arrives() -> None:
    screen = start()
    screen.type(b"help\n" * 20)
    screen.type(SYNC)
    screen.wait_for(synchronised)
    assert screen.raw.count(b"stop|s  -- stop emulation") == 20
    stop(screen)


def test_prompt_toolkit_is_loaded_only_for_a_terminal() -> None:
    program = (
        "import sys, monitor.terminal, monitor.hmp_server; "
        "sys.exit(any(name.startswith('prompt_toolkit') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0
