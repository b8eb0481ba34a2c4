"""One block node: a file, or a format on one. It reads the header of its image and nothing else.

Observed from block.c, block/file-posix.c and block/qcow2.c.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Any

from qapi.error import QmpError
from vmd.block import image

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vmd.block.bitmaps import DirtyBitmap

    OpenFile = Callable[[str, int], int]

_MOST_TABLE = 1 << 20


class Node:
    """One node. `parents` are the nodes and devices that use it, by what they call themselves."""

    __slots__ = (
        *("_fd", "active", "backing", "bitmaps", "driver", "file", "filename", "header", "locked"),
        *("inline", "name", "options", "parents", "read_only", "virtual_size", "write_threshold"),
    )

    def __init__(self, driver: str, name: str, options: Mapping[str, Any]) -> None:
        self.driver = driver
        self.name = name
        self.options = options
        self.inline = False  # made as a part of another one's options: it goes with that
        self.filename = ""
        self.read_only = bool(options.get("read-only", False))
        self.file: Node | None = None
        self.backing: Node | None = None
        self.header: image.Qcow2 | None = None
        self.virtual_size = 0
        self.write_threshold = 0  # kept for who sets it: no guest of ours writes
        self.parents: list[Any] = []
        self.bitmaps: list[DirtyBitmap] = []  # the newest first
        # The image is this machine's, and not that of one it migrates to or from.
        self.active = True
        self.locked = (0, 0)  # see locks.py
        self._fd = -1

    def gain(self, user: Any) -> None:
        """Somebody uses it from now on; QmpError if another process minds."""
        from vmd.block.locks import update

        self.parents.append(user)
        try:
            update(self)
        except QmpError:
            self.lose(user)
            raise

    def lose(self, user: Any) -> None:
        """Somebody uses it no longer."""
        from vmd.block.locks import update

        self.parents.remove(user)
        update(self)

    def open(self, path: str, open_file: OpenFile) -> None:
        """Open the file of a `file` or `host_device` node; QmpError with QEMU's text."""
        self.filename = path
        flags = os.O_RDONLY if self.read_only else os.O_RDWR
        try:
            try:
                self._fd = open_file(path, flags | os.O_CLOEXEC)
            except OSError:
                if self.read_only or not self.options.get("auto-read-only", False):
                    raise
                self._fd = open_file(path, os.O_RDONLY | os.O_CLOEXEC)
                self.read_only = True
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise QmpError(f"Could not open '{path}': {reason}") from None
        if self.driver == "file" and not stat.S_ISREG(os.fstat(self._fd).st_mode):
            raise QmpError(f"'file' driver requires '{path}' to be a regular file")
        try:
            os.lseek(self._fd, 0, os.SEEK_END)
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise QmpError(f"Could not refresh total sector count: {reason}") from None

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the file at the bottom, fewer where it ends; QmpError if it gives none."""
        if self.file is not None:
            return self.file.read(offset + self._start, length)
        try:
            return os.pread(self._fd, length, offset) if self._fd >= 0 else b""
        except (OSError, OverflowError) as error:  # an image may lead anywhere
            reason = os.strerror(getattr(error, "errno", errno.EINVAL) or 0)
            raise QmpError(f"Could not read '{self.filename}': {reason}") from None

    def write(self, offset: int, data: bytes) -> None:
        """Put bytes into the file at the bottom; QmpError if it does not take them."""
        if self.driver == "raw" and self.file is not None:
            self.file.write(offset + self._start, data)
        elif self.file is not None:
            raise QmpError("Could not write qcow2 header: Operation not supported")
        elif self._fd >= 0:
            self._write_file(offset, data)
        self.mark(offset, len(data))

    def mark(self, offset: int, length: int) -> None:
        """These bytes of it were written: its bitmaps know."""
        if self.bitmaps:
            from vmd.block.bitmaps import written

            written(self, offset, length)

    def _write_file(self, offset: int, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                done = os.pwrite(self._fd, view, offset)
                offset, view = offset + done, view[done:]
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise QmpError(f"Could not write qcow2 header: {reason}") from None

    def fileno(self) -> int:
        """The descriptor of the file of a `file` node."""
        return self._fd

    @property
    def size(self) -> int:
        """Bytes that it offers now: a file may have grown."""
        if self._fd >= 0:
            return os.lseek(self._fd, 0, os.SEEK_END)
        if self.driver == "raw" and self.file is not None:
            return int(self.options.get("size", max(self.file.size - self._start, 0)))
        return self.virtual_size

    @property
    def _start(self) -> int:
        """Where it begins in its file."""
        return int(self.options.get("offset", 0))

    @property
    def allocated(self) -> int:
        """Bytes that it takes on the host."""
        if self.file is not None:
            return self.file.allocated
        return os.fstat(self._fd).st_blocks * 512 if self._fd >= 0 else 0

    def snapshots(self) -> list[image.Snapshot]:
        header = self.header
        if header is None or not header.snapshot_count:
            return []
        table = self.read(header.snapshots_offset, _MOST_TABLE)
        return image.parse_snapshots(table, header.snapshot_count)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Loan:
    """Who uses a node only for a while, and lets everybody else write it."""

    read_only = False
    removable = False
    works = False
    shares_writes = True
    keeps_size = False
    qdev = ""
