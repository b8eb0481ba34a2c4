"""The guest's virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmd.clock import Clock


class GuestTime:
    """The guest's virtual time in ns: goes while the guest runs, travels in section `timer`."""

    __slots__ = ("_clock", "_offset", "_since")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = 0
        self._since: int | None = None

    def start(self) -> None:
        if self._since is None:
            self._since = self._clock.now_ns()

    def stop(self) -> None:
        self._offset = self.now_ns()
        self._since = None

    def now_ns(self) -> int:
        """Virtual time; stands still while the guest does."""
        if self._since is None:
            return self._offset
        return self._offset + self._clock.now_ns() - self._since

    def set_ns(self, value: int) -> None:
        """Take over the time of a guest that arrived (while it stands still)."""
        self._offset = value
