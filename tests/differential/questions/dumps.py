"""dump-guest-memory: a core file of the guest's memory."""

from __future__ import annotations

import hashlib
import os
import struct
from typing import TYPE_CHECKING, Any

from tests.differential.scenes import NONE, Q35, SHARED, leave, ram_full_of_data

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage

PC = "-machine pc -nodefaults -accel tcg -m 8 -S"


def _dump(machine: Machine, protocol: str = "file:core", **more: Any) -> None:
    machine.qmp.execute("dump-guest-memory", {"paging": False, "protocol": protocol, **more})


def _note_core(stage: Stage, head: int | None = None) -> None:
    """Note the core file: its size, and a checksum of all of it or of its head."""
    core = stage.file("core").read_bytes()
    digest = hashlib.sha256(core[:head]).hexdigest()[:16]
    stage.note(f"# core of {len(core)} bytes, {digest}")
    stage.file("core").unlink()


def a_dump_of_ram_alone(stage: Stage) -> None:
    ram_full_of_data(stage)
    machine = stage.start(f"{SHARED} -S")
    machine.qmp.execute("query-dump")
    for begin, length in ((None, None), (4097, 8192), ((12 << 20) + 5, 1 << 21), (2**24 - 1, 10)):
        part = {} if begin is None else {"begin": begin, "length": length}
        _dump(machine, **part)
        machine.qmp.execute("query-dump")
        start = begin or 0
        end = None if length is None else start + length
        ram = stage.file("ram0").read_bytes()[start:end]
        memory = stage.file("core").read_bytes()[196 : 196 + len(ram)]
        stage.note(f"# {len(memory)} bytes; they are RAM: {memory == ram}")
        _note_core(stage, 196)
    machine.qmp.execute("cont")
    _dump(machine)
    machine.qmp.execute("query-status")
    leave(machine)


def a_dump_of_a_pc(stage: Stage) -> None:
    for arguments in (
        PC,
        PC + " -smp 3",
        "-machine pc -accel tcg -m 8 -S",
        PC.replace("pc", "q35"),
    ):
        machine = stage.start(arguments)
        _dump(machine)
        _note_core(stage, 528 + 3 * 624)
        leave(machine)


def parts_of_a_pc(stage: Stage) -> None:
    machine = stage.start(PC)
    for begin, length in ((589824, 262144), (0, 10**10), (0, -1), (2**32 - 1, 1)):
        _dump(machine, begin=begin, length=length)
        _note_core(stage, 64)
    leave(machine)


def dumps_that_are_refused(stage: Stage) -> None:
    machine = stage.start(NONE)
    _dump(machine, "exec:x")
    _dump(machine, "file")
    _dump(machine, "fd:nope")
    _dump(machine, "file:/nonexistent/x")
    _dump(machine, "file:/dev/fdset/7")
    _dump(machine, begin=0)
    _dump(machine, length=1)
    _dump(machine, begin=0, length=0)
    _dump(machine, begin=10**12, length=10)
    _dump(machine, format="bogus")
    machine.qmp.execute("query-dump")
    _dump(machine, "file:/dev/full")
    machine.qmp.execute("query-dump")
    machine.qmp.execute("query-status")
    leave(machine)
    machine = stage.start(f"{NONE} -incoming defer")
    _dump(machine, "exec:x", length=1)
    leave(machine)
    machine = stage.start("-machine none")
    _dump(machine)
    leave(machine)


def a_dump_that_is_too_large(stage: Stage) -> None:
    ram_full_of_data(stage)
    for limit in (20, (1 << 20) + 300, (1 << 24) + 196):
        machine = stage.start(SHARED, file_limit=limit)
        _dump(machine)
        machine.qmp.execute("query-dump")
        machine.qmp.execute("query-status")
        stage.file("core").unlink()
        leave(machine)


def a_dump_in_the_background(stage: Stage) -> None:
    machine = stage.start(NONE)
    _dump(machine, detach=True)
    machine.qmp.wait("RESUME")
    machine.qmp.execute("query-dump")
    _note_core(stage, 64)
    leave(machine)


def a_dump_that_waits_for_its_reader(stage: Stage) -> None:
    os.mkfifo(stage.file("pipe"))
    reader = os.open(stage.file("pipe"), os.O_RDONLY | os.O_NONBLOCK)
    machine = stage.start(NONE)
    _dump(machine, "file:pipe", detach=True)
    machine.qmp.execute("query-status")
    machine.qmp.execute("query-dump", view=lambda result: result | {"completed": "<n>"})
    for command in ("stop", "cont"):
        machine.qmp.execute(command)
    _dump(machine)
    machine.qmp.execute("migrate", {"uri": "file:vm.state"})
    os.set_blocking(reader, True)
    with open(reader, "rb") as pipe:
        stage.note(f"# {len(pipe.read())} bytes")
    machine.qmp.wait("RESUME")
    machine.qmp.execute("query-dump")
    leave(machine)


def compressed(stage: Stage) -> None:
    """Before the pages come header, notes and bitmaps: those are compared byte by byte."""
    machine = stage.start(f"{Q35} -S -smp 2")
    for kind in ("kdump-zlib", "kdump-raw-zlib"):
        _dump(machine, f"file:{kind}", format=kind)
        machine.qmp.execute("query-dump")
    raw = stage.file("kdump-raw-zlib").read_bytes()
    flat = _unfolded(stage.file("kdump-zlib").read_bytes())
    stage.note(f"# both are the same: {raw == flat}")
    bitmaps = int.from_bytes(raw[436:440], "little") * 4096
    stage.note(f"# {hashlib.sha256(raw[: 8192 + bitmaps]).hexdigest()}")
    for wrong in ({"paging": True}, {"begin": 0, "length": 4096}, {"begin": 0}):
        arguments = {"paging": False, "protocol": "file:x", "format": "kdump-zlib", **wrong}
        machine.qmp.execute("dump-guest-memory", arguments)
    _dump(machine, "fd:x", format="kdump-raw-zlib")
    os.mkfifo(stage.file("pipe"))
    reader = os.open(stage.file("pipe"), os.O_RDONLY | os.O_NONBLOCK)
    _dump(machine, "file:pipe", format="kdump-raw-zlib")
    os.close(reader)
    leave(machine)


def _unfolded(data: bytes) -> bytes:
    """A flat dump, with every piece at its place."""
    assert data[:12] == b"makedumpfile"
    at, found = 4096, bytearray()
    while True:
        offset, size = struct.unpack_from(">qq", data, at)
        if offset < 0:
            return bytes(found)
        found += bytes(max(offset + size - len(found), 0))
        found[offset : offset + size] = data[at + 16 : at + 16 + size]
        at += 16 + size
