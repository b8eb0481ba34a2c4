"""Programs that drive a human monitor, each written as such programs are for QEMU.

A driver is opened on the path of a unix socket, or on a command line whose terminal it is. `run`
gives what a command printed, without its echo; `complete` what the line has become after TAB.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
from typing import TYPE_CHECKING, Protocol

import pexpect
import pexpect.fdpexpect

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

PATIENCE = 30
PROMPT = "(qemu) "
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Driver(Protocol):
    def run(self, line: str) -> str: ...
    def complete(self, line: str) -> str: ...
    def leave(self) -> None: ...


def without_echo(text: str) -> str:
    """What follows the line that was typed, which ends with the first line end."""
    return text.partition("\n")[2].replace("\r", "").strip()


class VtMonitor:
    """In the manner of avocado-vt: read until the last word of the last line is the prompt.

    Echo is not looked at; the first line of what came is the command, the rest its output.
    """

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        assert "QEMU 10.0.2 monitor" in self._read_up_to_prompt()

    def _read_up_to_prompt(self) -> str:
        text = ""
        while not (lines := text.splitlines()) or lines[-1].split()[-1:] != ["(qemu)"]:
            assert select.select([self._socket], [], [], PATIENCE)[0], text
            data = self._socket.recv(1024)
            assert data, f"the monitor has gone: {text!r}"
            text += data.decode(errors="ignore")
        return "\n".join(lines[:-1])

    def run(self, line: str) -> str:
        self._socket.sendall(line.encode() + b"\n")
        return without_echo(self._read_up_to_prompt() + "\n")

    def complete(self, line: str) -> str:
        """The line is run, for the echo is not looked at; its own name is in the refusal."""
        self._socket.sendall(line.encode() + b"\t\x05 zzz\n")
        answer = self._read_up_to_prompt()
        found = re.search(r'Try "help (.*)" for more information', answer)
        assert found is not None, answer
        return found[1]

    def leave(self) -> None:
        self._socket.sendall(b"quit\n")
        while self._socket.recv(1024):
            pass
        self._socket.close()


class Expect:
    """In the manner of pexpect: a line is sent, its echo and then the prompt are expected."""

    def __init__(self, child: pexpect.spawnbase.SpawnBase) -> None:
        self._child = child
        self._child.expect_exact(PROMPT)

    def run(self, line: str) -> str:
        self._child.send(line + "\n")
        self._child.expect_exact(PROMPT)
        return ESCAPES.sub("", without_echo(self._child.before))

    def complete(self, line: str) -> str:
        """The longest thing shown behind the last sign of drawing anew."""
        self._child.send(line + "\t")
        self._child.send("\x01\x05 zzz\n")
        self._child.expect('Try "help (.*)" for more information')
        found: str = self._child.match[1]
        self._child.expect_exact(PROMPT)
        return found

    def leave(self) -> None:
        self._child.send("quit\n")
        self._child.expect(pexpect.EOF)


@contextlib.contextmanager
def vt_monitor(path: Path) -> Iterator[Driver]:
    yield VtMonitor(path)


@contextlib.contextmanager
def expect_on_a_socket(path: Path) -> Iterator[Driver]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        yield Expect(
            pexpect.fdpexpect.fdspawn(connection.fileno(), timeout=PATIENCE, encoding="utf-8")
        )


@contextlib.contextmanager
def expect_on_a_terminal(argv: Sequence[str], place: Path) -> Iterator[Driver]:
    child: pexpect.spawn[str] = pexpect.spawn(
        argv[0],
        [*argv[1:], "-monitor", "stdio"],
        cwd=str(place),
        env={**os.environ, "TERM": "xterm"},
        timeout=PATIENCE,
        encoding="utf-8",
        dimensions=(24, 200),
    )
    child.delaybeforesend = None
    try:
        yield Expect(child)
    finally:
        child.close(force=True)
