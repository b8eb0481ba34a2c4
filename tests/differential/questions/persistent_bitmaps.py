"""Dirty bitmaps that qcow2 images keep: stored, found again, marked as in use, and moved."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from tests.differential.bitmaps import bitmap, bitmap_hash, told
from tests.differential.scenes import (
    CLUSTER,
    MIB,
    capabilities,
    images,
    leave,
    load,
    qcow2,
    save,
    settle,
)

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage

PLAIN = "-machine none -nodefaults -m 16"
IMAGE = "-blockdev file,node-name=f,filename=b.qcow2 -blockdev qcow2,node-name=q,file=f"
SOURCE = "-blockdev file,node-name=s,filename=source"


def _bitmap(machine: Machine, command: str, name: str = "b", node: str = "q", **more: Any) -> None:
    bitmap(machine, command, name, node, **more)


def _keep(machine: Machine, name: str = "b", node: str = "q", **more: Any) -> None:
    _bitmap(machine, "add", name, node, persistent=True, **more)


def _seen(machine: Machine) -> None:
    """What is told of bitmaps, and by images of those in them."""
    machine.qmp.execute("query-named-block-nodes", view=_of_nodes)


def _of_nodes(nodes: list[dict[str, Any]]) -> dict[str, list[object]]:
    found: dict[str, list[object]] = {}
    for node in nodes:
        kept = node["image"].get("format-specific", {}).get("data", {}).get("bitmaps")
        live = told(node)
        if kept is not None or live:
            found[node["node-name"]] = [live, kept]
    return found


def _hash(machine: Machine, name: str = "b") -> None:
    bitmap_hash(machine, name, "q")


def _dirty(stage: Stage, machine: Machine, *names: str) -> None:
    """Set bits: another node of the same size is written to."""
    stage.file("source").write_bytes(bytes(16 * MIB))
    node = {"driver": "file", "node-name": "s", "filename": "source"}
    machine.qmp.execute("blockdev-add", node)
    _bitmap(machine, "add", "s", "s", granularity=512)
    options = {"driver": "qcow2", "file": "s", "size": MIB}
    machine.qmp.execute("blockdev-create", {"job-id": "j", "options": options})
    machine.qmp.wait("JOB_STATUS_CHANGE", status="concluded")
    machine.qmp.execute("job-dismiss", {"id": "j"})
    for name in names:
        given = {"node": "q", "target": name, "bitmaps": [{"node": "s", "name": "s"}]}
        machine.qmp.execute("block-dirty-bitmap-merge", given)
    machine.qmp.execute("blockdev-del", {"node-name": "s"})


def an_image_keeps_bitmaps(stage: Stage) -> None:
    images(stage)
    machine = stage.start(f"{PLAIN} {IMAGE}", human="pipe")
    _keep(machine)
    _keep(machine, "fine", granularity=512, disabled=True)
    _bitmap(machine, "add", "lost")
    _keep(machine, "empty")
    _dirty(stage, machine, "b", "fine", "lost")
    _seen(machine)
    machine.qmp.execute("blockdev-del", {"node-name": "q"})
    image = {"driver": "qcow2", "node-name": "q", "file": "f"}
    for read_only in (True, False):
        machine.qmp.execute("blockdev-add", {**image, "read-only": read_only})
        _seen(machine)
        for name in ("b", "fine", "empty"):
            _hash(machine, name)
        if read_only:
            for command in ("clear", "enable", "remove"):
                _bitmap(machine, command)
            for target in ("b", "empty"):
                given = {"node": "q", "target": target, "bitmaps": ["b"]}
                machine.qmp.execute("block-dirty-bitmap-merge", given)
            machine.qmp.execute("blockdev-del", {"node-name": "q"})
    machine.human.type("info block -n -v q")
    _bitmap(machine, "remove", "fine")
    _bitmap(machine, "clear", "empty")
    _keep(machine, "b")
    _keep(machine, "new", granularity=1 << 20)
    _bitmap(machine, "disable", "b")
    _seen(machine)
    leave(machine)
    machine = stage.start(f"{PLAIN} {IMAGE}")
    _seen(machine)
    for name in ("b", "empty", "new"):
        _hash(machine, name)
        _bitmap(machine, "remove", name)
        _seen(machine)
    leave(machine)
    machine = stage.start(f"{PLAIN} {IMAGE}")
    _seen(machine)
    leave(machine)


def bitmaps_of_a_program_that_crashed(stage: Stage) -> None:
    images(stage)
    machine = stage.start(f"{PLAIN} {IMAGE}")
    _keep(machine)
    _keep(machine, "c")
    leave(machine)
    machine = stage.start(f"{PLAIN} {IMAGE}")
    _keep(machine, "never-stored")
    _seen(machine)
    machine.process.kill()
    machine.process.wait()
    for read_only in (",read-only=on", ""):
        machine = stage.start(f"{PLAIN} {IMAGE}{read_only}")
        _seen(machine)
        for command in ("clear", "enable", "disable", "add"):
            _bitmap(machine, command)
        _bitmap(machine, "add", "d")
        for target, source in (("b", "d"), ("d", "b")):
            given = {"node": "q", "target": target, "bitmaps": [source]}
            machine.qmp.execute("block-dirty-bitmap-merge", given)
        _hash(machine)
        machine.qmp.execute("block_resize", {"node-name": "q", "size": 8 * MIB})
        _bitmap(machine, "remove")
        _seen(machine)
        leave(machine)
    machine = stage.start(f"{PLAIN} {IMAGE}")
    _seen(machine)
    leave(machine)


def what_an_image_cannot_keep(stage: Stage) -> None:
    images(stage)
    machine = stage.start(f"{PLAIN} -blockdev null-co,node-name=n,size=1048576 {IMAGE}")
    _keep(machine, node="n")
    _keep(machine, node="f")
    _keep(machine, "x" * 1023)
    _keep(machine, "x" * 1024)
    _keep(machine, "")
    _keep(machine, granularity=256)
    raw = {"driver": "raw", "node-name": "r", "file": "q"}
    machine.qmp.execute("blockdev-add", raw)
    _keep(machine, node="r")
    for name, version in (("old", "v2"), ("large", "v3")):
        options = {"driver": "file", "filename": name, "size": 0}
        machine.qmp.execute("blockdev-create", {"job-id": "j", "options": options})
        machine.qmp.wait("JOB_STATUS_CHANGE", status="concluded")
        machine.qmp.execute("job-dismiss", {"id": "j"})
        file = {"driver": "file", "node-name": f"{name}-file", "filename": name}
        machine.qmp.execute("blockdev-add", file)
        size = 5 << 40 if name == "large" else MIB
        options = {"driver": "qcow2", "file": f"{name}-file", "version": version, "size": size}
        machine.qmp.execute("blockdev-create", {"job-id": "j", "options": options})
        machine.qmp.wait("JOB_STATUS_CHANGE", status="concluded")
        machine.qmp.execute("job-dismiss", {"id": "j"})
        node = {"driver": "qcow2", "node-name": name, "file": f"{name}-file"}
        machine.qmp.execute("blockdev-add", node)
        _keep(machine, node=name, granularity=512)
        _keep(machine, node=name, granularity=65536)
    leave(machine)
    machine = stage.start(f"{PLAIN} {IMAGE},read-only=on")
    _keep(machine)
    _seen(machine)
    leave(machine)


def bitmaps_of_an_image_of_a_drive(stage: Stage) -> None:
    images(stage)
    pc = "-machine pc -nodefaults -accel tcg -S -m 16"
    drive = "-drive if=none,id=d,file=b.qcow2,format=qcow2"
    machine = stage.start(f"{pc} {drive} -device virtio-blk-pci,drive=d")
    _keep(machine, node="d")
    _keep(machine, "x" * 1023, "d")
    _keep(machine, "x" * 1024, "d")
    _seen(machine)
    leave(machine)
    machine = stage.start(f"{pc} {drive}")
    _seen(machine)
    machine.qmp.execute("block_resize", {"device": "d", "size": 32 * MIB})
    _seen(machine)
    leave(machine)
    machine = stage.start(f"{pc} {drive}")
    _seen(machine)
    machine.qmp.execute("block_resize", {"device": "d", "size": 4 * MIB})
    leave(machine)
    machine = stage.start(f"{pc} {drive}")
    _seen(machine)
    leave(machine)


def images_with_bitmaps_move(stage: Stage) -> None:
    for names in ((), ("dirty-bitmaps",)):
        images(stage)
        source = stage.start(f"{PLAIN} {IMAGE}")
        _keep(source)
        _keep(source, "off", disabled=True, granularity=4096)
        _bitmap(source, "add", "light")
        _dirty(stage, source, "b", "off")
        target = stage.start(f"{PLAIN} {IMAGE} -incoming defer")
        _seen(target)
        for machine in (source, target):
            capabilities(machine, "events", *names)
        save(source)
        _seen(source)
        load(target)
        _seen(target)
        for name in ("b", "off"):
            _hash(target, name)
        if names:
            # Two machines with the same bitmaps: only the one that lives stores them.
            leave(target)
            leave(source)
        else:
            leave(target)
            source.qmp.execute("cont")
            _seen(source)
            _hash(source)
            leave(source)
        machine = stage.start(f"{PLAIN} {IMAGE}")
        _seen(machine)
        _hash(machine)
        leave(machine)


def bitmaps_become_persistent_on_their_way(stage: Stage) -> None:
    images(stage)
    qcow2(stage.file("other.qcow2"), 16 * MIB)
    source = stage.start(f"{PLAIN} {IMAGE}")
    _bitmap(source, "add")
    _keep(source, "c")
    _keep(source, "d")
    capabilities(source, "events", "dirty-bitmaps")
    _map(source, b={"persistent": True}, c={"persistent": False}, d={})
    save(source)
    leave(source)
    line = f"{PLAIN} {IMAGE.replace('b.qcow2', 'other.qcow2')}"
    for transforms in (None, {"b": {"persistent": False}, "c": {"persistent": True}, "d": {}}):
        target = stage.start(f"{line} -incoming defer")
        capabilities(target, "events", "dirty-bitmaps")
        if transforms is not None:
            _map(target, **transforms)
        load(target)
        _seen(target)
        leave(target)
        machine = stage.start(line)
        _seen(machine)
        for name in ("b", "c", "d"):
            _bitmap(machine, "remove", name)
        leave(machine)


def _map(machine: Machine, **transforms: dict[str, bool]) -> None:
    bitmaps = [
        {"name": name, "alias": name, "transform": transform}
        for name, transform in transforms.items()
    ]
    mapping = [{"node-name": "q", "alias": "q", "bitmaps": bitmaps}]
    machine.qmp.execute("migrate-set-parameters", {"block-bitmap-mapping": mapping})


def a_migration_with_persistent_bitmaps_is_given_up(stage: Stage) -> None:
    images(stage)
    machine = stage.start(f"{PLAIN} {IMAGE}")
    _keep(machine)
    capabilities(machine, "events", "dirty-bitmaps", "pause-before-switchover")
    machine.qmp.execute("migrate", {"uri": "file:vm.state"})
    machine.qmp.wait("MIGRATION", status="pre-switchover")
    _seen(machine)
    machine.qmp.execute("migrate_cancel")
    settle(machine, "cancelled")
    _seen(machine)
    leave(machine)
    machine = stage.start(f"{PLAIN} {IMAGE}")
    _seen(machine)
    leave(machine)


def _with_list(
    stage: Stage,
    *entries: bytes,
    count: int | None = None,
    size: int | None = None,
    offset: int = 4 * CLUSTER,
    extension: bytes | None = None,
    table: int = 6 * CLUSTER,
    autoclear: int = 1,
) -> None:
    """An image of 16 MiB with such a list of bitmaps; their bits are in the sixth cluster."""
    path = stage.file("bad.qcow2")
    qcow2(path, 16 * MIB)
    data = bytearray(path.read_bytes()) + bytes(3 * CLUSTER)
    told = b"".join(entries)
    number, length = (
        len(entries) if count is None else count,
        len(told) if size is None else size,
    )
    head = struct.pack(">IIQQ", number, 0, length, offset) if extension is None else extension
    whole = struct.pack(">II", 0x23852875, len(head)) + head
    data[104 : 104 + len(whole)] = whole
    struct.pack_into(">Q", data, 88, autoclear)
    data[4 * CLUSTER : 4 * CLUSTER + len(told)] = told
    struct.pack_into(">Q", data, 5 * CLUSTER, table)
    data[6 * CLUSTER : 6 * CLUSTER + 32] = bytes(range(32))
    struct.pack_into(">7H", data, 2 * CLUSTER, *[1] * 7)
    path.write_bytes(data)


def _entry(
    name: bytes = b"b",
    table: int = 5 * CLUSTER,
    entries: int = 1,
    flags: int = 2,
    kind: int = 1,
    order: int = 16,
    extra: int = 0,
) -> bytes:
    head = struct.pack(">QIIBBHI", table, entries, flags, kind, order, len(name), extra)
    return (head + name).ljust(-(-(len(head) + len(name) + extra) // 8) * 8, b"\0")


def lists_that_are_damaged(stage: Stage) -> None:
    good = _entry()
    lists: tuple[tuple[tuple[bytes, ...], dict[str, Any]], ...] = (
        ((good,), {}),
        ((_entry(order=9), _entry(b"c", flags=0)), {}),
        ((good, good), {}),
        ((good,), {"count": 2}),
        ((good, _entry(b"c")), {"count": 1}),
        ((good,), {"count": 0}),
        ((good,), {"count": 65536}),
        ((good,), {"size": 0}),
        ((good,), {"size": 16}),
        ((good,), {"size": 31}),
        ((good,), {"size": 40}),
        ((good,), {"size": 1024 * 65535 + 1}),
        ((good,), {"offset": 1000}),
        ((good,), {"offset": 1 << 40}),
        ((good,), {"extension": bytes(23)}),
        ((good,), {"extension": b"\0\0\0\1\0\0\0\1" + bytes(16)}),
        ((good,), {"autoclear": 0}),
        ((good,), {"autoclear": 0, "extension": bytes(24)}),
        ((_entry(table=0),), {}),
        ((_entry(table=100),), {}),
        ((_entry(table=1 << 63),), {}),
        ((_entry(table=1 << 40),), {}),
        ((_entry(entries=0),), {}),
        ((_entry(entries=2),), {}),
        ((_entry(entries=8192),), {}),
        ((_entry(entries=8193),), {}),
        ((_entry(entries=8193, flags=1),), {}),
        ((_entry(flags=4),), {}),
        ((_entry(flags=1),), {}),
        ((_entry(flags=3),), {}),
        ((_entry(kind=2),), {}),
        ((_entry(order=8),), {}),
        ((_entry(order=32),), {}),
        ((_entry(b""),), {}),
        ((_entry(b"x" * 1023),), {}),
        ((_entry(b"x" * 1024),), {}),
        ((_entry(b"x\0y"),), {}),
        ((_entry(extra=8),), {}),
        ((good,), {"table": 0}),
        ((good,), {"table": 1}),
        ((good,), {"table": 2}),
        ((good,), {"table": 1000}),
        ((good,), {"table": 6 * CLUSTER + 1}),
        ((good,), {"table": 1 << 40}),
    )
    machine = stage.start(PLAIN)
    file = {"driver": "file", "filename": "bad.qcow2"}
    for entries, more in lists:
        _with_list(stage, *entries, **more)
        for read_only in (True, False):
            node = {"driver": "qcow2", "node-name": "q", "file": file, "read-only": read_only}
            machine.qmp.execute("blockdev-add", node)
            _seen(machine)
            _hash(machine)
            machine.qmp.execute("blockdev-del", {"node-name": "q"})
    machine.process.kill()


def headers_that_no_image_has(stage: Stage) -> None:
    machine = stage.start(PLAIN)
    file = {"driver": "file", "filename": "bad.qcow2"}
    for at, value in ((99, 7), (96, 255), (103, 0), (100, 1), (59, 129), (56, 255)):
        qcow2(stage.file("bad.qcow2"), 16 * MIB)
        data = bytearray(stage.file("bad.qcow2").read_bytes())
        data[at] = value
        stage.file("bad.qcow2").write_bytes(data)
        machine.qmp.execute("blockdev-add", {"driver": "qcow2", "node-name": "q", "file": file})
    leave(machine)
