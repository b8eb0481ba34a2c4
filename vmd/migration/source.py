"""Bytes that arrive in pieces, read the way QEMU's migration file reads them.

Parsers are generators: they yield when they need more bytes and go on where they were. At the
end of the stream a read gives the bytes that are left, then zeros, and sets `failed`: whoever
parses looks at it where QEMU looks (migration/qemu-file.c), so that a stream cut anywhere ends
with QEMU's own words.
"""

from __future__ import annotations

import errno
import os
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import TypeAlias, TypeVar

    T = TypeVar("T")
    Buffer: TypeAlias = bytes | bytearray | memoryview
    # A parser: yields when it needs more bytes.
    Parse: TypeAlias = Generator[None, None, T]


class LoadError(Exception):
    """An incoming stream is refused: QEMU's cause lines for stderr, and its errno."""

    def __init__(self, number: int, *lines: str) -> None:
        super().__init__(*lines)
        self.lines = list(lines)
        self.errno = number

    @property
    def strerror(self) -> str:
        """What follows "load of migration failed: "."""
        return os.strerror(self.errno)

    def __str__(self) -> str:
        return "; ".join([*self.lines, self.strerror])


def text(data: bytes) -> str:
    """A name of the stream for people: as in C it ends at a NUL, any bytes survive."""
    return data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def signed32(value: int) -> int:
    """How C prints an unsigned 32-bit number with %d."""
    return value - (1 << 32) if value >> 31 else value


class Source:
    """The unread bytes. `head[pos:]` are the first of them, as far as they are contiguous.

    `base` is the offset of `head[0]` in the stream, and `item` that of what was read last.
    """

    __slots__ = ("_rest", "base", "ended", "failed", "head", "item", "left_out", "pos")

    def __init__(self, data: Buffer | None = None, base: int = 0) -> None:
        """Without `data` bytes come by feed; with it these are all there will ever be."""
        self.head = memoryview(data if data is not None else b"").cast("B")
        self.pos = 0
        self.base = self.item = base
        self.left_out = 0  # bytes that are passed over and need not be fed
        self._rest: deque[memoryview] = deque()
        self.ended = data is not None  # no more bytes will come
        self.failed = False  # somebody read past the end

    def feed(self, data: Buffer) -> None:
        """Add bytes. They must stay as they are until `keep` (or until they have been read)."""
        view = memoryview(data).cast("B")
        if len(view):
            if self.pos < len(self.head):
                self._rest.append(view)
            else:
                self._next(view)

    def _next(self, view: memoryview) -> None:
        """Go on with `view` where `head` has been read."""
        self.base += len(self.head)
        self.head, self.pos = view, 0

    @property
    def position(self) -> int:
        """The offset of the next byte in the stream."""
        return self.base + self.pos

    def end(self) -> None:
        self.ended = True

    def keep(self) -> None:
        """Copy what is unread, so that the caller may reuse its buffers."""
        rest = [self.head[self.pos :], *self._rest]
        self.base += self.pos
        self.head, self.pos = memoryview(b"".join(rest)), 0
        self._rest.clear()

    def available(self) -> int:
        return len(self.head) - self.pos + sum(map(len, self._rest))

    def glance(self, n: int) -> bytes:
        """The next bytes that have arrived, at most `n`, without taking them."""
        if self._rest and self.pos + n > len(self.head):
            self.keep()
        return bytes(self.head[self.pos : self.pos + n])

    def rest(self) -> bytes:
        """Take everything that is there."""
        data = b"".join([self.head[self.pos :], *self._rest])
        self.base += self.pos + len(data)
        self.head, self.pos = memoryview(b""), 0
        self._rest.clear()
        return data

    def push_back(self, data: bytes) -> None:
        """Put bytes in front of what is unread."""
        self._rest.appendleft(self.head[self.pos :])
        self.base += self.pos - len(data)
        self.head, self.pos = memoryview(data), 0

    def take(self, n: int) -> Parse[bytes]:
        """The next `n` bytes. Only what has arrived is ever held."""
        self.item = self.base + self.pos
        end = self.pos + n
        if end <= len(self.head):
            data = bytes(self.head[self.pos : end])
            self.pos = end
            return data
        parts = bytearray()
        while len(parts) < n:
            end = self.pos + n - len(parts)
            parts += self.head[self.pos : end]
            self.pos = min(end, len(self.head))
            if len(parts) < n and not (yield from self._more()):
                self.failed = True
                parts += bytes(n - len(parts))
        return bytes(parts)

    def skip(self, n: int, keep: int = 0) -> Parse[bytes]:
        """Pass over `n` bytes without holding them; returns the first `keep` of what came."""
        self.item = self.base + self.pos
        kept = bytearray()
        while n > 0:
            piece = self.head[self.pos : self.pos + n]
            kept += piece[: keep - len(kept)]
            self.pos += len(piece)
            n -= len(piece)
            if n and not (yield from self._more()):
                self.failed = True
                break
        return bytes(kept)

    def leave_out(self, n: int) -> None:
        """Pass over `n` bytes; whoever feeds need not fetch the last `left_out` of them."""
        while n:
            piece = min(n, len(self.head) - self.pos)
            self.pos += piece
            n -= piece
            if n and not self._rest:
                break
            if n:
                self._next(self._rest.popleft())
        self.base += n
        self.left_out += n

    def peek(self, n: int) -> Parse[bytes]:
        """The next `n` bytes without taking them; fewer at the end, which is a failure too."""
        while self.available() < n and not self.ended:
            yield
        if self.pos + n > len(self.head):
            if self._rest:
                self.keep()
            self.failed = self.failed or self.available() < n
        return bytes(self.head[self.pos : self.pos + n])

    def byte(self) -> Parse[int]:
        return (yield from self.take(1))[0]

    def be16(self) -> Parse[int]:
        return int.from_bytes((yield from self.take(2)), "big")

    def be32(self) -> Parse[int]:
        return int.from_bytes((yield from self.take(4)), "big")

    def be64(self) -> Parse[int]:
        return int.from_bytes((yield from self.take(8)), "big")

    def string(self) -> Parse[bytes]:
        """A length byte and that many bytes; at the end of the stream what is left of them."""
        length = yield from self.byte()
        return (yield from self.skip(length, keep=length))

    def _more(self) -> Parse[bool]:
        """Make `head` non-empty; False if nothing comes any more."""
        while self.pos >= len(self.head):
            if self._rest:
                self._next(self._rest.popleft())
            elif self.ended:
                return False
            else:
                yield
        return True


def finish(parse: Parse[T]) -> T:
    """Run a parser whose source has ended: it never has to wait."""
    try:
        next(parse)
    except StopIteration as stop:
        value: T = stop.value
        return value
    raise AssertionError("a parser waits at the end of its source")


def io_error(*lines: str) -> LoadError:
    return LoadError(errno.EIO, *lines)


def invalid(*lines: str) -> LoadError:
    return LoadError(errno.EINVAL, *lines)
