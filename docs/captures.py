"""Play the tutorial on a real terminal, and put what it showed into docs/tutorial.md.

`python docs/captures.py` rewrites what stands between the `capture` marks; with `--check` it only
says (exit 1) that something would change. Numbers differ from day to day, and do not count.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent)]

from tests.differential.stage import find_vmd  # noqa: E402
from tests.monitor.screen import Screen  # noqa: E402

DOCUMENT = HERE / "tutorial.md"
MARKED = re.compile(r"(<!-- capture: (\w+) -->\n```console\n)(.*?)(```\n<!-- end -->)", re.S)
ROWS, COLUMNS = 200, 100  # so high that nothing scrolls away
COMMAND = """vmd -machine none,memory-backend=ram0 -m 1G \\
    -object memory-backend-file,id=ram0,size=1G,mem-path=./ram0,share=on \\
    -serial file:console.log"""


class Shell:
    """A person at a shell in an empty directory; `frame` is what was shown since the last one."""

    def __init__(self, directory: str) -> None:
        path = Path(find_vmd().argv[0]).parent
        shell = ["env", "PS1=$ ", f"PATH={path}:/usr/bin:/bin", "bash", "--norc", "--noediting"]
        self.screen = Screen(shell, directory)
        self.screen.resize(ROWS, COLUMNS)
        self.ready()
        self.screen.type(b"bind 'set enable-bracketed-paste off' 2>/dev/null; PS2=; clear\n")
        self.screen.wait_for(lambda screen: screen.lines() == ["$"])
        self._seen = 0

    def ready(self) -> None:
        self.screen.wait_for(lambda screen: screen.lines()[-1:] == ["$"])

    def run(self, line: str) -> None:
        """A line of the shell that ends by itself."""
        count = len(self.screen.lines())
        self.screen.type(line.encode() + b"\n")
        self.screen.wait_for(
            lambda screen: len(screen.lines()) > count and screen.lines()[-1:] == ["$"]
        )

    def start(self, line: str) -> None:
        """A line of the shell that starts vmd."""
        self.screen.type(line.encode() + b"\n")
        self._at_prompt(len(self.screen.lines()))
        self.screen.wait_for(lambda screen: b"\x1b[?25h" in screen.raw)

    def type(self, line: str) -> None:
        """A line of the monitor."""
        count = len(self.screen.lines())
        self.screen.type(line.encode() + b"\n")
        self._at_prompt(count)

    def quit(self) -> None:
        self.screen.type(b"quit\n")
        self.ready()

    def _at_prompt(self, count: int) -> None:
        self.screen.wait_for(lambda screen: screen.at_prompt() and len(screen.lines()) > count)

    def frame(self) -> str:
        lines = self.screen.lines()
        shown, self._seen = lines[self._seen : -1], len(lines) - 1
        return "".join(f"{line}\n" for line in shown)


def play(directory: str) -> dict[str, str]:
    """The tutorial, from top to bottom: name → what the terminal showed."""
    shell = Shell(directory)
    frames: dict[str, str] = {}

    def capture(name: str) -> None:
        frames[name] = shell.frame()

    shell.start(COMMAND + " -monitor stdio")
    shell.type("info status")
    capture("start")
    shell.type("info memdev")
    capture("look")
    shell.type("migrate_set_capability x-ignore-shared on")
    shell.type("migrate_set_parameter mode cpr-reboot")
    capture("prepare")
    shell.type("migrate file:vm.state")
    shell.type("info status")
    capture("save")
    shell.quit()
    shell.run("ls -sh ram0 vm.state")
    shell.run("tail -n 1 console.log")
    capture("files")
    shell.start(COMMAND.replace("console.log", "after.log") + " -incoming defer -monitor stdio")
    shell.type("info status")
    capture("again")
    shell.type("migrate_set_capability x-ignore-shared on")
    shell.type("migrate_set_parameter mode cpr-reboot")
    shell.type("migrate_incoming file:vm.state")
    shell.type("info status")
    capture("load")
    wait = ["sh", "-c", "tail -n +2 -f after.log | head -n 1"]  # for a second line
    subprocess.run(wait, cwd=directory, capture_output=True, check=True)
    shell.quit()
    shell.run("head -n 2 after.log")
    capture("proof")
    shell.run("vmdctl inspect vm.state | head -n 12")
    capture("inspect")
    shell.screen.child.close(force=True)
    return frames


def without_numbers(text: str) -> str:
    """What does not differ from day to day: columns of numbers may have other widths."""
    return re.sub(r"\s+", " ", re.sub(r"0x[0-9a-f]+|\d+(\.\d+)?", "0", text))


def fill(text: str, frames: dict[str, str]) -> str:
    """The document with each capture in its place, unless only numbers differ."""

    def replace(match: re.Match[str]) -> str:
        head, name, old, tail = match.groups()
        new = frames[name]
        return head + (old if without_numbers(old) == without_numbers(new) else new) + tail

    return MARKED.sub(replace, text)


def main(words: list[str]) -> int:
    text = DOCUMENT.read_text()
    with tempfile.TemporaryDirectory() as directory:
        fresh = fill(text, play(directory))
    if "--check" in words:
        return int(fresh != text)
    DOCUMENT.write_text(fresh)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
