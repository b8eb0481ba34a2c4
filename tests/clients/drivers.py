"""Clients of a QMP monitor, each driven in its own way and asked the same things.

A driver is opened on the path of a unix socket that a machine listens on. `greeting` is the
version that the client shows, `run` gives what a command returned (RuntimeError with an error's
text), `hears` waits for an event and gives its data.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import pexpect
import pyte

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 30
PROMPT = "\\(QEMU\\) "
LINES, COLUMNS = 200, 250

Message = dict[str, Any]


class Driver(Protocol):
    @property
    def greeting(self) -> str: ...
    def run(self, command: str, arguments: Message | None = None) -> Any: ...
    def hears(self, event: str, **data: Any) -> None: ...


class Missing(Exception):
    """A client is not installed; the text says which."""


def value_of(answer: Message) -> Any:
    if "error" in answer:
        raise RuntimeError(answer["error"]["desc"])
    return answer["return"]


def request_of(command: str, arguments: Message | None, **more: Any) -> str:
    return json.dumps({"execute": command, "arguments": arguments or {}} | more)


def fits(message: Message, event: str, data: Message) -> bool:
    return message.get("event") == event and data.items() <= message.get("data", {}).items()


class Lines:
    """Lines of JSON over a pair of binary files: a socket, or the pipes of socat."""

    def __init__(self, source: IO[bytes], send: Callable[[bytes], object]) -> None:
        self._source = source
        self._send = send
        self._events: list[Message] = []
        version = self._message()["QMP"]["version"]["qemu"]
        self.greeting = ".".join(str(version[part]) for part in ("major", "minor", "micro"))
        self.run("qmp_capabilities")

    def _message(self) -> Message:
        line = self._source.readline()
        assert line.endswith(b"\r\n"), "the connection ended"
        message: Message = json.loads(line)
        return message

    def run(self, command: str, arguments: Message | None = None) -> Any:
        self._send(request_of(command, arguments).encode())
        while "event" in (message := self._message()):
            self._events.append(message)
        return value_of(message)

    def hears(self, event: str, **data: Any) -> None:
        message = self._events.pop(0) if self._events else self._message()
        while not fits(message, event, data):
            message = self._events.pop(0) if self._events else self._message()


@contextlib.contextmanager
def plain_socket(path: Path) -> Iterator[Driver]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(path))
        with connection.makefile("rb") as source:
            yield Lines(source, connection.sendall)


@contextlib.contextmanager
def socat(path: Path) -> Iterator[Driver]:
    program = shutil.which("socat")
    if program is None:
        raise Missing("socat is not installed")
    command = [program, "-", f"UNIX-CONNECT:{path}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        target = process.stdin

        def send(data: bytes) -> None:
            target.write(data)
            target.flush()

        try:
            yield Lines(process.stdout, send)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


class Legacy:
    """qemu.qmp's synchronous client of old."""

    def __init__(self, path: Path) -> None:
        from qemu.qmp.legacy import QEMUMonitorProtocol

        self.client = QEMUMonitorProtocol(str(path))
        self.client.settimeout(PATIENCE)
        greeting = self.client.connect()
        assert greeting is not None
        version: Message = greeting["QMP"]["version"]["qemu"]
        self.greeting = "{major}.{minor}.{micro}".format(**version)

    def run(self, command: str, arguments: Message | None = None) -> Any:
        return value_of(self.client.cmd_raw(command, arguments))

    def hears(self, event: str, **data: Any) -> None:
        while (message := self.client.pull_event(wait=PATIENCE)) is not None:
            if fits(message, event, data):
                return
        raise AssertionError(f"no event {event}")


@contextlib.contextmanager
def legacy(path: Path) -> Iterator[Driver]:
    # The client takes the thread's event loop, or makes one and leaves it behind.
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        driver = Legacy(path)
        try:
            yield driver
        finally:
            with contextlib.suppress(EOFError):  # the machine hung up first
                driver.client.close()
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def spawn(tool: str, path: Path) -> pexpect.spawn[str]:
    """A tool of qemu.qmp on a terminal of its own; what it remembers stays in the test."""
    script = Path(sys.executable).with_name(tool)
    home = {**os.environ, "HOME": str(path.parent), "TERM": "xterm", "PYTHONWARNINGS": ""}
    return pexpect.spawn(
        str(script), [str(path)], timeout=PATIENCE, env=home, encoding="utf-8",
        dimensions=(LINES, COLUMNS),
    )  # fmt: skip


