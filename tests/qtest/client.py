"""A test that drives a VM as QEMU's own tests do: it listens, the program connects.

First the qtest socket, then QMP. Nothing here sleeps; `PATIENCE` only ends a wait in vain.
"""

from __future__ import annotations

import json
import socket
import subprocess
from typing import TYPE_CHECKING, Any

from tests.differential.bootsector import DEFAULT_END, ab_sector
from vmd.clock import RealClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import Protocol

    from tests.differential.stage import Program

    class Launch(Protocol):
        """Starts a machine: the fixture `launch`. Without a program it is vmd's."""

        def __call__(
            self, arguments: str, name: str = ..., program: Program | None = ...
        ) -> Vm: ...


PATIENCE = 50.0
PAGE = 4096
FIRST = 1 << 20  # where the a-b guest begins to write


class Qtest:
    """The line protocol: memory, ports and time. Addresses are the guest's."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._replies = connection.makefile("rb")

    def ask(self, line: str) -> str:
        """One request, and the line that answers it."""
        self.send(line)
        return self.answer()

    def send(self, line: str) -> None:
        """A request; its answer is somebody's to take."""
        self._connection.sendall(f"{line}\n".encode())

    def answer(self) -> str:
        return self._replies.readline().decode().rstrip("\n")

    def _number(self, line: str) -> int:
        status, _, value = self.ask(line).partition(" ")
        assert status == "OK", (line, status, value)
        return int(value or "0", 0)

    def readb(self, address: int) -> int:
        return self._number(f"readb 0x{address:x}")

    def readq(self, address: int) -> int:
        return self._number(f"readq 0x{address:x}")

    def writeq(self, address: int, value: int) -> None:
        self._number(f"writeq 0x{address:x} 0x{value:x}")

    def read(self, address: int, size: int) -> bytes:
        status, _, digits = self.ask(f"read 0x{address:x} 0x{size:x}").partition(" 0x")
        assert status == "OK"
        return bytes.fromhex(digits)

    def clock_step(self, ns: int | None = None) -> int:
        """Let the guest's time go on (to its next deadline); what time it is then."""
        return self._number("clock_step" if ns is None else f"clock_step {ns}")

    def close(self) -> None:
        self._replies.close()
        self._connection.close()


class Vm:
    """A program with QEMU's command line under a test's control."""

    def __init__(self, program: Program, directory: Path, name: str, arguments: str) -> None:
        self.serial = directory / f"{name}_serial"
        self._stderr = directory / f"{name}_stderr"
        paths = [directory / f"{name}.{kind}" for kind in ("qtest", "qmp")]
        listeners = [_listener(path) for path in paths]
        words = [
            *f"-qtest unix:{paths[0]} -qtest-log /dev/null".split(),
            *f"-chardev socket,path={paths[1]},id=char0 -mon chardev=char0,mode=control".split(),
            *arguments.replace("{serial}", str(self.serial)).split(),
            *("-display", "none", "-audio", "none", "-accel", "qtest"),
        ]
        with self._stderr.open("wb") as errors:
            self.process = subprocess.Popen([*program.argv, *words], stderr=errors)
        self.events: list[dict[str, Any]] = []
        self.sweep_end = DEFAULT_END if program.name == "qemu" else 32 << 20
        try:
            self.qtest, self._qmp = self._accept(listeners)
        finally:
            for listener in listeners:
                listener.close()

    def _accept(self, listeners: list[socket.socket]) -> tuple[Qtest, socket.socket]:
        connections = []
        for listener in listeners:
            listener.settimeout(PATIENCE)
            connection, _ = listener.accept()
            connection.settimeout(PATIENCE)
            connections.append(connection)
        qtest = Qtest(connections[0])
        assert qtest.ask("endianness") == "OK little"
        self._messages = connections[1].makefile("rb")
        self._message()
        self._qmp = connections[1]
        self.qmp("qmp_capabilities")
        return qtest, connections[1]

    def __enter__(self) -> Vm:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.qtest.close()
        self._messages.close()
        self._qmp.close()
        self.process.kill()
        self.process.wait()

    # QMP

    def _message(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._messages.readline())
        return message

    def qmp(self, command: str, **arguments: Any) -> Any:
        """What a command returns; its error object if it fails. Events are kept."""
        names = {name.replace("_", "-"): value for name, value in arguments.items()}
        request = json.dumps({"execute": command, "arguments": names})
        self._qmp.sendall(request.encode() + b"\n")
        while "event" in (message := self._message()):
            self.events.append(message)
        return message.get("return", message.get("error"))

    def wait(self, event: str) -> None:
        """Wait for an event that was not waited for yet."""
        while True:
            for index, seen in enumerate(self.events):
                if seen["event"] == event:
                    del self.events[: index + 1]
                    return
            self.events.append(self._message())

    # Migration

    def set_capabilities(self, *names: str) -> None:
        states = [{"capability": name, "state": True} for name in names]
        assert self.qmp("migrate-set-capabilities", capabilities=states) == {}

    def set_parameters(self, **parameters: Any) -> None:
        """Each is set and read back."""
        for name, value in parameters.items():
            assert self.qmp("migrate-set-parameters", **{name: value}) == {}
            assert self.qmp("query-migrate-parameters")[name.replace("_", "-")] == value

    def migrate(self, uri: str) -> None:
        assert self.qmp("migrate", uri=uri) == {}
        assert "status" in self.qmp("query-migrate")

    def status(self) -> str:
        return str(self.qmp("query-migrate")["status"])

    def wait_for(self, status: str) -> dict[str, Any]:
        """Ask until the migration has this status; never may it be another end."""
        ends = {"completed", "failed", "cancelled"} - {status}
        info: dict[str, Any] = {}
        for _ in self._patiently(f"status {status}"):
            info = self.qmp("query-migrate")
            if info["status"] == status:
                break
            assert info["status"] not in ends, info
        return info

    def _patiently(self, what: str) -> Iterator[None]:
        """Turns of asking again. In between the program is asked something: its time goes by."""
        end = RealClock().now_ns() + int(PATIENCE * 1e9)
        while RealClock().now_ns() < end:
            yield
            self.qmp("query-status")
        raise AssertionError(f"waited in vain for {what}; {self.errors()}")

    def runs(self) -> bool:
        return bool(self.qmp("query-status")["running"])

    # The a-b guest

    def wait_for_serial(self, letter: str) -> None:
        """Wait until the guest has said it. Asking what runs lets its time go by meanwhile."""
        for _ in self._patiently(f"the guest's {letter}"):
            if self.serial.exists() and letter in self.serial.read_text():
                return

    def wait_for_memory(self, address: int, value: int) -> None:
        """Wait until this has arrived."""
        for _ in self._patiently(f"0x{value:x} at 0x{address:x}"):
            if self.qtest.readq(address) == value:
                return

    def sweep(self) -> list[int]:
        """The bytes that the guest counts in, page by page."""
        found: list[int] = []
        for start in range(FIRST, self.sweep_end, 1 << 20):
            found += self.qtest.read(start, 1 << 20)[::PAGE]
        return found

    # The end

    def errors(self) -> str:
        return self._stderr.read_text()

    def end(self) -> int:
        """SIGTERM; how the program ended."""
        self.process.terminate()
        return self.process.wait(PATIENCE)


def _listener(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(1)
    return listener


def boot_sector(directory: Path, *, suspend: bool = False) -> None:
    """The disk that real QEMU boots its a-b guest from."""
    (directory / "bootsect").write_bytes(ab_sector(suspend=suspend))
