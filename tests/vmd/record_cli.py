"""Ask real QEMU about every line of `data/cli_cases.txt`; keep its answers in `data/cli.jsonl`.

Run by hand (`python tests/vmd/record_cli.py [qemu-system-x86_64]`) when there are new cases or a
new QEMU to follow; the tests only read what is kept. Each line of the result is
`{"argv", "opens", "status", "stderr"}`; argv is without the program and without the QMP monitor on
stdio that the recorder adds at the end, to tell a QEMU that came up to quit. Cases that QEMU does
not survive are left out.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile

QEMU = sys.argv[1] if len(sys.argv) > 1 else "qemu-system-x86_64"
DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")
EMPTY = ["-nodefaults", "-machine", "none", "-display", "none"]
ANY = ["-display", "none"]
ASK = ["-chardev", "stdio,id=ask", "-mon", "ask,mode=control"]
QUIT = '{"execute": "qmp_capabilities"}{"execute": "quit"}'


def ask(argv: list[str], directory: str) -> tuple[int, str]:
    done = subprocess.run(
        [QEMU, *argv, *ASK], input=QUIT, capture_output=True, text=True, cwd=directory, timeout=20
    )
    return done.returncode, done.stderr


def main() -> None:
    with open(os.path.join(DATA, "cli_cases.txt")) as file:
        cases = [line.rstrip("\n") for line in file if not line.startswith("#")]
    with open(os.path.join(DATA, "cli.jsonl"), "w") as out:
        for case in cases:
            opens = case.startswith("open: ")
            words = shlex.split(case.removeprefix("open: "))
            argv = ANY + words[1:] if words[:1] == ["!"] else EMPTY + words
            with tempfile.TemporaryDirectory() as directory:
                status, stderr = ask(argv, directory)
            if status in (0, 1):
                row = {"argv": argv, "opens": opens, "status": status, "stderr": stderr}
                out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
