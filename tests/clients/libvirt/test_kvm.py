"""The story again on a host with KVM: domains of `type='kvm'`, on vmd and on real QEMU.

Skipped where there is no KVM to show to libvirt; nothing demands it.
"""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.clients.libvirt import test_above, test_examples, test_guest, test_life, test_update
from tests.clients.libvirt.conftest import CONSOLE, missing
from tests.clients.libvirt.host import Host, Missing, VirshError
from tests.differential.stage import DEVICE, Program, find_vmd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.clients.libvirt.conftest import MakeDomain

# What is told elsewhere of domains without KVM holds of these.
test_a_domain_lives = test_life.test_a_domain_is_defined_started_and_destroyed
test_it_is_held_and_goes_on = test_life.test_it_is_held_and_goes_on_and_is_reset
test_its_parts_are_listed = test_life.test_its_parts_are_listed_and_measured
test_it_is_saved_and_restored = test_life.test_it_is_saved_and_restored
test_a_libvirtd_comes_back = test_life.test_a_libvirtd_that_comes_back_finds_it_running
test_a_host_is_updated = test_update.test_a_host_is_updated_under_a_domain
test_processors_are_judged_alike = test_life.test_processors_are_judged_alike_for_both
test_it_shuts_down = test_guest.test_it_shuts_down_and_reboots_when_it_is_asked

test_a_newcomer_comes_to_a_domain = test_examples.test_a_newcomer_comes_to_a_running_domain
test_a_host_update_is_rehearsed = test_examples.test_a_host_update_is_rehearsed_on_ten_domains
virt_install = test_above.virt_install

PATIENCE = 120
PROBE = re.compile(r"qmp-\w+/qmp\.pid -daemonize")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host whose libvirtd sees the KVM that there is."""
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        pytest.skip("this host has no KVM")
    try:
        host = Host(tmp_path_factory.mktemp("lk"), kvm=True)
    except Missing as reason:
        missing(str(reason))
        raise
    yield host
    host.close()


def test_the_emulator_is_probed_once(host: Host, domain: MakeDomain, emulator: str) -> None:
    """One pass with KVM and one without; then libvirt knows, however often it looks."""
    host.virsh("domcapabilities", "--emulatorbin", emulator, "--virttype", "kvm")
    before = len(PROBE.findall(host.log.read_text()))
    told = host.virsh("domcapabilities", "--emulatorbin", emulator, "--virttype", "kvm")
    assert "<domain>kvm</domain>" in told
    assert "<mode name='host-passthrough' supported='yes'>" in told
    told = host.virsh("domcapabilities", "--emulatorbin", emulator, "--virttype", "qemu")
    assert "<domain>qemu</domain>" in told
    for virt_type in ("kvm", "qemu"):
        subject = domain(virt_type=virt_type)
        subject.does("start")
        assert subject.asks("query-kvm") == {"enabled": virt_type == "kvm", "present": True}
        subject.does("destroy")
    assert len(PROBE.findall(host.log.read_text())) == before


def test_both_tell_of_the_same_processor(host: Host, qemu: Program) -> None:
    ours, theirs = (
        host.virsh("domcapabilities", "--emulatorbin", program.argv[0], "--virttype", "kvm")
        .partition("<cpu>")[2]
        .partition("</cpu>")[0]
        for program in (find_vmd(), qemu)
    )
    assert ours == theirs


@pytest.mark.parametrize("mode", ["host-passthrough", "host-model", "maximum"])
def test_a_domain_has_the_hosts_processor(mode: str, on_vmd: MakeDomain) -> None:
    # QEMU ends at once here where KVM is itself a guest's: it cannot set what it was told of.
    subject = on_vmd(CONSOLE, elements=f"<cpu mode='{mode}'/>")
    subject.does("start")
    assert subject.state == "running (booted)"
    path = subject.asks("query-cpus-fast")[0]["qom-path"]
    lacking = subject.asks("qom-get", path=path, property="unavailable-features")
    assert mode == "host-model" or lacking == []


def test_a_machine_with_a_processor_that_nobody_has_is_refused(domain: MakeDomain) -> None:
    subject = domain(elements="<cpu mode='custom' match='exact'><model>KnightsMill</model></cpu>")
    with pytest.raises(VirshError, match="incompatible with host CPU"):
        subject.does("start")


def test_virt_install_gives_a_domain_the_hosts_processor(
    host: Host, virt_install: list[str]
) -> None:
    name = f"vk{os.getpid()}"
    more = ["--name", name, "--boot", f"emulator={find_vmd().argv[0]}", "--graphics", "none"]
    command = [*virt_install, *more, "--machine", "q35"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    told = host.virsh("dumpxml", name)
    assert "<domain type='kvm'" in told and "<cpu mode='host-passthrough'" in told
    host.virsh("destroy", name)
    host.virsh("undefine", name)
