"""The processor of the host as KVM offers it to guests: what `host` and `max` are under KVM, and
what other models lack there.

Observed from target/i386/kvm/kvm.c and target/i386/cpu.c. `cpu_kvm.json` was recorded by
tests/vmd/record_kvm.py:

- words: where each feature is: `FUNCTION.INDEX.REGISTER` of CPUID or `MSR.NUMBER`, in the order of
  QEMU's complaints → name → bits (in hexadecimal but the index and the bits)
- on, off: what models have and have not under KVM; others: model → what is different with it
"""

from __future__ import annotations

from functools import cache as once
from typing import TYPE_CHECKING, Any

from vmd import kvm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CPUINFO = "/proc/cpuinfo"
REGISTERS = ("EAX", "EBX", "ECX", "EDX")
NOT_UNASKED = ("topoext", "kvm-hint-dedicated")
UNMIGRATABLE = ("invtsc",)
# Not what it can do but how fast: taken from the processor, whatever KVM says.
_ITS_OWN = ("erms", "fsrm", "fzrm", "fsrs", "fsrc")
_ALWAYS = (
    *("hypervisor", "tsc-deadline", "arat", "mtrr", "pat", "mce", "mca", "overflow-recov"),
    "succor",
)
# Features that are nothing without another one.
NEEDS = {"8000000A.0.EDX": "svm", "MSR.10A": "arch-capabilities", "MSR.CF": "core-capability"}
_OF_VMX = ("MSR.480", "MSR.485", *(f"MSR.48{digit}" for digit in "BCDEF"), "MSR.490", "MSR.491")
_HALF_FIXED = ("MSR.48B", "MSR.48D", "MSR.48E", "MSR.48F", "MSR.490")
_UCODE_MSR = 0x8B
# What the kernel calls otherwise than QEMU.
_KERNEL_NAMES = {
    "pni": "pni",
    "sse4_1": "sse4.1",
    "sse4_2": "sse4.2",
    "lahf_lm": "lahf-lm",
    "cr8_legacy": "cr8legacy",
    "tsc_deadline_timer": "tsc-deadline",
    "fxsr_opt": "fxsr-opt",
    "avx512_vpopcntdq": "avx512-vpopcntdq",
}
# What every KVM offers to its guests, where none can be asked.
_OF_ANY_KVM = (
    *("kvmclock", "kvmclock-stable-bit", "kvm-nopiodelay", "kvm-asyncpf", "kvm-asyncpf-int"),
    *("kvm-asyncpf-vmexit", "kvm-steal-time", "kvm-pv-eoi", "kvm-pv-ipi", "kvm-pv-unhalt"),
    *("kvm-poll-control", "kvm-pv-sched-yield", "kvm-pv-tlb-flush", "x2apic", "tsc-adjust"),
)
_NEVER = ("ht", "monitor", "acpi", "ds", "ds-cpl", "tm", "tm2", "pbe", "est", "dtes64", "cid")
_MOST_LEVEL, _MOST_XLEVEL = 0xD, 0x80000008


class HostCpu:
    """`supported` are the features that guests may have; `values` are numbers and names."""

    __slots__ = ("phys_bits", "supported", "tsc_hz", "ucode_rev", "values")

    def __init__(
        self,
        supported: frozenset[str],
        values: dict[str, Any],
        *,
        phys_bits: int = 40,
        ucode_rev: int = 0,
        tsc_hz: int = 0,
    ) -> None:
        self.supported = supported
        self.values = values
        self.phys_bits = phys_bits
        self.ucode_rev = ucode_rev
        self.tsc_hz = tsc_hz


