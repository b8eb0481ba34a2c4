"""The real-time clock of a guest, in time that the test holds in its hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.qtest.client import Launch, Vm

    Start = Callable[[str], Vm]

SECOND = 1_000_000_000
PC = "-machine pc -nodefaults -m 4M -serial file:{serial} -rtc base=2020-02-29T23:59:58,clock=vm"
RTC = "/machine/unattached/device[3]/rtc"


@pytest.fixture
def start(launch: Launch) -> Start:
    return lambda arguments: launch(f"{PC} {arguments}")


def get(vm: Vm, name: str) -> Any:
    return vm.qmp("qom-get", path=RTC, property=name)


def shown(vm: Vm) -> tuple[int, ...]:
    """Years from 1900, months from 0, and the rest."""
    date = get(vm, "date")
    return tuple(date[f"tm_{part}"] for part in ("year", "mon", "mday", "hour", "min", "sec"))


def test_it_goes_with_the_guests_time(start: Start) -> None:
    vm = start("-vmd guest=idle")
    assert shown(vm) == (120, 1, 29, 23, 59, 58)
    vm.qtest.clock_step(3 * SECOND)
    vm.qmp("stop")
    vm.qtest.clock_step(60 * SECOND)
    assert shown(vm) == (120, 2, 1, 0, 0, 1)


def test_a_guest_that_sets_it_tells_which_one_it_is(start: Start) -> None:
    vm = start("-vmd guest=counter,rtc-step=3000000000")
    vm.qtest.clock_step(SECOND)
    vm.wait("RTC_CHANGE")
    assert get(vm, "type") == "mc146818rtc"
    assert shown(vm)[0] > 2500 - 1900
