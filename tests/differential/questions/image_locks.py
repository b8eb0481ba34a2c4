"""An image belongs to one machine: what a second one is told that wants it, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.differential.scenes import capabilities, images, leave, load, save

if TYPE_CHECKING:
    from tests.differential.stage import Stage

PC = "-machine pc -nodefaults -accel tcg -S -m 16"
RAW = "-blockdev driver=file,node-name=d,filename=a.img"
IMAGE = "-blockdev driver=qcow2,node-name=d,file.driver=file,file.filename=b.qcow2"
BASED = "-blockdev driver=qcow2,node-name=d,file.driver=file,file.filename=c.qcow2"
DISK = "-device virtio-blk-pci,drive=d,id=v"
SECONDS = (
    *(f"{RAW} {DISK}", f"{RAW},read-only=on {DISK}", f"{RAW} {DISK},share-rw=on", RAW),
    *(f"{RAW},locking=off {DISK}", f"{IMAGE}", f"{IMAGE},read-only=on", f"{BASED}"),
    *(
        f"{BASED} {DISK}",
        f"{RAW} -device ide-hd,drive=d",
        f"{RAW},read-only=on -device ide-cd,drive=d",
    ),
    *("-drive if=none,id=x,file=a.img,format=raw", "-drive if=virtio,file=a.img,format=raw"),
    *("-hda a.img", "-cdrom a.img", "-hda b.qcow2", "-drive if=none,file=b.qcow2,id=x"),
    f"{BASED} {DISK},share-rw=on",
    *("-drive if=none,file=b.qcow2,id=x,read-only=on", "-drive if=none,file=c.qcow2,id=x"),
)


def _owned(stage: Stage, words: str) -> None:
    """One machine has images open; others come and want them."""
    owner = stage.start(f"{PC} {words}")
    for wish in SECONDS:
        stage.refused(f"{PC} {wish} -device none")
    leave(owner)


def a_disk_that_another_machine_writes(stage: Stage) -> None:
    images(stage)
    _owned(stage, f"{RAW} {DISK}")


def an_image_that_another_machine_has_open(stage: Stage) -> None:
    images(stage)
    _owned(stage, IMAGE)


def what_several_machines_read(stage: Stage) -> None:
    images(stage)
    _owned(stage, f"{BASED} {DISK}")
    _owned(stage, f"{RAW} {DISK},share-rw=on")


def _node(name: str, **more: object) -> dict[str, object]:
    return {"driver": "file", "node-name": name, "filename": "a.img", **more}


def locks_that_come_and_go(stage: Stage) -> None:
    images(stage)
    owner, other = (stage.start(PC) for _ in range(2))
    for machine in (owner, other):
        machine.qmp.execute("blockdev-add", _node("d"))
    for machine in (owner, other):
        machine.qmp.execute("device_add", {"driver": "virtio-blk-pci", "drive": "d", "id": "v"})
    # Within one machine, too.
    owner.qmp.execute("blockdev-add", _node("e"))
    owner.qmp.execute("device_add", {"driver": "virtio-blk-pci", "drive": "e", "id": "w"})
    image = {"driver": "qcow2", "node-name": "q", "file": _node("f", filename="b.qcow2")}
    owner.qmp.execute("blockdev-add", image)
    other.qmp.execute("blockdev-add", image)
    other.qmp.execute("blockdev-add", {**image, "read-only": True})
    owner.qmp.execute("blockdev-del", {"node-name": "f"})
    owner.qmp.execute("blockdev-del", {"node-name": "q"})
    other.qmp.execute("blockdev-add", image)
    owner.qmp.execute("blockdev-add", image)
    leave(owner)
    other.qmp.execute("device_add", {"driver": "virtio-blk-pci", "drive": "d", "id": "v"})
    leave(other)


def a_medium_that_another_machine_writes(stage: Stage) -> None:
    images(stage)
    owner = stage.start(f"{PC} {RAW} {DISK}")
    other = stage.start(f"{PC} -device ide-cd,id=cd")
    change = {"id": "cd", "filename": "a.img"}
    other.qmp.execute("blockdev-change-medium", change)
    leave(owner)
    other.qmp.execute("blockdev-change-medium", change)
    leave(other)


def an_image_follows_its_machine(stage: Stage) -> None:
    images(stage)
    line = f"{PC} {IMAGE} {DISK}"
    source = stage.start(line)
    target = stage.start(f"{line} -incoming defer")
    for machine in (source, target):
        capabilities(machine, "events")
    stage.refused(line)
    save(source, "file:vm.state")
    load(target, "file:vm.state")
    target.qmp.execute("query-status")
    target.qmp.execute("cont")
    source.qmp.execute("cont")
    source.qmp.execute("query-status")
    stage.refused(line)
    leave(target)
    source.qmp.execute("cont")
    source.qmp.execute("query-status")
    leave(source)
