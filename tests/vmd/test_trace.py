"""Trace events: which are on, and how their lines look."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qapi.error import QmpError
from vmd.clock import HeldClock
from vmd.trace import Log, Tracer


@pytest.fixture
def tracer(tmp_path: Path) -> Tracer:
    log = Log(HeldClock())
    log.open(str(tmp_path / "log"))
    return Tracer(log, lambda: ["query-name", "device_add", "x-y"])


def lines(tmp_path: Path) -> list[str]:
    return (tmp_path / "log").read_text().splitlines()


def test_each_command_has_two_events_but_device_add(tracer: Tracer) -> None:
    assert tracer.matching("qmp_*") == [
        "qmp_enter_query_name",
        "qmp_exit_query_name",
        "qmp_enter_x_y",
        "qmp_exit_x_y",
    ]


def test_an_event_that_is_off_says_nothing(tracer: Tracer, tmp_path: Path) -> None:
    tracer.emit("runstate_set", "one")
    tracer.set("runstate_set", True)
    tracer.emit("runstate_set", "two")
    tracer.emit("vm_state_notify", "three")
    tracer.set("runst*", False)
    tracer.emit("runstate_set", "four")
    assert lines(tmp_path) == ["runstate_set two"]


def test_a_tracer_is_active_while_any_event_is_on(tracer: Tracer) -> None:
    assert not tracer.active
    tracer.set("runstate_set", True)
    tracer.set("vm_state_notify", True)
    tracer.set("runstate_set", False)
    assert tracer.active
    tracer.set("*", False)
    assert not tracer.active


def test_a_timestamp_tells_process_and_microseconds(tracer: Tracer, tmp_path: Path) -> None:
    tracer.log.timestamps = True
    tracer.set("runstate_set", True)
    tracer.emit("runstate_set", "text")
    assert lines(tmp_path) == [f"{os.getpid()}@1700000000.000000:runstate_set text"]


def test_the_process_id_may_be_in_the_name_of_the_log(tmp_path: Path) -> None:
    Log().open(str(tmp_path / "log-%d"))
    assert (tmp_path / f"log-{os.getpid()}").exists()


@pytest.mark.parametrize("path", ["%", "%s", "%d%d", "a%db%"])
def test_other_templates_are_bad(path: str) -> None:
    with pytest.raises(QmpError, match=f"^Bad logfile template: {path}$"):
        Log().open(path)


def test_a_log_that_cannot_be_opened_leaves_the_old_one(tracer: Tracer, tmp_path: Path) -> None:
    with pytest.raises(QmpError, match="Error opening logfile /nonexistent/x: No such file"):
        tracer.log.open("/nonexistent/x")
    tracer.set("runstate_set", True)
    tracer.emit("runstate_set", "still here")
    assert lines(tmp_path) == ["runstate_set still here"]


def test_a_log_that_takes_nothing_is_no_reason_to_fail() -> None:
    log = Log()
    log.open("/dev/full")
    tracer = Tracer(log)
    tracer.set("runstate_set", True)
    tracer.emit("runstate_set", "lost")
