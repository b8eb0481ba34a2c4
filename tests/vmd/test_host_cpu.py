"""What KVM offers of the host's processor, and what stands for it where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from vmd.devices import cpu, host_cpu
from vmd.devices.host_cpu import HostCpu

if TYPE_CHECKING:
    from pathlib import Path

INTEL = """processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: A processor
stepping\t: 8
microcode\t: 0x2b000590
cpu MHz\t\t: 2100.000
flags\t\t: fpu lm sse4_1 avx2 ht monitor vmx
address sizes\t: 46 bits physical, 57 bits virtual

processor\t: 1
"""


@pytest.fixture
def without_kvm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HostCpu:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(INTEL)
    monkeypatch.setattr(host_cpu, "CPUINFO", str(cpuinfo))
    found: HostCpu = host_cpu.host_cpu.__wrapped__(None)
    return found


def test_without_kvm_it_is_the_processor_that_the_kernel_tells_of(without_kvm: HostCpu) -> None:
    values = without_kvm.values
    assert (values["vendor"], values["family"], values["model"]) == ("GenuineIntel", 6, 143)
    assert (without_kvm.phys_bits, without_kvm.tsc_hz) == (46, 2_100_000_000)
    assert {"sse4.1", "avx2", "kvmclock", "x2apic", "hypervisor"} <= without_kvm.supported
    # A guest has its own idea of these.
    assert without_kvm.supported.isdisjoint(("ht", "monitor"))


def test_a_host_that_tells_nothing_has_a_processor_nevertheless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_cpu, "CPUINFO", str(tmp_path / "none"))
    found = host_cpu.host_cpu.__wrapped__(None)
    assert found.values["vendor"] == "AuthenticAMD"
    assert "kvmclock" in found.supported


def test_features_are_bits_of_what_cpuid_answers() -> None:
    leaves = {(1, 0): (0, 0, 1 << 19, 1 << 25 | 1 << 28), (7, 0): (0, 1 << 5, 0, 1 << 29)}
    registers = {0x10A: 1 << 5, 0x48B: 3 << 32 | 1}
    found = host_cpu.decode(leaves, lambda number: registers.get(number, 0))
    # Of a control of VMX above what may be set, and below what has to be.
    vmx = {"vmx-ept"}
    assert found == {"sse4.1", "sse", "avx2", "arch-capabilities", "mds-no"} | vmx


def test_what_a_feature_needs_is_missing(without_kvm: HostCpu) -> None:
    values = {"svm": False, "npt": True, "arch-capabilities": True, "mds-no": True, "vmx": True}
    host_cpu.drop_what_lacks_its_need(values)
    assert (values["npt"], values["mds-no"]) == (False, True)


def test_complaints_name_the_place_and_keep_qemus_order() -> None:
    assert host_cpu.place("avx2") == "CPUID.07H:EBX.avx2 [bit 5]"
    assert host_cpu.place("mds-no") == "MSR(10AH).mds-no [bit 5]"
    assert host_cpu.in_order(["xsavec", "avx2", "pni"]) == ["pni", "avx2", "xsavec"]


def test_the_largest_model_is_the_host_and_others_bear_its_maker(without_kvm: HostCpu) -> None:
    expansion = cpu.expand("full", "host", {}, without_kvm)["model"]
    assert isinstance(expansion, dict)
    props = expansion["props"]
    assert (props["avx2"], props["avx512f"], props["model-id"]) == (True, False, "A processor")
    epyc = cpu.expand("static", "EPYC", {}, without_kvm)["model"]
    assert isinstance(epyc, dict)
    assert epyc["props"]["vendor"] == "GenuineIntel"
    assert "pclmulqdq" in cpu.what_is_lacking("EPYC", (), without_kvm)


def test_every_feature_of_a_processor_has_its_place() -> None:
    known = {name for rows in host_cpu.words().values() for name in rows}
    assert set(cpu.named()["flags"]) == known
