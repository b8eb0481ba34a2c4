"""Block nodes over real image files, network backends, and what devices make of them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from tests.differential.scenes import NONE, Q35, leave

if TYPE_CHECKING:
    from pathlib import Path

    from tests.differential.stage import Machine, Stage

MIB = 1 << 20
CLUSTER = 1 << 16


def _qcow2(path: Path, size: int, backing: str = "") -> None:
    """An empty image."""
    extension = struct.pack(">II8sII", 0xE2792ACA, 3, b"raw", 0, 0) if backing else bytes(8)
    name_at = 104 + len(extension) if backing else 0
    header = struct.pack(
        ">4sIQIIQIIQQIIQQQQII",
        *(b"QFI\xfb", 3, name_at, len(backing), 16, size, 0, 1, 3 * CLUSTER, CLUSTER),
        *(1, 0, 0, 0, 0, 0, 4, 104),
    )
    image = bytearray(4 * CLUSTER)
    head = header + extension + backing.encode()
    image[: len(head)] = head
    struct.pack_into(">Q", image, CLUSTER, 2 * CLUSTER)
    struct.pack_into(">4H", image, 2 * CLUSTER, 1, 1, 1, 1)
    path.write_bytes(image)


def _images(stage: Stage) -> None:
    with stage.file("a.img").open("wb") as image:
        image.truncate(8 * MIB)
    _qcow2(stage.file("b.qcow2"), 16 * MIB)
    _qcow2(stage.file("c.qcow2"), 8 * MIB, "a.img")


def _ask(machine: Machine, command: str, **arguments: Any) -> None:
    given = {name.replace("_", "-"): value for name, value in arguments.items()}
    machine.qmp.execute(command, given)


def drives_of_a_guest(stage: Stage) -> None:
    _images(stage)
    nodes = (
        "-blockdev driver=file,filename=a.img,node-name=s1,auto-read-only=on,discard=unmap"
        " -blockdev driver=file,filename=b.qcow2,node-name=s2"
        " -blockdev driver=qcow2,file=s2,node-name=f2,cache.direct=off"
    )
    devices = (
        "-device virtio-blk-pci,id=v1,drive=s1 -device virtio-blk-pci,id=v2,drive=f2"
        " -device ide-cd,id=cd,bus=ide.0"
    )
    machine = stage.start(f"{Q35} -S {nodes} {devices}")
    for command in ("query-block", "query-named-block-nodes", "query-blockstats"):
        machine.qmp.execute(command)
    _ask(machine, "query-named-block-nodes", flat=True)
    _ask(machine, "query-blockstats", query_nodes=True)
    _ask(machine, "blockdev-del", node_name="f2")
    leave(machine)


def nodes_that_come_and_go(stage: Stage) -> None:
    _images(stage)
    machine = stage.start(NONE)
    file = {"driver": "file", "filename": "c.qcow2", "read-only": True}
    _ask(machine, "blockdev-add", **file, node_name="s3")
    _ask(machine, "blockdev-add", driver="file", filename="a.img", node_name="s1", read_only=True)
    format_ = {"driver": "qcow2", "file": "s3", "node-name": "f3", "read-only": True}
    _ask(machine, "blockdev-add", **format_, backing="s1")
    _ask(machine, "blockdev-add", **format_)
    machine.qmp.execute("query-named-block-nodes")
    for name in ("s3", "s1", "f3", "s3", "zz"):
        _ask(machine, "blockdev-del", node_name=name)
    _ask(machine, "blockdev-add", **file, node_name="s3")
    _ask(machine, "blockdev-add", **format_, backing=None)
    _ask(machine, "blockdev-add", driver="null-co", node_name="n")
    _ask(machine, "blockdev-add", driver="raw", file="s1", node_name="part", read_only=True)
    _ask(machine, "query-named-block-nodes", flat=True)
    for bad in (
        {"driver": "file", "filename": "zz", "node-name": "x"},
        {"driver": "file", "filename": "a.img"},
        {"driver": "file", "filename": "a.img", "node-name": "9"},
        {"driver": "file", "filename": "a.img", "node-name": "s1"},
        {"driver": "qcow2", "file": "s1", "node-name": "y", "read-only": True},
        {"driver": "qcow2", "file": "zz", "node-name": "y"},
        {"driver": "zz", "node-name": "y"},
        {"driver": "file", "node-name": "y"},
    ):
        machine.qmp.execute("blockdev-add", bad)
    leave(machine)
    stage.refused(f"{NONE} -blockdev zz")
    stage.refused(f"{NONE} -blockdev file,filename=zz,node-name=a")
    stage.refused(f"{NONE} -blockdev null-co")
    stage.refused(f"{NONE} -netdev zz,id=a")
    stage.refused(f"{NONE} -netdev user")
    stage.refused(f"{NONE} -netdev user,id=a,zz=1")
    stage.refused(f"{NONE} -audiodev zz,id=a")
    stage.refused(f"{NONE} -add-fd set=1,fd=99")
    stage.refused(f"{NONE} -add-fd set=1")
    stage.refused(f"{NONE} -add-fd fd=1,set=1")


def networks(stage: Stage) -> None:
    machine = stage.start(f"{Q35} -S -device pcie-root-port,id=rp,chassis=1")
    _ask(machine, "netdev_add", type="user", id="h0")
    _ask(machine, "netdev_add", type="user", id="h0")
    _ask(machine, "netdev_add", type="tap", id="h1", fd="zz")
    _ask(machine, "netdev_add", type="tap", id="h1", fd="99")
    network = {"driver": "virtio-net-pci", "id": "n0", "bus": "rp", "mac": "52:54:00:00:00:01"}
    machine.qmp.execute("device_add", network | {"netdev": "zz"})
    machine.qmp.execute("device_add", network | {"netdev": "h0"})
    _ask(machine, "qom-get", path="n0", property="netdev")
    for name in ("n0", "h0", "zz"):
        _ask(machine, "set_link", name=name, up=False)
    leave(machine)
    machine = stage.start(f"{Q35} -S -netdev user,id=h0")
    for _ in range(2):
        _ask(machine, "netdev_del", id="h0")
    leave(machine)


def a_balloon_and_chance(stage: Stage) -> None:
    chance = "-object rng-random,id=r1 -object rng-builtin,id=r2"
    devices = "-device virtio-balloon-pci,id=b0 -device virtio-rng-pci,id=r,rng=r1"
    machine = stage.start(f"{Q35} -S {chance} {devices}")
    machine.qmp.execute("query-balloon")
    for value in (4 * MIB, 0, -1, 64 * MIB):
        _ask(machine, "balloon", value=value)
    machine.qmp.execute("query-balloon")
    for name in ("guest-stats", "guest-stats-polling-interval"):
        _ask(machine, "qom-get", path="b0", property=name)
    for interval in (2, -2, 1 << 33, "x"):
        given = {"path": "b0", "property": "guest-stats-polling-interval", "value": interval}
        machine.qmp.execute("qom-set", given)
    _ask(machine, "qom-get", path="b0", property="guest-stats-polling-interval")
    for name in ("filename", "opened"):
        _ask(machine, "qom-get", path="r1", property=name)
    _ask(machine, "object-add", qom_type="rng-random", id="r3", filename="/zz")
    _ask(machine, "object-del", id="r1")
    _ask(machine, "object-del", id="r2")
    _ask(machine, "qom-get", path="r", property="rng")
    leave(machine)
