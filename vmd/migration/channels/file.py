"""The `file:` channel. Blocking calls: used from the migration thread, never from the event loop.

Opening is the exception: it happens inside the command, as in QEMU, so that a bad path is the
command's own error. Observed from migration/file.c.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from qapi.error import QmpError
from vmd.migration.channels.stream import IncomingStream, Wire, read_at, skip, write_all

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vmd.migration.ram_in_place import InPlace as Places

    Buffer = bytes | bytearray | memoryview
    FdSet = Callable[[str, int], int | None]

READ_SIZE = 4 << 20


def _open(path: str, flags: int, action: str, fdset: FdSet) -> int:
    """Open without ever waiting (a fifo nobody reads must not hold the monitors)."""
    try:
        inherited = fdset(path, flags & os.O_ACCMODE)
        if inherited is not None:
            return inherited
        fd = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise QmpError(f"Could not {action} '{path}': {os.strerror(error.errno or 0)}") from None
    os.set_blocking(fd, True)
    return fd


def _cannot_write(error: OSError) -> QmpError:
    return QmpError(f"Unable to write to file: {os.strerror(error.errno or 0)}")


def _reopen(fd: int, flags: int) -> int:
    """Another descriptor of the same file; -1 if it cannot be had so."""
    try:
        return os.open(f"/proc/self/fd/{fd}", flags | os.O_CLOEXEC)
    except OSError:
        return -1


class OutgoingFile:
    """A state file being written, from `offset` on. What stood before the offset survives.

    A write to a disk that hangs cannot be interrupted, and nobody answers on a file.
    """

    wire = None
    reader = None
    is_file = True

    def __init__(self, path: str, offset: int, fdset: FdSet) -> None:
        self.path: str | None = path
        self.written = 0
        self._direct_fd = -1
        self._fd = _open(path, os.O_WRONLY | os.O_CREAT, "create", fdset)
        try:
            os.ftruncate(self._fd, offset)
            os.lseek(self._fd, offset, os.SEEK_SET)
        except (OSError, OverflowError) as error:
            os.close(self._fd)
            reason = os.strerror(getattr(error, "errno", None) or 22)
            raise QmpError(
                f"failed to truncate migration file to offset {offset:x}: {reason}"
            ) from None

    def write(self, buffers: Sequence[Buffer]) -> int:
        """Write all of it, however many system calls it takes; the number of bytes."""
        return write_all(buffers, self._writev)

    def _writev(self, views: list[memoryview]) -> int:
        try:
            written = os.writev(self._fd, views)
        except OSError as error:
            raise _cannot_write(error) from None
        self.written += written
        return written

    # Beside the stream: with mapped-ram pages have places in the file

    def tell(self) -> int:
        """Where in the file the stream has come to."""
        return self._seek(0, os.SEEK_CUR)

    def seek(self, position: int) -> None:
        """Let the stream go on there; what is left out is a hole."""
        self._seek(position, os.SEEK_SET)

    def _seek(self, position: int, whence: int) -> int:
        try:
            return os.lseek(self._fd, position, whence)
        except OSError as error:
            raise _cannot_write(error) from None

    def write_at(self, position: int, data: Buffer) -> int:
        """Write all of it at a position of the file; the number of bytes."""
        return self._write_at(self._fd, position, data)

    def bypass_cache(self) -> None:
        """From now on pages go past the host's page cache, if the file system can do that."""
        self._direct_fd = _reopen(self._fd, os.O_WRONLY | os.O_DIRECT)

    def write_pages(self, position: int, pages: memoryview) -> int:
        """The same as write_at for whole pages of RAM, at a multiple of their size."""
        done = 0
        if self._direct_fd >= 0:
            with suppress(OSError):  # what is wrong with the file is told below
                done = os.pwrite(self._direct_fd, pages, position)
                self.written += done
        return done + self._write_at(self._fd, position + done, pages[done:])

    def _write_at(self, fd: int, position: int, data: Buffer) -> int:
        left = memoryview(data).cast("B")
        while len(left):
            try:
                written = os.pwrite(fd, left, position)
            except OSError as error:
                raise _cannot_write(error) from None
            self.written += written
            position += written
            left = left[written:]
        return len(data)

    def finish(self) -> None:
        """Make the file durable, then close it: only after this is a state file complete."""
        fd, self._fd = self._fd, -1
        self._close_direct()
        try:
            try:
                if stat.S_ISREG(os.fstat(fd).st_mode):
                    os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise _cannot_write(error) from None

    def interrupt(self) -> None:
        pass

    def cut(self) -> None:
        pass

    def _close_direct(self) -> None:
        fd, self._direct_fd = self._direct_fd, -1
        if fd >= 0:
            os.close(fd)

    def close(self) -> None:
        """Let go of the file as it is; whether that works is of no interest any more."""
        fd, self._fd = self._fd, -1
        with suppress(OSError):
            self._close_direct()
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)


