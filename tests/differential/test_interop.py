"""State files go both ways: what vmd writes loads in real QEMU, what QEMU writes loads in vmd."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.differential.bootsector import DEFAULT_END, FIRST, PAGE
from tests.differential.scenes import capabilities, leave, load, ram_in, save, settle

if TYPE_CHECKING:
    from pathlib import Path

    from tests.differential.stage import Machine, Stage
    from tests.differential.wires import Wire

SIZE = 16 << 20
EITHER = [pytest.param((), id="stream"), pytest.param(("mapped-ram",), id="mapped-ram")]
Q35 = "-machine q35 -nodefaults -accel tcg -m 16"


def patterned(path: Path) -> None:
    """RAM with pages of all kinds: random, repeating, zero but for the last byte, zero."""
    with path.open("wb") as ram:
        ram.truncate(SIZE)
        for offset, data in (
            (PAGE, os.urandom(64 * PAGE)),
            (1 << 20, b"\xaa" * (33 * PAGE)),
            (2 << 20, bytes(PAGE - 1) + b"\1"),
            (SIZE - PAGE, os.urandom(PAGE)),
        ):
            ram.seek(offset)
            ram.write(data)


def physical_memory(machine: Machine, where: Path) -> bytes:
    """What the guest would see, as the program itself reads it."""
    arguments = {"val": 0, "size": SIZE, "filename": where.name}
    assert machine.qmp.execute("pmemsave", arguments) == {}
    return where.read_bytes()


def status(machine: Machine) -> str:
    return str(machine.qmp.execute("query-status")["status"])


def save_to(machine: Machine, uri: str = "file:vm.state") -> None:
    capabilities(machine, "events")
    save(machine, uri)


def load_from(machine: Machine, uri: str = "file:vm.state") -> None:
    capabilities(machine, "events")
    load(machine, uri)


@pytest.mark.parametrize("mode", ["normal", "cpr-reboot"])
@pytest.mark.parametrize("uri", ["file:vm.state", "file:vm.state,offset=5000"])
@pytest.mark.parametrize("mapped", EITHER)
def test_what_vmd_writes_loads_in_qemu_with_the_same_ram(
    vmd: Stage, real: Stage, mode: str, uri: str, mapped: tuple[str, ...]
) -> None:
    patterned(vmd.file("ram"))
    source = vmd.start(ram_in("ram"), guest="none")
    source.qmp.execute("migrate-set-parameters", {"mode": mode})
    capabilities(source, *mapped)
    save_to(source, uri)
    target = real.start(f"{ram_in('ram.target')} -incoming defer")
    capabilities(target, *mapped)
    load_from(target, uri)
    assert status(target) == "running"
    assert physical_memory(target, real.file("dump")) == vmd.file("ram").read_bytes()
    leave(source)
    leave(target)


def test_what_vmd_writes_with_its_own_ram_loads_in_qemu(vmd: Stage, real: Stage) -> None:
    source = vmd.start("-machine none -nodefaults -m 16", guest="none")
    save_to(source)
    dumped = physical_memory(source, vmd.file("dump.source"))
    target = real.start("-machine none -nodefaults -m 16 -incoming defer")
    load_from(target)
    assert physical_memory(target, real.file("dump")) == dumped
    leave(source)
    leave(target)


def test_what_vmd_leaves_in_shared_ram_is_all_that_qemu_needs(vmd: Stage, real: Stage) -> None:
    patterned(vmd.file("ram"))
    source = vmd.start(ram_in("ram"), guest="none")
    capabilities(source, "x-ignore-shared")
    save_to(source)
    leave(source)
    left = vmd.file("ram").read_bytes()
    target = real.start(f"{ram_in('ram')} -incoming defer")
    capabilities(target, "x-ignore-shared")
    load_from(target)
    assert status(target) == "running"
    assert physical_memory(target, real.file("dump")) == left
    leave(target)


def test_what_changes_in_pages_during_a_migration_arrives_in_qemu(vmd: Stage, real: Stage) -> None:
    patterned(vmd.file("ram"))
    arguments = f"{ram_in('ram')} -vmd guest=dirty,rate=8M,size=4M"
    source = vmd.start(arguments, guest="none")
    capabilities(source, "events", "xbzrle")
    source.qmp.execute("migrate-set-parameters", {"max-bandwidth": 4 << 20, "downtime-limit": 20})
    source.qmp.execute("migrate", {"uri": "file:vm.state"})
    source.qmp.wait("MIGRATION_PASS", **{"pass": 4})
    source.qmp.execute("migrate-set-parameters", {"downtime-limit": 3000})
    settle(source)
    cache = source.qmp.execute("query-migrate")["xbzrle-cache"]
    assert cache["pages"] > 0
    target = real.start(f"{ram_in('ram.target')} -S -incoming defer")
    load_from(target)
    assert physical_memory(target, real.file("dump")) == vmd.file("ram").read_bytes()
    leave(source)
    leave(target)


def test_what_changes_in_pages_of_a_guest_in_qemu_arrives_in_vmd(vmd: Stage, real: Stage) -> None:
    source = real.start(Q35, guest="ab", serial=True)
    speaks(source.serial, b"B")
    capabilities(source, "events", "xbzrle")
    limits = {"max-bandwidth": 16 << 20, "downtime-limit": 1}
    source.qmp.execute("migrate-set-parameters", limits)
    source.qmp.execute("migrate", {"uri": "file:vm.state"})
    source.qmp.wait("MIGRATION_PASS", **{"pass": 4})
    source.qmp.execute("migrate-set-parameters", {"downtime-limit": 3000})
    settle(source)
    assert source.qmp.execute("query-migrate")["xbzrle-cache"]["pages"] > 0
    ram = physical_memory(source, real.file("dump.source"))
    leave(source)
    target = vmd.start(f"{Q35} -incoming defer", guest="none")
    load_from(target)
    assert physical_memory(target, vmd.file("dump")) == ram
    leave(target)


@pytest.mark.parametrize("option", ["", " -S"])
@pytest.mark.parametrize("mapped", EITHER)
def test_what_qemu_writes_loads_in_vmd_with_the_same_ram(
    vmd: Stage, real: Stage, option: str, mapped: tuple[str, ...]
) -> None:
    patterned(real.file("ram"))
    source = real.start(f"{ram_in('ram')}{option}")
    capabilities(source, *mapped)
    save_to(source)
    target = vmd.start(f"{ram_in('ram.target')} -incoming defer", guest="none")
    capabilities(target, *mapped)
    load_from(target)
    assert status(target) == ("prelaunch" if option else "running")
    assert vmd.file("ram.target").read_bytes() == vmd.file("ram").read_bytes()
    leave(source)
    leave(target)


@pytest.mark.parametrize("mapped", EITHER)
def test_what_qemu_leaves_at_an_offset_loads_in_vmd(
    vmd: Stage, real: Stage, mapped: tuple[str, ...]
) -> None:
    patterned(real.file("ram"))
    source = real.start(ram_in("ram"))
    capabilities(source, *mapped)
    save_to(source, "file:vm.state,offset=1M")
    leave(source)
    target = vmd.start(f"{ram_in('ram.target')} -incoming defer", guest="none")
    capabilities(target, *mapped)
    load_from(target, "file:vm.state,offset=1M")
    assert vmd.file("ram.target").read_bytes() == vmd.file("ram").read_bytes()
    leave(target)


def counted(serial: Wire) -> int:
    """The next whole number that the counter says."""
    said = b""
    while said.count(b"\n") < 2:
        said += serial.read("the counter")
    return int(said.split(b"\n")[1].split()[-1] if said.endswith(b"\n") else said.split()[1])


def test_a_guest_of_vmd_goes_on_counting_after_a_stay_in_qemu(vmd: Stage, real: Stage) -> None:
    source = vmd.start("-machine none -nodefaults -m 16", guest="none", serial=True)
    before = counted(source.serial)
    save_to(source)
    leave(source)
    host = real.start("-machine none -nodefaults -m 16 -incoming defer")
    load_from(host)
    save_to(host, "file:back.state")
    leave(host)
    target = vmd.start("-machine none -nodefaults -m 16 -incoming defer", guest="none", serial=True)
    load_from(target, "file:back.state")
    first = target.serial.read("the counter").split()[1]
    assert before < int(first) < before + 1000
    leave(target)


def page_bytes(ram: bytes) -> set[int]:
    return {ram[page] for page in range(FIRST, DEFAULT_END, PAGE)}


def speaks(serial: Wire, letter: bytes) -> None:
    while letter not in serial.read(f"the guest's {letter!r}"):
        pass


@pytest.mark.parametrize("paused", [False, True], ids=["running", "paused"])
@pytest.mark.parametrize("mapped", EITHER)
def test_a_q35_guest_of_qemu_is_carried_by_vmd_and_lives_on_in_qemu(
    vmd: Stage, real: Stage, paused: bool, mapped: tuple[str, ...]
) -> None:
    source = real.start(Q35, guest="ab", serial=True)
    capabilities(source, *mapped)
    speaks(source.serial, b"B")
    if paused:
        source.qmp.execute("stop")
    save_to(source)
    ram = physical_memory(source, real.file("dump.source"))
    leave(source)

    # vmd is told nothing of the disk and the serial line: it carries what it does not know.
    host = vmd.start(f"{Q35} -incoming defer", guest="none")
    capabilities(host, *mapped)
    load_from(host)
    assert status(host) == ("paused" if paused else "running")
    assert physical_memory(host, vmd.file("dump.host")) == ram
    save_to(host, "file:carried.state")
    assert status(host) == "postmigrate"
    leave(host)

    target = real.start(f"{Q35} -S -incoming defer", guest="ab", serial=True)
    capabilities(target, *mapped)
    load_from(target, "file:carried.state")
    assert status(target) == "paused"
    assert physical_memory(target, real.file("dump")) == ram
    target.qmp.execute("cont")
    speaks(target.serial, b"B")
    target.qmp.execute("stop")
    now = page_bytes(physical_memory(target, real.file("dump.end")))
    assert len(now) <= 2, "the sweep is at one place: all pages equal but for one step"
    leave(target)


def test_a_suspended_q35_guest_of_qemu_passes_through_vmd_and_wakes(
    vmd: Stage, real: Stage
) -> None:
    source = real.start(Q35, guest="ab-suspend", serial=True)
    source.qmp.wait("SUSPEND")
    save_to(source)
    leave(source)
    host = vmd.start(f"{Q35} -incoming defer", guest="none")
    load_from(host)
    assert status(host) == "suspended"
    save_to(host, "file:carried.state")
    leave(host)
    target = real.start(f"{Q35} -incoming defer", guest="ab-suspend", serial=True)
    load_from(target, "file:carried.state")
    assert status(target) == "suspended"
    target.qmp.execute("system_wakeup")
    assert status(target) == "running"
    speaks(target.serial, b"A")
    leave(target)
