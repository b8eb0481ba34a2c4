"""QEMU's kind of migration test, with QEMU's own command lines: vmd and real QEMU pass it alike."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.differential.stage import find_vmd
from tests.qtest.client import FIRST, PAGE, boot_sector

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.differential.stage import Program
    from tests.qtest.client import Launch, Vm

    Start = Callable[..., Vm]

# QEMU's tests put `-accel kvm` in front: what a host makes of it would be no fair comparison.
COMMON = "-accel tcg -machine pc-q35-10.0, -name {},debug-threads=on -m 32M"
MARKER = 0xFEED12345678CAFE
MARKED = 0x400400
# What a test of a live migration must not let converge, and then must.
SLOW = {"max_bandwidth": 3_000_000, "downtime_limit": 1}
FAST = {"max_bandwidth": 1_000_000_000, "downtime_limit": 30_000}


BOTH = pytest.mark.parametrize("start", ["vmd", "qemu"], indirect=True)


@pytest.fixture
def start(request: pytest.FixtureRequest, launch: Launch, here: Path) -> Start:
    """Starts source and target of a migration: vmd's, or with BOTH also real QEMU's."""
    real = getattr(request, "param", "vmd") == "qemu"
    program: Program = request.getfixturevalue("qemu") if real else find_vmd()

    def start_one(name: str, more: str = "", *, suspend: bool = False) -> Vm:
        boot_sector(here, suspend=suspend)
        guest = program.guests["ab-suspend" if suspend else "ab"]
        words = " ".join(guest).replace("file=bootsect", f"file={here}/bootsect")
        arguments = f"{COMMON.format(name)} -serial file:{{serial}} {words} {more}"
        vm = launch(arguments, name, program)
        vm.set_capabilities("events")
        return vm

    return start_one


def check_ram(vm: Vm) -> None:
    """The guest stood still: all its bytes are equal, but for one step where the sweep was."""
    steps = [(a, b) for a, b in pairwise(vm.sweep()) if a != b]
    assert len(steps) <= 1
    assert all((b + 1) % 256 == a for a, b in steps)


def file_flow(source: Vm, target: Vm, uri: str) -> None:
    """Migrate to a file, then from it, and see the guest go on.

    It is stopped before: of a guest that writes all the time a file would never be complete.
    """
    source.wait_for_serial("B")
    source.qmp("stop")
    source.wait("STOP")
    source.migrate(uri)
    source.wait_for("completed")
    assert target.qmp("migrate-incoming", uri=uri) == {}
    target.wait_for("completed")
    check_ram(target)
    target.qmp("cont")
    target.wait("RESUME")
    target.wait_for_serial("B")
    assert "A" not in target.serial.read_text()
    target.qmp("stop")
    check_ram(target)
    assert (source.end(), target.end()) == (0, 0)


@BOTH
def test_precopy_through_a_file(start: Start, here: Path) -> None:
    file_flow(start("source"), start("target", "-incoming defer"), f"file:{here}/migfile")


def test_precopy_through_a_file_at_an_offset(start: Start, here: Path) -> None:
    file_flow(start("source"), start("target", "-incoming defer"), f"file:{here}/f,offset=0x1000")
    assert (here / "f").read_bytes()[:0x1000] == bytes(0x1000)


def test_what_a_test_pokes_into_memory_travels(start: Start, here: Path) -> None:
    source, target = start("source"), start("target", "-incoming defer")
    source.wait_for_serial("B")
    source.qtest.writeq(MARKED, MARKER)
    assert target.qtest.readq(MARKED) == 0
    source.qmp("stop")
    source.migrate(f"file:{here}/migfile")
    source.wait_for("completed")
    target.qmp("migrate-incoming", uri=f"file:{here}/migfile")
    target.wait_for("completed")
    assert target.qtest.readq(MARKED) == MARKER


def shared(here: Path) -> str:
    memory = here / "memory"
    if not memory.exists():
        with memory.open("wb") as file:
            os.truncate(file.fileno(), 32 << 20)
    backend = f"memory-backend-file,id=mem0,size=32M,mem-path={memory},share=on"
    return f"-object {backend} -numa node,memdev=mem0"


def test_cpr_reboot_leaves_ram_where_it_is(start: Start, here: Path) -> None:
    uri = f"file:{here}/state"
    source = start("source", shared(here))
    source.wait_for_serial("B")
    source.set_capabilities("x-ignore-shared")
    source.set_parameters(mode="cpr-reboot")
    source.migrate(uri)
    source.wait_for("completed")
    source.wait("STOP")
    assert source.end() == 0
    assert (here / "state").stat().st_size < 4 << 20
    target = start("target", f"{shared(here)} -incoming defer")
    target.set_capabilities("x-ignore-shared")
    target.set_parameters(mode="cpr-reboot")
    target.qmp("migrate-incoming", uri=uri)
    target.wait_for("completed")
    target.wait("RESUME")
    target.wait_for_serial("B")
    target.qmp("stop")
    check_ram(target)
    assert target.end() == 0


def test_a_suspended_guest_is_woken_at_its_new_place(start: Start, here: Path) -> None:
    uri = f"file:{here}/state"
    source = start("source", suspend=True)
    source.wait("SUSPEND")
    source.migrate(uri)
    source.wait_for("completed")
    target = start("target", "-incoming defer", suspend=True)
    target.qmp("migrate-incoming", uri=uri)
    target.wait_for("completed")
    target.wait("RESUME")
    assert target.qmp("query-status")["status"] == "suspended"
    assert target.qmp("system_wakeup") == {}
    target.wait("WAKEUP")
    target.wait_for_serial("A")
    target.wait_for_serial("B")
    target.qmp("stop")
    check_ram(target)


@BOTH
def test_a_cancelled_migration_leaves_the_source_running(start: Start, here: Path) -> None:
    source, target = start("source"), start("target", "-incoming defer")
    source.wait_for_serial("B")
    source.set_parameters(**SLOW)
    source.migrate(f"file:{here}/one")
    source.wait_for("active")
    assert source.qmp("migrate_cancel") == {}
    source.wait_for("cancelled")
    assert source.runs()
    assert target.qmp("query-status")["status"] == "inmigrate"
    source.set_parameters(**FAST)
    file_flow(source, target, f"file:{here}/two")


def test_a_bad_destination_leaves_the_source_running(start: Start, here: Path) -> None:
    source = start("source")
    source.wait_for_serial("B")
    error = source.qmp("migrate", uri=f"file:{here}/missing/migfile")
    assert error["class"] == "GenericError"
    assert source.status() == "failed"
    assert source.runs()
    file_flow(source, start("target", "-incoming defer"), f"file:{here}/migfile")


def test_a_target_that_cannot_load_ends_with_status_1(start: Start, here: Path) -> None:
    (here / "junk").write_bytes(b"this is no state file")
    target = start("target", "-incoming defer")
    target.qmp("migrate-incoming", uri=f"file:{here}/junk")
    assert target.process.wait(30) == 1
    assert "load of migration failed" in target.errors()


def test_a_target_of_another_identity_refuses(start: Start, here: Path) -> None:
    ids = ("8b7f5b7b-7d3e-4f8c-8f0e-1f0f0f0f0f0f", "9b7f5b7b-7d3e-4f8c-8f0e-1f0f0f0f0f0f")
    source = start("source", f"-uuid {ids[0]}")
    target = start("target", f"-uuid {ids[1]} -incoming defer")
    source.set_capabilities("validate-uuid")
    target.set_capabilities("validate-uuid")
    source.wait_for_serial("A")
    source.qmp("stop")
    source.migrate(f"file:{here}/migfile")
    source.wait_for("completed")
    target.qmp("migrate-incoming", uri=f"file:{here}/migfile", exit_on_error=False)
    target.wait_for("failed")
    assert f"UUID received is {ids[0]} and local is {ids[1]}" in target.errors()
    assert target.qtest.readb(FIRST + PAGE) == 0


def precopy_flow(source: Vm, target: Vm, uri: str) -> None:
    """A guest that writes all the time moves while it runs: first it must not arrive, then it must.

    Meanwhile pages arrive at the target, where a test can see them.
    """
    source.wait_for_serial("B")
    source.qtest.writeq(MARKED, MARKER)
    source.set_parameters(**SLOW)
    source.migrate(uri)
    source.wait_for("active")
    target.wait_for_memory(MARKED, MARKER)
    assert source.status() == target.status() == "active"
    assert source.runs()
    source.set_parameters(**FAST)
    source.wait_for("completed")
    source.wait("STOP")
    target.wait_for("completed")
    target.wait("RESUME")
    target.wait_for_serial("B")
    assert "A" not in target.serial.read_text()
    target.qmp("stop")
    check_ram(target)
    assert (source.end(), target.end()) == (0, 0)


@BOTH
def test_precopy_over_a_unix_socket(start: Start, here: Path) -> None:
    uri = f"unix:{here}/migsocket"
    target = start("target", f"-incoming {uri}")
    precopy_flow(start("source"), target, uri)


def test_precopy_over_tcp(start: Start) -> None:
    target = start("target", "-incoming tcp:127.0.0.1:0")
    (address,) = target.qmp("query-migrate")["socket-address"]
    precopy_flow(start("source"), target, f"tcp:127.0.0.1:{address['port']}")


def test_precopy_through_commands(start: Start, here: Path) -> None:
    os.mkfifo(here / "pipe")
    target = start("target", "-incoming defer")
    assert target.qmp("migrate-incoming", uri=f"exec:cat {here}/pipe") == {}
    precopy_flow(start("source"), target, f"exec:cat > {here}/pipe")


@BOTH
def test_a_destination_that_is_not_there_leaves_the_source_running(
    start: Start, here: Path
) -> None:
    source = start("source")
    source.wait_for_serial("B")
    source.migrate(f"unix:{here}/nobody")
    assert "Failed to connect" in source.wait_for("failed")["error-desc"]
    assert source.runs()
    target = start("target", f"-incoming unix:{here}/somebody")
    precopy_flow(source, target, f"unix:{here}/somebody")


def test_a_source_cancels_and_its_target_ends(start: Start, here: Path) -> None:
    uri = f"unix:{here}/migsocket"
    source, target = start("source"), start("target", f"-incoming {uri}")
    source.wait_for_serial("B")
    source.set_parameters(**SLOW)
    source.migrate(uri)
    source.wait_for("active")
    assert source.qmp("migrate_cancel") == {}
    source.wait_for("cancelled")
    assert target.process.wait(30) == 1
    assert source.runs()
    second = start("second", f"-incoming {uri}")
    precopy_flow(source, second, uri)
