"""Media that come and go, that become larger and smaller, and limits of what drives may do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.differential.questions.drives import ask
from tests.differential.scenes import MIB, Q35, capabilities, images, leave, load, save

if TYPE_CHECKING:
    from tests.differential.stage import Stage

DRIVES = (
    "-blockdev file,filename=a.iso,node-name=m1,read-only=on"
    " -blockdev file,filename=b.iso,node-name=m2,read-only=on"
    " -blockdev file,filename=a.img,node-name=s1"
    " -device virtio-blk-pci,id=v1,drive=s1 -device ide-cd,id=cd,bus=ide.0,drive=m1"
    " -device virtio-scsi-pci -device scsi-cd,id=sc"
)
VIRTIO = "/machine/peripheral/v1/virtio-backend"
NO_LIMITS = dict.fromkeys(("bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"), 0)


def _discs(stage: Stage) -> None:
    images(stage)
    for name, size in (("a.iso", MIB), ("b.iso", 2 * MIB), ("c.iso", 3 * MIB)):
        with stage.file(name).open("wb") as disc:
            disc.truncate(size)


def _unnamed(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the names that nodes got of themselves."""
    for entry in entries:
        if entry.get("inserted", {}).get("node-name", "").startswith("#"):
            entry["inserted"]["node-name"] = "<its own>"
    return entries


def trays_and_what_is_in_them(stage: Stage) -> None:
    _discs(stage)
    machine = stage.start(f"{Q35} -S {DRIVES}")
    for bad in ({}, {"id": "zz"}, {"id": "v1"}, {"id": "cd", "device": "cd"}, {"device": "zz"}):
        for command in ("eject", "blockdev-open-tray", "blockdev-close-tray"):
            machine.qmp.execute(command, bad)
    for path in (VIRTIO, "/machine/peripheral", "/zz"):
        for command in ("eject", "blockdev-close-tray", "blockdev-remove-medium"):
            ask(machine, command, id=path)
    ask(machine, "blockdev-insert-medium", id=VIRTIO, node_name="m2")
    ask(machine, "blockdev-change-medium", id=VIRTIO, filename="a.iso", format="raw")
    ask(machine, "blockdev-remove-medium", id="cd")
    ask(machine, "blockdev-insert-medium", id="cd", node_name="m2")
    for _ in range(2):
        ask(machine, "blockdev-open-tray", id="cd")
    ask(machine, "blockdev-insert-medium", id="cd", node_name="m2")
    for _ in range(2):
        ask(machine, "blockdev-remove-medium", id="cd")
    machine.qmp.execute("query-block")
    for name in ("zz", "s1", "m2"):
        ask(machine, "blockdev-insert-medium", id="cd", node_name=name)
    ask(machine, "blockdev-del", node_name="m2")
    ask(machine, "blockdev-insert-medium", id="sc", node_name="m2")
    for _ in range(2):
        ask(machine, "blockdev-close-tray", id="cd")
    ask(machine, "qom-get", path="cd", property="drive")
    machine.qmp.execute("query-block")
    for _ in range(2):
        ask(machine, "eject", id="cd", force=True)
    ask(machine, "blockdev-del", node_name="m2")
    ask(machine, "eject", id="/machine/peripheral/sc")
    machine.qmp.execute("query-block")
    machine.qmp.execute("system_reset")
    machine.qmp.execute("query-block")
    leave(machine)


def a_file_instead_of_a_medium(stage: Stage) -> None:
    _discs(stage)
    machine = stage.start(f"{Q35} -S {DRIVES}")
    ask(machine, "blockdev-change-medium", id="cd", filename="zz")
    ask(machine, "blockdev-change-medium", id="cd", filename="b.iso", format="zz")
    ask(machine, "blockdev-change-medium", id="cd", filename="b.iso", format="qcow2")
    ask(machine, "blockdev-change-medium", id="cd", filename="b.iso", format="raw")
    machine.qmp.execute("query-block", view=_unnamed)
    ask(machine, "blockdev-change-medium", id="cd", filename="b.qcow2")
    machine.qmp.execute("query-block", view=_unnamed)
    mode = {"read_only_mode": "read-write"}
    ask(machine, "blockdev-change-medium", id="sc", filename="b.iso", format="raw", **mode)
    machine.qmp.execute("query-block", view=_unnamed)
    ask(machine, "eject", id="cd")
    ask(machine, "eject", id="sc")
    machine.qmp.execute("query-named-block-nodes")
    leave(machine)


