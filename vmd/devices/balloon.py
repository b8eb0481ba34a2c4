"""The balloon: memory that a guest gives back when it is asked, and takes again.

A guest that listens follows a wish soon after, if it runs. From hw/virtio/virtio-balloon.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qapi.error import QmpError
from vmd.devices.qom import Property, integer

if TYPE_CHECKING:
    from vmd.machine import Machine

FOLLOW_NS = 20_000_000
"""How long a guest takes to follow a wish."""
PAGE = 4096
UNKNOWN = (1 << 64) - 1
_MOST_SECONDS = (1 << 32) - 1
STATISTICS = (
    *("stat-swap-in", "stat-swap-out", "stat-major-faults", "stat-minor-faults"),
    *("stat-free-memory", "stat-total-memory", "stat-available-memory", "stat-disk-caches"),
    *("stat-htlb-pgalloc", "stat-htlb-pgfail", "stat-oom-kills", "stat-alloc-stalls"),
    *("stat-async-scans", "stat-direct-scans", "stat-async-reclaims", "stat-direct-reclaims"),
)


class Balloon:
    """What the guest has, in bytes, and what it shall have."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.actual = machine.ram_size
        self._wanted = machine.ram_size
        self._interval = 0

    def want(self, value: int) -> None:
        """Ask the guest to have so many bytes; QmpError if that is no size."""
        if value <= 0:
            raise QmpError("Parameter 'value' expects a size")
        self._wanted = min(value, self._machine.ram_size) // PAGE * PAGE
        self.guest_runs()

    def guest_runs(self) -> None:
        """A guest that listens hears the wish as soon as it runs."""
        if self._wanted != self.actual and self._machine.guest.listens:
            self._machine.clock.call_later(FOLLOW_NS, self._follow)

    def _follow(self) -> None:
        if self._wanted != self.actual and self._machine.guest.listens:
            self.actual = self._wanted
            self._machine.guest.gives_back(self._machine.ram_size - self.actual)
            self._machine.events.emit("BALLOON_CHANGE", {"actual": self.actual})

    def arrived(self) -> None:
        """A guest has come with its RAM, and with less of it than there is."""
        given_back = self._machine.guest.given_back // PAGE * PAGE
        self.actual = max(self._machine.ram_size - given_back, 0)
        self._wanted = self.actual

    def properties(self) -> dict[str, Property]:
        """Those that are not only remembered. No guest of ours tells numbers of itself."""
        return {
            "guest-stats": Property(
                "guest statistics",
                lambda: {"stats": dict.fromkeys(STATISTICS, UNKNOWN), "last-update": 0},
            ),
            "guest-stats-polling-interval": Property(
                "int", lambda: self._interval, self._set_interval
            ),
        }

    def _set_interval(self, value: object) -> None:
        seconds = integer("guest-stats-polling-interval", value)
        if seconds < 0:
            raise QmpError("timer value must be greater than zero")
        if seconds > _MOST_SECONDS:
            raise QmpError("timer value is too big")
        self._interval = seconds
