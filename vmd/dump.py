"""dump-guest-memory: guest memory into a core file or a kernel dump.

A thread writes it while the guest stands.
The states are the schema's DumpStatus: none → active → completed or failed, and from either of
these to active again. Order of checks and texts observed from dump/dump.c.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import stat
from typing import TYPE_CHECKING

from qapi.error import QmpError
from vmd.runstate import RunState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

    from vmd.machine import Machine
    from vmd.memory import RamBlock
    from vmd.migration.blockers import Blocker

    Piece = tuple[int, int, RamBlock, int]  # guest address, length, block, offset in it

CHUNK = 1 << 20
PAGE_SIZE = 4096
BUSY = "There is a dump in process, please wait."
NO_MIGRATION = "Live migration disabled: dump-guest-memory in progress"

_VGA_HOLE, _ROMS, _BIOS_TAIL, _MIB = 0xA0000, 0xC0000, 0xE0000, 0x100000
_FOUR_GIB = 1 << 32


class Dump:
    """The one dump of a machine, or what is known of the last one."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._status = "none"
        self._completed = 0
        self._total = 0
        self._abandoned = False
        self._kind = "elf"
        self._task: asyncio.Task[None] | None = None
        self._blocker: Blocker | None = None

    @property
    def under_way(self) -> bool:
        return self._status == "active"

    def query(self) -> dict[str, object]:
        """The schema's DumpQueryResult."""
        return {"status": self._status, "completed": self._completed, "total": self._total}

    def forbid(self) -> None:
        """Refuse what must not happen during a dump."""
        if self.under_way:
            raise QmpError(BUSY)

    def check(
        self, begin: int | None, length: int | None, kind: str = "elf", *, paging: bool = False
    ) -> None:
        """Refuse a dump before its file is made."""
        if self._machine.runstate.state is RunState.INMIGRATE:
            raise QmpError("Dump not allowed during incoming migration.")
        self.forbid()
        if kind != "elf" and (paging or begin is not None or length is not None):
            raise QmpError("kdump-compressed format doesn't support paging or filter")
        if begin is not None and length is None:
            raise QmpError("Parameter 'length' is missing")
        if begin is None and length is not None:
            raise QmpError("Parameter 'begin' is missing")

    async def run(
        self, fd: int, begin: int | None, length: int | None, kind: str = "elf", *, detach: bool
    ) -> None:
        """Write a checked dump to `fd` (which is closed in the end), or begin to if `detach`.

        `kind` is the schema's DumpGuestMemoryFormat.
        """
        machine = self._machine
        self._kind = kind
        try:
            self._blocker = machine.blockers.add(NO_MIGRATION, internal=True)
        except QmpError:
            os.close(fd)
            raise
        self._status, self._completed, self._total = "active", 0, 0
        resume = machine.runstate.state is RunState.RUNNING
        if resume:
            machine.vm_stop(RunState.SAVE_VM)
        try:
            pieces = self._pieces(begin, length)
        except QmpError:
            self._status = "failed"
            os.close(fd)
            self._go_on(resume)
            raise
        self._total = sum(piece[1] for piece in pieces)
        if detach:
            job = self._write(fd, pieces, resume)
            self._task = asyncio.get_running_loop().create_task(_quietly(job))
        else:
            await self._write(fd, pieces, resume)

    def abandon(self) -> None:
        """The process ends: the thread stops where it is."""
        self._abandoned = True

    def _pieces(self, begin: int | None, length: int | None) -> list[Piece]:
        if length == 0:
            raise QmpError("parameter 'length' expects a non-zero size")
        first = begin or 0
        last = 1 << 64 if length is None else first + length % (1 << 64)
        pieces = []
        for start, end, block, offset in _memory(self._machine):
            near, far = max(start, first), min(end, last)
            if near < far:
                pieces.append((near, far - near, block, offset + near - start))
        if not pieces:
            raise QmpError("dump: no guest memory to dump")
        return pieces

    async def _write(self, fd: int, pieces: list[Piece], resume: bool) -> None:
        from vmd.worker import Worker

        worker = Worker()
        error: QmpError | None = None
        try:
            await worker.run(lambda: self._write_all(fd, pieces))
        except QmpError as failure:
            error = failure
        finally:
            worker.stop()
        self._status = "completed" if error is None else "failed"
        told: dict[str, object] = {"result": self.query()}
        if error is not None:
            told["error"] = error.desc
        self._machine.events.emit("DUMP_COMPLETED", told)
        self._go_on(resume)
        if error is not None:
            raise error

    def _go_on(self, resume: bool) -> None:
        if self._blocker is not None:
            self._machine.blockers.remove(self._blocker)
        if resume and not self._machine.exiting:
            self._machine.vm_start()

    # In the thread

    def _write_all(self, fd: int, pieces: list[Piece]) -> None:
        from vmd.corefile import NAMES, head

        machine = self._machine
        cpus = len(machine.processors.by_index)
        end = max(end for _, end, _, _ in _memory(machine))
        places = [(start, length) for start, length, _, _ in pieces]
        what = "write elf header"
        try:
            if self._kind != "elf":
                what = "write kdump file"
                self._write_kdump(fd, pieces, places, cpus, end)
                return
            holes = _may_have_holes(fd)
            _put(fd, head(places, cpus, end))
            what = "save memory"
            for _, length, block, offset in pieces:
                for data in _chunks(block, offset, length, holes=holes):
                    if self._abandoned:
                        return
                    self._save(fd, data)
            what = "write string table data"
            _put(fd, NAMES)
        except OSError as error:
            self._completed -= self._completed % PAGE_SIZE  # QEMU writes and counts whole pages
            reason = os.strerror(error.errno or 0)
            raise QmpError(f"dump: failed to {what}: {reason}") from None
        finally:
            os.close(fd)

    def _write_kdump(
        self, fd: int, pieces: list[Piece], places: list[tuple[int, int]], cpus: int, end: int
    ) -> None:
        from vmd import kdump
        from vmd.corefile import notes

        def write_flat(offset: int, data: bytes) -> None:
            _put(fd, kdump.piece(offset, data))

        def write_raw(offset: int, data: bytes) -> None:
            os.lseek(fd, offset, os.SEEK_SET)
            _put(fd, data)

        flat = self._kind == "kdump-zlib"
        write = write_flat if flat else write_raw
        if flat:
            _put(fd, kdump.FLAT_HEAD)
        bits = kdump.bitmap(places, end)
        start = kdump.head(cpus, notes(cpus), end) + bits + bits
        write(0, start)
        pages = kdump.Pages(write, len(start), kdump.count(places))
        for _, length, block, offset in pieces:
            for data in _chunks(block, offset, length, holes=True):
                if self._abandoned:
                    return
                pages.add(data)
                self._completed += data if isinstance(data, int) else len(data)
        pages.end()
        if flat:
            _put(fd, kdump.FLAT_END)

    def _save(self, fd: int, data: bytes | int) -> None:
        """Write a piece of memory, or grow the file by so many zeros."""
        if isinstance(data, int):
            os.ftruncate(fd, os.lseek(fd, 0, os.SEEK_CUR) + data)
            os.lseek(fd, 0, os.SEEK_END)
            self._completed += data
            return
        view = memoryview(data)
        while view:
            done = os.write(fd, view)
            self._completed += done
            view = view[done:]


