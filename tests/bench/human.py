"""The human monitor under measurement: on a socket, and on a terminal."""

from __future__ import annotations

import os
import pty
import socket
import statistics
import subprocess
import tempfile
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from tests.bench.subject import GUARD, environment

if TYPE_CHECKING:
    from collections.abc import Iterator

PROMPT = b"(qemu) "
NONE = "-machine none -nodefaults -display none"


def round_trip(argv: list[str], _: Path) -> Iterator[float]:
    """`info status`, its echo, its answer and the next prompt, in µs."""
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
        path = str(Path(directory, "hmp"))
        listener.bind(path)
        listener.listen(1)
        monitor = f"unix:{path}"
        command = [*argv, *NONE.split(), "-monitor", monitor]
        with subprocess.Popen(
            command, env=environment(), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            client, _address = listener.accept()
            client.settimeout(GUARD)
            _until_prompt(client)
            took = []
            for _turn in range(500):
                began = perf_counter()
                client.sendall(b"info status\n")
                _until_prompt(client)
                took.append(perf_counter() - began)
            client.close()
            process.kill()
    yield statistics.median(took) * 1e6


def _until_prompt(client: socket.socket) -> None:
    data = b""
    while not data.endswith(PROMPT):
        piece = client.recv(1 << 16)
        if not piece:
            raise RuntimeError(f"the monitor has gone: {data!r}")
        data += piece


def first_prompt(argv: list[str], _: Path) -> Iterator[float]:
    """From starting the process on a terminal to its first prompt, in ms."""
    master, slave = pty.openpty()
    began = perf_counter()
    command = [*argv, *NONE.split(), "-monitor", "stdio"]
    terminal = {**environment(), "TERM": "xterm"}
    with subprocess.Popen(
        command, env=terminal, stdin=slave, stdout=slave, stderr=subprocess.DEVNULL
    ) as process:
        data = b""
        while PROMPT not in data:
            data += os.read(master, 4096)
        took = perf_counter() - began
        process.terminate()
    os.close(master)
    os.close(slave)
    yield took * 1e3
