"""A program under measurement: started with a QMP connection that is there before it is."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import socket
import subprocess
import tempfile
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

GUARD = 120.0


def environment() -> dict[str, str]:
    """The environment of a program that was installed: its modules may be kept compiled."""
    return {key: text for key, text in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


def warm_memory(size: int) -> None:
    """Have the host give us memory and take it back, so that whoever is next finds it at hand.

    Under a hypervisor the first touch of a page may take ten times as long as the next one.
    """
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    for offset in range(0, size, 2 * (1 << 20)):
        memory[offset] = 1
    memory.close()


class Session:
    """One running program and its QMP monitor, already negotiated. Times in seconds."""

    def __init__(self, argv: Sequence[str], arguments: str) -> None:
        with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
            path = str(Path(directory, "qmp"))
            listener.bind(path)
            listener.listen(1)
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(GUARD)
            self._socket.connect(path)
            fd = listener.fileno()
            command = [*argv, *arguments.split(), "-display", "none"]
            command += ["-chardev", f"socket,id=qmp,fd={fd},server=on,wait=off"]
            command += ["-mon", "chardev=qmp,mode=control"]
            began = perf_counter()
            self.process = subprocess.Popen(
                command,
                pass_fds=[fd],
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
        self._lines = self._socket.makefile("rb")
        self._events: list[dict[str, Any]] = []
        try:
            self.message()
            self.greeting_time = perf_counter() - began
            self.execute("qmp_capabilities")
        except BaseException:
            self.process.kill()
            raise

    def execute(self, command: str, **arguments: Any) -> Any:
        """Run a command (`_` in argument names becomes `-`), return its value."""
        self._events.clear()
        given = {name.replace("_", "-"): value for name, value in arguments.items()}
        self.send(json.dumps({"execute": command, "arguments": given}).encode() + b"\n")
        while True:
            message = self.message()
            if "error" in message:
                raise RuntimeError(f"{command}: {message['error']['desc']}")
            if "return" in message:
                return message["return"]
            self._events.append(message)

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def read_lines(self, count: int) -> None:
        """Wait for so many lines, whatever they say."""
        for _ in range(count):
            self._lines.readline()

    def until_completed(self) -> None:
        """Wait for the end of a migration (the events capability must be on)."""
        while True:
            # An event may have come before the answer: real QEMU is not always in order.
            message = self._events.pop(0) if self._events else self.message()
            status = message.get("data", {}).get("status")
            if message.get("event") == "MIGRATION" and status in ("completed", "failed"):
                if status == "failed":
                    raise RuntimeError(str(self.execute("query-migrate")))
                return

    def until(self, event: str) -> dict[str, Any]:
        """Wait for this event."""
        while True:
            message = self._events.pop(0) if self._events else self.message()
            if message.get("event") == event:
                return message

    def capabilities(self, *names: str) -> None:
        states = [{"capability": name, "state": True} for name in names]
        self.execute("migrate-set-capabilities", capabilities=states)

    def rest(self) -> None:
        """Until what real QEMU does a moment after `completed` is done."""
        while self.execute("query-status")["status"] == "finish-migrate":
            pass
        self.execute("query-status")

    def resident(self) -> int:
        """Resident bytes of the process and its children."""
        return sum(_resident(pid) for pid in (self.process.pid, *_children(self.process.pid)))

    def end(self) -> str:
        """Quit; what the program wrote to stderr."""
        self.send(b'{"execute": "quit"}\n')
        _, errors = self.process.communicate(timeout=GUARD)
        self._lines.close()
        self._socket.close()
        return str(errors.decode())

    def message(self) -> dict[str, Any]:
        """Wait for the next message, whichever it is."""
        try:
            line = self._lines.readline()
        except ConnectionResetError:
            line = b""
        if not line:
            assert self.process.stderr
            raise RuntimeError(f"the program ended: {self.process.stderr.read().decode()}")
        message: dict[str, Any] = json.loads(line)
        return message


@contextlib.contextmanager
def session(argv: Sequence[str], arguments: str) -> Iterator[Session]:
    """A session that ends with the block."""
    running = Session(argv, arguments)
    try:
        yield running
        running.end()
    finally:
        running.process.kill()
        running.process.wait()


def _resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
