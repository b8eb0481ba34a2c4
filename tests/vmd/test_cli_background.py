"""The pid file, and going to the background."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from qapi.error import QmpError
from vmd.cli.pidfile import PidFile


def test_a_pid_file_holds_the_pid_and_is_nobody_elses_business(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    held = PidFile(str(path))
    assert path.read_text() == f"{os.getpid()}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    held.remove()
    assert not path.exists()


def test_a_stale_pid_file_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text("a much longer line than any pid\n")
    held = PidFile(str(path))
    assert path.read_text() == f"{os.getpid()}\n"
    held.remove()


def test_a_relative_pid_file_is_found_again_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    held = PidFile("pid")
    monkeypatch.chdir("/")
    held.remove()
    assert not (tmp_path / "pid").exists()


def test_a_pid_file_that_another_process_holds_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "pid")
    script = "import sys; from vmd.cli.pidfile import PidFile; PidFile(sys.argv[1])"
    held = PidFile(path)
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True)
    held.remove()
    assert done.stderr.endswith(
        "qapi.error.QmpError: cannot create PID file: Cannot lock pid file: "
        "Resource temporarily unavailable\n"
    )


def test_a_pid_file_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(QmpError) as refused:
        PidFile("/nonexistent/pid")
    assert refused.value.desc == (
        "cannot create PID file: Could not create '/nonexistent/pid': No such file or directory"
    )


BACKGROUND = """
import os, signal, sys
from vmd.cli.daemonize import fork
from vmd.cli.pidfile import PidFile
background = fork()
held = PidFile("pid")
print("said while setting up", file=sys.stderr, flush=True)
if "fail" in sys.argv:
    sys.exit(1)
log = os.open("log", os.O_WRONLY | os.O_CREAT)
background.detach(log if "log" in sys.argv else None)
print("said later", file=sys.stderr, flush=True)
with open(sys.argv[1], "w") as fifo:
    fifo.write(os.getcwd())
signal.sigwait({signal.SIGTERM})
held.remove()
"""


def run_background(tmp_path: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """The caller's view; it reads the output to its end, as managers do."""
    os.mkfifo(tmp_path / "fifo")
    return subprocess.run(
        [sys.executable, "-c", "import signal; "
         "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})\n" + BACKGROUND,
         str(tmp_path / "fifo"), *argv],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        timeout=20,
    )  # fmt: skip


def test_the_caller_gets_0_when_all_is_set_up_and_the_daemon_lives_on(tmp_path: Path) -> None:
    done = run_background(tmp_path, "log")
    assert (done.returncode, done.stderr) == (0, "said while setting up\n")
    pid = int((tmp_path / "pid").read_text())
    # Its words come once it has let go of where it was started.
    assert (tmp_path / "fifo").read_text() == "/"
    assert (tmp_path / "log").read_text() == "said later\n"
    assert os.getsid(pid) != os.getsid(0)
    for stream in (0, 1):
        assert os.readlink(f"/proc/{pid}/fd/{stream}") == "/dev/null"
    os.kill(pid, signal.SIGTERM)


def test_the_caller_gets_1_and_the_reason_when_setting_up_fails(tmp_path: Path) -> None:
    done = run_background(tmp_path, "fail")
    assert (done.returncode, done.stderr) == (1, "said while setting up\n")
