"""mapped-ram: every page at its place in the state file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.differential.scenes import (
    NONE,
    PRIVATE,
    SHARED,
    capabilities,
    leave,
    load,
    one_page_of_ram,
    ram_full_of_data,
    save,
    settle,
)

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage

REGION = 1 << 20  # where the first block's pages begin
RAM = 16 << 20


def _note_file(stage: Stage) -> None:
    """How much room the file has, and how much of it is taken."""
    about = stage.file("vm.state").stat()
    room, taken = about.st_size >> 20, about.st_blocks >> 11
    stage.note(f"# {room} MiB, of which {taken} are taken")


def _written(stage: Stage, *names: str) -> bytes:
    """What the program itself writes, of RAM with a few pages in use."""
    with stage.file("ram0").open("wb") as ram:
        ram.truncate(RAM)
        ram.write(b"guest")
        ram.seek(5 << 20)
        ram.write(b"busy" * (100 << 10))
    machine = stage.start(f"{PRIVATE} -S")
    capabilities(machine, "events", "mapped-ram", *names)
    save(machine)
    leave(machine)
    stage.transcript.clear()
    return stage.file("vm.state").read_bytes()


def _header(good: bytes) -> int:
    """Where the header of the block's region stands."""
    name = b"\x04ram0" if b"\x04ram0" in good else b"\x0d/objects/ram0"
    return good.index(name) + len(name) + 8


def a_save_over_qmp(stage: Stage) -> None:
    one_page_of_ram(stage)
    machine = stage.start(f"{PRIVATE} -S", human="pipe")
    capabilities(machine, "events", "mapped-ram")
    save(machine)
    machine.qmp.execute("query-migrate")
    machine.human.type("info migrate")
    _note_file(stage)
    leave(machine)
    target = stage.start(f"{PRIVATE} -incoming defer")
    capabilities(target, "events", "mapped-ram")
    load(target)
    target.qmp.execute("query-status")
    target.qmp.execute("query-migrate")
    leave(target)


def a_live_update(stage: Stage) -> None:
    machine = stage.start(NONE)
    capabilities(machine, "events", "mapped-ram")
    machine.qmp.execute("migrate-set-parameters", {"mode": "cpr-reboot"})
    save(machine)
    machine.qmp.execute("query-status")
    leave(machine)
    target = stage.start(f"{NONE} -incoming defer", qmp=False, human="pipe")
    target.human.type("migrate_set_capability mapped-ram on")
    target.human.type("migrate_incoming file:vm.state")
    target.human.type_until("info status", "VM status: running")
    target.human.leave()
    target.exited()


def more_data_than_a_window_takes(stage: Stage) -> None:
    ram_full_of_data(stage)
    stage.exact = True
    machine = stage.start(PRIVATE, guest="none")
    capabilities(machine, "events", "mapped-ram")
    machine.qmp.execute("migrate-set-parameters", {"max-bandwidth": 100 << 20})
    machine.qmp.execute("migrate", {"uri": "file:vm.state"})
    settle(machine)
    leave(machine)


def zero_pages_that_nobody_looks_for(stage: Stage) -> None:
    one_page_of_ram(stage)
    machine = stage.start(f"{PRIVATE} -S")
    capabilities(machine, "events", "mapped-ram")
    parameters = {"zero-page-detection": "none", "max-bandwidth": 0}
    machine.qmp.execute("migrate-set-parameters", parameters)
    save(machine)
    machine.qmp.execute("query-migrate")
    leave(machine)


def the_first_bytes_are_the_same(stage: Stage) -> None:
    """Header, capabilities, table, region and bitmap, up to the pages."""
    one_page_of_ram(stage)
    machine = stage.start(f"{PRIVATE} -S", guest="none")
    capabilities(machine, "events", "mapped-ram")
    save(machine, "file:vm.state,offset=0x321")
    leave(machine)
    state = stage.file("vm.state").read_bytes()
    region = state.index(b"\x04ram0")
    for start in range(0x321, region + 64, 32):
        stage.note(f"# {start:04x} {state[start : start + 32].hex()}")


