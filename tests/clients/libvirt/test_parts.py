"""The parts of a running domain: they come and go, change, and are told of."""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING

import pytest

from tests.clients.libvirt.conftest import CONSOLE
from tests.clients.libvirt.furniture import (
    MAC,
    NETWORK,
    blank,
    disk,
    furnished,
    qcow2_disk,
    raw_disk,
)
from tests.clients.libvirt.host import VirshError
from tests.differential.scenes import MIB

if TYPE_CHECKING:
    from tests.clients.libvirt.conftest import MakeDomain
    from tests.clients.libvirt.host import Domain, Host


def attach(subject: Domain, xml: str) -> None:
    path = subject.host.directory / f"{subject.name}.part.xml"
    path.write_text(xml)
    subject.does("attach-device", str(path), "--live")


def is_empty(subject: Domain, target: str) -> bool:
    rows = [line.split() for line in subject.does("domblklist").splitlines()]
    return [target, "-"] in rows


def test_discs_are_changed(host: Host, domain: MakeDomain) -> None:
    subject = domain(furnished(host))
    subject.does("start")
    first, second = str(blank(host, MIB, "iso")), str(blank(host, 2 * MIB, "iso"))
    assert is_empty(subject, "sda")
    subject.does("change-media", "sda", first, "--insert", "--live")
    assert f"Capacity:       {MIB}" in subject.does("domblkinfo", "sda")
    with pytest.raises(VirshError, match="already has media"):
        subject.does("change-media", "sda", second, "--insert", "--live")
    subject.does("change-media", "sda", second, "--update", "--live")
    assert f"Capacity:       {2 * MIB}" in subject.does("domblkinfo", "sda")
    subject.does("change-media", "sda", "--eject", "--live")
    assert is_empty(subject, "sda")
    with pytest.raises(VirshError, match="No such file or directory"):
        subject.does("change-media", "sda", f"{first}.none", "--insert", "--live")
    assert is_empty(subject, "sda")


def test_disks_become_larger_and_smaller(host: Host, domain: MakeDomain) -> None:
    subject = domain(furnished(host))
    subject.does("start")
    for target, size in (("vda", 12), ("vdb", 32), ("vdb", 4)):
        subject.does("blockresize", target, f"{size}M")
        assert f"Capacity:       {size * MIB}" in subject.does("domblkinfo", target)


def test_a_drive_is_held_back(host: Host, domain: MakeDomain) -> None:
    subject = domain(furnished(host))
    subject.does("start")
    subject.does("blkdeviotune", "vda", "--total-iops-sec", "100", "--total-iops-sec-max", "200")
    told = [line.replace(" ", "") for line in subject.does("blkdeviotune", "vda").splitlines()]
    assert {"total_iops_sec:100", "total_iops_sec_max:200"} <= set(told)
    with pytest.raises(VirshError):
        subject.does("blkdeviotune", "vda", "--total-iops-sec", "1", "--read-iops-sec", "1")
    subject.does("blkdeviotune", "vda", "--total-iops-sec", "0", "--total-iops-sec-max", "0")
    subject.does("domblkthreshold", "vda", "1M")


def test_disks_are_attached(host: Host, domain: MakeDomain) -> None:
    subject = domain(f"{raw_disk(host)}{CONSOLE}")
    subject.does("start")
    missing = host.directory / "there-is-none.img"
    with pytest.raises(VirshError, match="No such file or directory"):
        attach(subject, disk(missing, "vdb"))
    assert "vdb" not in subject.does("domblklist")
    attach(subject, qcow2_disk(host))
    assert "vdb" in subject.does("domblklist")
    assert f"Capacity:       {16 * MIB}" in subject.does("domblkinfo", "vdb")


def test_interfaces_are_attached_and_their_cables_pulled(domain: MakeDomain) -> None:
    subject = domain()
    subject.does("start")
    attach(subject, NETWORK.format(mac=MAC))
    assert MAC in subject.does("domiflist")
    for state in ("down", "up"):
        subject.does("domif-setlink", MAC, state)
        assert subject.does("domif-getlink", MAC) == f"{MAC} {state}"
    with pytest.raises(VirshError, match="not found"):
        subject.does("domif-setlink", "52:54:00:00:00:99", "up")


def test_an_interface_of_the_hosts_needs_the_host(domain: MakeDomain) -> None:
    """Tap interfaces are libvirt's affair; where it lives here there is no way to get one."""
    subject = domain(f"{CONSOLE}<interface type='ethernet'><model type='virtio'/></interface>")
    with pytest.raises(VirshError, match="tun"):
        subject.does("start")


