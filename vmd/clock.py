"""The only place that knows the time.

`RealClock` tells the host's time on the running asyncio loop; `HeldClock` stands still until a test
moves it. Everything else asks one of them, so that a test can run an hour in a millisecond.
"""

from __future__ import annotations

import heapq
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000


class Timer(Protocol):
    """A call that has been arranged; `cancel` takes it back, also after it ran."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """What a machine may know of time. All times are integers in nanoseconds."""

    def now_ns(self) -> int:
        """Monotonic time; only differences mean something."""
        ...

    def wall_ns(self) -> int:
        """Time since the epoch, for event timestamps."""
        ...

    def call_later(self, delay_ns: int, callback: Callable[[], None]) -> Timer:
        """Arrange one call on the event loop, `delay_ns` from now."""
        ...

    async def sleep(self, delay_ns: int) -> None:
        """Let `delay_ns` pass."""
        ...


class RealClock:
    """The host's clocks and the asyncio loop that runs now."""

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        return time.time_ns()

    def call_later(self, delay_ns: int, callback: Callable[[], None]) -> asyncio.TimerHandle:
        import asyncio

        return asyncio.get_running_loop().call_later(delay_ns / NS_PER_S, callback)

    async def sleep(self, delay_ns: int) -> None:
        import asyncio

        await asyncio.sleep(max(delay_ns, 0) / NS_PER_S)


def local_offset_s(wall_ns: int) -> int:
    """How far the host's local time is ahead of UTC then, in seconds."""
    return time.localtime(wall_ns // NS_PER_S).tm_gmtoff


class HeldTimer:
    """One arranged call of a `HeldClock`."""

    __slots__ = ("callback", "cancelled")

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class HeldClock:
    """A clock that moves only when told to; calls that fall due run in order of their time."""

    def __init__(self, wall_ns: int = 1_700_000_000 * NS_PER_S) -> None:
        self._now = 0
        self._epoch = wall_ns
        self._order = 0
        self._timers: list[tuple[int, int, HeldTimer]] = []

    def now_ns(self) -> int:
        return self._now

    def wall_ns(self) -> int:
        return self._epoch + self._now

    def call_later(self, delay_ns: int, callback: Callable[[], None]) -> HeldTimer:
        timer = HeldTimer(callback)
        self._order += 1
        heapq.heappush(self._timers, (self._now + max(delay_ns, 0), self._order, timer))
        return timer

    async def sleep(self, delay_ns: int) -> None:
        import asyncio

        done = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not done.done():
                done.set_result(None)

        timer = self.call_later(delay_ns, wake)
        try:
            await done
        finally:
            timer.cancel()

    def advance(self, delay_ns: int) -> None:
        """Move on by `delay_ns`, running what falls due on the way at its own time."""
        target = self._now + delay_ns
        while not self.approach(target, 1):
            pass

    def approach(self, target_ns: int, most: int) -> bool:
        """Move towards a time, but run at most so many calls; whether it is reached."""
        while self._timers and self._timers[0][0] <= target_ns:
            if not most:
                return False
            due, _, timer = heapq.heappop(self._timers)
            self._now = max(self._now, due)
            if not timer.cancelled:
                timer.callback()
                most -= 1
        self._now = max(self._now, target_ns)
        return True

    def next_ns(self) -> int | None:
        """When the next call falls due; None if none is arranged."""
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None
