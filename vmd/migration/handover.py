"""The guest while its machine migrates: stopped here, and then given away or taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qapi.error import QmpError
from vmd.runstate import LIVE, RunState

if TYPE_CHECKING:
    from vmd.migration.vm import Vm

MS = 1_000_000


class Handover:
    """What one migration does to the run state. `old_state`: from before it stopped the guest.

    With `keeps_images` they stay this machine's: a secondary is to have its own.
    """

    def __init__(self, vm: Vm, *, keeps_images: bool = False) -> None:
        self._vm = vm
        self._keeps_images = keeps_images
        self._stopped_ns = 0
        self.old_state: RunState | None = None

    def stop(self) -> None:
        """The guest stands still from now on."""
        self.old_state = self._vm.runstate.state
        self._stopped_ns = self._vm.clock.now_ns()
        self._vm.vm_stop(RunState.FINISH_MIGRATE)

    def downtime_ms(self) -> int:
        """How long it has stood still."""
        return (self._vm.clock.now_ns() - self._stopped_ns) // MS

    def let_go(self) -> None:
        """Its images may be another's: who gets the last of the stream goes on with them."""
        if not self._keeps_images:
            self._vm.gone()

    def give_away(self) -> None:
        """It lives elsewhere."""
        if self._vm.runstate.state is RunState.FINISH_MIGRATE:
            self.let_go()
            self._vm.runstate.become(RunState.POSTMIGRATE)

    def take_back(self) -> None:
        """It goes on here, as it was before it was stopped."""
        if self.old_state is None or self._vm.runstate.state is not RunState.FINISH_MIGRATE:
            return
        try:
            self._vm.back()
        except QmpError:  # it was told where it arose
            self._vm.runstate.become(RunState.PAUSED)
            return
        if self.old_state in LIVE:
            self._vm.vm_start()
        else:
            self._vm.runstate.become(self.old_state)
