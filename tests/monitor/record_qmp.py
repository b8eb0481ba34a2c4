"""Ask real QEMU what it answers to the inputs of data/json-inputs.jsonl, and store that.

    python -m tests.monitor.record_qmp

Each input ends with a flush (0xFF) and a command with the id "end", so nothing waits for silence.
"""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
from pathlib import Path

from tests.monitor.stand import DATA, NEGOTIATE

END = b'\n\xff{"execute":"query-name","id":"end"}'
LAST_LINE = b'{"return": {}, "id": "end"}\r\n'

OPTIONS = ("-machine", "none", "-nodefaults", "-display", "none")


class Qemu:
    """Real QEMU without a machine, and a negotiated QMP connection to it."""

    def __init__(self, program: str = "qemu-system-x86_64") -> None:
        self._directory = tempfile.TemporaryDirectory()
        path = str(Path(self._directory.name) / "qmp")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            self._process = subprocess.Popen(
                [program, *OPTIONS, "-qmp", f"unix:{path}"],
                stdin=subprocess.DEVNULL,
            )
            self._socket, _ = listener.accept()
        self._file = self._socket.makefile("rb")
        self._file.readline()
        self._socket.sendall(NEGOTIATE)
        self._file.readline()

    def ask(self, data: bytes) -> str:
        """All that comes back for an input that ends with END."""
        self._socket.sendall(data)
        answer = b""
        while not answer.endswith(LAST_LINE):
            line = self._file.readline()
            if not line:
                raise EOFError(f"QEMU hung up on {data!r}")
            answer += line
        return answer.decode("ascii")

    def close(self) -> None:
        self._file.close()
        self._socket.close()
        self._process.terminate()
        self._process.wait()
        self._directory.cleanup()


def main() -> None:
    path = DATA / "json-inputs.jsonl"
    cases = [json.loads(line) for line in path.read_text().splitlines()]
    qemu = Qemu()
    for case in cases:
        case["reply"] = qemu.ask(bytes.fromhex(case["input_hex"]))
    qemu.close()
    path.write_text("".join(json.dumps(case) + "\n" for case in cases))


if __name__ == "__main__":
    main()
