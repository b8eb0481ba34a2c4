"""Migration of one machine: what the commands ask for, judged in QEMU's order, and what it tells.

One migration at a time; the engine behind it is `outgoing` or `incoming`. Order of checks and texts
observed from migration/migration.c.
"""

from __future__ import annotations

import _thread
import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from qapi.error import QmpError
from vmd.memory import PAGE_SIZE, is_ignored
from vmd.memory.vectors import bring_numpy
from vmd.migration import address
from vmd.migration.incoming import Incoming
from vmd.migration.parameters import MigrationOptions
from vmd.migration.state import MigrationStatus
from vmd.runstate import RunState

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from vmd.migration.dirty_bitmaps import BitmapsSaver
    from vmd.migration.dirty_rate import DirtyRate
    from vmd.migration.outgoing import Outgoing
    from vmd.migration.stream import CarriedSection
    from vmd.migration.vm import Vm

    Channels = Sequence[Mapping[str, object]]

SETTLE_NS = 100_000_000


class Asker(NamedTuple):
    """Who asks for a migration: what of his is needed for it.

    `take_fd` gives away a descriptor that he holds by name; None where nobody has any (the command
    line). `tell` is where he reads warnings.
    """

    take_fd: Callable[[str], int | None] | None
    tell: Callable[[str], None]


