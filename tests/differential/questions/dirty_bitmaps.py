"""Dirty bitmaps of block nodes: made, named, merged, refused, and what becomes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.differential.bitmaps import bitmap, bitmap_hash, bitmaps
from tests.differential.scenes import MIB, NONE, images, leave

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage

PC = "-machine pc -nodefaults -accel tcg -S -m 16"
NULL = "-blockdev null-co,node-name=n,size=1048576"


def _ask(machine: Machine, command: str, node: str = "n", name: str = "b", **more: Any) -> None:
    given = {key.replace("_", "-"): value for key, value in more.items()}
    bitmap(machine, command, name, node, **given)


def _merge(machine: Machine, target: str, *sources: Any, node: str = "n") -> None:
    given = {"node": node, "target": target, "bitmaps": list(sources)}
    machine.qmp.execute("block-dirty-bitmap-merge", given)


def bitmaps_are_made_and_told_of(stage: Stage) -> None:
    machine = stage.start(f"{NONE} {NULL}")
    for name in ("b", "b", "", "x" * 1023, "y" * 1024, "é\n", "#c"):
        _ask(machine, "add", name=name)
    for granularity in (0, 1, 256, 511, 512, 1000, 4096, 1 << 31, 1 << 32, -1, 3 << 20):
        _ask(machine, "add", name=f"g{granularity}", granularity=granularity)
    _ask(machine, "add", name="off", disabled=True)
    _ask(machine, "add", name="kept", persistent=True)
    _ask(machine, "add", node="zz")
    _ask(machine, "add", node="zz", name="")
    _ask(machine, "add", node="")
    _ask(machine, "add", name="c", persistent=False, disabled=False, granularity=65536)
    machine.qmp.execute("query-named-block-nodes")
    for name in ("b", "c", "off", "g512", "g2147483648"):
        bitmap_hash(machine, name=name)
    bitmap_hash(machine, name="zz")
    bitmap_hash(machine, node="zz")
    leave(machine)


def bitmaps_are_switched_and_removed(stage: Stage) -> None:
    machine = stage.start(f"{NONE} {NULL}")
    for command in ("enable", "disable", "clear", "remove"):
        _ask(machine, command)
        _ask(machine, command, node="zz")
    _ask(machine, "add")
    for command in ("disable", "disable", "enable", "enable", "clear", "disable", "clear"):
        _ask(machine, command)
        bitmaps(machine)
    _ask(machine, "remove", name="zz")
    _ask(machine, "remove", name="")
    _ask(machine, "remove")
    bitmaps(machine)
    _ask(machine, "remove")
    for name in ("one", "two", "three"):
        _ask(machine, "add", name=name)
    _ask(machine, "remove", name="two")
    bitmaps(machine)
    machine.qmp.execute("blockdev-del", {"node-name": "n"})
    machine.qmp.execute("blockdev-add", {"driver": "null-co", "node-name": "n", "size": MIB})
    bitmaps(machine)
    leave(machine)


def sizes_and_default_granularities(stage: Stage) -> None:
    images(stage)
    stage.file("odd.img").write_bytes(bytes(1000))
    stage.file("empty.img").write_bytes(b"")
    machine = stage.start(NONE)
    file = {"driver": "file"}
    for node in (
        {"driver": "qcow2", "node-name": "q", "file": {**file, "filename": "b.qcow2"}},
        {"driver": "raw", "node-name": "r", "file": {**file, "filename": "a.img"}},
        {**file, "node-name": "odd", "filename": "odd.img"},
        {**file, "node-name": "empty", "filename": "empty.img"},
        {"driver": "raw", "node-name": "part", "offset": 512, "size": 1024, "file": "r"},
        {"driver": "null-co", "node-name": "n0", "size": 0},
        {"driver": "null-co", "node-name": "n1", "size": 1},
        {"driver": "null-co", "node-name": "n1000", "size": 1000},
        {**file, "node-name": "ro", "filename": "c.qcow2", "read-only": True},
        {"driver": "qcow2", "node-name": "based", "file": "ro", "read-only": True},
    ):
        machine.qmp.execute("blockdev-add", node)
        _ask(machine, "add", node=str(node["node-name"]))
        _ask(machine, "add", node=str(node["node-name"]), name="fine", granularity=512)
        bitmap_hash(machine, node=str(node["node-name"]), name="fine")
        bitmap_hash(machine, node=str(node["node-name"]))
    bitmaps(machine)
    for name, cluster in (("512", 512), ("2048", 2048), ("8192", 8192), ("2M", 2 * MIB)):
        machine.qmp.execute("blockdev-del", {"node-name": "odd"})
        machine.qmp.execute("blockdev-add", {**file, "node-name": "odd", "filename": "odd.img"})
        _create(machine, "odd", cluster)
        image = {"driver": "qcow2", "node-name": f"q{name}", "file": "odd"}
        machine.qmp.execute("blockdev-add", image)
        top = {"driver": "raw", "node-name": "top", "file": f"q{name}"}
        machine.qmp.execute("blockdev-add", top)
        _ask(machine, "add", node=f"q{name}")
        _ask(machine, "add", node="top")
        bitmaps(machine)
        machine.qmp.execute("blockdev-del", {"node-name": "top"})
        machine.qmp.execute("blockdev-del", {"node-name": f"q{name}"})
    _ask(machine, "add", node="r", name="kept", persistent=True)
    _ask(machine, "add", node="part", name="kept", persistent=True)
    leave(machine)


def bitmaps_of_drives(stage: Stage) -> None:
    images(stage)
    drive = "-drive if=none,id=d,file=b.qcow2,format=qcow2,node-name=top"
    disk = "-blockdev file,node-name=a,filename=a.img -device virtio-blk-pci,drive=a,id=v"
    machine = stage.start(f"{PC} {drive} {disk}")
    _ask(machine, "add", node="d")
    _ask(machine, "add", node="top", name="c")
    _ask(machine, "add", node="a")
    _ask(machine, "add", node="v")
    _ask(machine, "disable", node="d", name="c")
    _merge(machine, "b", "c", {"node": "top", "name": "c"}, {"node": "d", "name": "b"}, node="d")
    machine.qmp.execute("query-block")
    machine.qmp.execute("human-monitor-command", {"command-line": "info block -v"})
    machine.qmp.execute("device_add", {"driver": "virtio-blk-pci", "drive": "d", "id": "w"})
    _ask(machine, "remove", node="d", name="c")
    machine.qmp.execute("device_del", {"id": "v"})
    machine.qmp.execute("blockdev-del", {"node-name": "a"})
    bitmaps(machine)
    leave(machine)


def bitmaps_are_merged(stage: Stage) -> None:
    machine = stage.start(f"{NONE} {NULL} -blockdev null-co,node-name=m,size=1048576")
    machine.qmp.execute("blockdev-add", {"driver": "null-co", "node-name": "large"})
    _ask(machine, "add")
    _ask(machine, "add", name="c", granularity=512)
    _ask(machine, "add", node="m")
    _ask(machine, "add", node="large")
    _merge(machine, "b", "b")
    _merge(machine, "b", "c", "c", {"node": "m", "name": "b"})
    _merge(machine, "c", "b")
    _merge(machine, "b", {"node": "large", "name": "b"})
    _merge(machine, "b", "zz")
    _merge(machine, "b", {"node": "m", "name": "zz"})
    _merge(machine, "b", {"node": "zz", "name": "b"})
    _merge(machine, "zz", "b")
    _merge(machine, "b", "b", node="zz")
    _merge(machine, "b", {"node": "m"})
    _merge(machine, "b", 7)
    _merge(machine, "b", {"node": "m", "name": "b", "other": 1})
    bitmaps(machine)
    leave(machine)


def writes_set_bits(stage: Stage) -> None:
    stage.file("new").write_bytes(bytes(2 * MIB))
    machine = stage.start(NONE)
    node = {"driver": "file", "node-name": "n", "filename": "new"}
    machine.qmp.execute("blockdev-add", node)
    machine.qmp.execute("blockdev-add", {"driver": "raw", "node-name": "r", "file": "n"})
    for node_name in ("n", "r"):
        _ask(machine, "add", node=node_name)
        _ask(machine, "add", node=node_name, name="fine", granularity=512)
        _ask(machine, "add", node=node_name, name="off", disabled=True)
    _create(machine, "r")
    bitmaps(machine)
    for node_name in ("n", "r"):
        for name in ("b", "off"):
            bitmap_hash(machine, node=node_name, name=name)
    _merge(machine, "off", "b")
    bitmap_hash(machine, name="off")
    _merge(machine, "off", {"node": "r", "name": "b"}, node="r")
    _ask(machine, "add", name="coarse", granularity=1 << 20)
    _merge(machine, "coarse", "off")
    bitmap_hash(machine, name="coarse")
    _ask(machine, "add", name="finer", granularity=4096, disabled=True)
    _merge(machine, "finer", "coarse")
    bitmap_hash(machine, name="finer")
    bitmaps(machine)
    _ask(machine, "clear", name="b")
    _ask(machine, "clear", name="off")
    bitmaps(machine)
    leave(machine)


def _create(machine: Machine, node: str, cluster: int = 65536) -> None:
    options = {"driver": "qcow2", "file": node, "size": MIB, "cluster-size": cluster}
    machine.qmp.execute("blockdev-create", {"job-id": "j", "options": options})
    machine.qmp.wait("JOB_STATUS_CHANGE", status="concluded")
    machine.qmp.execute("job-dismiss", {"id": "j"})


def nodes_with_bitmaps_are_resized(stage: Stage) -> None:
    images(stage)
    stage.file("new").write_bytes(bytes(MIB))
    machine = stage.start(NONE)
    file = {"driver": "file", "node-name": "n", "filename": "new"}
    machine.qmp.execute("blockdev-add", file)
    machine.qmp.execute("blockdev-add", {"driver": "raw", "node-name": "r", "file": "n"})
    image = {"driver": "qcow2", "node-name": "q", "file": {"driver": "file", "filename": "b.qcow2"}}
    machine.qmp.execute("blockdev-add", image)
    for node in ("n", "r", "q"):
        _ask(machine, "add", node=node)
        _ask(machine, "add", node=node, name="off", disabled=True, granularity=512)
    for node in ("r", "q", "n"):
        _create(machine, "r")
        for name in ("n", "r"):
            _merge(machine, "off", "b", node=name)
        for size in (3 * MIB, 3 * MIB + 1000, 65536, 0, MIB):
            machine.qmp.execute("block_resize", {"node-name": node, "size": size})
            bitmaps(machine)
            for name in ("n", "r", "q"):
                bitmap_hash(machine, node=name, name="off")
    leave(machine)


def an_image_grows_on_a_node_with_a_bitmap(stage: Stage) -> None:
    images(stage)
    machine = stage.start(NONE)
    file = {"driver": "file", "node-name": "f", "filename": "b.qcow2"}
    machine.qmp.execute("blockdev-add", file)
    machine.qmp.execute("blockdev-add", {"driver": "qcow2", "node-name": "q", "file": "f"})
    _ask(machine, "add", node="f", granularity=512)
    machine.qmp.execute("block_resize", {"node-name": "q", "size": 32 * MIB})
    bitmaps(machine)
    bitmap_hash(machine, node="f")
    leave(machine)
