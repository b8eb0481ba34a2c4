"""With -accel qtest the guest lives only while the test moves its time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.ctl.looking import looked_at
from tests.qtest.client import FIRST

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.qtest.client import Launch, Vm

    Start = Callable[..., Vm]

MS = 1_000_000
TICK = 16 * MS  # of the a-b guest, which sweeps 8 times in it, and says B after 64 sweeps
Q35 = "-machine q35 -nodefaults -m 4M -serial file:{serial} -vmd guest=ab"


@pytest.fixture
def start(launch: Launch) -> Start:
    return lambda name="vm", arguments=Q35: launch(arguments, name)


def test_nothing_happens_until_the_test_says_so(start: Start) -> None:
    vm = start()
    assert vm.runs()
    assert vm.serial.read_text() == "A"
    assert vm.qtest.readb(FIRST) == 0
    assert vm.qtest.ask("clock_set 0") == "OK 0"


def test_a_step_is_as_long_as_it_is_said_to_be(start: Start) -> None:
    vm = start()
    assert vm.qtest.ask(f"clock_step {TICK - 1}") == f"OK {TICK - 1}"
    assert vm.qtest.readb(FIRST) == 0
    assert vm.qtest.ask("clock_step 1") == f"OK {TICK}"
    assert vm.qtest.readb(FIRST) == 8
    assert vm.qtest.clock_step(7 * TICK) == 8 * TICK
    assert vm.qtest.readb(FIRST) == 64
    assert vm.serial.read_text() == "AB"


def test_a_step_without_a_length_goes_to_the_next_deadline(start: Start) -> None:
    vm = start()
    vm.qtest.clock_step(5)
    assert vm.qtest.clock_step() == TICK
    assert vm.qtest.clock_step() == 2 * TICK
    assert vm.qtest.readb(FIRST) == 16


def test_without_a_deadline_there_is_nothing_to_step_to(start: Start) -> None:
    vm = start(arguments="-machine none -nodefaults -m 4M")
    vm.qmp("stop")
    assert vm.qtest.ask("clock_step") == (
        "FAIL cannot advance clock to the next deadline because there is no pending deadline"
    )
    assert vm.qtest.ask("clock_step 100") == "OK 100"


def test_time_is_set_but_never_back(start: Start) -> None:
    vm = start()
    assert vm.qtest.ask("clock_set 1000") == "OK 1000"
    assert vm.qtest.ask("clock_set 999") == "FAIL 1000"
    assert vm.qtest.ask("clock_step 0") == "FAIL could not advance time"
    assert vm.qtest.ask("clock_step -5") == "FAIL could not advance time"


def test_a_stopped_guest_does_not_live_through_a_step(start: Start) -> None:
    vm = start()
    vm.qmp("stop")
    vm.qtest.clock_step(100 * TICK)
    assert vm.qtest.readb(FIRST) == 0
    vm.qmp("cont")
    vm.qtest.clock_step(TICK)
    assert vm.qtest.readb(FIRST) == 8


def test_an_hour_passes_while_the_monitor_answers(start: Start) -> None:
    vm = start(arguments=Q35.replace("guest=ab", "guest=counter"))
    vm.qtest.send(f"clock_step {3600 * 1000 * MS}")
    assert vm.runs()
    assert vm.qtest.answer() == f"OK {3600 * 1000 * MS}"
    assert vm.serial.read_text().endswith("count 36000\n")


def test_a_step_without_end_ends_with_its_client(start: Start) -> None:
    vm = start()
    vm.qtest.send(f"clock_step {1 << 62}")
    assert vm.runs()
    vm.qtest.close()
    assert vm.end() == 0


def test_the_guests_time_travels(start: Start, here: Path) -> None:
    source = start("source")
    source.qtest.clock_step(10 * TICK)
    source.set_capabilities("events")
    source.migrate(f"file:{here}/state")
    source.wait_for("completed")
    assert looked_at(here / "state").guest_time_ns == 10 * TICK
    target = start("target", f"{Q35} -incoming defer")
    target.qmp("migrate-incoming", uri=f"file:{here}/state")
    target.wait_for("completed")
    assert target.qtest.readb(FIRST) == 80
    target.qtest.clock_step(6 * TICK)
    assert target.qtest.readb(FIRST) == 128
    assert target.serial.read_text() == "B"


def test_with_another_accelerator_time_is_nobodys(start: Start) -> None:
    vm = start(arguments=f"{Q35} -accel tcg")
    assert vm.qtest.ask("clock_step 5") == "FAIL Unknown command 'clock_step'"
