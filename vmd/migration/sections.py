"""The sections that vmd itself understands: configuration, timer and global state.

Each is declared once; bytes, values and description all come from the declaration. Observed from
QEMU's migration/savevm.c, system/cpu-timers.c and migration/global_state.c.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from vmd.migration.source import invalid, text
from vmd.migration.vmstate import (
    INT64,
    UINT8,
    UINT32,
    Field,
    VMState,
    buffer,
    string,
    unused,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from vmd.migration.vmstate import Values

# The capabilities that a stream tells and a receiver compares, in their order.
VALIDATED_CAPABILITIES = ("x-ignore-shared", "mapped-ram")

# Every capability of QEMU 10.0: a stream may name any of them.
KNOWN_CAPABILITIES = frozenset(
    (
        "auto-converge",
        "background-snapshot",
        "dirty-bitmaps",
        "dirty-limit",
        "events",
        "late-block-activate",
        "mapped-ram",
        "multifd",
        "pause-before-switchover",
        "postcopy-blocktime",
        "postcopy-preempt",
        "postcopy-ram",
        "rdma-pin-all",
        "release-ram",
        "return-path",
        "switchover-ack",
        "validate-uuid",
        "x-colo",
        "x-ignore-shared",
        "xbzrle",
        "zero-blocks",
        "zero-copy-send",
    )
)

TIMER = VMState(
    "timer",
    2,
    (
        Field("cpu_ticks_offset", INT64),
        Field("unused", unused(8)),
        Field("cpu_clock_offset", INT64, since=2),
    ),
)

GLOBALSTATE = VMState(
    "globalstate",
    1,
    (
        Field("size", UINT32),
        Field("runstate", buffer(32)),
        Field("has_vm_was_suspended", UINT8),
        Field("vm_was_suspended", UINT8),
        Field("unused", buffer(66)),
    ),
)


# The network of machine `none` without -nodefaults. Nobody uses it there, so it is always idle.
SLIRP = VMState("slirp", 4, (Field("data", buffer(131)),))


def timer(ticks: int, clock: int) -> Values:
    """The guest's tick counter and its virtual clock in ns, as values of TIMER."""
    return {"cpu_ticks_offset": ticks, "cpu_clock_offset": clock}


def globalstate(runstate: str, *, was_suspended: bool) -> Values:
    """The run state before the stop for migration, as values of GLOBALSTATE."""
    name = runstate.encode()
    return {
        "size": len(name) + 1,
        "runstate": name,
        "has_vm_was_suspended": 1,
        "vm_was_suspended": int(was_suspended),
        "unused": b"",
    }


class GlobalState(NamedTuple):
    """What a stream says about the run state of its source."""

    runstate: str
    was_suspended: bool


def parse_globalstate(values: Mapping[str, Any], states: Collection[str]) -> GlobalState:
    """Values of GLOBALSTATE as run state; LoadError if it is none of `states`."""
    name = text(values["runstate"][:31])  # QEMU ends the name there, come what may
    if name not in states:
        raise invalid(f"invalid parameter value: {name}")
    suspended = bool(values["has_vm_was_suspended"] and values["vm_was_suspended"])
    return GlobalState(name, suspended)


def globalstate_section(states: Collection[str]) -> VMState:
    """GLOBALSTATE for loading: an unknown run state fails the section."""

    def check(values: Values) -> None:
        parse_globalstate(values, states)

    return GLOBALSTATE._replace(post_load=check)


# The configuration section


def _unknown_capability(name: str) -> None:
    if name not in KNOWN_CAPABILITIES:
        raise invalid(f"Received unknown capability {name}")


PAGE_BITS = VMState(
    "configuration/target-page-bits",
    1,
    (Field("page_bits", UINT32),),
    needed=lambda _: False,  # x86 has one page size
)
CAPABILITIES = VMState(
    "configuration/capabilities",
    1,
    (
        Field("caps_count", UINT32),
        Field(
            "capabilities",
            string("capability"),
            count_from="caps_count",
            check=_unknown_capability,
        ),
    ),
    needed=lambda values: "configuration/capabilities" in values,
)
UUID = VMState(
    "configuration/uuid",
    1,
    (Field("uuid.data", UINT8, length=16),),
    needed=lambda values: "configuration/uuid" in values,
)
CONFIGURATION = VMState(
    "configuration",
    1,
    (
        Field("len", UINT32),
        Field("name", buffer(0), size_from="len"),
    ),
    (PAGE_BITS, CAPABILITIES, UUID),
    minimum_version=0,  # the section has no version on the wire
)


class Configuration(NamedTuple):
    """What both sides of a migration must agree upon.

    `capabilities` are those of VALIDATED_CAPABILITIES that are on. `uuid` is 16 bytes, or None
    if the machine has none (or its source did not ask for it to be compared).
    """

    machine: str
    capabilities: tuple[str, ...] = ()
    uuid: bytes | None = None

    def values(self) -> Values:
        """As values of CONFIGURATION."""
        name = self.machine.encode("utf-8", "surrogateescape")
        values: Values = {"len": len(name), "name": name}
        on = [name for name in VALIDATED_CAPABILITIES if name in self.capabilities]
        if on:
            values[CAPABILITIES.name] = {"caps_count": len(on), "capabilities": on}
        if self.uuid is not None:
            values[UUID.name] = {"uuid.data": list(self.uuid)}
        return values


def parse_configuration(values: Mapping[str, Any]) -> Configuration:
    """The received values of CONFIGURATION."""
    capabilities = values.get(CAPABILITIES.name, {}).get("capabilities", ())
    uuid = values.get(UUID.name)
    return Configuration(
        text(values["name"]), tuple(capabilities), bytes(uuid["uuid.data"]) if uuid else None
    )


def configuration_section(local: Configuration, warn: Callable[[str], None]) -> VMState:
    """CONFIGURATION for loading: what differs from `local` fails it, a missing UUID warns."""

    def check_uuid(values: Values) -> None:
        received = bytes(values["uuid.data"])
        if local.uuid is None:
            warn(f"warning: UUID is received {format_uuid(received)}, but local uuid isn't set")
        elif received != local.uuid:
            raise invalid(
                f"UUID received is {format_uuid(received)} and local is {format_uuid(local.uuid)}"
            )

    def check(values: Values) -> None:
        received, length = values["name"], values["len"]
        mine = local.machine.encode("utf-8", "surrogateescape")
        # As many bytes as were sent are compared: a shorter name passes when it is a prefix,
        # and nothing counts from a NUL on, as with strncmp.
        if _c_prefix(received, length) != _c_prefix(mine, length):
            raise invalid(
                f"Machine type received is '{text(received)}' and local is '{local.machine}'"
            )
        _compare_capabilities(parse_configuration(values).capabilities, local.capabilities)

    uuid = UUID._replace(post_load=check_uuid)
    return CONFIGURATION._replace(subsections=(PAGE_BITS, CAPABILITIES, uuid), post_load=check)


def _c_prefix(name: bytes, length: int) -> bytes:
    return name[:length].split(b"\0", 1)[0]


def _compare_capabilities(received: Collection[str], local: Collection[str]) -> None:
    word = {True: "on", False: "off"}
    lines = [
        f"Capability {name} is {word[name in local]},"
        f" but received capability is {word[name in received]}"
        for name in VALIDATED_CAPABILITIES
        if (name in local) != (name in received)
    ]
    if lines:
        raise invalid(*lines)


def format_uuid(uuid: bytes) -> str:
    """16 bytes as a person reads a UUID."""
    digits = uuid.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
