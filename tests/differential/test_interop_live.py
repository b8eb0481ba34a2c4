"""Live migration between vmd and real QEMU, over every way there is: the guest goes on."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from tests.differential.bootsector import DEFAULT_END, FIRST, PAGE
from tests.differential.scenes import capabilities, leave, ram_in, settle

if TYPE_CHECKING:
    from pathlib import Path

    from tests.differential.stage import Machine, Stage
    from tests.differential.wires import Wire

SIZE = 16 << 20
Q35 = "-machine q35 -nodefaults -accel tcg -m 16"

WAYS = ("unix", "tcp", "exec", "fd")


def patterned(path: Path) -> bytes:
    """RAM with pages of all kinds, so much that one rate window does not hold it."""
    data = bytearray(SIZE)
    data[PAGE : 15 << 20] = os.urandom((15 << 20) - PAGE)
    data[1 << 20 : 2 << 20] = bytes(1 << 20)
    data[2 << 20 : 3 << 20] = b"\xaa" * (1 << 20)
    data[SIZE - 1] = 1
    path.write_bytes(data)
    return bytes(data)


def doors(machine: Machine, way: str, directory: Path) -> str:
    """Have the destination wait for a stream; where the source finds it."""
    if way == "exec":
        os.mkfifo(directory / "pipe")
        machine.qmp.execute("migrate-incoming", {"uri": "exec:cat pipe"})
        return "exec:cat > pipe"
    uri = {"unix": "unix:in", "tcp": "tcp:127.0.0.1:0"}[way]
    machine.qmp.execute("migrate-incoming", {"uri": uri})
    if way == "tcp":
        (address,) = machine.qmp.execute("query-migrate")["socket-address"]
        return f"tcp:127.0.0.1:{address['port']}"
    return uri


def hand_over(source: Machine, target: Machine) -> None:
    """Migrate over descriptors that both are given."""
    out, back = socket.socketpair()
    source.qmp.execute("getfd", {"fdname": "out"}, fd=out.fileno())
    target.qmp.execute("getfd", {"fdname": "in"}, fd=back.fileno())
    out.close()
    back.close()
    target.qmp.execute("migrate-incoming", {"uri": "fd:in"})
    source.qmp.execute("migrate", {"uri": "fd:out"})


def pass_over(source: Machine, target: Machine, way: str, directory: Path, *names: str) -> None:
    """Migrate, up to the end on both sides."""
    capabilities(source, "events", *names)
    capabilities(target, "events", *names)
    if way == "fd":
        hand_over(source, target)
    else:
        source.qmp.execute("migrate", {"uri": doors(target, way, directory)})
    settle(source)
    target.qmp.wait("MIGRATION", status="completed")


def status(machine: Machine) -> str:
    return str(machine.qmp.execute("query-status")["status"])


def physical_memory(machine: Machine, where: Path) -> bytes:
    """What the guest would see, as the program itself reads it."""
    arguments = {"val": 0, "size": SIZE, "filename": where.name}
    assert machine.qmp.execute("pmemsave", arguments) == {}
    return where.read_bytes()


ANSWERED = ("return-path", "switchover-ack")  # not by a command: there real QEMU waits for ever
SAYING = [*((way, ()) for way in WAYS), *((way, ANSWERED) for way in ("unix", "tcp", "fd"))]


@pytest.mark.parametrize(("way", "names"), SAYING)
def test_ram_goes_from_qemu_to_vmd_and_back_to_qemu(
    way: str, names: tuple[str, ...], vmd: Stage, real: Stage, tmp_path: Path
) -> None:
    ram = patterned(real.file("ram"))
    source = real.start(ram_in("ram"))
    host = vmd.start(f"{ram_in('ram.host')} -incoming defer", guest="none")
    pass_over(source, host, way, tmp_path, *names)
    leave(source)
    assert status(host) == "running"
    assert vmd.file("ram.host").read_bytes() == ram
    (tmp_path / "pipe").unlink(missing_ok=True)

    target = real.start(f"{ram_in('ram.target')} -incoming defer")
    pass_over(host, target, way, tmp_path, *names)
    leave(host)
    assert status(target) == "running"
    assert real.file("ram.target").read_bytes() == ram
    leave(target)


@pytest.mark.parametrize("paused", [False, True], ids=["running", "stopped"])
def test_shared_ram_stays_where_it_is(
    paused: bool, vmd: Stage, real: Stage, tmp_path: Path
) -> None:
    ram = patterned(real.file("ram"))
    source = real.start(f"{ram_in('ram')}{' -S' * paused}")
    host = vmd.start(f"{ram_in('ram')} -incoming defer", guest="none")
    pass_over(source, host, "unix", tmp_path, "x-ignore-shared")
    assert source.qmp.execute("query-migrate")["ram"]["total"] == 0
    leave(source)
    assert status(host) == ("prelaunch" if paused else "running")
    target = real.start(f"{ram_in('ram')} -incoming defer")
    pass_over(host, target, "unix", tmp_path, "x-ignore-shared")
    assert host.qmp.execute("query-migrate")["ram"]["total"] == 0
    leave(host)
    assert status(target) == ("prelaunch" if paused else "running")
    leave(target)
    assert real.file("ram").read_bytes() == ram


def speaks(serial: Wire, letter: bytes) -> None:
    while letter not in serial.read(f"the guest's {letter!r}"):
        pass


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("paused", [False, True], ids=["live", "stopped"])
def test_a_q35_guest_of_qemu_visits_vmd_and_lives_on_in_qemu(
    way: str, paused: bool, vmd: Stage, real: Stage, tmp_path: Path
) -> None:
    source = real.start(Q35, guest="ab", serial=True)
    speaks(source.serial, b"B")
    if paused:
        source.qmp.execute("stop")
    host = vmd.start(f"{Q35} -incoming defer", guest="none")
    pass_over(source, host, way, tmp_path)
    ram = physical_memory(source, real.file("dump.source"))
    leave(source)
    assert status(host) == ("paused" if paused else "running")
    assert physical_memory(host, vmd.file("dump.host")) == ram
    (tmp_path / "pipe").unlink(missing_ok=True)

    target = real.start(f"{Q35} -S -incoming defer", guest="ab", serial=True)
    pass_over(host, target, way, tmp_path)
    leave(host)
    assert status(target) == "paused"
    assert physical_memory(target, real.file("dump")) == ram
    target.qmp.execute("cont")
    speaks(target.serial, b"B")
    target.qmp.execute("stop")
    now = physical_memory(target, real.file("dump.end"))
    swept = {now[page] for page in range(FIRST, DEFAULT_END, PAGE)}
    assert len(swept) <= 2, "the sweep is at one place: all pages equal but for one step"
    leave(target)


def counted(serial: Wire) -> int:
    """The next whole number that the counter says."""
    said = b""
    while said.count(b"\n") < 2:
        said += serial.read("the counter")
    return int(said.split(b"\n")[1].split()[-1] if said.endswith(b"\n") else said.split()[1])


def test_a_guest_of_vmd_goes_on_counting_after_a_visit_to_qemu(
    vmd: Stage, real: Stage, tmp_path: Path
) -> None:
    small = "-machine none -nodefaults -m 16"
    source = vmd.start(small, guest="none", serial=True)
    before = counted(source.serial)
    host = real.start(f"{small} -incoming defer")
    pass_over(source, host, "unix", tmp_path, "return-path")
    leave(source)
    target = vmd.start(f"{small} -incoming defer", guest="none", serial=True)
    pass_over(host, target, "unix", tmp_path, "return-path")
    leave(host)
    first = target.serial.read("the counter").split()[1]
    assert before < int(first) < before + 1000
    leave(target)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("to_vmd", [True, False], ids=["to vmd", "to qemu"])
def test_the_destination_of_the_other_becomes_a_secondary_and_takes_over(
    way: str, to_vmd: bool, vmd: Stage, real: Stage, tmp_path: Path
) -> None:
    one, other = (real, vmd) if to_vmd else (vmd, real)
    patterned(one.file("ram"))
    source = one.start(ram_in("ram"))
    target = other.start(f"{ram_in('ram.target')} -incoming defer", guest="none")
    names = ("events", "x-colo")
    capabilities(target, *names)
    capabilities(source, *names)
    if way == "fd":
        hand_over(source, target)
    else:
        source.qmp.execute("migrate", {"uri": doors(target, way, tmp_path)})
    settle(source)
    target.qmp.wait("COLO_EXIT")
    leave(source)
    assert target.qmp.execute("query-migrate")["status"] == "colo"
    assert other.file("ram.target").read_bytes() == one.file("ram").read_bytes()
    target.qmp.execute("x-colo-lost-heartbeat")
    target.qmp.wait("RESUME")
    assert status(target) == "running"
    assert target.qmp.execute("query-migrate")["status"] == "completed"
    leave(target)


def test_a_q35_guest_of_qemu_is_taken_over_by_vmd_and_lives_on_in_qemu(
    vmd: Stage, real: Stage
) -> None:
    source = real.start(Q35, guest="ab", serial=True)
    speaks(source.serial, b"B")
    secondary = vmd.start(f"{Q35} -incoming defer", guest="none")
    for machine in (source, secondary):
        capabilities(machine, "events", "x-colo")
    secondary.qmp.execute("migrate-incoming", {"uri": "unix:in"})
    source.qmp.execute("migrate", {"uri": "unix:in"})
    settle(source)
    secondary.qmp.wait("COLO_EXIT")
    leave(source)
    secondary.qmp.execute("x-colo-lost-heartbeat")
    secondary.qmp.wait("RESUME")
    off = {"capabilities": [{"capability": "x-colo", "state": False}]}
    secondary.qmp.execute("migrate-set-capabilities", off)
    target = real.start(f"{Q35} -incoming defer", guest="ab", serial=True)
    pass_over(secondary, target, "unix", real.directory)
    leave(secondary)
    speaks(target.serial, b"B")
    leave(target)