async def _quietly(job: Awaitable[None]) -> None:
    """A detached dump tells of its failure by the event alone."""
    with contextlib.suppress(QmpError):
        await job


def _memory(machine: Machine) -> Iterator[tuple[int, int, RamBlock, int]]:
    """What can be dumped, ascending: (start, end, block, offset). A PC has its ROMs below 1 MiB."""
    mapped = [(r.start, r.start + r.length, r.block, r.offset) for r in machine.memory.ranges]
    if not machine.board.has_cpus:
        yield from mapped
        return
    blocks = {block.idstr: block for block in machine.ram_blocks}
    bios, roms = blocks["pc.bios"], blocks["pc.rom"]
    has_vga = any(name.endswith("vga.vram") for name in blocks)
    for start, end, block, offset in mapped:
        if start < _MIB:
            yield start, min(end, _VGA_HOLE if has_vga else _ROMS), block, offset
            yield _ROMS, _BIOS_TAIL, roms, 0
            yield _BIOS_TAIL, _MIB, bios, bios.size - (_MIB - _BIOS_TAIL)
            if end <= _MIB:
                continue
            start, offset = _MIB, offset + _MIB - start
        if start >= _FOUR_GIB:
            continue
        yield start, end, block, offset
    yield _FOUR_GIB - bios.size, _FOUR_GIB, bios, 0
    yield from (place for place in mapped if place[0] >= _FOUR_GIB)


def _chunks(block: RamBlock, offset: int, length: int, *, holes: bool) -> Iterator[bytes | int]:
    """The bytes of a piece; with `holes` a number stands for so many zeros."""
    position, end = offset, offset + length
    if holes:
        for first, last in block.data_extents(offset, end):
            if first > position:
                yield first - position
            yield from _data(block, first, last)
            position = last
        if position < end:
            yield end - position
    else:
        yield from _data(block, position, end)


def _data(block: RamBlock, start: int, end: int) -> Iterator[bytes]:
    for position in range(start, end, CHUNK):
        yield block.read(position, min(CHUNK, end - position))


def _may_have_holes(fd: int) -> bool:
    """A fresh file reads as zeros where nothing was written; a pipe or an old file does not."""
    status = os.fstat(fd)
    is_fresh = stat.S_ISREG(status.st_mode) and status.st_size == 0
    return is_fresh and not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND


def _put(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
