"""What happened, for whoever listens: the machine emits, monitors and tests subscribe."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmd.clock import Clock


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

    def subscribe(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Add a listener; the returned call takes it away again."""
        self._listeners.append(listener)

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unsubscribe

    def emit(self, name: str, data: dict[str, object] | None = None) -> None:
        """Stamp the event with the clock and tell everybody."""
        event = Event(name, data, self._clock.wall_ns())
        for listener in tuple(self._listeners):
            listener(event)
