"""libvirt drives a domain through its life: the same story on vmd and on real QEMU.

Where a guest has to take part, only vmd's does: the other has nothing but firmware.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.clients.libvirt.conftest import CONSOLE
from tests.clients.libvirt.furniture import furnished, raw_disk
from tests.clients.libvirt.host import VirshError
from tests.differential.scenes import MIB
from tests.differential.stage import find_vmd

if TYPE_CHECKING:
    from tests.clients.libvirt.conftest import MakeDomain
    from tests.clients.libvirt.host import Host
    from tests.differential.stage import Program


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
    assert subject.does("domblklist", "--details").count(" disk ") == 2
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
    subject.does("dump", "--memory-only", "--format", "kdump-zlib", f"{path}.kdump")
    assert b"KDUMP   " in (host.directory / f"{path}.kdump").read_bytes()[: 2 << 12]
    with pytest.raises(VirshError, match="unsupported dumpformat 'kdump-lzo'"):
        subject.does("dump", "--memory-only", "--format", "kdump-lzo", f"{path}.lzo")
    subject.does("dump", "--live", f"{path}.state")
    assert subject.state.startswith("running")


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


MISTAKES = (
    "resume {name}",
    "domif-setlink {name} 52:54:00:00:00:99 up",
    "blockresize {name} vdz 1M",
    "blockresize {name} sda 1M",
    "change-media {name} vda /nowhere --live",
    "detach-disk {name} vdz --live",
    "setvcpus {name} 99 --live",
    "setmem {name} 1G --live",
    "screenshot {name} /nowhere/picture --screen 9",
    "qemu-monitor-command {name} nonsense",
    'qemu-monitor-command {name} {{"execute":"none-such"}}',
    'qemu-monitor-command {name} {{"execute":"stop","arguments":{{"x":1}}}}',
    "qemu-monitor-command {name} --hmp nonsense",
    "domblkinfo {name} sda",
    "blkdeviotune {name} vda --total-bytes-sec 1 --read-bytes-sec 1",
    "dompmwakeup {name}",
    "guestinfo {name}",
    "start {name}",
    "managedsave-remove {name}",
    "snapshot-delete {name} none",
    "send-key {name} KEY_NONE",
    "iothreaddel {name} 7",
)


def test_mistakes_are_refused_in_the_same_words(host: Host, both: list[MakeDomain]) -> None:
    answers = []
    for domain in both:
        subject = domain(furnished(host))
        subject.does("start")
        said = []
        for line in MISTAKES:
            words = [word.format(name=subject.name) for word in line.split(" ")]
            try:
                said.append(host.virsh(*words))
            except VirshError as error:
                said.append(str(error))
        answers.append([text.replace(subject.name, "NAME") for text in said])
        assert subject.state == "running (booted)"
    ours, theirs = answers
    assert dict(zip(MISTAKES, ours, strict=True)) == dict(zip(MISTAKES, theirs, strict=True))


PROCESSORS = {
    "plain": "<cpu><arch>x86_64</arch><model>qemu64</model></cpu>",
    "two": "<cpus><cpu><arch>x86_64</arch><model>Penryn</model></cpu>"
    "<cpu><arch>x86_64</arch><model>Opteron_G3</model></cpu></cpus>",
    "exact": "<cpu mode='custom' match='exact'><model>Nehalem</model>"
    "<feature policy='disable' name='sse4.2'/></cpu>",
    "strict": "<cpu mode='custom' match='strict'><model>core2duo</model></cpu>",
    "more": "<cpu mode='custom'><model>kvm64</model>"
    "<feature policy='require' name='amx-tile'/></cpu>",
    "no": "<cpu><model>no-such-model</model></cpu>",
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_processors_are_judged_alike_for_both(host: Host, qemu: Program, name: str) -> None:
    description = host.directory / f"{name}.cpu"
    description.write_text(PROCESSORS[name])
    answers = []
    for program in (find_vmd(), qemu):
        said = []
        about = (str(description), "--emulator", program.argv[0], "--virttype", host.virt_type)
        for command in ("hypervisor-cpu-compare", "hypervisor-cpu-baseline"):
            more = ("--features", "--migratable") if command.endswith("baseline") else ()
            for words in ((command, *about), (command, *about, *more)):
                try:
                    said.append(host.virsh(*words))
                except VirshError as error:
                    said.append(str(error))
        answers.append(said)
    assert answers[0] == answers[1]
