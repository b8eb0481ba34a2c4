"""Memory modules that are plugged into slots while the machine is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.differential.scenes import MIB, leave

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage

LINE = "-nodefaults -accel tcg -S -m 64M"
ROOM = "-nodefaults -accel tcg -S -m 64M,slots=4,maxmem=1G"
FOUR_GIB = 1 << 32


def _backend(machine: Machine, name: str, size: int = 64 * MIB, kind: str = "ram") -> None:
    more = {"mem-path": f"{name}.mem"} if kind == "file" else {}
    kinds = {"qom-type": f"memory-backend-{kind}", "id": name, "size": size}
    machine.qmp.execute("object-add", {**kinds, **more})


def _plug(machine: Machine, memdev: str | None, **more: object) -> None:
    given = {"memdev": memdev} if memdev is not None else {}
    machine.qmp.execute("device_add", {"driver": "pc-dimm", **given, **more})


def _seen(machine: Machine) -> None:
    machine.qmp.execute("query-memory-devices")
    machine.qmp.execute("query-memory-size-summary")
    machine.qmp.execute("query-acpi-ospm-status")
    for line in ("info memory-devices", "info memory_size_summary", "info numa"):
        machine.qmp.execute("human-monitor-command", {"command-line": line})


def modules_that_are_plugged(stage: Stage) -> None:
    for board in ("q35", "pc"):
        first = "-object memory-backend-ram,id=m0,size=64M -device pc-dimm,memdev=m0,id=d0"
        machine = stage.start(f"-machine {board} {ROOM} {first}")
        _seen(machine)
        _backend(machine, "m1", 128 * MIB)
        _backend(machine, "m2")
        _plug(machine, "m1", id="d1")
        _plug(machine, "m2", slot=3, addr=FOUR_GIB + 512 * MIB, node=0)
        _seen(machine)
        for name in ("addr", "size", "slot", "node", "memdev", "hotpluggable"):
            path = "/machine/peripheral/d1"
            machine.qmp.execute("qom-get", {"path": path, "property": name})
        machine.qmp.execute("object-del", {"id": "m1"})
        machine.qmp.execute("device_del", {"id": "d1"})
        machine.qmp.execute("query-memory-size-summary")
        machine.qmp.execute("device_del", {"id": "d1"})
        for line in ("info mtree", "info mtree -f"):
            asked = {"command-line": line}
            machine.qmp.execute("human-monitor-command", asked, view=_of_modules)
        leave(machine)


def _of_modules(text: str) -> list[str]:
    words = (": m0", ": m1", ": m2", "device-memory")
    return sorted(row for row in text.split("\r\n") if any(word in row for word in words))


def modules_that_cannot_be_plugged(stage: Stage) -> None:
    machine = stage.start(f"-machine q35 {ROOM}")
    for name, size in (("m0", 64), ("m1", 64), ("odd", 3), ("big", 2048)):
        _backend(machine, name, size * MIB)
    _plug(machine, "m0", id="d0")
    for memdev, more in (
        *((None, {}), ("zz", {}), ("m0", {}), ("m1", {"slot": 0}), ("m1", {"slot": 9})),
        *(("m1", {"slot": -2}), ("m1", {"addr": FOUR_GIB}), ("m1", {"addr": 4096})),
        *(("m1", {"addr": 2 * MIB}), ("m1", {"addr": 1 << 40}), ("m1", {"node": 1})),
        *(("odd", {}), ("big", {}), ("m1", {"size": 1}), ("m1", {"id": "d0"})),
    ):
        _plug(machine, memdev, **more)
    machine.qmp.execute("query-memory-devices")
    leave(machine)
    for board, line in (("q35", LINE), ("none", LINE), ("pc", f"{LINE},maxmem=1G")):
        machine = stage.start(f"-machine {board} {line}")
        _backend(machine, "m0")
        _plug(machine, "m0")
        leave(machine)
    backend = "-object memory-backend-ram,id=m0,size=64M"
    for board, line in (("q35", LINE), ("q35", f"{ROOM} -device pc-dimm")):
        stage.refused(f"-machine {board} {line} {backend} -device pc-dimm,memdev=m0")
    stage.refused(f"-machine q35 {ROOM} {backend} -device pc-dimm,memdev=m0,slot=7")
    stage.refused(f"-machine q35 {ROOM} -device pc-dimm,memdev=m0")
