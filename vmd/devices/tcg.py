"""The code buffer that the accelerator tcg has. The simulated CPU translates nothing into it.

Observed from tcg/region.c, accel/tcg/monitor.c and tcg/tcg.c of QEMU 10.0.2.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmd.machine import Machine

MIB = 1 << 20
LEAST, MOST, USUAL = MIB, 2048 * MIB, 1024 * MIB
REGION = 2 * MIB
GUARD, HIGH_WATER = 4096, 1024
_BUFFER = """
Translation buffer state:
gen code size       0/{size}
TB count            0
TB avg target size  0 max=0 bytes
TB avg host size    0 bytes (expansion ratio: 0.0)
cross page TB count 0 (0%)
direct jump count   0 (0%) (2 jumps=0 0%)
TB hash buckets     0/8192 (0.00% head buckets used)
TB hash occupancy   0.00% avg chain occ. Histogram: [0.0,0.0)%|█|[0.0,0.0]%
TB hash avg chain   nan buckets. Histogram: (empty)

Statistics:
TB flush count      0
TB invalidate count 0
TLB full flushes    0
TLB partial flushes 0
TLB elided flushes  0
[TCG profiler not compiled]
"""


def text(machine: Machine) -> str:
    """What `info jit` prints."""
    one = "on" if machine.accel_properties.get("one-insn-per-tb") else "off"
    buffer = _BUFFER.format(size=room(machine))
    return f"Accelerator settings:\none-insn-per-tb: {one}\n{buffer}"


def room(machine: Machine) -> int:
    """How many bytes of code fit into the buffer: it has regions, each with a guard page."""
    asked = int(str(machine.accel_properties.get("tb-size", 0))) * MIB
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    size = min(max(asked or min(USUAL, memory // 8), LEAST), MOST)
    cpus = machine.topology.maxcpus
    regions = 1
    if cpus > 1 and machine.accel_properties.get("thread") != "single":
        regions = cpus if size // cpus < REGION else min(size // REGION, 8 * cpus)
    return size - regions * (GUARD + HIGH_WATER)
