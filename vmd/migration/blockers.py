"""Who forbids a migration, and in which modes.

Three kinds, as in QEMU: a *device* whose state cannot be saved forbids every mode; a *blocker* is
added and removed by whoever has a reason, for the modes it names; a *condition* is asked only when
a migration sets out, and makes it fail. Order and texts observed from migration/migration.c and
migration/savevm.c.
"""

from __future__ import annotations

from qapi.error import QmpError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Condition = Callable[[], str | None]

MODES = ("normal", "cpr-reboot")


class Blocker:
    """One reason not to migrate; `Blockers.remove` takes it back."""

    __slots__ = ("modes", "reason")

    def __init__(self, reason: str, modes: Iterable[str]) -> None:
        self.reason = reason
        self.modes = frozenset(modes)


class Blockers:
    """What stands against migrating one machine.

    `is_busy()` says whether a migration or a snapshot is under way: then nobody may begin to
    forbid it. `only_migratable` is the option of that name: nothing may be added that would stand
    against a normal migration.
    """

    __slots__ = ("_blockers", "_conditions", "_devices", "_is_busy", "_only_migratable")

    def __init__(self, is_busy: Callable[[], bool], *, only_migratable: bool) -> None:
        self._is_busy = is_busy
        self._only_migratable = only_migratable
        self._blockers: list[Blocker] = []
        self._devices: list[str] = []
        self._conditions: list[tuple[frozenset[str], Condition]] = []

    def add(self, reason: str, modes: Iterable[str] = MODES, *, internal: bool = False) -> Blocker:
        """Forbid migration in these modes; QmpError if it is too late, or must not be.

        An `internal` blocker comes and goes with a command and has nothing to do with
        -only-migratable.
        """
        blocker = Blocker(reason, modes)
        if self._only_migratable and not internal and "normal" in blocker.modes:
            raise QmpError(f"disallowing migration blocker (--only-migratable) for: {reason}")
        if self._is_busy():
            raise QmpError(
                f"disallowing migration blocker (migration/snapshot in progress) for: {reason}"
            )
        self._blockers.append(blocker)
        return blocker

    def remove(self, blocker: Blocker) -> None:
        """Take a reason back; once more does no harm."""
        if blocker in self._blockers:
            self._blockers.remove(blocker)

    def check_device(self, driver: str) -> None:
        """Refuse a device type without migratable state where -only-migratable was given."""
        if self._only_migratable:
            raise QmpError(
                f"Device {driver} is not migratable, but --only-migratable was specified"
            )

    def add_device(self, name: str) -> None:
        """A device is there whose state cannot be saved; `name` is its section's."""
        self._devices.append(name)

    def remove_device(self, name: str) -> None:
        """That device has gone."""
        if name in self._devices:
            self._devices.remove(name)

    def add_condition(self, condition: Condition, modes: Iterable[str]) -> None:
        """Ask `condition` when a migration in one of these modes sets out.

        It returns why the migration must fail, or None.
        """
        self._conditions.append((frozenset(modes), condition))

    def remove_condition(self, condition: Condition) -> None:
        """Ask no longer."""
        self._conditions = [entry for entry in self._conditions if entry[1] != condition]

    def reasons(self, mode: str) -> list[str]:
        """What `blocked-reasons` tells: blockers from the oldest on, devices from the newest."""
        blockers = [blocker.reason for blocker in self._blockers if mode in blocker.modes]
        return blockers + [f"non-migratable device: {name}" for name in reversed(self._devices)]

    def check(self, mode: str) -> None:
        """Refuse a migration with the first device's name, or else the newest blocker's reason."""
        if self._devices:
            raise QmpError(f"State blocked by non-migratable device '{self._devices[0]}'")
        for blocker in reversed(self._blockers):
            if mode in blocker.modes:
                raise QmpError(blocker.reason)

    def objection(self, mode: str) -> str | None:
        """Why a migration that sets out now must fail, or None."""
        for modes, condition in self._conditions:
            if mode in modes and (reason := condition()) is not None:
                return reason
        return None
