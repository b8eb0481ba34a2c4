"""A live update of vmd, played at the human monitor of real processes, and shown.

`python examples/demo.py`, or `make demo`. It starts vmd on a terminal, types what an administrator
types, quits, starts it anew and loads the state; once with RAM in a shared file that stays where it
is, once with private RAM that travels in the state file. The guest counts in its RAM and says each
number on its serial line. Exit code 0 only if each answer was the right one and the guest went on
counting where it had stopped.
"""

from __future__ import annotations

import socket
import sys
import tempfile
from pathlib import Path

import pexpect
import pyte

PROMPT = "(qemu)"
VMD = str(Path(sys.executable).with_name("vmd"))
SHARED = (
    "-machine none,memory-backend=ram0 -m 4G"
    " -object memory-backend-file,id=ram0,size=4G,mem-path=./ram0,share=on"
)
PRIVATE = "-machine none -m 64"


class Went(Exception):
    """Something was not as it must be."""


class Terminal:
    """A vmd on a terminal of 100 columns, and someone who types there."""

    def __init__(self, arguments: str, place: str) -> None:
        full = f"{arguments} -serial unix:serial.sock,server=on,wait=off -monitor stdio"
        print(f"\n$ vmd {arguments} -monitor stdio")
        self._screen = pyte.Screen(100, 200)
        self._screen.write_process_input = lambda data: self._child.send(data)
        self._stream = pyte.ByteStream(self._screen)
        self._child = pexpect.spawn(
            VMD, full.split(), cwd=place, dimensions=(200, 100), env=None, timeout=30
        )
        self._row = 0
        self._wait_for_prompt()
        for y in range(self._screen.cursor.y):
            print(self._line(y))
        self._row = self._screen.cursor.y
        self.serial = socket.socket(socket.AF_UNIX)
        self.serial.connect(str(Path(place, "serial.sock")))
        self.serial.settimeout(30)

    def type(self, line: str, quietly: bool = False) -> str:
        """Type a line; what the screen shows below it."""
        self._child.send(f"{line}\r")
        self._wait_for_prompt(self._row)
        shown = [self._line(y) for y in range(self._row, self._screen.cursor.y)]
        self._row = self._screen.cursor.y
        if not quietly:
            print("\n".join(shown))
        return "\n".join(shown[1:])

    def type_and_see(self, line: str, wanted: str, waits: tuple[str, ...] = ()) -> None:
        """Type a line whose answer must be `wanted`; while it is one of `waits`, ask again."""
        answer = self.type(line, quietly=True)
        while answer in waits:
            answer = self.type(line, quietly=True)
        print(f"{PROMPT} {line}\n{answer}")
        if answer != wanted:
            raise Went(f"{line!r} should have shown {wanted!r}")

    def quit(self) -> None:
        """Leave, and see that it went well."""
        print(f"{PROMPT} quit")
        self._child.send("quit\r")
        self._child.expect(pexpect.EOF)
        self._child.close()
        if self._child.exitstatus != 0:
            raise Went(f"vmd ended with {self._child.exitstatus}")

    def _wait_for_prompt(self, row: int = -1) -> None:
        while self._screen.cursor.y <= row or self._line(self._screen.cursor.y) != PROMPT:
            self._stream.feed(self._child.read_nonblocking(4096, timeout=30))

    def _line(self, y: int) -> str:
        return self._screen.display[y].rstrip()


def counts(serial: socket.socket, enough: int) -> list[int]:
    """The next numbers that the guest says: so many, or all up to the end of the line."""
    said = b""
    while said.count(b"\n") < enough:
        data = serial.recv(4096)
        if not data:
            break
        said += data
    return [int(word) for word in said.decode().split() if word.isdigit()]


def live_update(arguments: str, place: str, *, shared: bool) -> tuple[list[int], list[int]]:
    """Both halves of one update; what the guest counted before and after."""
    source = Terminal(arguments, place)
    before = counts(source.serial, 5)
    if shared:
        source.type("migrate_set_capability x-ignore-shared on")
    source.type("migrate_set_parameter mode cpr-reboot")
    source.type("migrate -d file:vm.state")
    moving = ("VM status: running", "VM status: paused (finish-migrate)")
    source.type_and_see("info status", "VM status: paused (postmigrate)", waits=moving)
    source.quit()
    before += counts(source.serial, sys.maxsize)
    source.serial.close()

    target = Terminal(f"{arguments} -incoming defer", place)
    target.type_and_see("info status", "VM status: paused (inmigrate)")
    if shared:
        target.type("migrate_set_capability x-ignore-shared on")
    target.type("migrate_set_parameter mode cpr-reboot")
    target.type("migrate_incoming file:vm.state")
    arriving = ("VM status: paused (inmigrate)",)
    target.type_and_see("info status", "VM status: running", waits=arriving)
    after = counts(target.serial, 5)
    target.quit()
    target.serial.close()
    return before, after


def main() -> int:
    """Play both kinds of RAM; the exit code."""
    for title, arguments in (
        ("RAM in a shared file: it stays where it is", SHARED),
        ("private RAM: it travels in the state file", PRIVATE),
    ):
        print(f"\n=== {title}")
        with tempfile.TemporaryDirectory() as place:
            try:
                before, after = live_update(arguments, place, shared=arguments == SHARED)
            except (Went, OSError, pexpect.ExceptionPexpect) as error:
                print(f"\nThis went wrong: {error}")
                return 1
            size = Path(place, "vm.state").stat().st_size
        print(f"\nstate file: {size} bytes")
        print(f"the guest counted before: … {' '.join(map(str, before[-5:]))}")
        print(f"              and after: {' '.join(map(str, after))} …")
        if after[0] != before[-1] + 1:
            print("\nThis went wrong: the guest did not go on where it had stopped")
            return 1
    print("\nThe guest lived through both updates.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
