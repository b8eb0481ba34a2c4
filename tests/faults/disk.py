"""A disk that does at one system call what no real one does on demand."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Container

WRITING = ("open", "ftruncate", "lseek", "writev", "pwrite", "fsync", "close")


class Disk:
    """`os`, as a channel sees it.

    `before(number, name, arguments)` is told of each of the system calls `names` on a state file;
    it may raise, never return, or do the call itself and return its result. `calls` are the names
    of those so far.
    """

    def __init__(
        self,
        before: Callable[[int, str, tuple[Any, ...]], object],
        names: Container[str] = WRITING,
    ) -> None:
        self._before = before
        self._names = names
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in self._names:
            return real

        def call(*arguments: Any) -> Any:
            self.calls.append(name)
            result = self._before(len(self.calls) - 1, name, arguments)
            return real(*arguments) if result is None else result

        return call
