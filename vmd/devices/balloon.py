"""The balloon: memory that a guest gives back when it is asked, and takes again.

A guest that listens follows a wish soon after, if it runs. From hw/virtio/virtio-balloon.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qapi.error import QmpError
from vmd.devices.qom import Property, integer

if TYPE_CHECKING:
    from vmd.clock import Timer
    from vmd.machine import Machine

FOLLOW_NS = 20_000_000
"""How long a guest takes to follow a wish."""
PAGE = 4096
NS = 1_000_000_000
UNKNOWN = (1 << 64) - 1
_MOST_SECONDS = (1 << 32) - 1
STATISTICS = (
    *("stat-swap-in", "stat-swap-out", "stat-major-faults", "stat-minor-faults"),
    *("stat-free-memory", "stat-total-memory", "stat-available-memory", "stat-disk-caches"),
    *("stat-htlb-pgalloc", "stat-htlb-pgfail", "stat-oom-kills", "stat-alloc-stalls"),
    *("stat-async-scans", "stat-direct-scans", "stat-async-reclaims", "stat-direct-reclaims"),
)
# What a simulated guest never does: it neither swaps nor faults, caches, or takes huge pages.
_NOTHING_HAPPENS = tuple(STATISTICS[:4]) + STATISTICS[7:10]


class Balloon:
    """What the guest has, in bytes, and what it shall have."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.actual = machine.ram_size
        self._wanted = machine.ram_size
        self._interval = 0
        self._statistics = dict.fromkeys(STATISTICS, UNKNOWN)
        self._last_update = 0  # seconds since 1970
        self._timer: Timer | None = None

    def want(self, value: int) -> None:
        """Ask the guest to have so many bytes; QmpError if that is no size."""
        if value <= 0:
            raise QmpError("Parameter 'value' expects a size")
        self._wanted = min(value, self._machine.ram_size) // PAGE * PAGE
        asked = self._machine.ram_size - self._wanted
        self._machine.guest.is_asked(asked if self._wanted != self.actual else None)
        self.guest_runs()

    def guest_runs(self) -> None:
        """A guest that listens hears of a wish, or is asked, as soon as it runs."""
        if self._interval:
            self._ask_again()
        if self._wanted != self.actual and self._machine.guest.listens:
            self._machine.clock.call_later(FOLLOW_NS, self._follow)

    def _follow(self) -> None:
        if self._wanted != self.actual and self._machine.guest.listens:
            self.actual = self._wanted
            self._machine.guest.gives_back(self._machine.ram_size - self.actual)
            self._machine.guest.is_asked(None)
            self._machine.events.emit("BALLOON_CHANGE", {"actual": self.actual})

    def arrived(self) -> None:
        """A guest has come with its RAM: with less than there is, and with what it is asked."""
        given_back = self._machine.guest.given_back // PAGE * PAGE
        self.actual = max(self._machine.ram_size - given_back, 0)
        wish = self._machine.guest.wish
        self._wanted = self.actual
        if wish is not None:
            self._wanted = max(self._machine.ram_size - wish // PAGE * PAGE, 0)

    def properties(self) -> dict[str, Property]:
        """Those that are not only remembered."""
        return {
            "guest-stats": Property(
                "guest statistics",
                lambda: {"stats": dict(self._statistics), "last-update": self._last_update},
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
        self._ask_again()

    def _ask_again(self) -> None:
        self.close()
        if self._interval:
            self._poll()

    def _poll(self) -> None:
        """Ask the guest of itself, again and again; one that does not listen says nothing."""
        self._timer = self._machine.guest_clock.call_later(self._interval * NS, self._poll)
        guest = self._machine.guest
        if guest.listens:
            free = max(self.actual - guest.memory_in_use, 0)
            self._statistics |= dict.fromkeys(_NOTHING_HAPPENS, 0)
            self._statistics |= {"stat-total-memory": self.actual, "stat-free-memory": free}
            self._statistics["stat-available-memory"] = free
            self._last_update = self._machine.clock.wall_ns() // NS

    def close(self) -> None:
        """Ask no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
