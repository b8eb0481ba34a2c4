"""Commands of dump.json."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qapi.error import QmpError

if TYPE_CHECKING:
    from monitor.server import QmpMonitor
    from vmd.machine import Machine

FORMATS = ["elf", "kdump-zlib", "kdump-raw-zlib"]


async def dump_guest_memory(
    machine: Machine,
    monitor: QmpMonitor,
    paging: bool,
    protocol: str,
    detach: bool = False,
    begin: int | None = None,
    length: int | None = None,
    format: str = "elf",
) -> None:
    machine.dump.check(begin, length, format, paging=paging)
    fd = _open(machine, monitor, protocol)
    if format == "kdump-raw-zlib":
        try:
            os.lseek(fd, 0, os.SEEK_CUR)
        except OSError:
            os.close(fd)
            raise QmpError("kdump-raw formats require a seekable file") from None
    await machine.dump.run(fd, begin, length, format, detach=detach)


def _open(machine: Machine, monitor: QmpMonitor, protocol: str) -> int:
    kind, colon, name = protocol.partition(":")
    if kind == "fd" and colon:
        if name not in monitor.fds:
            raise QmpError(f"File descriptor named '{name}' has not been found")
        return monitor.fds.pop(name)
    if kind != "file" or not colon:
        raise QmpError("parameter 'protocol' must start with 'file:' or 'fd:'")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        return machine.fdsets.open_file(name, flags, 0o400)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise QmpError(f"Could not create '{name}': {reason}") from None


def query_dump(machine: Machine) -> dict[str, object]:
    return machine.dump.query()


def query_dump_guest_memory_capability(machine: Machine) -> dict[str, object]:
    return {"formats": FORMATS}


HANDLERS = {
    "query-dump": query_dump,
    "query-dump-guest-memory-capability": query_dump_guest_memory_capability,
}
MONITOR_HANDLERS = {"dump-guest-memory": dump_guest_memory}
