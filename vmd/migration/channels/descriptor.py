"""Migration over a descriptor that this process already has. Observed from migration/fd.c."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import stat
from typing import TYPE_CHECKING

from qapi.error import QmpError
from vmd.migration.channels.stream import IncomingStream, OutgoingStream, Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    TakeFd = Callable[[str], int | None]

DEPRECATED = "warning: fd: migration to a file is deprecated. Use file: instead."


def named(name: str, take: TakeFd | None) -> int:
    """The descriptor that a monitor got under this name; it is then the migration's."""
    fd = take(name) if take is not None else None
    if fd is None:
        raise QmpError(f"File descriptor named '{name}' has not been found")
    return fd


def inherited(number: str) -> int:
    """The descriptor of this number, if the process was started with it; else -1."""
    if re.fullmatch("[0-9]+", number) is None:
        raise QmpError(f"Invalid file descriptor number '{number}'")
    try:
        flags = fcntl.fcntl(int(number), fcntl.F_GETFD)
    except (OSError, OverflowError, ValueError):
        return -1
    # What this process has opened itself is nobody's to give away.
    return -1 if flags & fcntl.FD_CLOEXEC else int(number)


def _kind(fd: int) -> str:
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return "nothing"
    if stat.S_ISSOCK(mode):
        return "socket"
    return "pipe" if stat.S_ISFIFO(mode) else "file"


def outgoing(fd: int, report: Callable[[str], None]) -> OutgoingStream:
    """The channel into a descriptor. A file is written from where it stands, and not cut."""
    kind = _kind(fd)
    if kind == "socket":
        wire = Wire(fd, socket.socket(fileno=fd))
        return OutgoingStream(wire, "socket", wire)
    if kind != "pipe":
        report(DEPRECATED)
    os.set_inheritable(fd, False)
    wire = Wire(fd)
    return OutgoingStream(wire, "file", wire)


def incoming(fd: int, report: Callable[[str], None]) -> IncomingStream | None:
    """The channel out of a descriptor; None for one that is not there, as QEMU waits for it."""
    kind = _kind(fd)
    if kind in ("file", "nothing"):
        report(DEPRECATED)
    if kind == "nothing":
        return None
    os.set_inheritable(fd, False)
    wire = Wire(fd, socket.socket(fileno=fd) if kind == "socket" else None)
    return IncomingStream(wire, wire)
