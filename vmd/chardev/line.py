"""The guest's end of a line to a character device."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmd.chardev import Chardev
    from vmd.chardev.mux import MuxPort

BACKLOG = 1 << 20
"""What a guest may be ahead of whoever reads its serial line; more is lost, as on a real line."""


class Line:
    """A serial line. What nobody takes is lost, as on a real one; `hears` gets what is typed.

    One that no guest has opened does not listen, and query-chardev tells so.
    """

    def __init__(self, backend: Chardev | MuxPort) -> None:
        self._backend = backend
        self.hears: Callable[[bytes], None] = _ignore
        self.listens = True
        backend.attach(self)

    def write(self, data: bytes) -> None:
        """Speak."""
        if self._backend.is_open and self._backend.backlog < BACKLOG:
            self._backend.write(data)

    def move(self, backend: Chardev | MuxPort) -> None:
        """Go on with another device (chardev-change)."""
        self._backend = backend
        backend.attach(self)

    def opened(self) -> None:
        pass

    def received(self, data: bytes) -> None:
        self.hears(data)

    def closed(self) -> None:
        pass

    def drained(self) -> None:
        pass


def _ignore(data: bytes) -> None:
    pass
