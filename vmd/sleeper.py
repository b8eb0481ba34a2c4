"""A thread of the host that only sleeps: something that management can pin and measure.

A CPU of ours executes nothing, and an I/O thread has no I/O to do.
"""

from __future__ import annotations

import threading
from contextlib import suppress

LONGEST_NAME = 15  # bytes; one that is longer is not taken (util/qemu-thread-posix.c)


class Sleeper:
    """One thread; `number` is what the host calls it. A short `name` is what ps shows of it."""

    __slots__ = ("_end", "number")

    def __init__(self, name: str | None) -> None:
        self._end = threading.Event()
        begun = threading.Event()

        def sleep() -> None:
            told = (name or "").encode(errors="surrogateescape")
            if 0 < len(told) <= LONGEST_NAME:
                with suppress(OSError), open("/proc/thread-self/comm", "wb") as comm:
                    comm.write(told)
            begun.set()
            self._end.wait()

        thread = threading.Thread(target=sleep, daemon=True)
        thread.start()
        begun.wait()
        self.number = thread.native_id or 0

    def close(self) -> None:
        self._end.set()