def one_side_only(stage: Stage) -> None:
    _written(stage)
    stage.refused(f"{PRIVATE} -incoming file:vm.state")
    machine = stage.start(f"{PRIVATE} -S")
    capabilities(machine, "events")
    save(machine, "file:plain.state")
    leave(machine)
    target = stage.start(f"{PRIVATE} -incoming defer", human="pipe")
    capabilities(target, "events", "mapped-ram")
    target.human.type("migrate_incoming file:plain.state")
    target.qmp.wait("MIGRATION", status="failed")
    target.qmp.execute("query-migrate")
    leave(target)


def together_with_ignore_shared(stage: Stage) -> None:
    one_page_of_ram(stage)
    machine = stage.start(SHARED)
    capabilities(machine, "events", "mapped-ram", "x-ignore-shared")
    machine.qmp.execute("migrate", {"uri": "file:vm.state"})
    machine.qmp.wait("RESUME")
    machine.qmp.execute("query-migrate")
    machine.qmp.execute("query-status")
    leave(machine)
    _written(stage, "x-ignore-shared")
    stage.note("# a file with both and nothing ignored")
    target = stage.start(f"{PRIVATE} -incoming defer")
    capabilities(target, "events", "mapped-ram", "x-ignore-shared")
    arguments = {"uri": "file:vm.state", "exit-on-error": False}
    target.qmp.execute("migrate-incoming", arguments)
    target.qmp.wait("MIGRATION", status="failed")
    target.qmp.execute("query-migrate")
    leave(target)


def files_that_are_spoiled(stage: Stage) -> None:
    good = _written(stage)
    at = _header(good)
    end = REGION + RAM

    def rejected(what: str, state: bytes) -> None:
        stage.note(f"# {what}")
        stage.file("bad.state").write_bytes(state)
        stage.refused(f"{PRIVATE} -global migration.mapped-ram=on -incoming file:bad.state")

    def with_bytes(place: int, data: bytes) -> bytes:
        return good[:place] + data + good[place + len(data) :]

    def with_record(data: bytes) -> bytes:
        return good[:end] + data + good[end:]

    rejected("version 2", with_bytes(at, b"\0\0\0\2"))
    rejected("a bitmap beyond the file", with_bytes(at + 12, b"\0\0\1\0"))
    rejected("a bitmap at a negative place", with_bytes(at + 12, b"\x80"))
    rejected("pages at an odd place", with_bytes(at + 27, b"\1"))
    rejected("pages in the middle of a page", with_bytes(at + 26, b"\2"))
    rejected("pages beyond the file", with_bytes(at + 20, b"\0\0\1\0"))
    rejected("nothing behind the name", good[:at])
    rejected("half a header", good[: at + 10])
    rejected("half a bitmap", good[: at + 28 + 100])
    rejected("half a page", good[: REGION + 10])
    rejected("half a long run of pages", good[: REGION + (5 << 20) + 4096 + 10])
    rejected("no stream behind the pages", good[:end])
    rejected("a block that is longer", with_bytes(at - 8, (32 << 20).to_bytes(8, "big")))
    rejected("a block that is shorter", with_bytes(at - 8, (8 << 20).to_bytes(8, "big")))
    rejected("a page in the stream", with_record(b"\0\0\0\0\0\0\0\x28" + b"p" * 4096))
    rejected("a zero page in the stream", with_record(b"\0\0\0\0\0\0\0\2\4ram0\0"))
    rejected("a flush in the stream", with_record(b"\0\0\0\0\0\0\2\0"))


def a_block_of_another_size(stage: Stage) -> None:
    _written(stage)
    for size in (4, 32):
        backend = f"-object memory-backend-ram,id=ram0,size={size}M"
        arguments = f"-machine none,memory-backend=ram0 -nodefaults -m {size} {backend}"
        target = stage.start(f"{arguments} -incoming defer")
        capabilities(target, "events", "mapped-ram")
        incoming = {"uri": "file:vm.state", "exit-on-error": False}
        target.qmp.execute("migrate-incoming", incoming)
        target.qmp.wait("MIGRATION", status="failed" if size == 4 else "completed")
        target.qmp.execute("query-migrate")
        leave(target)


