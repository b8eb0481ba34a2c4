"""Requests that real QEMU does not survive, and clients that do not behave: vmd goes on."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from vmd.qtest.requests import MOST_BYTES

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage
    from tests.differential.wires import Wire

SERVED = "-machine none -nodefaults -m 16 -qtest unix:qtest,server=on,wait=off -qtest-log log"


@pytest.fixture
def machine(vmd: Stage) -> Machine:
    return vmd.start(SERVED, guest="none")


def answers(wire: Wire, count: int) -> list[str]:
    data = b""
    while data.count(b"\n") < count:
        piece = wire.read("answers")
        assert piece
        data += piece
    return data.decode().splitlines()


MALFORMED = (
    "",
    "readb",
    "readb  0x100",
    "readb zz",
    "readb 0x10q",
    "readb 0x",
    "readb 08",
    "readb 18446744073709551616",
    "read 0x100",
    "read 0x100 1\r",
    "writeb 0x100",
    "write 0x100",
    "write 0x100 1k 0x11",
    "memset 0x100 4",
    "inb 0x10000",
    "inb -1",
    "outb 0x80",
    "irq_intercept_in",
    "set_irq_in",
    "module_load",
)
TOO_MUCH = ("read 0x100 0", "read 0x100 99999999999", "b64read 0 -1", "write 0 99999999999 0x11")


def test_malformed_requests_are_refused(vmd: Stage, machine: Machine) -> None:
    wire = vmd.connect("qtest")
    wire.write("".join(f"{line}\n" for line in (*MALFORMED, *TOO_MUCH)).encode())
    said = answers(wire, len(MALFORMED) + len(TOO_MUCH))
    assert said[: len(MALFORMED)] == ["ERR invalid argument"] * len(MALFORMED)
    assert said[len(MALFORMED) :] == ["ERR invalid argument size"] * len(TOO_MUCH)
    assert machine.qmp.execute("query-status")["running"]


def test_the_most_that_can_be_read_and_written_at_once(vmd: Stage, machine: Machine) -> None:
    wire = vmd.connect("qtest")
    data = bytes(range(256)) * (MOST_BYTES // 256)
    wire.write(b"write 0 0x%x 0x%s\nread 0 0x%x\n" % (len(data), data.hex().encode(), len(data)))
    said = answers(wire, 2)
    assert said[0] == "OK"
    assert said[1] == f"OK 0x{data.hex()}"


def test_a_line_without_end_is_not_kept(vmd: Stage, machine: Machine) -> None:
    wire = vmd.connect("qtest")
    for _ in range(48):
        wire.write(b"x" * (1 << 20))
    wire.write(b"\nendianness\n")
    assert answers(wire, 2) == ["ERR invalid argument", "OK little"]


def test_a_client_that_does_not_read_holds_up_nobody(vmd: Stage, machine: Machine) -> None:
    rude = socket.socket(socket.AF_UNIX)
    rude.connect(str(vmd.file("qtest")))
    rude.setblocking(False)
    sent = 0
    try:
        while sent < 64 << 20:
            sent += rude.send(b"read 0 4096\n" * 4096)
    except BlockingIOError:
        pass
    assert 0 < sent < 64 << 20
    assert machine.qmp.execute("query-status")["running"]
    rude.close()


def test_one_client_after_the_other(vmd: Stage, machine: Machine) -> None:
    first = vmd.connect("qtest")
    first.write(b"writeb 0x1000 7\nreadb 0x10")
    assert answers(first, 1) == ["OK"]
    first.close()
    second = vmd.connect("qtest")
    second.write(b"readb 0x1000\n")
    assert answers(second, 1) == ["OK 0x0000000000000007"]


def test_everything_is_in_the_log(vmd: Stage, machine: Machine) -> None:
    wire = vmd.connect("qtest")
    wire.write(b"writeb 0x1000 7\nbogus\n")
    answers(wire, 2)
    lines = [line.split("]", 1) for line in vmd.file("log").read_text().splitlines()]
    assert [(stamp[:3], text) for stamp, text in lines] == [
        ("[I ", " OPENED"),
        ("[R ", " writeb 0x1000 7"),
        ("[S ", " OK"),
        ("[R ", " bogus"),
        ("[S ", " FAIL Unknown command 'bogus'"),
    ]


def test_without_a_log_file_it_is_on_stderr(vmd: Stage) -> None:
    machine = vmd.start(SERVED.replace("-qtest-log log", ""), guest="none")
    wire = vmd.connect("qtest")
    wire.write(b"endianness\n")
    answers(wire, 1)
    machine.qmp.execute("quit")
    machine.qmp.end()
    machine.exited()
    said = [line for line in vmd.transcript if line.startswith("stderr: [")]
    assert [line.split("] ")[1] for line in said[:3]] == ["OPENED", "endianness", "OK little"]


def test_a_log_that_cannot_be_had_is_done_without(vmd: Stage) -> None:
    vmd.start(SERVED.replace("log log", "log missing/log"), guest="none")
    wire = vmd.connect("qtest")
    wire.write(b"endianness\n")
    assert answers(wire, 1) == ["OK little"]


def test_memory_is_there_while_a_migration_is_awaited(vmd: Stage) -> None:
    machine = vmd.start(f"{SERVED} -incoming defer", guest="none")
    wire = vmd.connect("qtest")
    wire.write(b"writeq 0x2000 5\nreadq 0x2000\n")
    assert answers(wire, 2) == ["OK", "OK 0x0000000000000005"]
    assert machine.qmp.execute("query-status")["status"] == "inmigrate"
