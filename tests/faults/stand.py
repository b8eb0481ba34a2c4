"""What the tests of faults share: a machine in this process, with a clock that a test holds."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.differential.stage import Program
from vmd.clock import HeldClock
from vmd.devices.board import find
from vmd.fdset import FdSets
from vmd.guest import ram as registers
from vmd.guest.guest import GuestOptions
from vmd.machine import Machine
from vmd.machine_setup import MachineSetup
from vmd.memory import RamBlock
from vmd.runstate import RunState

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmd.events import Event
    from vmd.kvm import Kvm

PAGE = 4096
SECOND = 1_000_000_000


class ImpatientClock(HeldClock):
    """A held clock that moves on as soon as anybody waits for it; `moved` is called each time."""

    def __init__(self, moved: Callable[[], None]) -> None:
        super().__init__()
        self._moved = moved

    async def sleep(self, delay_ns: int) -> None:
        asyncio.get_running_loop().call_soon(self._move, delay_ns)
        await super().sleep(delay_ns)

    def _move(self, delay_ns: int) -> None:
        self.advance(delay_ns)
        self._moved()


class Subject:
    """A machine and what it said. Its guest counts; `block` is its RAM."""

    def __init__(
        self,
        size: int = 1 << 20,
        *,
        board: str = "pc",
        block: RamBlock | None = None,
        incoming: bool = False,
        paused: bool = False,
        guest: GuestOptions | None = None,
        kvm: Kvm | None = None,
    ) -> None:
        self._happened = asyncio.Event()
        self.clock = ImpatientClock(self._happened.set)
        self.reports: list[str] = []
        self.events: list[Event] = []
        self.exits: list[int] = []
        setup = MachineSetup(find(board))
        self.block = block or RamBlock.anonymous(setup.board.default_ram_id, size)
        setup.main_ram = setup.ram_blocks = [self.block]
        setup.all_blocks = [self.block]
        setup.kvm = kvm
        setup.incoming = incoming
        setup.autostart = not paused
        self.machine = Machine(
            setup,
            self.clock,
            guest or (GuestOptions() if incoming else GuestOptions("counter", {"interval": "10"})),
            on_exit=self.exits.append,
            report=self.reports.append,
            fdsets=FdSets(),
        )
        self.migration = self.machine.migration
        self.migration.set_capabilities([("events", True)])
        self.machine.events.subscribe(self._note)
        self.machine.power_on()

    def _note(self, event: Event) -> None:
        self.events.append(event)
        self._happened.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until an event, or time that has passed, makes it true amid a migration."""
        while not holds():
            assert self.migration.under_way, self.migration.query()
            self._happened.clear()
            await self._happened.wait()

    def fill(self) -> None:
        """Data in three of four pages, above the guest's own first one."""
        for page in range(1, self.block.size // PAGE):
            if page % 4:
                self.block.write(page * PAGE, bytes((page % 251 + 1,)) * PAGE)

    @property
    def count(self) -> int:
        """How far the guest has counted."""
        return registers.load(self.block)[0]

    @property
    def state(self) -> RunState:
        return self.machine.runstate.state

    def bring_to(self, state: RunState) -> None:
        """Have a running machine running, paused or suspended."""
        if state is RunState.PAUSED:
            self.machine.stop()
        elif state is RunState.SUSPENDED:
            self.machine.guest_side.suspends()
        assert self.state is state

    def names(self) -> list[str]:
        """The events so far; of those of migration, their status."""
        return [
            str(event.data["status"]) if event.name == "MIGRATION" and event.data else event.name
            for event in self.events
        ]

    async def ended(self) -> None:
        """Wait for the end of the migration, out or in."""
        outgoing, incoming = self.migration._outgoing, self.migration._incoming
        await (outgoing or incoming).settled()

    async def save(self, path: Path) -> None:
        """Migrate to a file, up to the end, and that is a good one."""
        self.migration.migrate(f"file:{path}")
        await self.ended()
        assert self.migration.query()["status"] == "completed"

    def close(self) -> None:
        self.block.close()


async def load(path: Path, *capabilities: str, **how: object) -> Subject:
    """A new machine that `path` was loaded into, well or not."""
    target = Subject(incoming=True, **how)  # type: ignore[arg-type]
    target.migration.set_capabilities([(name, True) for name in capabilities])
    target.migration.migrate_incoming(f"file:{path}", exit_on_error=False)
    await target.ended()
    return target


def faulty_vmd(fault: str, path: str, guest: str = "counter") -> Program:
    """The program of `faulty.py`, as a stage starts it."""
    script = str(Path(__file__).with_name("faulty.py"))
    guests: dict[str, tuple[str, ...]] = {"none": ("-vmd", f"guest={guest}")}
    return Program("vmd", (sys.executable, script, fault, path), guests)
