import pytest

from vmd.clock import NS_PER_MS, HeldClock
from vmd.events import LIMITED, Event, EventBus


class Ear:
    """A bus on a held clock, and what is heard on it: when, what, and since when it is true."""

    def __init__(self) -> None:
        self.clock = HeldClock(wall_ns=0)
        self.bus = EventBus(self.clock)
        self.heard: list[tuple[int, object, int]] = []
        self.bus.subscribe(self._hear)

    def _hear(self, event: Event) -> None:
        data = event.data or {}
        stamp = event.wall_ns // NS_PER_MS
        self.heard.append((self.clock.now_ns() // NS_PER_MS, data.get("n"), stamp))

    def at(self, ms: int, n: int, name: str = "RTC_CHANGE", **data: object) -> None:
        self.clock.advance(ms * NS_PER_MS - self.clock.now_ns())
        self.bus.emit(name, {"n": n, **data})

    def wait(self, ms: int) -> None:
        self.clock.advance(ms * NS_PER_MS - self.clock.now_ns())


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


def test_of_many_limited_events_the_first_comes_at_once_and_the_last_a_second_later() -> None:
    ear = Ear()
    for number, ms in enumerate((0, 100, 200, 300)):
        ear.at(ms, number)
    ear.wait(999)
    assert ear.heard == [(0, 0, 0)]
    ear.wait(1000)
    assert ear.heard == [(0, 0, 0), (1000, 3, 300)]


def test_what_waited_opens_the_next_window() -> None:
    ear = Ear()
    ear.at(0, 0)
    ear.at(500, 1)
    ear.at(1500, 2)
    ear.wait(5000)
    assert ear.heard == [(0, 0, 0), (1000, 1, 500), (2000, 2, 1500)]


def test_after_a_quiet_second_an_event_is_told_at_once_again() -> None:
    ear = Ear()
    ear.at(0, 0)
    ear.at(1001, 1)
    assert ear.heard == [(0, 0, 0), (1001, 1, 1001)]


@pytest.mark.parametrize(("name", "member"), [(n, m) for n, m in LIMITED.items() if m is not None])
def test_each_source_has_its_own_limit(name: str, member: str) -> None:
    ear = Ear()
    for number, source in enumerate("aabb"):
        ear.at(0, number, name, **{member: source})
    ear.wait(1000)
    assert [n for _, n, _ in ear.heard] == [0, 2, 1, 3]


def test_one_limit_serves_all_events_of_a_name_without_sources() -> None:
    ear = Ear()
    for number in range(3):
        ear.at(0, number, "WATCHDOG", **{"qom-path": str(number)})
    assert [n for _, n, _ in ear.heard] == [0]


def test_all_other_events_are_told_at_once() -> None:
    ear = Ear()
    for number in range(3):
        ear.at(0, number, "RESET")
    assert [n for _, n, _ in ear.heard] == [0, 1, 2]
