"""The status machine of migration and the figures that `query-migrate` tells.

Theory: source and destination walk the same graph of statuses. A source leaves `none` (or the end
of an earlier try) for `setup`, becomes `active` while RAM flows, may wait in `pre-switchover`,
passes `device` once the guest stands still, and ends in `completed`, `failed` or `cancelled`.
`cancelling` is the only status that a command can force at any moment before the end. A
destination knows setup, active, completed and failed; one that stands by as a secondary is in
`colo` until it takes over. A source never is: QEMU 10.0.2 enters `colo` from `active` only, which a
source has left for `device` by then (migration/migration.c).
"""

from __future__ import annotations

from enum import Enum


class MigrationStatus(Enum):
    """QEMU's MigrationStatus, as far as this engine reaches."""

    NONE = "none"
    SETUP = "setup"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    ACTIVE = "active"
    COMPLETED = "completed"
    FAILED = "failed"
    COLO = "colo"
    PRE_SWITCHOVER = "pre-switchover"
    DEVICE = "device"


def _row(names: str) -> frozenset[MigrationStatus]:
    return frozenset(MigrationStatus(name) for name in names.split())


TRANSITIONS: dict[MigrationStatus, frozenset[MigrationStatus]] = {
    MigrationStatus.NONE: _row("setup"),
    MigrationStatus.SETUP: _row("active failed cancelling"),
    MigrationStatus.ACTIVE: _row("pre-switchover device completed failed colo cancelling"),
    MigrationStatus.PRE_SWITCHOVER: _row("device failed cancelling"),
    MigrationStatus.DEVICE: _row("completed failed cancelling"),
    MigrationStatus.CANCELLING: _row("cancelled"),
    MigrationStatus.CANCELLED: _row("setup"),
    MigrationStatus.COMPLETED: _row("setup"),
    MigrationStatus.FAILED: _row("setup"),
    MigrationStatus.COLO: _row("completed"),
}

UNDER_WAY = _row("setup active colo pre-switchover device cancelling")
"""A migration is in progress: nothing else may start, capabilities are fixed."""

CANCELLABLE = _row("setup active pre-switchover device")


class IllegalStatus(Exception):
    """The engine tried a step that the table does not have: a fault of the engine."""


def step(old: MigrationStatus, new: MigrationStatus) -> MigrationStatus:
    """The new status, if the table has that step."""
    if new not in TRANSITIONS[old]:
        raise IllegalStatus(f"{old.value} -> {new.value}")
    return new


class MigrationStats:
    """The figures of one outgoing migration. Bytes, pages and milliseconds; rates per second."""

    def __init__(self) -> None:
        self.transferred = 0
        self.remaining = 0
        self.total = 0
        self.duplicate = 0
        self.normal = 0
        self.dirty_pages_rate = 0
        self.mbps = 0.0
        self.dirty_sync_count = 0
        self.pages_per_second = 0
        self.precopy_bytes = 0
        self.downtime_bytes = 0
        self.setup_time_ms = 0
        self.total_time_ms = 0
        self.downtime_ms = 0
        self.expected_downtime_ms = 0
        self.postcopy_requests = 0

    def times(self, total_ms: int) -> dict[str, object]:
        """The time members of query-migrate under way, `total_ms` after the start."""
        return {
            "total-time": total_ms,
            "expected-downtime": self.expected_downtime_ms,
            "setup-time": self.setup_time_ms,
        }

    def final_times(self) -> dict[str, object]:
        """The time members of query-migrate when all is over."""
        return {
            "total-time": self.total_time_ms,
            "downtime": self.downtime_ms,
            "setup-time": self.setup_time_ms,
        }

    def ram(self, page_size: int) -> dict[str, object]:
        """The `ram` member of query-migrate (MigrationStats of the schema)."""
        return {
            "transferred": self.transferred,
            "remaining": self.remaining,
            "total": self.total,
            "duplicate": self.duplicate,
            "normal": self.normal,
            "normal-bytes": self.normal * page_size,
            "dirty-pages-rate": self.dirty_pages_rate,
            "mbps": self.mbps,
            "dirty-sync-count": self.dirty_sync_count,
            "postcopy-requests": self.postcopy_requests,
            "page-size": page_size,
            "multifd-bytes": 0,
            "pages-per-second": self.pages_per_second,
            "precopy-bytes": self.precopy_bytes,
            "downtime-bytes": self.downtime_bytes,
            "postcopy-bytes": 0,
            "dirty-sync-missed-zero-copy": 0,
        }
