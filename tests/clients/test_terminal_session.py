"""vmd on a terminal, as a person has it before them: typed at, looked at, interrupted."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
from pathlib import Path

import pytest

from tests.differential.stage import find_vmd
from tests.monitor.screen import Screen

NONE = "-machine none -nodefaults -display none -m 256"
BUSY = f"{NONE} -vmd guest=dirty"  # it has RAM to send
SLOWLY = b'migrate_set_parameter max-bandwidth 4M\nmigrate "exec:cat >/dev/null"\n'
PROGRESS = re.compile(
    r"\d+%  \S+ \w+ sent  \S+ \w+ left  \S+ \w+/s  dirty \S+ \w+/s  downtime \d+ ms"
)
LOADED = b"\x1b[?25h"


def start(arguments: str, place: Path, **environment: str) -> Screen:
    """vmd with its human monitor on the terminal, the line edited by prompt_toolkit."""
    argv = [*find_vmd().argv, *shlex.split(arguments)]
    screen = Screen([*argv, "-monitor", "stdio"], str(place), **environment)
    screen.wait_for(Screen.at_prompt)
    if environment.get("TERM") != "dumb":
        screen.wait_for(lambda screen: LOADED in screen.raw)
    return screen


def leave(screen: Screen) -> None:
    screen.type(b"quit\n")
    assert screen.wait_for_end() == 0


def test_a_foreground_migration_shows_how_it_goes_and_ctrl_c_cancels_it(tmp_path: Path) -> None:
    screen = start(BUSY, tmp_path)
    screen.type(SLOWLY)
    screen.wait_for(lambda screen: PROGRESS.fullmatch(screen.lines()[-1]))
    screen.type(b"info status\n\x03")
    screen.wait_for(lambda screen: screen.at_prompt() and "VM status: running" in screen.lines())
    assert screen.lines()[1:] == [
        "(qemu) migrate_set_parameter max-bandwidth 4M",
        '(qemu) migrate "exec:cat >/dev/null"',
        "migration cancelled",
        "(qemu) info status",
        "VM status: running",
        "(qemu)",
    ]
    leave(screen)


def test_on_a_dumb_terminal_it_may_be_cancelled_too(tmp_path: Path) -> None:
    screen = start(BUSY, tmp_path, TERM="dumb")
    screen.type(SLOWLY)
    screen.wait_for(lambda screen: PROGRESS.fullmatch(screen.lines()[-1]))
    screen.type(b"\x03")
    screen.wait_for(lambda screen: screen.at_prompt() and "migration cancelled" in screen.lines())
    assert b"\x1b" not in screen.raw
    leave(screen)


def test_a_foreground_migration_leaves_what_qemu_leaves(tmp_path: Path) -> None:
    screen = start(NONE, tmp_path)
    screen.type(b"migrate file:state\ninfo status\n")
    screen.wait_for(
        lambda screen: screen.at_prompt() and "VM status: paused (postmigrate)" in screen.lines()
    )
    assert screen.lines()[1:3] == ["(qemu) migrate file:state", "(qemu) info status"]
    leave(screen)


def test_a_failed_migration_says_why_in_a_line_of_its_own(tmp_path: Path) -> None:
    screen = start(NONE, tmp_path)
    screen.type(b"migrate tcp:127.0.0.1:1\n@\n")
    screen.wait_for(lambda screen: screen.at_prompt() and len(screen.lines()) > 4)
    refusal = "vmd: Failed to connect to '127.0.0.1:1': Connection refused"
    assert screen.lines()[1:4] == ["(qemu) migrate tcp:127.0.0.1:1", refusal, refusal]
    leave(screen)


def test_events_are_shown_above_the_line_once_they_are_wanted(tmp_path: Path) -> None:
    screen = start(NONE, tmp_path)
    screen.type(b"stop\ncont\n\x1bOQ")
    screen.wait_for(lambda screen: screen.lines()[-2:-1] == ["events are shown (F2: no more)"])
    assert not any("RESUME" in line for line in screen.lines())
    screen.type(b"half")
    screen.wait_for_line("(qemu) half")
    os.kill(screen.child.pid, signal.SIGWINCH)
    screen.type(b"\x15stop\n")
    screen.wait_for(lambda screen: re.match(r"\[[\d:.]+\] STOP$", screen.lines()[-2]))
    screen.type(b"\x1bOQcont\n@\n")
    screen.wait_for(lambda screen: "unknown command: '@'" in screen.lines())
    assert not any("RESUME" in line for line in screen.lines())
    leave(screen)


def test_events_may_be_wanted_from_the_start(tmp_path: Path) -> None:
    screen = start(f"{NONE} -vmd events=on,bar=off", tmp_path)
    screen.type(b"stop")
    screen.wait_for_line("(qemu) stop")
    assert screen.lines()[-1] == "(qemu) stop"
    screen.type(b"\n")
    screen.wait_for(lambda screen: any(line.endswith("] STOP") for line in screen.lines()))
    leave(screen)


def test_values_and_addresses_are_completed(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    screen = start(NONE, tmp_path)
    for typed, shown in (
        (b"migrate_set_parameter mode cp\t", "migrate_set_parameter mode cpr-reboot"),
        (b"migrate_set_parameter cpu-throttle-tailslow of\t", " cpu-throttle-tailslow off"),
        (b"migrate_set_parameter max-bandwidth \t", "migrate_set_parameter max-bandwidth 128M"),
        (b"migrate -d fil\tsta\t", "migrate -d file:state"),
        (b"qom-get /mach\tunat\t", "qom-get /machine/unattached/"),
    ):
        screen.type(typed)
        screen.wait_for(lambda screen, shown=shown: screen.line_at_cursor.endswith(shown))
        screen.type(b"\x15")
    leave(screen)


def test_a_history_is_kept_where_that_is_asked(tmp_path: Path) -> None:
    screen = start(f"{NONE} -vmd history=typed", tmp_path)
    screen.type(b"info status\n")
    leave(screen)
    file = tmp_path / "typed"
    assert file.read_text() == "info status\nquit\n"
    assert file.stat().st_mode & 0o777 == 0o600
    screen = start(NONE, tmp_path, VMD_HISTORY="typed")
    screen.type(b"\x10\x10\n")
    screen.wait_for(lambda screen: "VM status: running" in screen.lines())
    leave(screen)


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        ("history=nowhere/x", "Could not open 'nowhere/x': No such file or directory"),
        ("events=maybe", "Parameter 'events' expects 'on' or 'off'"),
        ("editor=vi", "Parameter 'editor' does not accept value 'vi'"),
    ],
)
def test_what_cannot_be_followed_is_refused(options: str, refusal: str, tmp_path: Path) -> None:
    argv = [*find_vmd().argv, *NONE.split(), "-monitor", "stdio", "-vmd", options]
    screen = Screen(argv, str(tmp_path))
    assert screen.wait_for_end() == 1
    assert screen.lines()[-1].endswith(refusal)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_however_it_ends_the_terminal_is_as_before(number: signal.Signals, tmp_path: Path) -> None:
    command = shlex.join([*find_vmd().argv, *NONE.split(), "-monitor", "stdio"])
    script = (
        f"ulimit -c 0; trap '' HUP; stty -a >before; {command} & echo $! >pid; fg; stty -a >after"
    )
    screen = Screen(["bash", "-mc", script], str(tmp_path))
    screen.wait_for(lambda screen: LOADED in screen.raw)
    screen.type(b"info")
    screen.wait_for_line("(qemu) info")
    os.kill(int((tmp_path / "pid").read_text()), number)
    screen.wait_for_end()
    assert (tmp_path / "after").read_text() == (tmp_path / "before").read_text()


def test_other_monitors_answer_while_one_waits_for_a_migration(tmp_path: Path) -> None:
    screen = start(f"{BUSY} -qmp unix:q,server=on,wait=off", tmp_path)
    screen.type(SLOWLY)
    screen.wait_for(lambda screen: PROGRESS.fullmatch(screen.lines()[-1]))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "q"))
        client.sendall(b'{"execute":"qmp_capabilities"}{"execute":"query-migrate"}')
        answers = b""
        while b'"status": "active"' not in answers:
            answers += client.recv(4096)
    screen.type(b"\x03")
    screen.wait_for(lambda screen: screen.at_prompt() and "migration cancelled" in screen.lines())
    leave(screen)


def test_console_and_monitor_share_a_terminal(tmp_path: Path) -> None:
    arguments = "-machine pc -nodefaults -accel tcg -m 16 -display none -serial mon:stdio"
    screen = Screen([*find_vmd().argv, *arguments.split()], str(tmp_path))
    screen.wait_for(lambda screen: "count 3" in screen.lines())
    screen.type(b"\x01c")
    screen.wait_for(lambda screen: screen.at_prompt() and LOADED in screen.raw)
    screen.type(b"\x03info stat")
    screen.wait_for_line("(qemu) info stat")
    said = screen.raw.count(b"count")
    screen.wait_for(lambda screen: screen.raw.count(b"count") > said + 2)
    screen.type(b"us\nstop\n")
    screen.wait_for(lambda screen: screen.at_prompt() and "VM status: running" in screen.lines())
    screen.type(b"half\x01c\x01cinfo status\n")
    screen.wait_for(lambda screen: screen.at_prompt() and "VM status: paused" in screen.lines())
    assert screen.lines()[-4:] == [
        "(qemu) half",
        "(qemu) info status",
        "VM status: paused",
        "(qemu)",
    ]
    screen.type(b"\x01x")
    assert screen.wait_for_end() == 0
