"""Ask real QEMU which wishes a job accepts in which state, and which steps it takes.

Run by hand (`python tests/vmd/record_jobs.py`); the answers are kept in `data/jobs.json`:

- accepted: {status: [verb, …]}, for the states in which a block job can be held
- steps: [[status, next status], …], all that were seen
"""

from __future__ import annotations

import json
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.differential.stage import find_qemu, stage

if TYPE_CHECKING:
    from tests.differential.stage import Machine

DATA = Path(__file__).with_name("data") / "jobs.json"
VERBS = ("cancel", "pause", "resume", "complete", "finalize", "dismiss")
MIRROR = {"job-id": "j", "device": "a", "target": "b", "sync": "full"}
HELD = {"auto-finalize": False, "auto-dismiss": False}
SLOW = {"speed": 1}
REFUSALS = ("cannot accept command verb", "that was not paused")

WAYS: dict[str, tuple[dict[str, Any], tuple[str, ...], str]] = {
    "running": (SLOW, (), "running"),
    "paused": (SLOW, ("pause",), "paused"),
    "ready": ({}, (), "ready"),
    "standby": ({}, ("pause",), "standby"),
    "pending": (HELD, ("complete",), "pending"),
    "concluded": (HELD, ("complete", "finalize"), "concluded"),
}
"""Per state: options of a mirror job, what is said to it, and what it then tells."""


def lead(machine: Machine, state: str) -> None:
    options, steps, end = WAYS[state]
    for name in "ab":
        node = {"driver": "null-co", "node-name": name, "size": 64 << 20, "read-zeroes": True}
        machine.qmp.execute("blockdev-add", node)
    machine.qmp.execute("blockdev-mirror", {**MIRROR, **options})
    machine.qmp.wait("JOB_STATUS_CHANGE", status="running")
    if options is not SLOW:
        machine.qmp.wait("JOB_STATUS_CHANGE", status="ready")
    for step in steps:
        machine.qmp.execute(f"job-{step}", {"id": "j"})
        wanted = "pending" if step == "complete" else end
        machine.qmp.wait("JOB_STATUS_CHANGE", status=wanted)


def main() -> None:
    qemu = find_qemu()
    assert qemu is not None
    accepted: dict[str, list[str]] = {}
    steps: set[tuple[str, str]] = set()
    for state in WAYS:
        accepted[state] = []
        for verb in VERBS:
            with tempfile.TemporaryDirectory() as directory, stage(qemu, Path(directory)) as scene:
                machine = scene.start("-machine none", guest="none")
                lead(machine, state)
                machine.qmp.execute("job-pause" if verb == "resume" else "query-jobs", {"id": "j"})
                answer = machine.qmp.execute(f"job-{verb}", {"id": "j"})
                if not any(text in answer.get("desc", "") for text in REFUSALS):
                    accepted[state].append(verb)
                machine.qmp.execute("quit")
                machine.qmp.end()
                told = [
                    json.loads(line.partition("STATUS_CHANGE ")[2])["status"]
                    for line in scene.transcript
                    if "JOB_STATUS_CHANGE" in line
                ]
                steps |= set(pairwise(told))
    found = {"accepted": accepted, "steps": sorted(map(list, steps))}
    DATA.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
