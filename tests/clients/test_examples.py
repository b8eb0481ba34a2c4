"""The examples run as they are, and do what their words say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.differential.stage import Stage

EXAMPLES = Path(__file__).parents[2] / "examples"
# The machine of examples/README.md.
VM = (
    "-machine none,memory-backend=ram0 -m 1G"
    " -object memory-backend-file,id=ram0,size=1G,mem-path=./ram0,share=on"
)


def run(script: str, place: Path) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, EXAMPLES / script],
        cwd=place,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def test_the_demo_ends_well(tmp_path: Path) -> None:
    assert "The guest lived through both updates." in run("demo.py", tmp_path)


def test_the_qmp_script_saves_and_goes_on(tmp_path: Path) -> None:
    lines = run("live_update.py", tmp_path).splitlines()
    assert [line for line in lines if line.startswith("status")] == [
        "status: postmigrate",
        "status: running",
    ]


def test_the_monitor_lines_save_and_go_on(vmd: Stage) -> None:
    source = vmd.start(VM, qmp=False, human="pipe")
    source.human.press((EXAMPLES / "live_update.hmp").read_bytes())
    source.human.end()
    assert source.exited() == 0
    assert "VM status: paused (postmigrate)" in vmd.transcript

    target = vmd.start(f"{VM} -incoming defer", qmp=False, human="pipe")
    for line in (EXAMPLES / "live_update_incoming.hmp").read_text().splitlines():
        target.human.type(line)
    target.human.type_until("info status", "VM status: running")
    target.human.leave()
    assert target.exited() == 0
