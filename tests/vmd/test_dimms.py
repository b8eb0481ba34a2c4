"""Memory modules: the guest's RAM grows and shrinks, and travels with the rest."""

from __future__ import annotations

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