def a_full_disk(stage: Stage) -> None:
    ram_full_of_data(stage)
    machine = stage.start(PRIVATE, file_limit=2 << 20)
    capabilities(machine, "events", "mapped-ram")
    machine.qmp.execute("migrate-set-parameters", {"mode": "cpr-reboot"})
    machine.qmp.execute("migrate", {"uri": "file:vm.state"})
    machine.qmp.wait("RESUME")
    machine.qmp.execute("query-migrate")
    machine.qmp.execute("query-status")
    leave(machine)


def a_disk_that_has_room_for_nothing(stage: Stage) -> None:
    machine = stage.start(NONE, file_limit=10)
    capabilities(machine, "events")
    machine.qmp.execute("migrate", {"uri": "file:vm.state"})
    machine.qmp.wait("MIGRATION", status="failed")
    machine.qmp.execute("query-migrate")
    machine.qmp.execute("query-status")


def direct_io(stage: Stage) -> None:
    one_page_of_ram(stage)
    machine = stage.start(f"{PRIVATE} -S")
    capabilities(machine, "events", "mapped-ram")
    machine.qmp.execute("migrate-set-parameters", {"direct-io": True})
    save(machine)
    machine.qmp.execute("query-migrate")
    _note_file(stage)
    leave(machine)
    target = stage.start(f"{PRIVATE} -incoming defer")
    capabilities(target, "events", "mapped-ram")
    target.qmp.execute("migrate-set-parameters", {"direct-io": True})
    load(target)
    target.qmp.execute("query-status")
    leave(target)


def ways_that_cannot_be_sought_in(stage: Stage) -> None:
    machine = stage.start(f"{PRIVATE} -S")
    capabilities(machine, "events", "mapped-ram")
    for uri in ("exec:cat", "tcp:127.0.0.1:1", "unix:socket", "fd:x", "zzz:1"):
        machine.qmp.execute("migrate", {"uri": uri})
    machine.qmp.execute("query-migrate")
    leave(machine)
    target = stage.start(f"{PRIVATE} -incoming defer")
    capabilities(target, "events", "mapped-ram")
    for uri in ("exec:cat vm.state", "tcp:127.0.0.1:0", "unix:socket", "fd:x", "zzz:1"):
        target.qmp.execute("migrate-incoming", {"uri": uri})
    target.qmp.execute("query-migrate")
    leave(target)


def _refuses(machine: Machine) -> None:
    machine.qmp.wait("MIGRATION", status="failed")
    machine.qmp.end()
    machine.exited()


def ways_in_that_turn_out_not_to_be_sought_in(stage: Stage) -> None:
    """The capability is set when a stream is already waited for."""
    stream = _written(stage)
    os.mkfifo(stage.file("pipe"))
    machine = stage.start(f"{PRIVATE} -S -incoming 'exec:cat pipe'")
    capabilities(machine, "events", "mapped-ram")
    stage.file("pipe").write_bytes(stream[: 1 << 16])
    _refuses(machine)
    machine = stage.start(f"{PRIVATE} -S -incoming unix:door")
    capabilities(machine, "events", "mapped-ram")
    stage.connect("door").write(stream[: 1 << 16])
    _refuses(machine)


def a_fifo_by_its_path(stage: Stage) -> None:
    stream = _written(stage)
    os.mkfifo(stage.file("pipe"))
    with open(os.open(stage.file("pipe"), os.O_RDWR), "wb") as pipe:  # else QEMU waits for us
        machine = stage.start(f"{PRIVATE} -S -incoming file:pipe")
        capabilities(machine, "events", "mapped-ram")
        machine.qmp.execute("query-migrate")
        pipe.write(stream[: 1 << 16])
        pipe.flush()
        _refuses(machine)
