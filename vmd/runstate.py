"""The run states of a machine and the one table of legal transitions.

Theory: a machine is always in exactly one of QEMU's run states. Two of them are *live* (`running`
and `suspended`): the guest exists in time. Leaving a live state by a stop remembers whether the
guest was suspended, and the next start goes back to `suspended` instead of `running`; that memory
is `was_suspended`, and it travels in the migration stream. What a command may do in a state is
decided by the commands; the table only says which steps exist at all. QEMU aborts on any other
step (observed from system/runstate.c); vmd refuses it and stays where it was.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from qapi.error import QmpError

if TYPE_CHECKING:
    from collections.abc import Callable


class RunState(Enum):
    """QEMU's RunState, in the order of its enum."""

    DEBUG = "debug"
    INMIGRATE = "inmigrate"
    INTERNAL_ERROR = "internal-error"
    IO_ERROR = "io-error"
    PAUSED = "paused"
    POSTMIGRATE = "postmigrate"
    PRELAUNCH = "prelaunch"
    FINISH_MIGRATE = "finish-migrate"
    RESTORE_VM = "restore-vm"
    RUNNING = "running"
    SAVE_VM = "save-vm"
    SHUTDOWN = "shutdown"
    SUSPENDED = "suspended"
    WATCHDOG = "watchdog"
    GUEST_PANICKED = "guest-panicked"
    COLO = "colo"


def _row(names: str) -> frozenset[RunState]:
    return frozenset(RunState(name) for name in names.split())


TRANSITIONS: dict[RunState, frozenset[RunState]] = {
    RunState.PRELAUNCH: _row("running suspended inmigrate finish-migrate"),
    RunState.INMIGRATE: _row(
        "running paused prelaunch postmigrate finish-migrate suspended shutdown io-error"
        " internal-error watchdog guest-panicked colo"
    ),
    RunState.RUNNING: _row(
        "paused finish-migrate save-vm restore-vm suspended shutdown debug io-error"
        " internal-error watchdog guest-panicked colo"
    ),
    RunState.PAUSED: _row("running suspended finish-migrate postmigrate prelaunch colo"),
    RunState.SUSPENDED: _row(
        "running paused finish-migrate prelaunch save-vm restore-vm shutdown colo"
    ),
    RunState.FINISH_MIGRATE: _row(
        "running paused postmigrate prelaunch suspended shutdown io-error internal-error"
        " watchdog guest-panicked colo"
    ),
    RunState.POSTMIGRATE: _row("running finish-migrate prelaunch"),
    RunState.SAVE_VM: _row("running suspended"),
    RunState.RESTORE_VM: _row("running prelaunch suspended"),
    RunState.SHUTDOWN: _row("paused finish-migrate prelaunch colo"),
    RunState.DEBUG: _row("running suspended finish-migrate prelaunch"),
    RunState.IO_ERROR: _row("running finish-migrate prelaunch"),
    RunState.WATCHDOG: _row("running finish-migrate prelaunch colo"),
    RunState.GUEST_PANICKED: _row("running finish-migrate prelaunch"),
    RunState.INTERNAL_ERROR: _row("paused finish-migrate prelaunch"),
    RunState.COLO: _row("running prelaunch shutdown"),
}

LIVE = frozenset({RunState.RUNNING, RunState.SUSPENDED})
NEEDS_RESET = frozenset({RunState.SHUTDOWN, RunState.INTERNAL_ERROR})


class RunStateMachine:
    """Where one machine is, and whether it was suspended when it was last stopped."""

    __slots__ = ("_told", "state", "was_suspended")

    def __init__(
        self,
        state: RunState = RunState.PRELAUNCH,
        told: Callable[[RunState, RunState], None] | None = None,
    ) -> None:
        """`told(old, new)` hears of every step."""
        self.state = state
        self.was_suspended = False
        self._told = told

    @property
    def is_live(self) -> bool:
        """Running or suspended."""
        return self.state in LIVE

    def may_become(self, new: RunState) -> bool:
        """Whether `become(new)` would be accepted; staying is always legal."""
        return new is self.state or new in TRANSITIONS[self.state]

    def become(self, new: RunState) -> None:
        """Step to `new`, or raise QmpError with QEMU's words and stay."""
        if self._told is not None:
            self._told(self.state, new)
        if not self.may_become(new):
            raise QmpError(f"invalid runstate transition: '{self.state.value}' -> '{new.value}'")
        self.state = new
