"""What happened, for whoever listens: the machine emits, monitors and tests subscribe.

Events that a guest could send in masses are limited: one a second for each key. The states of a key
and their theory (observed from monitor/monitor.c): idle, the event goes out at once and opens a
window; in a window, the last event waits and replaces whatever waited; at its end what waits goes
out, with the timestamp of when it happened, and opens the next window; if nothing waits, idle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmd.clock import Clock


WINDOW_NS = 1_000_000_000

LIMITED: dict[str, str | None] = {
    "BALLOON_CHANGE": None,
    "BLOCK_IO_ERROR": "qom-path",
    "HV_BALLOON_STATUS_REPORT": None,
    "MEMORY_DEVICE_SIZE_CHANGE": "qom-path",
    "QUORUM_FAILURE": None,
    "QUORUM_REPORT_BAD": "node-name",
    "RTC_CHANGE": None,
    "VSERPORT_CHANGE": "id",
    "WATCHDOG": None,
}
"""Events that are limited, each with the member of its data whose values are limited apart."""


class Event(NamedTuple):
    """One event: its QAPI name, its data (None where the event has none), wall time in ns."""

    name: str
    data: dict[str, object] | None
    wall_ns: int


class EventBus:
    """Hands each event to every listener, in order of subscription, before `emit` returns.

    So an event that a command causes is on the wire before the command's reply, as in QEMU.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._listeners: list[Callable[[Event], None]] = []
        self._windows: dict[tuple[str, object], Event | None] = {}  # open ones, and what waits

    def subscribe(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Add a listener; the returned call takes it away again."""
        self._listeners.append(listener)

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unsubscribe

    def emit(self, name: str, data: dict[str, object] | None = None) -> None:
        """Stamp the event with the clock and tell everybody, at once unless it is limited."""
        event = Event(name, data, self._clock.wall_ns())
        if name not in LIMITED:
            self._tell(event)
            return
        member = LIMITED[name]
        key = (name, (data or {}).get(member) if member is not None else None)
        if key in self._windows:
            self._windows[key] = event
        else:
            self._open_window(key, event)

    def _open_window(self, key: tuple[str, object], event: Event) -> None:
        self._windows[key] = None
        self._clock.call_later(WINDOW_NS, lambda: self._close_window(key))
        self._tell(event)

    def _close_window(self, key: tuple[str, object]) -> None:
        waiting = self._windows.pop(key)
        if waiting is not None:
            self._open_window(key, waiting)

    def _tell(self, event: Event) -> None:
        for listener in tuple(self._listeners):
            listener(event)