def other_sizes(stage: Stage) -> None:
    _discs(stage)
    machine = stage.start(
        f"{Q35} -S {DRIVES} -blockdev file,filename=b.qcow2,node-name=s2"
        " -blockdev qcow2,file=s2,node-name=f2 -blockdev null-co,node-name=n1"
        " -blockdev raw,file=n1,node-name=r1 -blockdev file,filename=c.qcow2,node-name=s3"
        " -blockdev raw,file=s1,node-name=b3 -blockdev qcow2,file=s3,node-name=f3,backing=b3"
        " -blockdev file,filename=c.iso,node-name=m3 -device ide-cd,drive=m3,bus=ide.1"
    )
    for bad in ({}, {"device": "v1"}, {"device": "s1"}, {"node-name": "zz"}):
        machine.qmp.execute("block_resize", bad | {"size": MIB})
    for name in ("m1", "m2", "m3", "n1", "r1", "s2", "s3", "b3"):
        ask(machine, "block_resize", node_name=name, size=MIB)
    for size in (-1, MIB + 1, (1 << 63) - 1, 1 << 63, 0, 4 * MIB, 1 << 40, MIB):
        ask(machine, "block_resize", node_name="f2", size=size)
    ask(machine, "block_resize", node_name="f3", size=32 * MIB)
    machine.qmp.execute("query-named-block-nodes", {"flat": True}, view=_sizes)
    leave(machine)
    machine = stage.start(f"{Q35} -S -blockdev file,filename=a.img,node-name=s1")
    for size in (12 * MIB, MIB + 1, 512):
        ask(machine, "block_resize", node_name="s1", size=size)
    machine.qmp.execute("query-named-block-nodes")
    ask(machine, "block-set-write-threshold", node_name="zz", write_threshold=1)
    for offset in (100, -1, 1 << 64):
        ask(machine, "block-set-write-threshold", node_name="s1", write_threshold=offset)
    machine.qmp.execute("query-named-block-nodes", {"flat": True})
    leave(machine)


def _sizes(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sizes as guests see them; QEMU may leave a file larger than it has to be."""
    return [{e["node-name"]: e["image"]["virtual-size"]} for e in entries if e["drv"] != "file"]


def limits_of_drives(stage: Stage) -> None:
    _discs(stage)
    machine = stage.start(
        f"{Q35} -S {DRIVES} -blockdev file,filename=b.qcow2,node-name=s2"
        " -device virtio-blk-pci,id=v2,drive=s2"
    )

    def limit(drive: str = VIRTIO, **limits: object) -> None:
        machine.qmp.execute("block_set_io_throttle", NO_LIMITS | limits | {"id": drive})

    machine.qmp.execute("block_set_io_throttle", NO_LIMITS)
    for drive in ("zz", "sc", "v1"):
        limit(drive, iops=100)
    for bad in (
        {"iops": -1},
        {"bps": 10**15 + 1},
        {"bps": 1, "bps_rd": 1},
        {"iops": 2, "iops_max": 3, "iops_wr_max": 3},
        {"iops_max": 5},
        {"iops": 10, "iops_max": 5},
        {"iops": 10, "iops_max": -5},
        {"iops": 10, "iops_max_length": 5},
        {"iops": 10, "iops_max_length": 0},
        {"iops": 10, "iops_max": 10**9, "iops_max_length": 2 * 10**9},
        {"iops_size": 5},
    ):
        limit(**bad)
    limit(iops=100, iops_max=200, iops_max_length=2, iops_size=4096, bps_rd=7)
    machine.qmp.execute("query-block")
    limit(iops=30)
    limit(iops=40, group="g")
    limit("/machine/peripheral/v2/virtio-backend", bps=50, group="g")
    machine.qmp.execute("query-block")
    limit()
    machine.qmp.execute("query-block")
    machine.qmp.execute("query-named-block-nodes", {"flat": True})
    leave(machine)


def _trays(told: list[dict[str, Any]]) -> list[tuple[str, object]]:
    return [(drive["qdev"], drive.get("tray_open")) for drive in told]


def trays_of_a_machine_that_moves(stage: Stage) -> None:
    line = f"{Q35} -S -device ide-cd,id=a,bus=ide.0 -device virtio-scsi-pci -device scsi-cd,id=b"
    line += " -device ide-cd,id=c,bus=ide.1"
    source = stage.start(line)
    capabilities(source, "events")
    for name in ("b", "c"):
        source.qmp.execute("blockdev-open-tray", {"id": name})
    save(source)
    leave(source)
    for gone in (None, "b"):
        target = stage.start(f"{line} -incoming defer")
        capabilities(target, "events")
        load(target)
        target.qmp.execute("query-block", view=_trays)
        if gone is not None:
            target.qmp.execute("device_del", {"id": gone})
            target.qmp.wait("DEVICE_DELETED")
        target.qmp.execute("blockdev-close-tray", {"id": "c"})
        target.qmp.execute("system_reset")
        target.qmp.execute("query-block", view=_trays)
        leave(target)
