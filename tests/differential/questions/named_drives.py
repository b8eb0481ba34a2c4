"""Drives as people write them: -drive, -hda, -cdrom, and a word that is no option."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.differential.scenes import MIB, PC, Q35, leave

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage

RAW = "-drive file=a.img,format=raw"
SEEN = ("drv", "file", "ro", "cache", "detect_zeroes", "backing_file_depth")


def _images(stage: Stage) -> None:
    for name in ("a.img", "b.img"):
        with stage.file(name).open("wb") as image:
            image.truncate(MIB)


def _drives(drives: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Nodes without a name have any number."""
    found = []
    for drive in drives:
        told = {name: value for name, value in drive.items() if name != "inserted"}
        if "inserted" in drive:
            told["inserted"] = {name: drive["inserted"][name] for name in SEEN}
        found.append(told)
    return found


def _listed(stage: Stage, *asked: str) -> None:
    _images(stage)
    for words in asked:
        machine = stage.start(words)
        machine.qmp.execute("query-block", view=_drives)
        machine.qmp.execute("query-named-block-nodes", view=_files)
        leave(machine)


def _files(nodes: list[dict[str, Any]]) -> list[str]:
    return [f"{node['drv']} {node['file']} ro={node['ro']}" for node in nodes]


def drives_that_are_written(stage: Stage) -> None:
    _listed(
        stage,
        f"{PC} -S {RAW},if=virtio",
        f"{PC} -S {RAW},if=none,id=x -device virtio-blk-pci,drive=x,id=v",
        f"{PC} -S {RAW},if=none,id=x,readonly=on,node-name=n,cache=none,detect-zeroes=on",
        f"{PC} -S {RAW} -cdrom b.img",
        f"{PC} -S -hdb a.img -hdc b.img",
        f"{PC} -S -drive if=none,id=c,media=cdrom -device ide-cd,drive=c,id=cd",
        f"{PC} -S {RAW},index=3,cache=unsafe,werror=stop,rerror=report,discard=unmap",
        f"{Q35} -S {RAW} -cdrom b.img",
        f"{Q35} -S {RAW},if=virtio,id=one -drive file=b.img,format=raw,if=virtio",
        f"{PC} -S a.img",
        "-machine none a.img -cdrom b.img",
    )


def drives_that_come_and_go(stage: Stage) -> None:
    _images(stage)
    machine = stage.start(
        f"{Q35} {RAW},if=none,id=x -drive if=none,id=c,media=cdrom -S"
        " -device virtio-blk-pci,drive=x,id=v -device ide-cd,drive=c,id=cd"
    )
    _changes(machine)
    leave(machine)


def _changes(machine: Machine) -> None:
    for command, arguments in (
        ("block_resize", {"device": "x", "size": 2 * MIB}),
        ("block_resize", {"device": "zz", "size": 2 * MIB}),
        ("blockdev-open-tray", {"device": "c"}),
        ("blockdev-open-tray", {"device": "x"}),
        ("blockdev-change-medium", {"device": "c", "filename": "b.img", "format": "raw"}),
        ("eject", {"device": "c"}),
        ("eject", {"device": "zz"}),
        ("qom-get", {"path": "/machine/peripheral/v", "property": "drive"}),
    ):
        machine.qmp.execute(command, arguments)
    machine.qmp.execute("query-block", view=_drives)
    machine.qmp.execute("query-blockstats", view=_names)


def _names(stats: list[dict[str, Any]]) -> list[str]:
    return [each["device"] for each in stats]


def what_drives_do_with_their_cache(stage: Stage) -> None:
    _images(stage)
    for words, device in (
        ("cache=writethrough", "virtio-blk-pci,drive=x"),
        ("cache=writethrough", "ide-hd,drive=x,write-cache=on"),
        ("cache=directsync", "virtio-blk-pci,drive=x,write-cache=auto"),
        ("cache.writeback=off,cache=none", "virtio-blk-pci,drive=x"),
        ("cache.direct=on,cache=unsafe,aio=native", "ide-hd,drive=x,write-cache=off"),
        ("cache.no-flush=on", ""),
    ):
        plugged = f" -device {device}" if device else ""
        machine = stage.start(f"{Q35} -S {RAW},if=none,id=x,{words}{plugged}")
        machine.qmp.execute("query-block", view=_caches)
        leave(machine)


def _caches(drives: list[dict[str, Any]]) -> list[object]:
    return [drive["inserted"]["cache"] for drive in drives]


def a_drive_that_is_a_device_of_the_host(stage: Stage) -> None:
    machine = stage.start(f"{Q35} -S -drive file=/dev/zero,if=none,id=x,format=raw")
    machine.qmp.execute("query-named-block-nodes", view=_drivers)
    machine.qmp.execute("block_resize", {"device": "x", "size": MIB})
    for command, arguments in (
        ("blockdev-add", {"driver": "file", "node-name": "a", "filename": "/dev/zero"}),
        ("blockdev-add", {"driver": "file", "node-name": "b", "filename": "."}),
        ("blockdev-add", {"driver": "file", "node-name": "c", "filename": ".", "read-only": True}),
    ):
        machine.qmp.execute(command, arguments)
    leave(machine)
    stage.refused(f"{PC} -drive file=/dev/ptmx,if=none,format=raw")


def _drivers(nodes: list[dict[str, Any]]) -> list[str]:
    return [node["drv"] for node in nodes]


