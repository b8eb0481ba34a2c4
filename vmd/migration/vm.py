"""What migration needs of a machine. `vmd.machine.Machine` is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmd.block.node import Node
    from vmd.block.nodes import Nodes
    from vmd.clock import Clock
    from vmd.devices.board import Board
    from vmd.devices.topology import Topology
    from vmd.events import EventBus
    from vmd.fdset import FdSets
    from vmd.guest.guest import Guest
    from vmd.kvm import Kvm
    from vmd.memory import RamBlock
    from vmd.migration.blockers import Blockers
    from vmd.migration.dirty_limit import DirtyLimits
    from vmd.runstate import RunState, RunStateMachine
    from vmd.trace import Tracer


class GuestTime(Protocol):
    """The guest's virtual clock, in ns."""

    def now_ns(self) -> int: ...
    def set_ns(self, value: int) -> None: ...


class Vm(Protocol):
    """One virtual machine as its migration sees it."""

    board: Board
    uuid: str | None
    kvm: Kvm | None
    topology: Topology
    properties: dict[str, object]
    autostart: bool
    has_default_network: bool
    clock: Clock
    events: EventBus
    fdsets: FdSets
    runstate: RunStateMachine
    guest: Guest
    ram_blocks: list[RamBlock]
    blockers: Blockers
    tracer: Tracer

    @property
    def dirty_limits(self) -> DirtyLimits | None: ...
    @property
    def guest_time(self) -> GuestTime: ...
    @property
    def nodes(self) -> Nodes: ...
    def node_of(self, name: str) -> Node | None: ...
    def named_media(self) -> list[tuple[str, Node]]: ...
    def vm_start(self) -> None: ...
    def vm_stop(self, state: RunState) -> None: ...
    def gone(self) -> None: ...
    def back(self) -> None: ...
    def arrived(self, options: Mapping[str, object]) -> None: ...
    def report(self, text: str) -> None: ...
    def exit(self, code: int) -> None: ...