def test_processors_are_plugged_in(domain: MakeDomain) -> None:
    subject = domain(vcpus=(2, 4))
    subject.does("start")
    assert subject.does("vcpucount", "--live", "--active") == "2"
    subject.does("setvcpus", "3", "--live")
    assert subject.does("vcpucount", "--live", "--active") == "3"
    assert subject.does("vcpuinfo").count("running") == 3
    with pytest.raises(VirshError, match="9 > 4"):
        subject.does("setvcpus", "9", "--live")


def test_threads_for_drives_come_and_go(domain: MakeDomain) -> None:
    subject = domain()
    subject.does("start")
    subject.does("iothreadadd", "1")
    subject.does("iothreadset", "1", "--poll-max-ns", "1000")
    assert subject.does("iothreadinfo").splitlines()[-1].split()[0] == "1"
    subject.does("iothreaddel", "1")
    assert "1" not in subject.does("iothreadinfo").split()


def test_its_screen_is_photographed(host: Host, domain: MakeDomain) -> None:
    subject = domain(furnished(host))
    subject.does("start")
    path = host.directory / f"{subject.name}.picture"
    subject.does("screenshot", str(path))
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


# Where somebody lives


def test_the_guest_lets_go_of_a_disk_and_an_interface(host: Host, on_vmd: MakeDomain) -> None:
    subject = on_vmd(f"{qcow2_disk(host)}{CONSOLE}{NETWORK.format(mac=MAC)}")
    subject.does("start")
    subject.does("detach-disk", "vdb", "--live")
    subject.does("detach-interface", "user", "--mac", MAC, "--live")
    assert "vdb" not in subject.does("domblklist")
    assert MAC not in subject.does("domiflist")
    assert subject.asks("query-named-block-nodes") == []


def test_the_guest_lets_go_of_a_processor(on_vmd: MakeDomain) -> None:
    subject = on_vmd(vcpus=(1, 2))
    subject.does("start")
    subject.does("setvcpus", "2", "--live")
    subject.does("setvcpus", "1", "--live")
    assert subject.does("vcpucount", "--live", "--active") == "1"


def test_a_guest_speaks_and_listens_on_its_console(on_vmd: MakeDomain) -> None:
    subject = on_vmd(arguments=("-vmd", "guest=idle"))
    subject.does("start")
    for word in (b"hello", b"poweroff"):
        console = os.open(subject.does("ttyconsole"), os.O_RDWR | os.O_NOCTTY)
        try:
            os.write(console, word + b"\r")
            said = b""
            while word not in said:
                assert select.select([console], [], [], 30)[0], "the guest is silent"
                said += os.read(console, 4096)
        finally:
            os.close(console)
    subject.becomes("shut off (shutdown)")


ROOM = (
    "<maxMemory slots='4' unit='MiB'>1024</maxMemory>"
    "<cpu><numa><cell id='0' cpus='0-1' memory='65536' unit='KiB'/></numa></cpu>"
)
MODULE = (
    "<memory model='dimm'><target><size unit='MiB'>64</size><node>0</node></target>"
    "<alias name='ua-more'/></memory>"
)


def test_memory_is_plugged_in(host: Host, domain: MakeDomain) -> None:
    subject = domain(f"{MODULE.replace('ua-more', 'ua-first')}{CONSOLE}", elements=ROOM)
    subject.does("start")
    attach(subject, MODULE)
    modules = subject.asks("query-memory-devices")
    assert [each["data"]["id"] for each in modules] == ["ua-first", "ua-more"]
    assert "Max memory:     196608 KiB" in subject.does("dominfo")
    path = host.directory / f"{subject.name}.saved"
    subject.does("save", str(path))
    host.virsh("restore", str(path))
    assert subject.asks("query-memory-devices")[1]["data"]["size"] == 64 * MIB


def test_the_guest_lets_go_of_memory(on_vmd: MakeDomain) -> None:
    subject = on_vmd(CONSOLE, elements=ROOM)
    subject.does("start")
    attach(subject, MODULE)
    subject.does("detach-device-alias", "ua-more", "--live")
    subject.host.until(
        lambda: "ua-more" not in subject.does("dumpxml"), "libvirt hears that it is gone"
    )
    assert subject.asks("query-memory-size-summary")["plugged-memory"] == 0
