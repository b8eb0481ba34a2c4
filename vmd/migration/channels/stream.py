"""Channels over a descriptor that may keep its user waiting: sockets, pipes, what `fd:` names.

Reading and writing happen in the migration's thread and wait there, on a poll that the event loop
can end at any moment with `interrupt`. Observed from migration/qemu-file.c and io/channel.c.
"""

from __future__ import annotations

import _thread
import os
import select
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from qapi.error import QmpError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from vmd.migration.ram_in_place import InPlace as Places

    Buffer = bytes | bytearray | memoryview

IOV_MAX = 1024
MOMENT_MS = 1
SHUT_RDWR = 2


class Interrupted(Exception):
    """The event loop wants the thread back: nothing more is read or written."""


class Wire:
    """A descriptor that one thread waits for and another may take away from it.

    `sock` is given if it is a socket; the wire then owns it. Loop side: `interrupt`, `cut`,
    `send_now`. All methods may be called at any time, also after `close`.
    """

    def __init__(self, fd: int, sock: socket.socket | None = None) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._sock = sock
        self._alarm = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = _thread.allocate_lock()
        self._interrupted = False

    @property
    def fd(self) -> int:
        """The descriptor; -1 once it is closed."""
        return self._fd

    @property
    def can_be_cut(self) -> bool:
        """Whether it is a connection."""
        return self._sock is not None

    def check(self) -> None:
        """Interrupted if the loop has said so."""
        if self._interrupted:
            raise Interrupted

    def wait(self, events: int, most_ms: int | None = None) -> bool:
        """In the thread: until the descriptor is ready or gone bad; False if that took too long."""
        poll = select.poll()
        poll.register(self._fd, events)
        poll.register(self._alarm, select.POLLIN)
        ready = bool(poll.poll(most_ms))
        self.check()
        return ready

    def interrupt(self) -> None:
        """Have whoever waits, or ever comes to read or write, get `Interrupted`."""
        self._interrupted = True
        with self._lock:
            if self._alarm >= 0:
                os.eventfd_write(self._alarm, 1)

    def cut(self) -> None:
        """End the connection under everybody's hands: reads find the end, writes a broken pipe."""
        with self._lock, suppress(OSError):
            if self._sock is not None:
                self._sock.shutdown(SHUT_RDWR)

    def send_now(self, data: bytes) -> bool:
        """Send a few bytes without waiting; whether they went out."""
        try:
            return os.write(self._fd, data) == len(data)
        except OSError:
            return False

    def close(self) -> None:
        """Let go of the descriptor."""
        with self._lock, suppress(OSError):
            fd, self._fd = self._fd, -1
            sock, self._sock = self._sock, None
            alarm, self._alarm = self._alarm, -1
            if alarm >= 0:
                os.close(alarm)
            if sock is not None:
                sock.close()
            elif fd >= 0:
                os.close(fd)


def write_all(buffers: Sequence[Buffer], writev: Callable[[list[memoryview]], int]) -> int:
    """Give all of it to `writev`, however many calls it takes; the number of bytes."""
    total = 0
    for start in range(0, len(buffers), IOV_MAX):
        views = [memoryview(buffer).cast("B") for buffer in buffers[start : start + IOV_MAX]]
        while views:
            written = writev(views)
            total += written
            while views and written >= len(views[0]):
                written -= len(views.pop(0))
            if views and written:
                views[0] = views[0][written:]
    return total


def read_at(fd: int, buffer: memoryview, position: int) -> int:
    """Read up to `len(buffer)` bytes from a position of the file; 0 where there are none."""
    try:
        return os.preadv(fd, [buffer], position)
    except (OSError, OverflowError):
        return 0


def skip(fd: int, count: int) -> None:
    """Pass over so many bytes of a file."""
    try:
        os.lseek(fd, count, os.SEEK_CUR)
    except (OSError, OverflowError):
        os.lseek(fd, 0, os.SEEK_END)  # nothing can be behind such a place


