"""Descriptors that are kept back for vmd itself.

Clients and files may use up all that a process may have, and vmd imports what it needs when it
needs it. So the limit is raised as far as it goes, as QEMU does (os-posix.c), less a few, which
are given free from the moment that an import begins until the event loop has its next turn.
"""

from __future__ import annotations

import resource
import sys
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from importlib.machinery import ModuleSpec

KEPT_BACK = 8
MOST = 1 << 20  # where there is no limit


class Headroom:
    """A finder of modules that finds none, and makes room for those who do."""

    def __init__(self, loop: asyncio.AbstractEventLoop, usable: int, hard: int) -> None:
        self._loop = loop
        self._usable = usable
        self._hard = hard
        self._given = False
        self._limit(usable - KEPT_BACK)

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Called by an import that has to look for its module."""
        if not self._given:
            self._given = True
            self._limit(self._usable)
            with suppress(RuntimeError):  # the loop is at its end
                self._loop.call_soon_threadsafe(self._take_back)
        return None

    def _take_back(self) -> None:
        self._given = False
        self._limit(self._usable - KEPT_BACK)

    def _limit(self, count: int) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, self._hard))


def keep_back(loop: asyncio.AbstractEventLoop) -> None:
    """Raise the limit of descriptors, and keep some of them back."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    usable = MOST if hard == resource.RLIM_INFINITY else hard
    if usable > 2 * KEPT_BACK:
        sys.meta_path.insert(0, Headroom(loop, usable, hard))
