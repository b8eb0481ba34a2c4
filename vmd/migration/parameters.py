"""Capabilities and parameters of migration: defaults, ranges, conflicts.

One row a name. A capability or parameter is listed here only when the engine acts on it; what is
not listed is unknown, and the schema refuses it. Texts, limits and the order of checks observed
from migration/options.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

from qapi.error import QmpError
from vmd.memory import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from vmd.migration.bitmap_mapping import Mapping as BitmapMapping

CAPABILITIES = (
    "xbzrle",
    "rdma-pin-all",
    "auto-converge",
    "zero-blocks",
    "events",
    "x-colo",
    "release-ram",
    "return-path",
    "pause-before-switchover",
    "dirty-bitmaps",
    "late-block-activate",
    "x-ignore-shared",
    "validate-uuid",
    "switchover-ack",
    "dirty-limit",
    "mapped-ram",
)
"""In QEMU's order. Some change nothing, as in QEMU 10.0: late-block-activate tells what happens in
any case, zero-blocks outlived block migration, release-ram speaks of postcopy only, rdma-pin-all of
adapters that the host has not (channels/doors.py)."""

ZERO_BLOCKS_WARNING = "warning: zero-blocks capability is deprecated"

CONFLICTS = (("mapped-ram", "xbzrle", "Mapped-ram migration is incompatible with xbzrle"),)
"""Two capabilities that cannot both be on, and what is said about them; in the order of checks."""


def _range(low: int, high: int, complaint: str) -> Callable[[object], str | None]:
    def check(value: object) -> str | None:
        return None if isinstance(value, int) and low <= value <= high else complaint

    return check


def _percent(high: int) -> Callable[[object], str | None]:
    return _range(1, high, f"expects an integer in the range of 1 to {high}")


def _power_of_two(value: object) -> str | None:
    if isinstance(value, int) and value >= PAGE_SIZE and not value & (value - 1):
        return None
    return "expects a power of two no less than the target page size"


# How a value is typed at the human monitor, and what it is on the wire
UINT64_MAX = (1 << 64) - 1
SIZE = "size"  # a number that may have a suffix: 64k
BANDWIDTH = "bandwidth"  # the same; a bare number counts MiB
NUMBER = "uint64"  # the same as a size, but for `-global`, which takes no suffix
SMALL = "uint8"
MIDDLE = "uint32"
SWITCH = "bool"
CHOICE = "enum"
MAPPING = "mapping"  # a list, which only QMP can tell


class Parameter(NamedTuple):
    """One migration parameter.

    `unit` is what `info migrate_parameters` prints after the value. `check` gives what is wrong
    with a value (the text goes on after its name), or None.
    """

    name: str
    default: object
    kind: str
    unit: str = ""
    check: Callable[[object], str | None] | None = None


def _up_to(most: int, least: int = 0) -> Callable[[object], str | None]:
    return _range(least, most, f"expects a value between 0 and {most}")


PARAMETERS: dict[str, Parameter] = {
    parameter.name: parameter
    for parameter in (
        Parameter("announce-initial", 50, SIZE, " ms", _up_to(100_000)),
        Parameter("announce-max", 550, SIZE, " ms", _up_to(100_000)),
        Parameter("announce-rounds", 5, SIZE, "", _up_to(1000)),
        Parameter("announce-step", 100, SIZE, " ms", _up_to(10_000, least=1)),
        Parameter("throttle-trigger-threshold", 50, SMALL, check=_percent(100)),
        Parameter("cpu-throttle-initial", 20, SMALL, check=_percent(99)),
        Parameter("cpu-throttle-increment", 10, SMALL, check=_percent(99)),
        Parameter("cpu-throttle-tailslow", False, SWITCH),
        Parameter("max-cpu-throttle", 99, SMALL),
        Parameter("max-bandwidth", 128 << 20, BANDWIDTH, " bytes/second"),
        Parameter("avail-switchover-bandwidth", 0, BANDWIDTH, " bytes/second"),
        Parameter(
            "downtime-limit",
            300,
            NUMBER,
            " ms",
            _range(0, 2_000_000, "expects an integer in the range of 0 to (2000 * 1000) ms"),
        ),
        Parameter("x-checkpoint-delay", 20_000, MIDDLE, " ms"),
        Parameter("zero-page-detection", "multifd", CHOICE),
        Parameter("xbzrle-cache-size", 64 << 20, SIZE, " bytes", _power_of_two),
        Parameter("block-bitmap-mapping", None, MAPPING),
        Parameter(
            "x-vcpu-dirty-limit-period",
            1000,
            NUMBER,
            " ms",
            _range(1, 1000, "expects a value between 1 and 1000"),
        ),
        Parameter(
            "vcpu-dirty-limit",
            1,
            NUMBER,
            " MB/s",
            _range(1, UINT64_MAX, "must be greater than 1 MB/s"),
        ),
        Parameter("mode", "normal", CHOICE),
        Parameter("direct-io", False, SWITCH),
    )
}
"""In the order of `info migrate_parameters`. What is None has not been set."""

CHECKED_LATER = ("announce-initial", "announce-max", "announce-rounds", "announce-step")
CHECKED_LAST = ("x-vcpu-dirty-limit-period", "vcpu-dirty-limit")


class MigrationOptions:
    """What `migrate-set-capabilities` and `migrate-set-parameters` have set on one machine."""

    def __init__(self, *, has_dirty_ring: bool = False) -> None:
        self._has_dirty_ring = has_dirty_ring
        self.capabilities: dict[str, bool] = dict.fromkeys(CAPABILITIES, False)
        self.parameters: dict[str, object] = {name: row.default for name, row in PARAMETERS.items()}

    def is_on(self, capability: str) -> bool:
        """Whether a capability is on."""
        return self.capabilities[capability]

    def set_capabilities(
        self, changes: Sequence[tuple[str, bool]], tell: Callable[[str], None] | None = None
    ) -> None:
        """Apply all changes or none. Conflicts between capabilities are judged on the result.

        `tell` gets a warning, also when it is refused for something else.
        """
        wanted = {**self.capabilities, **dict(changes)}
        if wanted["zero-blocks"] and tell is not None:
            tell(ZERO_BLOCKS_WARNING)
        if wanted["switchover-ack"] and not wanted["return-path"]:
            raise QmpError("Capability 'switchover-ack' requires capability 'return-path'")
        if wanted["dirty-limit"]:
            if wanted["auto-converge"]:
                text = "dirty-limit conflicts with auto-converge either of then available currently"
                raise QmpError(text)
            if not self._has_dirty_ring:
                raise QmpError(
                    "dirty-limit requires KVM with accelerator property 'dirty-ring-size' set"
                )
        for one, other, text in CONFLICTS:
            if wanted[one] and wanted[other]:
                raise QmpError(text)
        self.capabilities = wanted

    def set_parameters(self, changes: Mapping[str, object]) -> None:
        """Apply all changes or none; QmpError names the first value out of range."""
        wanted = {**self.parameters, **changes}
        later = (*CHECKED_LATER, *CHECKED_LAST)
        _check(wanted, [name for name in PARAMETERS if name not in later])
        if not _number(wanted, "cpu-throttle-initial") <= _number(wanted, "max-cpu-throttle") <= 99:
            raise QmpError(
                "Parameter 'max_cpu_throttle' expects an integer in the range of"
                " cpu_throttle_initial to 99"
            )
        _check(wanted, CHECKED_LATER)
        if "block-bitmap-mapping" in changes:
            _check_mapping(changes["block-bitmap-mapping"])
        _check(wanted, CHECKED_LAST)
        self.parameters = wanted

    @property
    def bitmap_mapping(self) -> BitmapMapping | None:
        """The parameter block-bitmap-mapping; None where dirty bitmaps keep their names."""
        mapping: BitmapMapping | None
        mapping = cast("Any", self.parameters["block-bitmap-mapping"])
        return mapping

    def number(self, name: str) -> int:
        """The value of an integer parameter."""
        return _number(self.parameters, name)

    @property
    def mode(self) -> str:
        """The migration mode: normal, or one of the CPR modes."""
        return str(self.parameters["mode"])

    @property
    def is_cpr(self) -> bool:
        """Whether the guest is stopped before anything is sent."""
        return self.mode.startswith("cpr-")


def _check(values: Mapping[str, object], names: Iterable[str]) -> None:
    """QmpError for the first of these that is out of range."""
    for name in names:
        check = PARAMETERS[name].check
        if check is not None and (complaint := check(values[name])) is not None:
            # QEMU says names as its C does, but for the experimental ones.
            shown = name if name.startswith("x-") else name.replace("-", "_")
            raise QmpError(f"Parameter '{shown}' {complaint}")


def _check_mapping(mapping: Any) -> None:
    from vmd.migration.bitmap_mapping import complaint

    if (text := complaint(mapping)) is not None:
        raise QmpError(f"Invalid mapping given for block-bitmap-mapping: {text}")


def _number(values: Mapping[str, object], name: str) -> int:
    value = values[name]
    assert isinstance(value, int)
    return value
