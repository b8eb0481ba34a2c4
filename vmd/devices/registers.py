"""The registers of a simulated CPU. It executes nothing: they are as a reset leaves them.

Observed from target/i386/cpu.c, cpu-dump.c and monitor.c of QEMU 10.0.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from vmd.machine import Machine

RESET_EIP = 0xFFF0
RESET_EFLAGS = 0x2
RESET_CR0 = 0x60000010
RESET_DR6, RESET_DR7 = 0xFFFF0FF0, 0x400
RESET_FCW, RESET_MXCSR = 0x37F, 0x1F80
PHYSICAL_BITS = 52
_GENERAL = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")
_OTHER_NAMES = {"sp": "esp", "fp": "ebp"}


class Segment(NamedTuple):
    """A segment register with what is hidden behind it."""

    selector: int
    base: int
    limit: int
    flags: int


class Registers(NamedTuple):
    """One CPU's; a name that is not here is 0."""

    number: int
    halted: bool
    general: dict[str, int]
    eip: int
    eflags: int
    segments: dict[str, Segment]
    ldt: Segment
    tr: Segment


def of(machine: Machine, index: int) -> Registers:
    """The registers of a CPU that there is; all but the first one wait for a start-up message."""
    data = Segment(0, 0, 0xFFFF, 0x9300)
    segments = dict.fromkeys(("es", "cs", "ss", "ds", "fs", "gs"), data)
    segments["cs"] = Segment(0xF000, 0xFFFF0000, 0xFFFF, 0x9B00)
    return Registers(
        index,
        index > 0,
        dict.fromkeys(_GENERAL, 0) | {"edx": signature(properties(machine, index))},
        RESET_EIP,
        RESET_EFLAGS,
        segments,
        Segment(0, 0, 0xFFFF, 0x8200),
        Segment(0, 0, 0xFFFF, 0x8B00),
    )


def count(machine: Machine) -> int:
    """How many CPUs there are."""
    return len(machine.processors.by_index)


def properties(machine: Machine, index: int) -> dict[str, Any]:
    """The QOM properties of a CPU."""
    from vmd.devices import cpu

    node = machine.node_of_cpu.get(index)
    topology, features = machine.topology, machine.cpu_features
    return cpu.instance(machine.cpu_model, topology, index, node, features, machine.host_cpu)


def signature(values: dict[str, Any]) -> int:
    """Family, model and stepping as CPUID has them, which is what a reset leaves in EDX."""
    family, model = int(values["family"]), int(values["model"])
    packed = family << 8 if family <= 0xF else 0xF00 | (family - 0xF) << 20
    return packed | (model & 0xF) << 4 | (model >> 4) << 16 | int(values["stepping"])


def read(machine: Machine, index: int | None, name: str) -> int | None:
    """A register as expressions of the human monitor name it; None if there is none such."""
    if (index or 0) >= count(machine):
        return None
    found = of(machine, index or 0)
    code = found.segments["cs"]
    if name in ("eip", "pc"):
        return found.eip + (code.base if name == "pc" else 0)
    if name == "eflags":
        return found.eflags
    if name in found.segments:
        return found.segments[name].selector
    segment, dot, part = name.partition(".")
    if dot and segment in found.segments and part in ("base", "limit"):
        return int(getattr(found.segments[segment], part))
    if name[:1] == "r" and name[1:] in ("8", "9", "10", "11", "12", "13", "14", "15"):
        return 0
    return found.general.get(_OTHER_NAMES.get(name, name))


def text(found: Registers) -> str:
    """What `info registers` tells of a CPU in real mode."""
    general = found.general
    rows = [f"CPU#{found.number}"]
    for names in (("eax", "ebx", "ecx", "edx"), ("esi", "edi", "ebp", "esp")):
        rows.append(" ".join(f"{name.upper()}={general[name]:08x}" for name in names))
    rows.append(
        f"EIP={found.eip:08x} EFL={found.eflags:08x} [-------]"
        f" CPL=0 II=0 A20=1 SMM=0 HLT={found.halted:d}"
    )
    named = {**found.segments, "ldt": found.ldt, "tr": found.tr}
    for name, segment in named.items():
        selector, base, limit, flags = segment
        rows.append(f"{name.upper():<3}={selector:04x} {base:08x} {limit:08x} {flags:08x}")
    rows += ["GDT=     00000000 0000ffff", "IDT=     00000000 0000ffff"]
    rows.append(f"CR0={RESET_CR0:08x} CR2=00000000 CR3=00000000 CR4=00000000")
    rows.append("".join(f"DR{number}={0:016x} " for number in range(4)))
    rows += [f"DR6={RESET_DR6:016x} DR7={RESET_DR7:016x}", f"EFER={0:016x}"]
    rows.append(f"FCW={RESET_FCW:04x} FSW=0000 [ST=0] FTW=00 MXCSR={RESET_MXCSR:08x}")
    for first in range(0, 8, 2):
        pair = (first, first + 1)
        rows.append(" ".join(f"FPR{number}={0:016x} 0000" for number in pair))
    for first in range(0, 8, 2):
        pair = (first, first + 1)
        rows.append(" ".join(f"XMM{number:02}={0:016x} {0:016x}" for number in pair))
    return "".join(f"{row}\n" for row in rows)


def lapic_text(machine: Machine, index: int) -> str:
    """What `info lapic` tells: the local APIC waits to be enabled, all its vectors masked."""
    wide = "X2APIC" if properties(machine, index).get("x2apic") else "APIC"
    fixed = "Fixed  (vec 0)"
    rows = [f"dumping local APIC state for CPU {index} \n"]
    for name in ("LVT0", "LVT1", "LVTPC", "LVTERR", "LVTTHMR", "LVTT"):
        timer = "one-shot" if name == "LVTT" else ""
        rows.append(f"{name}\t 0x00010000 active-hi edge  masked {'':8}{timer:12} {fixed}")
    rows += [
        "Timer\t DCR=0x0 (divide by 2) initial_count = 0 current_count = 0",
        "SPIV\t 0x000000ff APIC disabled, focus=off, spurious vec 255",
        "ICR\t 0x00000000 physical edge de-assert no-shorthand",
        f"ICR2\t 0x00000000 cpu 0 ({wide} ID)",
        "ESR\t 0x00000000",
        "ISR\t (none)",
        "IRR\t (none)\n",
        "APR 0x00 TPR 0x00 DFR 0x0f LDR 0x00 PPR 0x00",
    ]
    return "".join(f"{row}\n" for row in rows)
