"""Block nodes over real image files, network backends, and what devices make of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.differential.scenes import MIB, NONE, Q35, images, leave, qcow2

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage


def ask(machine: Machine, command: str, **arguments: Any) -> None:
    given = {name.replace("_", "-"): value for name, value in arguments.items()}
    machine.qmp.execute(command, given)


def drives_of_a_guest(stage: Stage) -> None:
    images(stage)
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
    ask(machine, "query-named-block-nodes", flat=True)
    ask(machine, "query-blockstats", query_nodes=True)
    ask(machine, "blockdev-del", node_name="f2")
    leave(machine)


def images_based_on_others(stage: Stage) -> None:
    images(stage)
    for name, below, form in (
        ("two", "c.qcow2", ""),
        ("three", "two", "qcow2"),
        ("raw", "a.img", ""),
        ("gone", "nowhere", ""),
        ("higher", "gone", "qcow2"),
    ):
        qcow2(stage.file(name), 8 * MIB, below, form)
    machine = stage.start(NONE)

    def add(name: str, **more: object) -> None:
        node = {"driver": "qcow2", "node-name": "t", "read-only": True}
        file = {"driver": "file", "filename": name}
        machine.qmp.execute("blockdev-add", {**node, "file": file, **more})

    for name in ("three", "raw", "gone", "higher"):
        add(name)
        machine.qmp.execute("query-named-block-nodes", view=_chain)
        ask(machine, "blockdev-del", node_name="t")
    add("two", backing="zz")
    add("two", backing={"driver": "raw", "file": {"driver": "file", "filename": "nowhere"}})
    machine.qmp.execute("query-named-block-nodes")
    leave(machine)


def _chain(nodes: list[dict[str, Any]]) -> list[tuple[object, ...]]:
    names = ("drv", "file", "backing_file", "backing_file_depth")
    return [tuple(node.get(name) for name in names) for node in nodes]


def nodes_that_come_and_go(stage: Stage) -> None:
    images(stage)
    machine = stage.start(NONE)
    file = {"driver": "file", "filename": "c.qcow2", "read-only": True}
    ask(machine, "blockdev-add", **file, node_name="s3")
    ask(machine, "blockdev-add", driver="file", filename="a.img", node_name="s1", read_only=True)
    format_ = {"driver": "qcow2", "file": "s3", "node-name": "f3", "read-only": True}
    ask(machine, "blockdev-add", **format_, backing="s1")
    ask(machine, "blockdev-add", **format_)
    machine.qmp.execute("query-named-block-nodes")
    for name in ("s3", "s1", "f3", "s3", "zz"):
        ask(machine, "blockdev-del", node_name=name)
    ask(machine, "blockdev-add", **file, node_name="s3")
    ask(machine, "blockdev-add", **format_, backing=None)
    ask(machine, "blockdev-add", driver="null-co", node_name="n")
    ask(machine, "blockdev-add", driver="raw", file="s1", node_name="part", read_only=True)
    ask(machine, "query-named-block-nodes", flat=True)
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
    ask(machine, "netdev_add", type="user", id="h0")
    ask(machine, "netdev_add", type="user", id="h0")
    ask(machine, "netdev_add", type="tap", id="h1", fd="zz")
    ask(machine, "netdev_add", type="tap", id="h1", fd="99")
    network = {"driver": "virtio-net-pci", "id": "n0", "bus": "rp", "mac": "52:54:00:00:00:01"}
    machine.qmp.execute("device_add", network | {"netdev": "zz"})
    machine.qmp.execute("device_add", network | {"netdev": "h0"})
    ask(machine, "qom-get", path="n0", property="netdev")
    for name in ("n0", "h0", "zz"):
        ask(machine, "set_link", name=name, up=False)
    leave(machine)
    machine = stage.start(f"{Q35} -S -netdev user,id=h0")
    for _ in range(2):
        ask(machine, "netdev_del", id="h0")
    leave(machine)


def a_balloon_and_chance(stage: Stage) -> None:
    chance = "-object rng-random,id=r1 -object rng-builtin,id=r2"
    devices = "-device virtio-balloon-pci,id=b0 -device virtio-rng-pci,id=r,rng=r1"
    machine = stage.start(f"{Q35} -S {chance} {devices}")
    machine.qmp.execute("query-balloon")
    for value in (4 * MIB, 0, -1, 64 * MIB):
        ask(machine, "balloon", value=value)
    machine.qmp.execute("query-balloon")
    for name in ("guest-stats", "guest-stats-polling-interval"):
        ask(machine, "qom-get", path="b0", property=name)
    for interval in (2, -2, 1 << 33, "x"):
        given = {"path": "b0", "property": "guest-stats-polling-interval", "value": interval}
        machine.qmp.execute("qom-set", given)
    ask(machine, "qom-get", path="b0", property="guest-stats-polling-interval")
    for name in ("filename", "opened"):
        ask(machine, "qom-get", path="r1", property=name)
    ask(machine, "object-add", qom_type="rng-random", id="r3", filename="/zz")
    ask(machine, "object-del", id="r1")
    ask(machine, "object-del", id="r2")
    ask(machine, "qom-get", path="r", property="rng")
    leave(machine)


def limits_as_an_object(stage: Stage) -> None:
    machine = stage.start(
        f"{Q35} -blockdev null-co,node-name=n,read-zeroes=on -device virtio-blk-pci,id=d,drive=n"
        " -object throttle-group,id=t0,x-iops-total=100 -S"
    )

    def make(**options: Any) -> None:
        machine.qmp.execute("object-add", {"qom-type": "throttle-group", "id": "t1", **options})

    def change(name: str, **limits: Any) -> None:
        asked = {"path": f"/objects/{name}", "property": "limits"}
        machine.qmp.execute("qom-set", {**asked, "value": limits})
        machine.qmp.execute("qom-get", asked)

    make(limits={"iops-total": 10, "iops-read": 5})
    make(**{"x-iops-total": -1})
    make(**{"x-iops-total": 1, "x-iops-total-max": 5, "x-iops-total-max-length": 1 << 32})
    make(**{"x-iops-size": 10})
    make(**{"x-iops-size": 10, "limits": {"iops-total": 10}})
    make()
    change("t1", **{"bps-total": 1000, "bps-total-max": 2000})
    change("t1", **{"bps-total": 1000, "bps-read": 2000})
    change("t1", **{"bps-total": -1})
    change("t1", **{"bps-total-max-length": 0})
    change("t1", **{"bps-total-max-length": -1})
    change("t1", **{"bps-total-max-length": 1 << 32})
    change("t1", nope=1)
    change("t1", **{"iops-total": 1.5})
    asked = {"path": "/objects/t1", "property": "x-iops-total"}
    machine.qmp.execute("qom-get", asked)
    machine.qmp.execute("qom-set", {**asked, "value": 7})
    drive = {"id": "/machine/peripheral/d/virtio-backend"}
    zeros = dict.fromkeys(("bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"), 0)
    limit = {**drive, **zeros, "iops": 50}
    machine.qmp.execute("block_set_io_throttle", {**limit, "group": "t0"})
    change("t0", **{"iops-total": 7, "bps-read": 9, "iops-total-max": 77})
    machine.qmp.execute("human-monitor-command", {"command-line": "info block d"})
    machine.qmp.execute("object-del", {"id": "t0"})
    machine.qmp.execute("block_set_io_throttle", {**drive, **zeros})
    machine.qmp.execute("object-del", {"id": "t0"})
    machine.qmp.execute("block_set_io_throttle", {**limit, "group": "t9"})
    machine.qmp.execute("object-add", {"qom-type": "throttle-group", "id": "t9"})
    leave(machine)
