"""A guest that feeds its watchdog until it hangs, in time that the test holds in its hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.qtest.client import Launch, Vm

    Start = Callable[[str], Vm]

SECOND = 1_000_000_000
PC = "-machine q35 -nodefaults -m 4M -serial file:{serial} -vmd guest=counter"
WATCHED = "-device i6300esb"


@pytest.fixture
def start(launch: Launch) -> Start:
    return lambda arguments: launch(f"{PC}{arguments}")


def status(vm: Vm) -> str:
    return str(vm.qmp("query-status")["status"])


def test_a_guest_that_feeds_its_watchdog_is_left_alone(start: Start) -> None:
    vm = start(f",watchdog=1 {WATCHED} -action watchdog=pause")
    vm.qtest.clock_step(60 * SECOND)
    assert status(vm) == "running"


def test_a_guest_that_hangs_is_reset_and_begins_anew(start: Start) -> None:
    vm = start(f",watchdog=2,hang-at=3 {WATCHED}")
    vm.qtest.clock_step(2_200_000_000)
    assert vm.serial.read_text().splitlines() == ["count 1", "count 2", "count 3"]
    vm.qtest.clock_step(200_000_000)
    vm.wait("WATCHDOG")
    vm.wait("RESET")
    assert vm.serial.read_text().splitlines() == ["count 1", "count 2", "count 3", "count 1"]


def test_a_guest_that_stands_still_is_not_watched(start: Start) -> None:
    vm = start(f",watchdog=2,hang-at=1 {WATCHED} -action watchdog=pause")
    vm.qtest.clock_step(SECOND)
    vm.qmp("stop")
    vm.qtest.clock_step(60 * SECOND)
    vm.qmp("cont")
    vm.qtest.clock_step(SECOND)
    assert status(vm) == "running"
    vm.qtest.clock_step(SECOND)
    vm.wait("WATCHDOG")
    assert status(vm) == "watchdog"


def test_without_a_device_nobody_watches(start: Start) -> None:
    vm = start(",watchdog=1,hang-at=1 -action watchdog=pause")
    vm.qtest.clock_step(60 * SECOND)
    assert status(vm) == "running"