class Migration:
    """What `machine.migration` is."""

    def __init__(self, vm: Vm, *, incoming: bool) -> None:
        self._vm = vm
        self.options = MigrationOptions(has_dirty_ring=vm.kvm is not None and vm.kvm.ring > 0)
        self._carried: list[CarriedSection] = []
        self._outgoing: Outgoing | None = None
        self._dirty_rate: DirtyRate | None = None
        self._bitmaps_saver: BitmapsSaver | None = None
        self._incoming = Incoming(vm, self.options, self._carried, self._announce)
        self._may_come_in = incoming
        self._nobody = Asker(None, vm.report)

    # Commands.

    def migrate(
        self,
        uri: str | None = None,
        channels: Channels | None = None,
        *,
        resume: bool = False,
        asker: Asker | None = None,
    ) -> None:
        """Start sending the machine to where `uri` or `channels` says."""
        target = address.choose(uri, channels)
        self._check_transport(target)
        self._check_may_start(resume)
        # Not before a migration comes: it brings the stream's whole format.
        from vmd.migration.channels.doors import open_outgoing
        from vmd.migration.outgoing import Outgoing

        self._outgoing = outgoing = Outgoing(
            self._vm,
            self.options,
            self._carried,
            self._announce,
            self._announce_pass,
            self._bitmaps() if self.options.is_on("dirty-bitmaps") else None,
        )
        if self._incoming.stands_by:
            outgoing.refuse("duplicate yank instance")
        outgoing.start(lambda: open_outgoing(self._vm, target, asker or self._nobody))

    def _bitmaps(self) -> BitmapsSaver:
        from vmd.migration.dirty_bitmaps import BitmapsSaver
        from vmd.migration.save import ram_id

        if self._bitmaps_saver is None:
            self._bitmaps_saver = BitmapsSaver(self._vm, self.options, ram_id(self._vm) + 1)
        return self._bitmaps_saver

    def _check_transport(self, target: Mapping[str, object]) -> None:
        if self.options.is_on("mapped-ram") and target["transport"] != "file":
            raise QmpError("Migration requires seekable transport (e.g. file)")

    def _check_may_start(self, resume: bool) -> None:
        if resume:
            raise QmpError("Cannot resume if there is no paused migration")
        if self.under_way:
            raise QmpError("There's a migration process in progress")
        state = self._vm.runstate.state
        if state is RunState.INMIGRATE:
            raise QmpError("Guest is waiting for an incoming migration")
        if state is RunState.POSTMIGRATE:
            raise QmpError("Can't migrate the vm that was paused due to previous migration")
        self._vm.blockers.check(self.options.mode)
        if self.options.is_cpr and self.options.is_on("dirty-bitmaps"):
            # They could be sent behind the switch-over.
            raise QmpError("Cannot use postcopy with CPR")
        if self.options.is_cpr and self.options.is_on("x-colo"):
            raise QmpError("Cannot use COLO with CPR")

    def expect_incoming(self) -> None:
        """There will be a `migrate_incoming`: what it needs may be made ready beside the loop."""
        self._incoming.prepare()

    def migrate_incoming(
        self,
        uri: str | None = None,
        channels: Channels | None = None,
        *,
        exit_on_error: bool = True,
        asker: Asker | None = None,
    ) -> Coroutine[Any, Any, None] | None:
        """Start receiving from where `uri` or `channels` says; to be awaited if that takes time."""
        if self._incoming.was_started:
            raise QmpError("The incoming migration has already been started")
        if not self._may_come_in or self._vm.runstate.state is not RunState.INMIGRATE:
            raise QmpError("'-incoming' was not specified on the command line")
        source = address.choose_incoming(uri, channels)
        self._check_transport(source)
        from vmd.migration.channels.doors import open_incoming

        return self._incoming.start(
            lambda: open_incoming(self._vm, source, asker or self._nobody), exit_on_error
        )

    def cancel(self) -> None:
        """Stop sending; without a migration nothing happens."""
        if self._outgoing is not None:
            self._outgoing.cancel()
        # As in QEMU it takes a second call to take away the limits of a migration under way.
        limited = self.options.is_on("dirty-limit") and not self.under_way
        if limited and self._vm.dirty_limits is not None:
            self._vm.dirty_limits.cancel()

    def go_on(self, state: str) -> None:
        """`migrate-continue`: leave the status that the client believes to be current."""
        outgoing = self._outgoing
        now = outgoing.status if outgoing is not None else MigrationStatus.NONE
        if state != now.value:  # a destination's own status does not count
            raise QmpError(f"Migration not in expected state: {now.value}")
        if outgoing is not None:
            outgoing.go_on()

    def set_capabilities(
        self, changes: Sequence[tuple[str, bool]], tell: Callable[[str], None] | None = None
    ) -> None:
        """Switch capabilities, all or none; `tell` gets warnings (stderr, if it is nobody)."""
        if self.under_way:
            raise QmpError("There's a migration process in progress")
        self.options.set_capabilities(changes, tell or self._vm.report)

    def set_parameters(self, changes: Mapping[str, object]) -> None:
        """Set parameters, all or none. Who does so will soon migrate."""
        self.options.set_parameters(changes)
        if self._vm.runstate.state is not RunState.INMIGRATE and not self.under_way:
            ignore_shared = self.options.is_on("x-ignore-shared")
            if not all(is_ignored(block, ignore_shared) for block in self._vm.ram_blocks):
                _thread.start_new_thread(bring_numpy, ())

    def lost_heartbeat(self) -> Coroutine[Any, Any, None] | None:
        """`x-colo-lost-heartbeat`; to be awaited if a checkpoint is just being taken over."""
        return self._incoming.lost_heartbeat()

    # Answers.

    def colo_status(self) -> dict[str, object]:
        """The schema's COLOStatus. A source never is in COLO, see `state`."""
        return self._incoming.colo_status()

    @property
    def status(self) -> MigrationStatus:
        """The source's status once this machine has migrated out, else the destination's."""
        return self._outgoing.status if self._outgoing is not None else self._incoming.status

    @property
    def under_way(self) -> bool:
        """Whether an outgoing migration has not ended yet."""
        return self._outgoing is not None and self._outgoing.under_way

    def query(self) -> dict[str, object]:
        """The schema's MigrationInfo."""
        info: dict[str, object] = {}
        if reasons := self._vm.blockers.reasons(self.options.mode):
            info["blocked-reasons"] = reasons
        outgoing = self._outgoing
        if outgoing is None:
            return info | self._incoming.query()
        if self._incoming.stands_by:
            info |= self._incoming.query()
        info["status"] = outgoing.status.value
        if outgoing.error is not None:
            info["error-desc"] = outgoing.error
        if outgoing.status in _WITH_FIGURES:
            info |= outgoing.figures(PAGE_SIZE)
            if self.options.is_on("xbzrle"):
                cache_size = self.options.number("xbzrle-cache-size")
                info["xbzrle-cache"] = outgoing.xbzrle.query(cache_size)
            if percentage := self._vm.guest.throttle_percentage:
                info["cpu-throttle-percentage"] = percentage
            if self.options.is_on("dirty-limit") and self._vm.dirty_limits is not None:
                info |= self._vm.dirty_limits.figures()
        return info

    async def settled(self) -> None:
        """Wait until nothing is under way, but not for long.

        QEMU reads a human's line byte by byte, so that what takes a few milliseconds is over
        before the next line is read; whoever reads faster waits here instead.
        """
        engine = self._outgoing if self.under_way else self._incoming
        if engine is None or not engine.under_way:
            return
        end = asyncio.ensure_future(engine.settled())
        patience = asyncio.ensure_future(self._vm.clock.sleep(SETTLE_NS))
        await asyncio.wait((end, patience), return_when=asyncio.FIRST_COMPLETED)
        end.cancel()
        patience.cancel()

    @property
    def dirty_rate(self) -> DirtyRate:
        """How fast the guest dirties its RAM, for those who ask."""
        if self._dirty_rate is None:
            from vmd.migration.dirty_rate import DirtyRate

            has_ring = self._vm.dirty_limits is not None
            blocks, clock = lambda: self._vm.ram_blocks, self._vm.clock
            self._dirty_rate = DirtyRate(blocks, clock, has_ring=has_ring)
        return self._dirty_rate

    def abandon(self) -> None:
        """The process ends. A thread that still waits for a disk is left to it."""
        if self._dirty_rate is not None:
            self._dirty_rate.abandon()
        if self._outgoing is not None and self._outgoing.under_way:
            self._outgoing.abandon()
        self._incoming.abandon()

    @property
    def uses_memory(self) -> bool:
        """Whether RAM may still be read or filled by a thread, even after `abandon`."""
        measuring = self._dirty_rate is not None and self._dirty_rate.looks_at_memory
        return self.under_way or self._incoming.uses_memory or measuring

    @property
    def can_be_yanked(self) -> bool:
        """Whether there is a migration, out or in."""
        return self.under_way or self._incoming.under_way

    def threads(self) -> list[tuple[str, int]]:
        """The threads of a migration under way, by QEMU's name for each."""
        outgoing = self._outgoing
        if outgoing is None or not outgoing.under_way or not outgoing.thread_id:
            return []
        return [("mig/src/main", outgoing.thread_id)]

    def yank(self) -> None:
        """Cut its connection, if it has one: it then fails as if the peer were gone."""
        if self._outgoing is not None:
            self._outgoing.cut()
        self._incoming.cut()

    # Events.

    def _announce(self, status: MigrationStatus) -> None:
        self._vm.tracer.emit("migrate_set_state", f"new state {status.value}")
        if self.options.is_on("events"):
            self._vm.events.emit("MIGRATION", {"status": status.value})

    def _announce_pass(self, number: int) -> None:
        if self.options.is_on("events"):
            self._vm.events.emit("MIGRATION_PASS", {"pass": number})


_WITH_FIGURES = (
    MigrationStatus.ACTIVE,
    MigrationStatus.CANCELLING,
    MigrationStatus.PRE_SWITCHOVER,
    MigrationStatus.DEVICE,
    MigrationStatus.COMPLETED,
)
