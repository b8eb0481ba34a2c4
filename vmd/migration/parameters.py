"""Capabilities and parameters of migration: defaults, ranges, conflicts.

One row a name. A capability or parameter is listed here only when the engine acts on it; what is
not listed is unknown, and the schema refuses it. Texts and limits observed from
migration/options.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from qapi.error import QmpError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

CAPABILITIES = (
    "events",
    "pause-before-switchover",
    "x-ignore-shared",
    "validate-uuid",
)
"""In QEMU's order."""


def _range(low: int, high: int, expects: str) -> Callable[[object], str | None]:
    def check(value: object) -> str | None:
        return None if isinstance(value, int) and low <= value <= high else expects

    return check


class Parameter(NamedTuple):
    """One migration parameter.

    `check` gives what the value was expected to be, or None when it is right; the text names the
    parameter with underscores, as QEMU's range errors do. `unit` is what `info
    migrate_parameters` prints after the value. `bare_unit` multiplies a bare number typed at the
    human monitor; None means that the value is typed as it is on the wire.
    """

    name: str
    default: object
    unit: str = ""
    check: Callable[[object], str | None] | None = None
    bare_unit: int | None = None


PARAMETERS: dict[str, Parameter] = {
    parameter.name: parameter
    for parameter in (
        Parameter("max-bandwidth", 128 << 20, " bytes/second", bare_unit=1 << 20),
        Parameter("avail-switchover-bandwidth", 0, " bytes/second", bare_unit=1 << 20),
        Parameter(
            "downtime-limit",
            300,
            " ms",
            _range(0, 2_000_000, "an integer in the range of 0 to (2000 * 1000) ms"),
            bare_unit=1,
        ),
        Parameter("zero-page-detection", "multifd"),
        Parameter("mode", "normal"),
    )
}


class MigrationOptions:
    """What `migrate-set-capabilities` and `migrate-set-parameters` have set on one machine."""

    def __init__(self) -> None:
        self.capabilities: dict[str, bool] = dict.fromkeys(CAPABILITIES, False)
        self.parameters: dict[str, object] = {name: row.default for name, row in PARAMETERS.items()}

    def is_on(self, capability: str) -> bool:
        """Whether a capability is on."""
        return self.capabilities[capability]

    def set_capabilities(self, changes: Sequence[tuple[str, bool]]) -> None:
        """Apply all changes or none. Conflicts between capabilities are judged on the result."""
        self.capabilities = {**self.capabilities, **dict(changes)}

    def set_parameters(self, changes: Mapping[str, object]) -> None:
        """Apply all changes or none; QmpError names the first value out of range."""
        for name, value in changes.items():
            check = PARAMETERS[name].check
            if check is not None and (expects := check(value)) is not None:
                raise QmpError(f"Parameter '{name.replace('-', '_')}' expects {expects}")
        self.parameters = {**self.parameters, **changes}

    def number(self, name: str) -> int:
        """The value of an integer parameter."""
        value = self.parameters[name]
        assert isinstance(value, int)
        return value

    @property
    def mode(self) -> str:
        """The migration mode: normal, or one of the CPR modes."""
        return str(self.parameters["mode"])

    @property
    def is_cpr(self) -> bool:
        """Whether the guest is stopped before anything is sent."""
        return self.mode.startswith("cpr-")