class OutgoingStream:
    """A stream on its way out.

    `what` is what QEMU calls the other end in its errors: socket, command or file. `reader` is
    the wire on which the other end may answer (the return path), if there is one. `closed(whole)`
    is told when all is over.
    """

    path = None  # nothing of a stream that breaks off stays anywhere

    def __init__(
        self,
        wire: Wire,
        what: str,
        reader: Wire | None = None,
        closed: Callable[[bool], None] | None = None,
    ) -> None:
        self.wire = wire
        self.what = what
        self.reader = reader
        self.written = 0
        self.is_file = stat.S_ISREG(os.fstat(wire.fd).st_mode)
        self._closed = closed
        self._whole = False

    def write(self, buffers: Sequence[Buffer]) -> int:
        """Write all of it, waiting where the other end is slow; the number of bytes."""
        return write_all(buffers, self._writev)

    def _writev(self, views: list[memoryview]) -> int:
        while True:
            self.wire.check()
            try:
                written = os.writev(self.wire.fd, views)
            except BlockingIOError:
                self.wire.wait(select.POLLOUT)
                continue
            except OSError as error:
                reason = os.strerror(error.errno or 0)
                raise QmpError(f"Unable to write to {self.what}: {reason}") from None
            self.written += written
            return written

    def finish(self) -> None:
        """The stream is whole. What is a file nevertheless (`fd:`) is made durable."""
        try:
            if self.is_file:
                os.fsync(self.wire.fd)
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise QmpError(f"Unable to write to {self.what}: {reason}") from None
        self._whole = True

    def interrupt(self) -> None:
        self.wire.interrupt()

    def cut(self) -> None:
        self.wire.cut()

    def close(self) -> None:
        self.wire.close()
        if self.reader is not None:
            self.reader.close()
        if self._closed is not None:
            self._closed(self._whole)
            self._closed = None


class IncomingStream:
    """A stream on its way in.

    `answers`: the wire for the return path, if there is one. `closed(whole)` is told when all is
    over; nobody knows whether the other side has ended.
    """

    path = None

    def __init__(
        self,
        wire: Wire,
        answers: Wire | None = None,
        closed: Callable[[bool], None] | None = None,
    ) -> None:
        self.wire = wire
        self._answers = answers
        self._closed = closed

    def read_into(self, buffer: memoryview) -> int:
        """Read what is there, at least a byte; 0 at the end.

        Where reading fails the stream ends: to QEMU's loader the two are the same.
        """
        return self._read(lambda fd: os.readv(fd, [buffer]), None)

    def read_places(self, places: Places) -> int:
        """The same into scattered places. A moment is waited for more: little comes at once."""
        total = count = self._read(places.read, None)
        while count and places.left:
            count = self._read(places.read, MOMENT_MS)
            total += count
        return total

    def _read(self, read: Callable[[int], int], most_ms: int | None) -> int:
        while True:
            self.wire.check()
            try:
                return read(self.wire.fd)
            except BlockingIOError:
                if not self.wire.wait(select.POLLIN, most_ms):
                    return 0
            except OSError:
                return 0

    # Beside the stream, for mapped-ram: what the descriptor is may yet be a file (`fd:`)

    @property
    def origin(self) -> int:
        """Where in the file the stream is; 0 if it is none."""
        try:
            return os.lseek(self.wire.fd, 0, os.SEEK_CUR)
        except OSError:
            return 0

    def read_at(self, buffer: memoryview, position: int) -> int:
        """Read up to `len(buffer)` bytes from a position of the file; 0 where there are none."""
        return read_at(self.wire.fd, buffer, position)

    read_pages = read_at

    def bypass_cache(self) -> None:
        pass  # only what was opened here can be opened anew

    def skip(self, count: int) -> None:
        """Pass over so many bytes of the stream."""
        skip(self.wire.fd, count)

    def answer(self, data: bytes) -> bool:
        """Send on the return path, in the thread; whether that could be done.

        A source that is gone notices by itself.
        """
        if self._answers is None:
            return False
        view = memoryview(data)
        try:
            while view:
                self._answers.check()
                try:
                    view = view[os.write(self._answers.fd, view) :]
                except BlockingIOError:
                    self._answers.wait(select.POLLOUT)
        except OSError:
            return False
        return True

    def answer_now(self, data: bytes) -> bool:
        """The same from the event loop, without waiting; False if a connection is broken."""
        if self._answers is None or self._answers.send_now(data):
            return True
        return not self._answers.can_be_cut

    def interrupt(self) -> None:
        self.wire.interrupt()
        if self._answers is not None:
            self._answers.interrupt()

    def cut(self) -> None:
        self.wire.cut()

    def close(self) -> None:
        self.wire.close()
        if self._answers is not None:
            self._answers.close()
        if self._closed is not None:
            self._closed(False)
            self._closed = None
