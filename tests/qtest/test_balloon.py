"""A guest that is asked how its memory is used, in time that the test holds in its hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.qtest.client import Launch, Vm

SECOND = 1_000_000_000
MIB = 1 << 20
UNKNOWN = (1 << 64) - 1
ARGUMENTS = (
    "-machine q35 -nodefaults -m 8M -serial file:{serial} -device virtio-balloon-pci,id=b"
    " -vmd guest=dirty,start=1M,size=3M"
)


@pytest.fixture
def vm(launch: Launch) -> Vm:
    return launch(ARGUMENTS)


def statistics(vm: Vm) -> dict[str, Any]:
    told: dict[str, Any] = vm.qmp("qom-get", path="b", property="guest-stats")
    return told


def ask_every(vm: Vm, seconds: int) -> None:
    given = {"path": "b", "property": "guest-stats-polling-interval", "value": seconds}
    vm.qmp("qom-set", **given)


def test_nobody_tells_what_nobody_asks(vm: Vm) -> None:
    vm.qtest.clock_step(10 * SECOND)
    told = statistics(vm)
    assert told["last-update"] == 0
    assert set(told["stats"].values()) == {UNKNOWN}


def test_a_guest_tells_what_it_has_and_what_is_free(vm: Vm) -> None:
    ask_every(vm, 2)
    told = statistics(vm)
    assert told["last-update"] > 0
    assert told["stats"]["stat-total-memory"] == 8 * MIB
    assert told["stats"]["stat-free-memory"] == 5 * MIB - 4096
    assert told["stats"]["stat-swap-out"] == 0


def test_what_it_gave_back_it_has_no_longer(vm: Vm) -> None:
    ask_every(vm, 2)
    vm.qmp("balloon", value=6 * MIB)
    vm.wait("BALLOON_CHANGE")
    assert statistics(vm)["stats"]["stat-total-memory"] == 8 * MIB
    vm.qtest.clock_step(2 * SECOND)
    assert statistics(vm)["stats"]["stat-total-memory"] == 6 * MIB


def test_a_guest_that_stands_still_tells_nothing(vm: Vm) -> None:
    vm.qmp("stop")
    ask_every(vm, 1)
    vm.qtest.clock_step(5 * SECOND)
    assert statistics(vm)["last-update"] == 0
    vm.qmp("cont")
    assert statistics(vm)["last-update"] > 0