class Shell:
    """qmp-shell: words and KEY=VALUE pairs; an empty line shows the events that came."""

    def __init__(self, child: pexpect.spawn[str]) -> None:
        self._child = child
        self._seen = ""
        child.expect(PROMPT)
        found = re.search(r"Connected to QEMU (\S+)", child.before or "")
        assert found, child.before
        self.greeting = found[1]

    def _line(self, text: str) -> str:
        self._child.sendline(text)
        self._child.expect([PROMPT, pexpect.EOF])
        return (self._child.before or "").replace("\r\n", "\n")

    def run(self, command: str, arguments: Message | None = None) -> Any:
        pairs = (
            f"{key}={value if isinstance(value, str) else json.dumps(value, separators=(',', ':'))}"
            for key, value in (arguments or {}).items()
        )
        shown = self._line(" ".join([command, *pairs]))
        answers = [line for line in shown.splitlines() if line.startswith('{"')]
        assert answers, shown
        return value_of(json.loads(answers[0]))

    def hears(self, event: str, **data: Any) -> None:
        # Events are shown as Python writes a dict.
        pieces = [f"'event': '{event}'", *(f"'{key}': {value!r}" for key, value in data.items())]
        for _ in range(1000):
            self._seen += self._line("")
            for line in self._seen.splitlines():
                if all(piece in line for piece in pieces):
                    return
        raise AssertionError(f"no event {event} in {self._seen}")


@contextlib.contextmanager
def qmp_shell(path: Path) -> Iterator[Driver]:
    child = spawn("qmp-shell", path)
    try:
        yield Shell(child)
        child.sendeof()
        child.expect(pexpect.EOF)
    finally:
        child.close(force=True)


class Tui:
    """qmp-tui: JSON typed into an editor; all messages are shown on a screen."""

    def __init__(self, child: pexpect.spawn[str]) -> None:
        self._child = child
        self._screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.Stream(self._screen)
        self._count = 0
        version = self._until(lambda message: "QMP" in message)["QMP"]["version"]["qemu"]
        self.greeting = "{major}.{minor}.{micro}".format(**version)
        self._until(lambda message: "return" in message)  # it has negotiated

    def _shown(self) -> Iterator[Message]:
        """What the machine has sent, as far as it is on the screen."""
        text = "\n".join(self._screen.display)
        for found in re.finditer("--> ", text):
            with contextlib.suppress(ValueError):  # still being drawn
                yield json.JSONDecoder().raw_decode(text, found.end())[0]

    def _until(self, wanted: Callable[[Message], bool]) -> Message:
        for _ in range(PATIENCE * 10):
            for message in self._shown():
                if wanted(message):
                    return message
            # It draws what has come only when a key is pressed; this one leads to the editor.
            self._child.send("\x1b[B")
            with contextlib.suppress(pexpect.TIMEOUT):
                self._stream.feed(self._child.read_nonblocking(1 << 16, timeout=0.1))
        raise AssertionError("\n".join(row.rstrip() for row in self._screen.display))

    def run(self, command: str, arguments: Message | None = None) -> Any:
        self._count += 1
        name = f"n{self._count}"
        self._child.send(request_of(command, arguments, id=name) + "\x1b\r")  # Alt-Enter sends
        return value_of(self._until(lambda message: message.get("id") == name))

    def hears(self, event: str, **data: Any) -> None:
        self._until(lambda message: fits(message, event, data))


@contextlib.contextmanager
def qmp_tui(path: Path) -> Iterator[Driver]:
    from importlib.util import find_spec

    for needed in ("urwid", "urwid_readline", "pygments"):
        if find_spec(needed) is None:
            raise Missing(f"qmp-tui needs {needed}, which is not installed")
    child = spawn("qmp-tui", path)
    try:
        yield Tui(child)
    finally:
        child.close(force=True)


DRIVERS = (plain_socket, socat, legacy, qmp_shell, qmp_tui)
