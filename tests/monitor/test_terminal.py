"""The human monitor on a terminal: the screen is QEMU's, and the terminal is given back."""

from __future__ import annotations

import json
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


def start(*arguments: str, **environment: str) -> Screen:
    """The demo, at its first prompt."""
    screen = Screen([*DEMO, *arguments], **environment)
    screen.wait_for(Screen.at_prompt)
    return screen


def stop(screen: Screen) -> None:
    screen.type(b"quit\n")
    assert screen.wait_for_end() == 0


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case["name"])
def test_the_screen_is_qemus(case: dict[str, Any]) -> None:
    screen = start()
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


def test_every_prompt_stands_in_the_output_as_it_reads() -> None:
    screen = start()
    screen.type(b"foo\n")
    screen.wait_for(lambda screen: screen.lines()[2:] == ["unknown command: 'foo'", "(qemu)"])
    assert b"unknown command: 'foo'\r\n\r(qemu) " in screen.raw
    stop(screen)


def test_nothing_is_asked_of_the_terminal() -> None:
    screen = start(TERM="dumb")
    screen.type(b"info status\n")
    screen.type(SYNC)
    screen.wait_for(synchronised)
    assert b"\x1b[6n" not in screen.raw
    assert not any("WARNING" in line for line in screen.lines())
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


def test_ctrl_c_ends_the_program_while_a_command_runs() -> None:
    screen = start()
    screen.type(b"wait\n")
    screen.wait_for_line("waiting")
    screen.type(b"\x03")
    assert screen.wait_for_end() == 0
    assert screen.lines()[-1] == "demo: terminating on signal 2"


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
    screen.wait_for(lambda screen: screen.lines()[1:] == ["from beside", "(qemu) info"])
    screen.type(b"rmation\n")
    screen.wait_for(lambda screen: "unknown command: 'information'" in screen.lines())
    stop(screen)


def test_history_is_remembered_only_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "history"
    screen = start(str(file))
    screen.type(b"info status\n")
    screen.wait_for(Screen.at_prompt)
    stop(screen)
    assert file.read_text() == "info status\nquit\n"
    screen = start(str(file))
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
