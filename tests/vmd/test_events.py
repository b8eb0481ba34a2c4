from vmd.clock import HeldClock
from vmd.events import Event, EventBus


def test_an_event_reaches_every_listener_before_emit_returns() -> None:
    clock = HeldClock(wall_ns=7)
    bus = EventBus(clock)
    heard: list[tuple[str, Event]] = []
    bus.subscribe(lambda event: heard.append(("a", event)))
    bus.subscribe(lambda event: heard.append(("b", event)))
    bus.emit("RESET", {"guest": False})
    event = Event("RESET", {"guest": False}, 7)
    assert heard == [("a", event), ("b", event)]


def test_whoever_unsubscribed_hears_nothing_more() -> None:
    bus = EventBus(HeldClock())
    heard: list[Event] = []
    leave = bus.subscribe(heard.append)
    leave()
    leave()
    bus.emit("STOP")
    assert heard == []


def test_a_listener_may_leave_while_it_is_told() -> None:
    bus = EventBus(HeldClock())
    heard: list[str] = []

    def once(event: Event) -> None:
        heard.append(event.name)
        leave()

    leave = bus.subscribe(once)
    bus.subscribe(lambda event: heard.append("other"))
    bus.emit("STOP")
    bus.emit("STOP")
    assert heard == ["STOP", "other", "other"]
