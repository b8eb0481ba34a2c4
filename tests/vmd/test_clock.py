import asyncio

from vmd.clock import HeldClock


def test_a_held_clock_stands_still_until_it_is_moved() -> None:
    clock = HeldClock()
    before = clock.now_ns()
    assert clock.now_ns() == before
    clock.advance(5)
    assert clock.now_ns() == before + 5
    assert clock.wall_ns() - HeldClock().wall_ns() == 5


def test_calls_run_in_the_order_of_their_time_and_see_that_time() -> None:
    clock = HeldClock()
    seen: list[tuple[str, int]] = []
    clock.call_later(20, lambda: seen.append(("late", clock.now_ns())))
    clock.call_later(10, lambda: seen.append(("early", clock.now_ns())))
    clock.advance(30)
    assert seen == [("early", 10), ("late", 20)]


def test_a_call_may_arrange_another_within_the_same_advance() -> None:
    clock = HeldClock()
    seen: list[int] = []

    def again() -> None:
        seen.append(clock.now_ns())
        if len(seen) < 3:
            clock.call_later(10, again)

    clock.call_later(10, again)
    clock.advance(100)
    assert seen == [10, 20, 30]


def test_a_cancelled_call_never_runs() -> None:
    clock = HeldClock()
    seen: list[int] = []
    clock.call_later(10, lambda: seen.append(1)).cancel()
    clock.advance(100)
    assert seen == []


async def test_a_sleeper_wakes_when_the_clock_gets_there() -> None:
    clock = HeldClock()
    sleeper = asyncio.ensure_future(clock.sleep(10))
    started = asyncio.Event()
    asyncio.get_running_loop().call_soon(started.set)
    await started.wait()
    clock.advance(9)
    assert not sleeper.done()
    clock.advance(1)
    await sleeper
