"""Machines with devices: their states go from real QEMU through vmd and back, byte for byte."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.differential.scenes import capabilities, leave, load, save

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage
    from tests.differential.wires import Wire

Q35 = "-machine q35 -nodefaults -accel tcg -m 16"
DISK = "-blockdev null-co,node-name={0},size=1048576"
DEVICES = {
    "disks": f"{DISK.format('b0')} -device virtio-blk-pci,drive=b0,id=vd"
    f" -device virtio-scsi-pci,id=s0 {DISK.format('b1')}"
    f" -device scsi-hd,drive=b1,bus=s0.0,scsi-id=0,lun=0 {DISK.format('b2')}"
    " -device ide-hd,drive=b2,bus=ide.1",
    "networks": "-netdev user,id=n0 -device virtio-net-pci,netdev=n0 -netdev user,id=n1"
    " -device e1000e,netdev=n1 -netdev user,id=n2 -device e1000,netdev=n2",
    "consoles": "-device virtio-serial-pci,id=vs -chardev null,id=c0"
    " -device virtserialport,bus=vs.0,chardev=c0,name=org.qemu.guest_agent.0"
    " -device qemu-xhci,id=x -device usb-tablet,bus=x.0 -device usb-kbd,bus=x.0"
    " -device virtio-keyboard-pci",
    "ports": "-device pcie-root-port,id=rp1,chassis=1 -device pcie-root-port,id=rp2,chassis=2"
    " -device virtio-rng-pci,bus=rp1 -device virtio-balloon-pci,bus=rp2",
    "odds": "-device VGA -device i6300esb -device pvpanic -device vmcoreinfo"
    " -device virtio-gpu-pci",
}
OWN = ("timer", "globalstate")  # sections that vmd understands, and writes anew


def speaks(serial: Wire, letter: bytes) -> None:
    while letter not in serial.read(f"the guest's {letter!r}"):
        pass


def saved(machine: Machine, name: str) -> None:
    capabilities(machine, "events")
    save(machine, f"file:{name}")
    leave(machine)


def loaded(machine: Machine, name: str) -> Machine:
    capabilities(machine, "events")
    load(machine, f"file:{name}")
    return machine


def status(machine: Machine) -> str:
    return str(machine.qmp.execute("query-status")["status"])


def sections(path: Path) -> list[tuple[str, int, bytes]]:
    """Name, instance and bytes of each device section of a state file."""
    vmdctl = Path(sys.executable).with_name("vmdctl")
    command = [str(vmdctl), "inspect", "--json", str(path)]
    said = subprocess.run(command, capture_output=True, check=True).stdout
    told: dict[str, Any] = json.loads(said)
    data = path.read_bytes()
    found = []
    for one in told["devices"]:
        body = data[one["offset"] :][: one["length"]]
        # Section ids may differ: they stand in the header and in the footer.
        found.append((one["name"], one["instance-id"], body[5:-4]))
    return found


@pytest.mark.parametrize("kind", DEVICES)
def test_a_guest_of_qemu_with_devices_visits_vmd_and_lives_on(
    kind: str, vmd: Stage, real: Stage
) -> None:
    line = f"{Q35} {DEVICES[kind]}"
    # With other disks beside its own the firmware would not boot the guest.
    guest = "none" if kind == "disks" else "ab"
    source = real.start(line, guest=guest, serial=True)
    if guest == "ab":
        speaks(source.serial, b"B")
    saved(source, "first")
    host = loaded(vmd.start(f"{line} -incoming defer", guest="none"), "first")
    assert status(host) == "running"
    saved(host, "second")
    first, second = sections(real.file("first")), sections(vmd.file("second"))
    assert [one for one in second if one[0] not in OWN] == [
        one for one in first if one[0] not in OWN
    ]
    target = real.start(f"{line} -incoming defer", guest=guest, serial=True)
    loaded(target, "second")
    assert status(target) == "running"
    if guest == "ab":
        speaks(target.serial, b"B")
    leave(target)


@pytest.mark.parametrize("kind", DEVICES)
def test_a_machine_of_vmd_with_devices_is_loaded_by_qemu_and_by_vmd(
    kind: str, vmd: Stage, real: Stage
) -> None:
    line = f"{Q35} {DEVICES[kind]} -S"
    saved(vmd.start(line, guest="none"), "born")
    for program in (real, vmd):
        target = loaded(program.start(f"{line} -incoming defer", guest="none"), "born")
        assert status(target) == "prelaunch"
        leave(target)


AS_THEY_COME = (
    "-machine pc -accel tcg -m 16 -S",
    "-machine q35 -accel tcg -m 16 -S -smp 2",
    "-machine pc -accel tcg -m 16 -S -vga cirrus -nic user,model=virtio",
    "-machine q35 -accel tcg -m 16 -S -vga none -net none -drive if=floppy",
    "-machine none -S",
)


@pytest.mark.parametrize("line", AS_THEY_COME)
def test_a_board_as_it_comes_goes_from_qemu_through_vmd_and_back(
    line: str, vmd: Stage, real: Stage
) -> None:
    saved(real.start(line, guest="none"), "first")
    host = loaded(vmd.start(f"{line} -incoming defer", guest="none"), "first")
    saved(host, "second")
    target = loaded(real.start(f"{line} -incoming defer", guest="none"), "second")
    assert status(target) == "prelaunch"
    leave(target)


@pytest.mark.parametrize("line", AS_THEY_COME)
def test_a_board_of_vmd_as_it_comes_is_loaded_by_qemu(line: str, vmd: Stage, real: Stage) -> None:
    saved(vmd.start(line, guest="none"), "born")
    target = loaded(real.start(f"{line} -incoming defer", guest="none"), "born")
    assert status(target) == "prelaunch"
    leave(target)


BALLOON = f"{Q35} -device virtio-balloon-pci,id=b"


def test_what_a_guest_is_asked_to_give_back_travels_with_it(vmd: Stage) -> None:
    source = vmd.start(f"{BALLOON} -S", guest="idle")
    source.qmp.execute("balloon", {"value": 8 << 20})
    saved(source, "asked")
    line = f"{BALLOON} -incoming defer"
    first = loaded(vmd.start(line, guest="none"), "asked")
    assert first.qmp.execute("query-balloon") == {"actual": 16 << 20}
    saved(first, "asked again")
    target = loaded(vmd.start(line, guest="none"), "asked again")
    target.qmp.execute("cont")
    target.qmp.wait("BALLOON_CHANGE", actual=8 << 20)
    saved(target, "followed")
    last = loaded(vmd.start(line, guest="none"), "followed")
    last.qmp.execute("balloon", {"value": 12 << 20})
    last.qmp.wait("BALLOON_CHANGE", actual=12 << 20)
    leave(last)


def test_what_a_guest_has_given_back_travels_with_it(vmd: Stage) -> None:
    source = vmd.start(BALLOON, guest="idle")
    source.qmp.execute("balloon", {"value": 8 << 20})
    source.qmp.wait("BALLOON_CHANGE", actual=8 << 20)
    source.qmp.execute("system_reset")
    saved(source, "small")
    target = loaded(vmd.start(f"{BALLOON} -incoming defer", guest="none"), "small")
    assert target.qmp.execute("query-balloon") == {"actual": 8 << 20}
    target.qmp.execute("balloon", {"value": 16 << 20})
    target.qmp.wait("BALLOON_CHANGE", actual=16 << 20)
    leave(target)


def test_what_a_guest_is_asked_to_give_up_travels_with_it(vmd: Stage) -> None:
    line = f"{Q35} -device pcie-root-port,id=p,chassis=1 -device virtio-rng-pci,id=r,bus=p"
    source = vmd.start(f"{line} -S", guest="idle")
    source.qmp.execute("device_del", {"id": "r"})
    saved(source, "asked")
    first = loaded(vmd.start(f"{line} -S -incoming defer", guest="none"), "asked")
    saved(first, "asked again")
    target = loaded(vmd.start(f"{line} -incoming defer", guest="none"), "asked again")
    target.qmp.execute("cont")
    target.qmp.wait("DEVICE_DELETED", device="r")
    leave(target)
