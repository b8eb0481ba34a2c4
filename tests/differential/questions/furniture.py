"""What a machine has without being told, asked by QMP: drives, ports, adapters, networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.differential.scenes import MIB, leave

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage

PC = "-machine pc -accel tcg -m 8 -S"
Q35 = "-machine q35 -accel tcg -m 8 -S"
FLOPPY = "/machine/unattached/device[14]"


def _drives(drives: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what is told of media: where they are, and how they are called, is chosen anew."""
    return [
        {**drive, "inserted": drive["inserted"]["file"]} if "inserted" in drive else drive
        for drive in drives
    ]


def _look(machine: Machine) -> None:
    machine.qmp.execute("query-block", view=_drives)


def what_it_has_without_being_told(stage: Stage) -> None:
    no_sata = Q35.replace("q35", "q35,sata=off")
    for arguments in (PC, Q35, no_sata, "-machine none"):
        machine = stage.start(arguments)
        _look(machine)
        machine.qmp.execute("query-blockstats")
        machine.qmp.execute("query-pci")
        machine.qmp.execute("query-mice")
        machine.qmp.execute("query-named-block-nodes")
        leave(machine)


def what_takes_the_place_of_its_like(stage: Stage) -> None:
    for words in (
        "-device ide-cd",
        "-device floppy,unit=1,id=x",
        "-device isa-fdc,iobase=0x370,id=f",
        "-device virtio-scsi-pci -device scsi-cd",
        "-device VGA",
        "-device isa-serial,index=1",
        "-hdc a.img",
        "-hda a.img",
        "-fda a.img -fdb b.img",
        "-drive if=floppy,index=1",
        "-netdev user,id=n",
        "-vga none",
        "-vga cirrus",
        "-nic none",
    ):
        for name in ("a.img", "b.img"):
            with stage.file(name).open("wb") as image:
                image.truncate(MIB)
        machine = stage.start(f"{PC} {words}", qmp=True)
        _look(machine)
        for path in ("/machine/unattached", "/machine/peripheral", "/machine/peripheral-anon"):
            machine.qmp.execute("qom-list", {"path": path}, view=_devices)
        leave(machine)


def _devices(entries: list[dict[str, str]]) -> list[str]:
    return sorted(f"{e['name']} {e['type']}" for e in entries if "device[" in e["name"])


def a_floppy_drive_has_no_tray(stage: Stage) -> None:
    with stage.file("a.img").open("wb") as image:
        image.truncate(MIB)
    machine = stage.start(PC)
    for command in ("eject", "blockdev-open-tray", "blockdev-close-tray"):
        machine.qmp.execute(command, {"device": "floppy0"})
        machine.qmp.execute(command, {"id": FLOPPY})
    disk = {"filename": "a.img", "format": "raw"}
    machine.qmp.execute("blockdev-change-medium", {"device": "floppy0", **disk})
    _look(machine)
    machine.qmp.execute("eject", {"device": "floppy0"})
    _look(machine)
    node = {"driver": "null-co", "node-name": "n", "read-zeroes": True}
    machine.qmp.execute("blockdev-add", node)
    machine.qmp.execute("blockdev-insert-medium", {"id": FLOPPY, "node-name": "n"})
    _look(machine)
    machine.qmp.execute("blockdev-remove-medium", {"id": FLOPPY})
    _look(machine)
    leave(machine)


def floppies_that_there_is_no_place_for(stage: Stage) -> None:
    for words in (
        "-device floppy,unit=3",
        "-device floppy -device floppy -device floppy",
        "-device floppy,unit=0 -device floppy,unit=0",
        "-fda nope.img",
    ):
        stage.refused(f"{PC} {words}")
    stage.refused(f"{Q35} -device floppy")


def devices_of_the_board_go_as_others_do(stage: Stage) -> None:
    machine = stage.start(PC)
    for number in (4, 7, 11, 14, 19, 99):
        machine.qmp.execute("device_del", {"id": f"/machine/unattached/device[{number}]"})
    machine.qmp.execute("system_reset")
    machine.qmp.execute("query-pci")
    leave(machine)


def networks_as_people_write_them(stage: Stage) -> None:
    for words in (
        f"{Q35} -nic user -nic user,model=e1000,mac=52:54:00:aa:00:01,id=n",
        f"{Q35} -nic none -nic user",
        f"{Q35} -net nic,macaddr=52:54:00:aa:00:02,netdev=x -netdev user,id=x",
        f"{Q35} -net nic -net user,id=u",
        f"{Q35} -net nic",
        f"{Q35} -net user",
        f"{Q35} -nic user,model=nope,id=n",
        "-machine none -net nic,id=n -net user",
        "-machine none -nic user",
        "-machine none -nic none",
    ):
        machine = stage.start(words, human="socket")
        machine.human.type("info network")
        leave(machine)
        machine.exited()


def networks_that_make_no_sense(stage: Stage) -> None:
    for words in (
        "-nic nope",
        "-nic user,foo=1",
        "-nic user,mac=zz",
        "-nic user,id=1x",
        "-nic user,netdev=x",
        "-net nope",
        "-net nic,foo=1",
        "-net nic,netdev=nope",
        "-net nic,macaddr=1:2",
        "-nic user,id=a -nic user,id=a",
        "-vga nope",
    ):
        stage.refused(f"{Q35} {words}")


def what_is_inside(stage: Stage) -> None:
    for arguments in (PC, Q35, "-machine none -nodefaults -accel tcg"):
        machine = stage.start(arguments)
        for command in ("irq", "interrupt-controllers", "jit", "opcount", "usb"):
            machine.qmp.execute(f"x-query-{command}", view=_rows)
        machine.qmp.execute("query-hv-balloon-status-report")
        machine.qmp.execute("dumpdtb", {"filename": "x"})
        leave(machine)


def _rows(told: dict[str, str]) -> list[str]:
    """Which controller comes first, and what a translator does behind the scenes, is its affair."""
    rows = told["human-readable-text"].splitlines()
    return sorted(row for row in rows if not row.startswith("TLB elided"))
