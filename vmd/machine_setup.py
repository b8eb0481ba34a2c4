"""What a machine is made of, before there is one.

Observed from hw/core/machine.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmd.devices.topology import Topology
from vmd.memory import AddressSpace, split_ram

if TYPE_CHECKING:
    from vmd.clock import Clock
    from vmd.devices.board import Board
    from vmd.devices.furniture import Furniture
    from vmd.devices.objects import UserObject
    from vmd.kvm import Kvm
    from vmd.memory import RamBlock
    from vmd.memory.backends import MemoryBackend

ACTIONS: dict[str, tuple[str, ...]] = {
    "reboot": ("reset", "shutdown"),
    "shutdown": ("poweroff", "pause"),
    "panic": ("shutdown", "pause", "exit-failure", "none"),
    "watchdog": ("reset", "shutdown", "poweroff", "pause", "debug", "none", "inject-nmi"),
}
"""What may happen on a guest's reboot, shutdown and panic, and when its watchdog expires; the first
is the default."""


class MachineSetup:
    """What a machine is made of; everything has QEMU's default."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.name: str | None = None
        self.debug_threads = False  # threads have names
        self.uuid: str | None = None
        self.cpus = 1
        self.cpu_model = "qemu64"
        self.topology = Topology()
        self.node_of_cpu: dict[int, int] = {}
        self.node_sizes: dict[int, int] = {}
        self.memory_slots = 0
        self.max_ram_size = 0
        self.properties: dict[str, object] = {}
        self.kvm: Kvm | None = None  # the accelerator, if it is that
        self.accel = "tcg"
        self.accel_properties: dict[str, object] = {}
        self.boot: dict[str, object] = {}
        self.audiodevs: list[dict[str, object]] = []
        self.rtc = ("utc", "host", "none")  # base, clock, driftfix of -rtc
        self.ram_size = board.default_ram_size
        self.ram_blocks: list[RamBlock] = []
        self.all_blocks: list[RamBlock] = []
        self.backends: dict[str, MemoryBackend] = {}
        self.objects: dict[str, UserObject] = {}
        self.main_ram: list[RamBlock] = []
        self.autostart = True
        self.incoming = False
        self.only_migratable = False
        self.furniture: Furniture | None = None  # of a PC
        self.has_default_network = False
        self.globals: list[tuple[str, str, str]] = []
        self.actions = {name: values[0] for name, values in ACTIONS.items()}
        self.guest_clock: Clock | None = None  # the guest's own time, if it has one

    def throttled(self) -> set[str]:
        """No drive is in a throttle group yet."""
        return set()


def address_space(setup: MachineSetup) -> AddressSpace:
    """Main RAM as the guest sees it; a PC leaves a hole below 4 GiB."""
    space = AddressSpace()
    size = sum(block.size for block in setup.main_ram)
    whole = [(0, size, 0)]
    split = split_ram(size, q35=setup.board.alias == "q35") if setup.board.has_cpus else whole
    start = 0
    for block in setup.main_ram:
        for address, length, offset in split:
            first, end = max(offset, start), min(offset + length, start + block.size)
            if first < end:
                space.map(address + first - offset, block, first - start, end - first)
        start += block.size
    return space
