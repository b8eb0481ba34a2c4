"""One thread of the host for each virtual CPU: asleep, but there to be pinned and measured."""

from __future__ import annotations

import threading


class CpuThreads:
    """Threads that sleep until `close`; `ids` are the host's numbers of them, by CPU."""

    def __init__(self, count: int) -> None:
        self._end = threading.Event()
        self.ids: list[int] = []
        for number in range(count):
            thread = threading.Thread(target=self._end.wait, name=f"CPU {number}/TCG", daemon=True)
            thread.start()
            self.ids.append(thread.native_id or 0)

    def close(self) -> None:
        self._end.set()
