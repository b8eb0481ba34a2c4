"""Keyboard and mouse: what a client presses and moves, and when.

No guest program reads them; what happens is seen in the trace. Observed from ui/input.c and
ui/input-legacy.c: keys that are sent one after the other wait for each other in a queue, whose head
is a pause while it is not empty.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from qapi.error import QmpError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vmd.clock import Clock
    from vmd.trace import Tracer

    InputEvent = Mapping[str, Any]

NS_PER_MS = 1_000_000
DEFAULT_HOLD_MS = 10
QUEUE_LIMIT = 1024
"""Keys and pauses beyond that are lost."""

OF_A_PC = (("QEMU PS/2 Keyboard", ("key",)), ("QEMU PS/2 Mouse", ("btn", "rel")))


class Taker:
    """A device that takes some kinds of events, and its number; `owner` is None for a board's."""

    __slots__ = ("kinds", "name", "number", "owner")

    def __init__(self, number: int, name: str, kinds: tuple[str, ...], owner: object) -> None:
        self.number = number
        self.name = name
        self.kinds = kinds
        self.owner = owner


class Input:
    """Keyboards and mice of one machine; of `takers` that take the same the first one gets it.

    `live()` tells whether the guest is there to notice.
    """

    def __init__(
        self,
        names: Sequence[tuple[str, tuple[str, ...]]],
        clock: Clock,
        tracer: Tracer,
        live: Callable[[], bool],
    ) -> None:
        self.takers: list[Taker] = []
        self._count = 0
        for name, kinds in names:
            self.add(name, kinds)
        self._clock = clock
        self._tracer = tracer
        self._live = live
        self.buttons = 0  # which are pressed by hand, as bits
        self._queue: deque[InputEvent | int] = deque()  # events, and pauses in ms

    def add(self, name: str, kinds: tuple[str, ...], owner: object = None) -> None:
        """A device is there; numbers are never given twice."""
        self._count += 1
        self.takers.append(Taker(self._count, name, kinds, owner))

    def remove(self, owner: object) -> None:
        self.takers = [taker for taker in self.takers if taker.owner is not owner]

    def choose(self, index: int) -> None:
        """Make a mouse the one that gets what happens; QmpError if there is none such."""
        for taker in self.takers:
            if taker.number == index:
                if "btn" not in taker.kinds:
                    raise QmpError(f"Input device '{taker.name}' is not a mouse")
                self.takers.remove(taker)
                self.takers.insert(0, taker)
                return
        raise QmpError(f"Mouse at index '{index}' not found")

    def send(self, events: Sequence[InputEvent], console: int = -1) -> None:
        """Let all of them happen at once (at a console), or none: QmpError."""
        if not self._live():
            raise QmpError("VM not running")
        for event in events:
            if not any(event["type"] in taker.kinds for taker in self.takers):
                raise QmpError(f"Input handler not found for event type {event['type']}")
        self.happen(*events, console=console)

    def press(self, keys: Sequence[Mapping[str, Any]], hold_ms: int | None) -> None:
        """Press keys (KeyValue) one after the other, then release them in reverse."""
        hold_ms = (hold_ms or DEFAULT_HOLD_MS) % (1 << 32)  # in QEMU too a time below 0 is long
        pressed = [(key, True) for key in keys]
        for key, down in (*pressed, *((key, False) for key in reversed(keys))):
            code = {"type": "qcode", "data": _key(key)}
            event = {"type": "key", "data": {"key": code, "down": down}}
            if not self._queue:
                self.happen(event)
            else:
                self._enqueue(event)
            self._enqueue(hold_ms)

    def _enqueue(self, item: InputEvent | int) -> None:
        if len(self._queue) >= QUEUE_LIMIT or (isinstance(item, int) and not self._live()):
            return
        self._queue.append(item)
        if len(self._queue) == 1:
            self._pause()

    def _pause(self) -> None:
        """Wait as long as the pause at the head of the queue says."""
        pause = self._queue[0]
        assert isinstance(pause, int)
        self._clock.call_later(pause * NS_PER_MS, self._go_on)

    def _go_on(self) -> None:
        self._queue.popleft()
        while self._queue and not isinstance(self._queue[0], int):
            event = self._queue.popleft()
            assert not isinstance(event, int)
            self.happen(event)
        if self._queue:
            self._pause()

    def happen(self, *events: InputEvent, console: int = -1) -> None:
        """Let events happen, whoever takes them. No taker of ours belongs to one console alone."""
        if not self._live():
            return
        if self._tracer.active:
            for event in events:
                self._tracer.emit(*_told(event, console))
                if event["type"] == "key" and event["data"]["key"]["type"] == "number":
                    self._tracer.emit("input_event_sync", "")  # QEMU sends it as another event
            self._tracer.emit("input_event_sync", "")


def _told(event: InputEvent, console: int) -> tuple[str, str]:
    """The name of the trace event, and its text; -1 is no console at all."""
    kind, data = event["type"], event["data"]
    if kind == "key":
        key = _key(data["key"])
        return "input_event_key_qcode", f"con {console}, key qcode {key}, down {data['down']:d}"
    if kind == "btn":
        return "input_event_btn", f"con {console}, button {data['button']}, down {data['down']:d}"
    value = (data["value"] + (1 << 31)) % (1 << 32) - (1 << 31)  # a C int
    return f"input_event_{kind}", f"con {console}, axis {data['axis']}, value {value}"


def _key(key: Mapping[str, Any]) -> str:
    if key["type"] == "qcode":
        return str(key["data"])
    from vmd.input_keys import KEYS

    return KEYS.get(key["data"], "unmapped")
