"""What a machine's own stream begins and ends with: configuration, device sections, description.

Section ids follow QEMU's order of registration: timer, (slirp), ram, dirty-bitmap, the devices,
globalstate. Carried sections keep theirs where they can.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vmd.migration import stream
from vmd.migration.sections import (
    GLOBALSTATE,
    SLIRP,
    TIMER,
    VALIDATED_CAPABILITIES,
    Configuration,
    globalstate,
    timer,
)
from vmd.migration.stream import DeviceState

if TYPE_CHECKING:
    from vmd.migration.parameters import MigrationOptions
    from vmd.migration.stream import CarriedSection
    from vmd.migration.vm import Vm
    from vmd.migration.vmstate import Description, Values, VMState
    from vmd.runstate import RunState

TIMER_ID = 0
SLIRP_ID = 1


def ram_id(vm: Vm) -> int:
    """The section id of `ram`."""
    return 2 if vm.has_default_network else 1


def configuration(vm: Vm, options: MigrationOptions) -> Configuration:
    """What this side tells of itself: a UUID only when it is to be compared."""
    own = identity(vm, options)
    return own if options.is_on("validate-uuid") else own._replace(uuid=None)


def identity(vm: Vm, options: MigrationOptions) -> Configuration:
    """What a stream is compared with: its UUID, if it tells one, whatever validate-uuid says."""
    capabilities = tuple(name for name in VALIDATED_CAPABILITIES if options.is_on(name))
    uuid = None if vm.uuid is None else bytes.fromhex(vm.uuid.replace("-", ""))
    return Configuration(vm.board.name, capabilities, uuid)


def head(vm: Vm, options: MigrationOptions) -> bytes:
    """Everything before RAM."""
    return stream.header() + stream.configuration(configuration(vm, options))


def early(vm: Vm, carried: list[CarriedSection]) -> bytes:
    """Carried sections that stood before RAM was complete."""
    return b"".join(device.encode() for is_early, device in _others(vm, carried) if is_early)


class Tail(NamedTuple):
    """Everything after RAM. With `up_to_eof` a destination has all that it needs."""

    up_to_eof: list[bytes]
    description: list[bytes]


def tail(
    vm: Vm, options: MigrationOptions, carried: list[CarriedSection], old_state: RunState
) -> Tail:
    """The devices, EOF, and the description of what was sent.

    `old_state` is the run state before the guest was stopped for the migration.
    """
    now = vm.guest_time.now_ns()
    others = _others(vm, carried)
    state = globalstate(old_state.value, was_suspended=vm.runstate.was_suspended)
    last = max([ram_id(vm) + 1, *(device.section_id for _, device in others)]) + 1
    first = [device for is_early, device in others if is_early]
    late = [
        _device(TIMER_ID, TIMER, timer(now, now)),
        *(device for is_early, device in others if not is_early),
        _device(last, GLOBALSTATE, state),
    ]
    description = []
    if vm.properties.get("suppress-vmdesc") is not True:
        description = [stream.vmdescription(configuration(vm, options), [*first, *late])]
    return Tail([*(device.encode() for device in late), stream.eof()], description)


def _others(vm: Vm, carried: list[CarriedSection]) -> list[tuple[bool, DeviceState]]:
    """The sections that are not our own, each with whether it stands before RAM's end."""
    if vm.has_default_network and not vm.board.carries_devices and not carried:
        return [(False, _idle_slirp())]
    taken = {TIMER_ID, ram_id(vm), ram_id(vm) + 1}
    free = max([ram_id(vm) + 2, *(section.section_id + 1 for section in carried)])
    found = []
    for section in carried:
        section_id = section.section_id
        if section_id in taken:
            section_id, free = free, free + 1
        taken.add(section_id)
        found.append((section.early, _again(section, section_id)))
    return found


def _idle_slirp() -> DeviceState:
    """The network that machine `none` has unless -nodefaults: without traffic it is all zeros."""
    payload = SLIRP.encode({"data": b""})
    description = _plain_description(SLIRP.name, 0, len(payload))
    return DeviceState(SLIRP_ID, SLIRP.name, 0, SLIRP.version, payload, description)


def open_return_path() -> bytes:
    """What stands behind the head when the destination is to answer."""
    ping = stream.command(stream.PING, (1).to_bytes(4, "big"))
    return stream.command(stream.OPEN_RETURN_PATH) + ping


def advise_postcopy() -> bytes:
    """What stands there when bitmaps travel: they might be sent behind the switch-over."""
    return stream.command(stream.POSTCOPY_ADVISE)


def enable_colo() -> bytes:
    """What tells the destination to stand by as a secondary."""
    return stream.command(stream.ENABLE_COLO)


def switchover_start() -> bytes:
    """The command that stands between RAM and the devices."""
    return stream.command(stream.SWITCHOVER_START)


def _device(section_id: int, state: VMState, values: Values) -> DeviceState:
    payload, description = state.describe(values)
    name_first = {"name": state.name, "instance_id": 0, **description}
    return DeviceState(section_id, state.name, 0, state.version, payload, name_first)


def _plain_description(idstr: str, instance_id: int, size: int) -> Description:
    """A section that nobody described, in QEMU's old style: so many bytes."""
    fields = [{"name": "data", "size": size, "type": "buffer"}]
    return {"name": idstr, "instance_id": instance_id, "size": size, "fields": fields}


def _again(section: CarriedSection, section_id: int) -> DeviceState:
    """A carried section under a new id; one that came undescribed is described as a buffer."""
    description = section.description or _plain_description(
        section.idstr, section.instance_id, len(section.payload)
    )
    return DeviceState(
        section_id,
        section.idstr,
        section.instance_id,
        section.version,
        section.payload,
        description,
    )
