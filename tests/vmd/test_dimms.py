"""Memory modules: the guest's RAM grows and shrinks, and travels with the rest."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from tests.differential.scenes import capabilities, leave, load, save

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage

ROOM = "-machine q35 -nodefaults -accel tcg -m 16M,slots=2,maxmem=256M"
MODULE = (
    " -object memory-backend-file,id=m0,size=2M,mem-path=m0.ram,share=on"
    " -device pc-dimm,memdev=m0,id=d0"
)
FOUR_GIB = 1 << 32


def memory_at(machine: Machine, scene: Stage, address: int) -> bytes:
    arguments = {"val": address, "size": 16, "filename": "piece"}
    assert machine.qmp.execute("pmemsave", arguments) == {}
    return scene.file("piece").read_bytes()


def test_a_guest_lets_go_of_a_module(vmd: Stage) -> None:
    machine = vmd.start(ROOM + MODULE)
    machine.qmp.execute("device_del", {"id": "d0"})
    machine.qmp.wait("DEVICE_DELETED", device="d0")
    assert machine.qmp.execute("query-memory-devices") == []
    assert machine.qmp.execute("object-del", {"id": "m0"}) == {}
    leave(machine)


def test_a_module_stays_where_no_guest_lets_go_of_it(vmd: Stage) -> None:
    machine = vmd.start(f"{ROOM}{MODULE} -S")
    machine.qmp.execute("device_del", {"id": "d0"})
    machine.qmp.execute("system_reset")
    assert len(machine.qmp.execute("query-memory-devices")) == 1
    leave(machine)


def test_a_module_is_ram_of_the_guest(vmd: Stage) -> None:
    machine = vmd.start(f"{ROOM}{MODULE} -S")
    with vmd.file("m0.ram").open("r+b") as ram:
        ram.write(b"in the module...")
    assert memory_at(machine, vmd, FOUR_GIB) == b"in the module..."
    leave(machine)


@pytest.mark.parametrize("way", ["from vmd", "from QEMU"])
def test_what_is_in_a_module_travels(way: str, vmd: Stage, real: Stage) -> None:
    source, target = (vmd, real) if way == "from vmd" else (real, vmd)
    machine = source.start(f"{ROOM}{MODULE} -S", guest="none")
    with source.file("m0.ram").open("r+b") as ram:
        ram.write(b"in the module...")
    capabilities(machine, "events")
    save(machine, "file:vm.state")
    leave(machine)
    source.file("m0.ram").unlink()
    machine = target.start(f"{ROOM}{MODULE} -S -incoming defer", guest="none")
    capabilities(machine, "events")
    load(machine, "file:vm.state")
    assert memory_at(machine, target, FOUR_GIB) == b"in the module..."
    leave(machine)


def test_a_module_that_is_plugged_in_while_a_guest_arrives_stays(vmd: Stage) -> None:
    line = f"{ROOM} -S -object memory-backend-file,id=r,size=16M,mem-path=ram,share=on"
    line += " -machine memory-backend=r"
    vmd.file("ram").write_bytes(b"full of data...." * (1 << 20))
    source = vmd.start(line)
    capabilities(source, "events")
    save(source, "file:vm.state")
    leave(source)
    target = vmd.start(f"{line} -incoming unix:door")
    capabilities(target, "events")
    stream = vmd.file("vm.state").read_bytes()
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(os.path.relpath(vmd.file("door")))
        peer.sendall(stream[: len(stream) // 2])  # far more than fits in between
        module = {"qom-type": "memory-backend-ram", "id": "m0", "size": 2 << 20}
        target.qmp.execute("object-add", module)
        target.qmp.execute("device_add", {"driver": "pc-dimm", "id": "d0", "memdev": "m0"})
        peer.sendall(stream[len(stream) // 2 :])
    target.qmp.wait("MIGRATION", status="completed")
    target.qmp.execute("system_reset")
    save(target, "file:again")
    assert target.qmp.execute("query-migrate")["ram"]["total"] >= 18 << 20
    leave(target)


def test_a_module_that_is_being_sent_goes_when_that_is_over(vmd: Stage) -> None:
    machine = vmd.start(ROOM + MODULE)
    capabilities(machine, "events")
    vmd.file("m0.ram").write_bytes(b"full of data...." * (2 << 16))
    machine.qmp.execute("migrate-set-parameters", {"max-bandwidth": 1 << 20})
    machine.qmp.execute("device_del", {"id": "d0"})
    machine.qmp.execute("migrate", {"uri": "exec:cat >/dev/null"})
    machine.qmp.wait("MIGRATION", status="active")
    assert len(machine.qmp.execute("query-memory-devices")) == 1
    machine.qmp.execute("migrate_cancel")
    machine.qmp.wait("MIGRATION", status="cancelled")
    machine.qmp.wait("DEVICE_DELETED", device="d0")
    leave(machine)