def incoming(path: str, offset: int, fdset: FdSet) -> IncomingFile | IncomingStream:
    """The channel out of what has that path, from `offset` on; QmpError if it cannot be opened."""
    fd = _open(path, os.O_RDONLY, "open", fdset)
    try:
        if offset:
            os.lseek(fd, offset, os.SEEK_SET)
    except (OSError, OverflowError) as error:
        os.close(fd)
        reason = os.strerror(getattr(error, "errno", None) or 22)
        raise QmpError(f"failed to seek to offset {offset:x}: {reason}") from None
    # Of a fifo the other end may not be there yet, or take its time.
    is_file = stat.S_ISREG(os.fstat(fd).st_mode)
    return IncomingFile(fd, path, offset) if is_file else IncomingStream(Wire(fd))


class IncomingFile:
    """A state file being read, from `origin` on; it takes the descriptor over."""

    wire = None

    def __init__(self, fd: int, path: str, origin: int) -> None:
        self.path = path
        self.origin = origin
        self._direct_fd = -1
        self._fd = fd

    def read_into(self, buffer: memoryview) -> int:
        """Read what is there; 0 at the end of the file.

        Where reading fails the file ends: to QEMU's loader the two are the same.
        """
        return self._read(lambda fd: os.readv(fd, [buffer]))

    def read_places(self, places: Places) -> int:
        """The same into scattered places."""
        return self._read(places.read)

    def _read(self, read: Callable[[int], int]) -> int:
        try:
            return read(self._fd)
        except OSError:
            return 0

    def read_at(self, buffer: memoryview, position: int) -> int:
        """Read up to `len(buffer)` bytes from a position of the file; 0 where there are none."""
        return read_at(self._fd, buffer, position)

    def bypass_cache(self) -> None:
        """From now on pages are read past the host's page cache, if the file system can do that."""
        self._direct_fd = _reopen(self._fd, os.O_RDONLY | os.O_DIRECT)

    def read_pages(self, buffer: memoryview, position: int) -> int:
        """The same as read_at for whole pages, into memory that begins with a page."""
        if self._direct_fd >= 0:
            with suppress(OSError, OverflowError):
                return os.preadv(self._direct_fd, [buffer], position)
        return self.read_at(buffer, position)

    def skip(self, count: int) -> None:
        """Pass over so many bytes of the stream."""
        skip(self._fd, count)

    def answer(self, data: bytes) -> bool:
        return False  # nobody listens

    def answer_now(self, data: bytes) -> bool:
        return True

    def interrupt(self) -> None:
        pass

    def cut(self) -> None:
        pass

    def close(self) -> None:
        """Let go of the file."""
        fds = (self._fd, self._direct_fd)
        self._fd = self._direct_fd = -1
        for fd in fds:
            if fd >= 0:
                with suppress(OSError):
                    os.close(fd)
