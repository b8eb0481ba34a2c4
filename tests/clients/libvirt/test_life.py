"""libvirt drives a domain through its life: the same story on vmd and on real QEMU.

Where a guest has to take part, only vmd's does: the other has nothing but firmware.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.clients.libvirt.host import VirshError

if TYPE_CHECKING:
    from tests.clients.libvirt.conftest import MakeDomain
    from tests.clients.libvirt.host import Host

MIB = 1 << 20
CONSOLE = "<console type='pty'/>"
IMAGES = itertools.count(1)


def raw_disk(host: Host, size: int = 8 * MIB) -> str:
    path = host.directory / f"raw{next(IMAGES)}.img"
    with path.open("wb") as image:
        image.truncate(size)
    return (
        f"<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{path}'/>"
        "<target dev='vda' bus='virtio'/></disk>"
    )


def qcow2_disk(host: Host, size: int = 16 * MIB) -> str:
    """A disk whose image is empty, and as small as such an image can be."""
    cluster = 1 << 16
    path = host.directory / f"q{next(IMAGES)}.qcow2"
    image = bytearray(4 * cluster)
    fields = (b"QFI\xfb", 3, 0, 0, 16, size, 0, 1, 3 * cluster, cluster, 1, 0, 0, 0, 0, 0, 4, 104)
    struct.pack_into(">4sIQIIQIIQQIIQQQQII", image, 0, *fields)
    struct.pack_into(">Q", image, cluster, 2 * cluster)
    struct.pack_into(">4H", image, 2 * cluster, 1, 1, 1, 1)
    path.write_bytes(image)
    return (
        f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
        f"<source file='{path}'/><target dev='vdb' bus='virtio'/></disk>"
    )


def furnished(host: Host) -> str:
    """Two disks, an empty CD drive, a network, a serial console, and what libvirt adds itself."""
    return (
        f"{raw_disk(host)}{qcow2_disk(host)}"
        "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>"
        "<interface type='user'><model type='virtio'/></interface>"
        f"{CONSOLE}<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/>"
        "</channel><input type='tablet' bus='usb'/>"
        "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"
    )


def test_the_emulator_tells_what_it_can(host: Host, emulator: str) -> None:
    told = host.virsh("domcapabilities", "--emulatorbin", emulator, "--virttype", "qemu")
    assert "<machine>pc-i440fx-10.0</machine>" in told
    assert "<value>virtio</value>" in told
    assert "<mode name='maximum' supported='yes'>" in told
    with pytest.raises(VirshError, match="the accel 'kvm' is not supported"):
        host.virsh("domcapabilities", "--emulatorbin", emulator, "--virttype", "kvm")


@pytest.mark.parametrize("devices", ["bare", "furnished"])
def test_a_domain_is_defined_started_and_destroyed(
    host: Host, domain: MakeDomain, devices: str
) -> None:
    subject = domain(furnished(host) if devices == "furnished" else CONSOLE)
    assert subject.state.startswith("shut off")
    subject.does("start")
    assert subject.state == "running (booted)"
    assert subject.name in host.virsh("list", "--name")
    subject.does("destroy")
    assert subject.state == "shut off (destroyed)"


def test_it_is_held_and_goes_on_and_is_reset(domain: MakeDomain) -> None:
    subject = domain()
    subject.does("start", "--paused")
    assert subject.state == "paused (user)"
    subject.does("resume")
    assert subject.state == "running (unpaused)"
    subject.does("suspend")
    assert subject.state == "paused (user)"
    subject.does("resume")
    subject.does("reset")
    assert subject.state.startswith("running")


def test_its_parts_are_listed_and_measured(host: Host, domain: MakeDomain) -> None:
    subject = domain(furnished(host))
    subject.does("start")
    assert "raw" in subject.does("domblklist") and "qcow2" in subject.does("domblklist")
    assert f"Capacity:       {8 * MIB}" in subject.does("domblkinfo", "vda")
    assert f"Capacity:       {16 * MIB}" in subject.does("domblkinfo", "vdb")
    assert "user" in subject.does("domiflist")
    assert subject.does("ttyconsole").startswith("/dev/pts/")
    assert subject.does("vcpucount", "--live", "--current") == "2"
    assert subject.does("vcpuinfo").count("running") == 2
    stats = subject.does("domstats")
    assert "block.count=3" in stats and f"block.1.capacity={16 * MIB}" in stats
    assert "actual 65536" in subject.does("dommemstat")
    assert "None" in subject.does("domjobinfo")


def test_both_monitors_answer_through_libvirt(domain: MakeDomain) -> None:
    subject = domain()
    subject.does("start")
    answer = json.loads(subject.does("qemu-monitor-command", '{"execute":"query-status"}'))
    assert answer["return"] == {"status": "running", "running": True}
    said = subject.does("qemu-monitor-command", "--hmp", "info status")
    assert said == "VM status: running"
    subject.does("send-key", "KEY_A")


def test_it_is_saved_and_restored(host: Host, domain: MakeDomain) -> None:
    subject = domain(furnished(host))
    subject.does("start")
    path = host.directory / f"{subject.name}.saved"
    subject.does("save", str(path))
    assert subject.state == "shut off (saved)"
    host.virsh("restore", str(path))
    assert subject.state == "running (restored)"
    subject.does("managedsave")
    assert subject.state == "shut off (saved)"
    subject.does("start")
    assert subject.state == "running (restored)"


def test_its_memory_is_dumped(host: Host, domain: MakeDomain) -> None:
    subject = domain()
    subject.does("start")
    path = host.directory / f"{subject.name}.core"
    subject.does("dump", "--memory-only", str(path))
    assert path.read_bytes()[:4] == b"\x7fELF"
    assert subject.state.startswith("running")


def test_disks_and_networks_are_attached(host: Host, domain: MakeDomain) -> None:
    subject = domain(f"{raw_disk(host)}{CONSOLE}")
    subject.does("start")
    disk = host.directory / f"{subject.name}.xml"
    disk.write_text(qcow2_disk(host))
    subject.does("attach-device", str(disk), "--live")
    assert "vdb" in subject.does("domblklist")
    assert f"Capacity:       {16 * MIB}" in subject.does("domblkinfo", "vdb")


def test_a_libvirtd_that_comes_back_finds_it_running(host: Host, domain: MakeDomain) -> None:
    subject = domain(furnished(host))
    subject.does("start")
    number = subject.does("domid")
    host.restart_libvirtd()
    assert subject.does("domid") == number
    assert subject.state.startswith("running")
    subject.does("suspend")
    assert subject.state == "paused (user)"


def test_an_emulator_that_is_killed_has_crashed(domain: MakeDomain) -> None:
    subject = domain()
    subject.does("start")
    subject.kill()
    subject.becomes("shut off (crashed)")


def test_what_cannot_start_says_why(host: Host, domain: MakeDomain) -> None:
    disk = raw_disk(host)
    subject = domain(f"{disk}{CONSOLE}")
    Path(disk.partition("source file='")[2].partition("'")[0]).unlink()
    with pytest.raises(VirshError, match="No such file or directory"):
        subject.does("start")
    assert subject.state == "shut off (failed)"


# What the guest takes part in


def test_the_guest_shuts_down_and_reboots(on_vmd: MakeDomain) -> None:
    subject = on_vmd()
    subject.does("start")
    subject.does("reboot")
    subject.becomes("running (booted)")
    subject.does("shutdown")
    subject.becomes("shut off (shutdown)")


def test_the_guest_gives_memory_back(on_vmd: MakeDomain) -> None:
    subject = on_vmd()
    subject.does("start")
    subject.does("setmem", "32M", "--live")
    smaller = "actual 32768"
    subject.host.until(lambda: smaller in subject.does("dommemstat"), "the guest follows")


def test_the_guest_lets_go_of_a_disk(host: Host, on_vmd: MakeDomain) -> None:
    subject = on_vmd(f"{qcow2_disk(host)}{CONSOLE}")
    subject.does("start")
    subject.does("detach-disk", "vdb", "--live")
    assert "vdb" not in subject.does("domblklist")


def test_the_guest_speaks_on_its_console(on_vmd: MakeDomain) -> None:
    subject = on_vmd()
    subject.does("start", "--paused")
    console = os.open(subject.does("ttyconsole"), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        subject.does("resume")
        assert select.select([console], [], [], 30)[0], "the guest is silent"
        assert os.read(console, 4096).strip()
    finally:
        os.close(console)
