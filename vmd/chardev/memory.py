"""Chardevs without a host side: null (and vc, which has no display here) and ringbuf.

Observed from chardev/char-null.c and chardev/char-ringbuf.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qapi.error import QmpError

if TYPE_CHECKING:
    from vmd.chardev.chardev import Chardev

RINGBUF_SIZE = 65536


class Ring:
    """Keeps the last `size` bytes written to it until somebody takes them out."""

    __slots__ = ("_bytes", "_size")

    def __init__(self, size: int = RINGBUF_SIZE) -> None:
        if size & (size - 1):
            raise QmpError("size of ringbuf chardev must be power of two")
        self._size = size
        self._bytes = bytearray()

    def write(self, data: bytes) -> None:
        self._bytes += data
        del self._bytes[: max(0, len(self._bytes) - self._size)]

    def take(self, size: int) -> bytes:
        """The oldest bytes, at most `size` of them; they are gone afterwards."""
        taken = bytes(self._bytes[:size])
        del self._bytes[:size]
        return taken


class MemoryDriver:
    """Output goes into a ring, or nowhere; there is never any input, and always a peer."""

    threaded = False
    backlog = 0

    def __init__(self, filename: str, ring: Ring | None = None) -> None:
        self.filename = filename
        self.ring = ring

    async def open(self, chardev: Chardev) -> None:
        chardev.connected()

    def write(self, data: bytes) -> None:
        if self.ring is not None:
            self.ring.write(data)

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass

    def take_fd(self) -> int | None:
        return None

    def abort(self) -> None:
        pass

    def set_echo(self, echo: bool) -> None:
        pass

    def close(self) -> None:
        pass
