"""When a process may have no more descriptors, whoever holds them, it lives on and says so."""

from __future__ import annotations

import json
import subprocess
from typing import IO, Any

from tests.differential.stage import find_vmd

LIMIT = 40
FULL = "Could not open '/dev/null': Too many open files"


def ask(vmd: subprocess.Popen[str], command: str, **arguments: object) -> dict[str, Any]:
    source: IO[str] | None = vmd.stdout
    assert vmd.stdin is not None and source is not None
    print(json.dumps({"execute": command, "arguments": arguments}), file=vmd.stdin, flush=True)
    while "event" in (said := json.loads(source.readline())):
        pass
    answer: dict[str, Any] = said
    return answer


def test_commands_that_were_never_asked_before_are_answered() -> None:
    command = ["prlimit", f"--nofile={LIMIT}", *find_vmd().argv]
    command += ["-machine", "none", "-nodefaults", "-display", "none", "-qmp", "stdio"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as vmd:
        assert vmd.stdout is not None
        vmd.stdout.readline()
        ask(vmd, "qmp_capabilities")
        backend = {"type": "file", "data": {"out": "/dev/null"}}
        refused = ""
        for number in range(LIMIT):
            answer = ask(vmd, "chardev-add", id=f"c{number}", backend=backend)
            refused = answer.get("error", {}).get("desc", "")
        assert refused.endswith(FULL)
        assert ask(vmd, "query-machines")["return"]
        assert ask(vmd, "qom-list", path="/machine")["return"]
        line = "info status"
        answer = ask(vmd, "human-monitor-command", **{"command-line": line})
        assert answer == {"return": "VM status: running\r\n"}
        assert ask(vmd, "quit") == {"return": {}}
    assert vmd.returncode == 0
