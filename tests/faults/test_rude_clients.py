"""Clients that vanish, never read or send nonsense: the machine and the others do not suffer."""

from __future__ import annotations

import select
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.differential.scenes import NONE, leave
from tests.differential.wires import GUARD

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage

QMP = f"{NONE} -qmp unix:rude.sock,server=on,wait=off"
HUMAN = f"{NONE} -monitor unix:rude.sock,server=on,wait=off"
HELLO = b'{"execute": "qmp_capabilities"}\n'
QUERY = b'{"execute": "query-status"}\n'


def call(vmd: Stage) -> socket.socket:
    """Connect to the socket that rude clients use."""
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(vmd.file("rude.sock")))
    client.settimeout(GUARD)
    return client


def greeted(vmd: Stage) -> socket.socket:
    """A client of the QMP monitor that has been greeted: it is the monitor's turn no more."""
    client = call(vmd)
    assert b"QMP" in client.recv(4096)
    return client


def lives(machine: Machine) -> None:
    assert machine.qmp.execute("query-status")["status"] == "running"


@pytest.mark.parametrize("cut", [1, 10, len(HELLO) - 2, len(HELLO), len(HELLO) + 9])
def test_who_vanishes_in_mid_message_leaves_nothing_behind(cut: int, vmd: Stage) -> None:
    machine = vmd.start(QMP)
    client = greeted(vmd)
    client.sendall((HELLO + QUERY)[:cut])
    client.close()
    # What the first one began is not continued by the second.
    client = greeted(vmd)
    client.sendall(HELLO)
    assert client.recv(4096) == b'{"return": {}}\r\n'
    client.close()
    lives(machine)
    leave(machine)


def test_two_hundred_clients_come_and_go(vmd: Stage) -> None:
    machine = vmd.start(QMP)
    files = open_files(machine)
    for number in range(200):
        client = call(vmd)
        if number % 3 == 1:
            client.sendall(HELLO[: number % 32])
        elif number % 3 == 2:
            # Gone with a reset instead of a goodbye.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    greeted(vmd).close()
    lives(machine)
    client = greeted(vmd)
    assert open_files(machine) <= files + 1
    client.close()
    leave(machine)


def open_files(machine: Machine) -> int:
    return len(list(Path(f"/proc/{machine.process.pid}/fd").iterdir()))


def test_a_qmp_client_that_never_reads_is_fed_no_further(vmd: Stage) -> None:
    machine = vmd.start(QMP)
    client = greeted(vmd)
    client.sendall(HELLO)
    client.setblocking(False)
    schema = b'{"execute": "query-qmp-schema"}\n' * 200
    sent = 0
    # It sends as long as anybody takes it; then the machine has better things to do.
    while sent < 64 << 20 and select.select([], [client], [], 0)[1]:
        sent += client.send(schema)
        lives(machine)
    lives(machine)
    assert memory(machine) < 256 << 20
    leave(machine)
    client.close()


@pytest.mark.parametrize("first, filler", [(b"", b" "), (b"", b"\n"), (b'"', b"x")])
def test_64_megabytes_of_nothing_are_swallowed(first: bytes, filler: bytes, vmd: Stage) -> None:
    machine = vmd.start(QMP)
    client = greeted(vmd)
    client.sendall(first)
    client.setblocking(False)
    piece, left = filler * (1 << 20), 64 << 20
    while left > 0:
        readable, writable, _ = select.select([client], [client], [], GUARD)
        assert readable or writable, "nobody takes it"
        try:
            if readable and not client.recv(1 << 20):
                break
            if writable:
                left -= client.send(piece)
        except (ConnectionError, BlockingIOError):
            break
    client.close()
    lives(machine)
    assert memory(machine) < 384 << 20
    leave(machine)


def memory(machine: Machine) -> int:
    """Resident memory in bytes."""
    pages = Path(f"/proc/{machine.process.pid}/statm").read_text().split()[1]
    return int(pages) * 4096


def test_a_person_who_vanishes_in_mid_line_runs_nothing(vmd: Stage) -> None:
    machine = vmd.start(HUMAN)
    client = call(vmd)
    while b"(qemu) " not in client.recv(4096):
        pass
    client.sendall(b"quit")
    client.close()
    client = call(vmd)
    while b"(qemu) " not in client.recv(4096):
        pass
    client.sendall(b"\n")
    lives(machine)
    client.close()
    leave(machine)


def test_a_guest_that_speaks_to_nobody_goes_on(vmd: Stage) -> None:
    machine = vmd.start(f"{NONE} -vmd guest=counter,interval=1", guest="none", serial=True)
    first = machine.serial.read("the guest's count")
    assert first.startswith(b"count 1\r\n")
    lives(machine)
    leave(machine)


def test_a_socket_path_of_somebody_who_listens_is_taken_over_as_qemu_does(vmd: Stage) -> None:
    first = vmd.start(QMP)
    second = vmd.start(QMP)
    client = greeted(vmd)
    client.sendall(HELLO + b'{"execute": "stop"}\n')
    second.qmp.wait("STOP")
    client.close()
    lives(first)
    leave(second)
    leave(first)


def test_a_socket_path_that_is_a_file_is_refused_and_the_file_kept(vmd: Stage) -> None:
    vmd.file("folder").mkdir()
    machine = vmd.start(f"{NONE} -qmp unix:folder,server=on,wait=off", qmp=False, guest="none")
    assert machine.exited() == 1
    assert vmd.file("folder").is_dir()


def test_the_end_of_stdin_ends_no_machine(vmd: Stage) -> None:
    machine = vmd.start(NONE, human="pipe")
    assert machine.process.stdin is not None
    machine.process.stdin.close()
    lives(machine)
    leave(machine)
