"""The interrupt controllers of a PC. No guest programs them: they are as a reset leaves them.

Observed from hw/intc/i8259_common.c, ioapic_common.c and ioapic.c of QEMU 10.0.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmd.machine import Machine

IOAPIC_VERSION = 0x20
IOAPIC_PINS = 24
MASKED = 1 << 16
_PIC = "irr=00 imr=00 isr=00 hprio=0 irq_base=00 rr_sel=0 elcr=00 fnm=0"


def registers(machine: Machine) -> list[str]:
    """What is in each controller, as rows of text."""
    if not machine.board.has_cpus:
        return []
    rows = [f"pic{number}: {_PIC}" for number in range(2 * _has(machine, "pic"))]
    rows.append(f"ioapic0: ver=0x{IOAPIC_VERSION:x} id=0x00 sel=0x00")
    masked = f"0x{MASKED:016x} dest=0 vec=0   active-hi edge  masked fixed  physical"
    rows += [f"  pin {pin:<2} {masked}" for pin in range(IOAPIC_PINS)]
    return [*rows, "  IRR      (none)", "  Remote IRR (none)"]


def statistics(machine: Machine) -> list[str]:
    """How often each line of each controller went up, as rows of text.

    An HPET takes the timer's line over from a PIT, once.
    """
    if not machine.board.has_cpus:
        return []
    rows = []
    kernels = machine.kvm is not None and machine.kvm.irqchip == "on"
    pic, ioapic = ("kvm-i8259", "kvm-ioapic") if kernels else ("isa-i8259", "ioapic")
    for name in [*[pic] * _has(machine, "pic"), ioapic]:
        rows.append(f"IRQ statistics for {name}:")
        rows += [" 0: 1"] * (_has(machine, "hpet") and _has(machine, "pit"))
    return rows


def _has(machine: Machine, name: str) -> bool:
    return machine.properties.get(name) not in (False, "off")