@once
def host_cpu(device: str | None) -> HostCpu:
    """The processor as the KVM behind `device` offers it; None: as one would that is not there."""
    told = _first_processor()
    try:
        leaves = kvm.supported_cpuid(device) if device is not None else None
    except OSError:
        leaves = None
    flags = {_KERNEL_NAMES.get(f, f.replace("_", "-")) for f in told.get("flags", "").split()}
    if leaves is None or device is None:
        known = {name for rows in words().values() for name in rows}
        supported = (flags & known) - {*_NEVER} | {*_OF_ANY_KVM, *_ALWAYS}
        level, xlevel, ucode = _MOST_LEVEL, _MOST_XLEVEL, _number(told.get("microcode", "0"))
    else:
        path = device
        supported = decode(leaves, lambda number: kvm.feature_msr(path, number))
        supported |= {*_ALWAYS} | flags & {*_ITS_OWN}
        level = leaves.get((0, 0), (_MOST_LEVEL,))[0]
        xlevel = leaves.get((0x80000000, 0), (_MOST_XLEVEL,))[0]
        ucode = kvm.feature_msr(path, _UCODE_MSR)
    supported = {name for name in supported if _has_what_it_needs(name, supported)}
    values = {
        "vendor": told.get("vendor_id", "AuthenticAMD"),
        "family": _number(told.get("cpu family", "6")),
        "model": _number(told.get("model", "6")),
        "stepping": _number(told.get("stepping", "3")),
        "model-id": told.get("model name", ""),
        "level": level,
        "min-level": level,
        "xlevel": xlevel,
        "min-xlevel": xlevel,
        "level-func7": int(not supported.isdisjoint(words()["7.1.EAX"])),
    }
    bits = _number(told.get("address sizes", "40").split()[0])
    hertz = round(float(told.get("cpu MHz", "0")) * 1000) * 1000
    return HostCpu(frozenset(supported), values, phys_bits=bits, ucode_rev=ucode, tsc_hz=hertz)


def decode(leaves: kvm.Leaves, msr: Callable[[int], int]) -> set[str]:
    """The names of the features in what KVM answers; `msr` reads a register."""
    found: set[str] = set()
    for word, rows in words().items():
        if word.startswith("MSR."):
            value = msr(int(word[4:], 16))
            if word in _HALF_FIXED:  # above what may be one, below what has to be
                value = value >> 32 & ~(value & 0xFFFFFFFF)
        else:
            function, index, register = word.split(".")
            leaf = leaves.get((int(function, 16), int(index)), (0, 0, 0, 0))
            value = leaf[REGISTERS.index(register)]
        found |= {name for name, bits in rows.items() if any(value >> bit & 1 for bit in bits)}
    found.discard("ht")
    return found


def largest(host: HostCpu) -> dict[str, Any]:
    """What `max` and `host` have beside the base model."""
    unasked = host.supported.difference(NOT_UNASKED, UNMIGRATABLE)
    told = dict.fromkeys(("host-phys-bits", "migratable", "pmu", *unasked), True)
    return told | host.values


def as_under_kvm(model: str, values: dict[str, Any], host: HostCpu) -> dict[str, Any]:
    """A named model's values, of which TCG's are given, under KVM."""
    data = _data()
    found = values | dict.fromkeys(data["on"], True) | dict.fromkeys(data["off"], False)
    other: dict[str, Any] = data["others"].get(model, {})
    return found | other | {"vendor": host.values["vendor"]}


def drop_what_lacks_its_need(values: dict[str, Any]) -> None:
    """Switch off the features that are nothing without another one, where that is off."""
    for word, need in _needs().items():
        if values.get(need) is not True:
            values |= dict.fromkeys((name for name in words()[word] if name in values), False)


def _has_what_it_needs(name: str, there: set[str]) -> bool:
    return all(need in there or name not in words()[word] for word, need in _needs().items())


@once
def _needs() -> dict[str, str]:
    return NEEDS | dict.fromkeys(_OF_VMX, "vmx")


def place(name: str) -> str:
    """Where a feature is, as complaints tell."""
    for word, rows in words().items():
        if name in rows:
            function, _, rest = word.partition(".")
            where = f"MSR({rest}H)" if function == "MSR" else _cpuid(function, rest)
            return f"{where}.{name} [bit {rows[name][0]}]"
    return name


def _cpuid(function: str, rest: str) -> str:
    return f"CPUID.{function:0>2}H:{rest.partition('.')[2]}"


def in_order(names: Iterable[str]) -> list[str]:
    """Features in the order of QEMU's complaints."""
    wanted = set(names)
    return [name for rows in words().values() for name in rows if name in wanted]


def words() -> dict[str, dict[str, list[int]]]:
    """Where each feature is."""
    found: dict[str, dict[str, list[int]]] = _data()["words"]
    return found


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        return 0


def _first_processor() -> dict[str, str]:
    """What the kernel tells of the host's first processor; of none where it tells nothing."""
    found: dict[str, str] = {}
    try:
        with open(CPUINFO, encoding="utf-8", errors="replace") as rows:
            for row in rows:
                if not row.strip():
                    break
                name, _, value = row.partition(":")
                found[name.strip()] = value.strip()
    except OSError:
        pass
    return found


@once
def _data() -> dict[str, Any]:
    import json
    from os.path import dirname, join

    with open(join(dirname(__file__), "cpu_kvm.json"), encoding="ascii") as stream:
        data: dict[str, Any] = json.load(stream)
    return data