def drives_that_cannot_be(stage: Stage) -> None:
    _images(stage)
    for words in (
        *("-drive foo", "-drive file=/nonexistent", "-drive file=a.img,if=foo", "-cdrom nowhere"),
        *(f"{RAW}x", "-drive file=a.img,media=foo", "-drive file=a.img,index=0 -hda b.img"),
        f"{RAW},if=none,id=a -drive file=b.img,if=none,id=a",
        *(f"{RAW},cache=foo,if=none", f"{RAW},if=none,foo=1", "-drive if=virtio"),
        *(f"{RAW},if=ide,bus=9", f"{RAW},aio=foo,if=none", "-drive if=none,id=1x"),
        *(f"{RAW},if=sd", f"{RAW},if=scsi", f"{RAW},index=1,unit=0", f"{RAW},unit=7"),
        f"{RAW},if=none,id=x -device virtio-blk-pci,drive=x -device virtio-blk-pci,drive=x",
        *(f"{RAW},werror=foo", f"{RAW},rerror=foo", f"{RAW},discard=foo", "nowhere"),
        *(
            f"{RAW},if=none,aio=native",
            f"{RAW},if=none,cache.writeback=foo",
            f"{RAW},rerror=enospc",
        ),
        *(f"{RAW},if=none,detect-zeroes=foo", f"{RAW},readonly=maybe", f"{RAW},index=x"),
    ):
        stage.refused(f"{PC} {words}")


def drives_that_a_board_makes_itself(stage: Stage) -> None:
    """They are among its own parts, and those behind them count on."""
    _images(stage)
    with stage.file("large.img").open("wb") as image:
        image.truncate(9 << 30)
    drives = "-drive file=a.img,format=raw -drive file=large.img,format=raw -cdrom b.img"
    for board in ("pc -smp 3", "q35,hpet=off", "q35 -smp 2 -device VGA"):
        line = f"-machine {board} -nodefaults -accel tcg -S -m 16 {drives} -device virtio-rng-pci"
        machine = stage.start(line)
        for command in ("info qom-tree", "info qtree"):
            asked = {"command-line": command}
            machine.qmp.execute("human-monitor-command", asked, view=_sorted_rows)
        machine.qmp.execute("qom-list", {"path": "/machine/peripheral-anon"})
        machine.qmp.execute("query-block", view=lambda told: [each["qdev"] for each in told])
        leave(machine)


def _sorted_rows(text: str) -> list[str]:
    return sorted(text.split("\r\n"))


ADDED = (
    *("if=none,id=x,file=a.img,format=raw", "if=none,id=x,file=b.img,format=raw"),
    *("if=none,file=b.img,format=raw,cache=none,aio=native,detect-zeroes=on", "if=none,id=z"),
    *("file=b.img,format=raw,id=y", "if=virtio,file=b.img,format=raw", "if=none,id=zz,file=nope"),
    *("if=none,id=zz,file=b.img,format=raw,bogus=1", "if=none,file=b.img,format=raw,aio=native"),
    *("bogus", "if=none,id=1", "if=odd", "if=none,media=tape", "if=none,unit=0", "if=ide,index=9"),
)


def drives_added_at_the_monitor(stage: Stage) -> None:
    _images(stage)
    machine = stage.start(
        f"{PC} -S -device virtio-scsi-pci,id=s -device ide-cd,id=cd", human="pipe"
    )
    for words in ADDED:
        machine.human.type(f"drive_add 0 {words}")
    machine.human.type('drive_add auto "file=a.img,if=none,id=drive-scsi1,format=raw"')
    machine.human.type("drive_add -n 0 driver=file,node-name=n,filename=a.img,read-only=on")
    machine.human.type("drive_add -n 0 driver=file,filename=a.img")
    machine.human.type("drive_add -n 0 driver=file,node-name=n,filename=a.img")
    for line in ("drive_add", "drive_add 0", "drive_del", "drive_del nope"):
        machine.human.type(line)
    _seen(machine)
    machine.human.type("drive_del n")
    machine.human.type("drive_del z")
    _seen(machine)
    leave(machine)


def drives_taken_away_at_the_monitor(stage: Stage) -> None:
    _images(stage)
    machine = stage.start(f"{PC} -S -device ide-cd,id=cd {RAW},if=none,id=w", human="pipe")
    for line in (
        "device_add virtio-scsi-pci,id=s",
        "drive_add 0 if=none,id=x,file=b.img,format=raw",
        "drive_add 0 if=none,id=e,media=cdrom",
        "device_add scsi-hd,drive=x,id=d0",
        "device_add scsi-cd,drive=e,id=d1",
        "device_add virtio-blk-pci,drive=w,id=d2",
    ):
        machine.human.type(line)
    _seen(machine)
    for name in "xew":
        machine.human.type(f"drive_del {name}")
    _seen(machine)
    machine.human.type("drive_add 0 if=none,id=x,file=b.img,format=raw")
    machine.human.type("device_add scsi-hd,drive=x,id=d3")
    machine.human.type("drive_del x")
    machine.human.type("device_del d0")
    machine.qmp.wait("DEVICE_DELETED", path="/machine/peripheral/d0")
    machine.human.type("drive_add 0 if=none,id=x,file=b.img,format=raw")
    machine.human.type("device_add scsi-hd,drive=x,id=d0")
    _seen(machine)
    leave(machine)


def _seen(machine: Machine) -> None:
    machine.qmp.execute("query-block", view=_drives)
    machine.qmp.execute("query-blockstats", view=_names)
    machine.qmp.execute("query-named-block-nodes", view=lambda nodes: sorted(_files(nodes)))
