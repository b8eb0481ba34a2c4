"""What a machine's own stream begins and ends with: configuration, device sections, description.

Section ids follow QEMU's order of registration on a machine without devices: timer, (slirp), ram,
dirty-bitmap, the devices, globalstate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmd.migration import stream
from vmd.migration.sections import GLOBALSTATE, TIMER, Configuration, globalstate, timer
from vmd.migration.stream import DeviceState

if TYPE_CHECKING:
    from vmd.migration.parameters import MigrationOptions
    from vmd.migration.stream import CarriedSection
    from vmd.migration.vm import Vm
    from vmd.migration.vmstate import Values, VMState
    from vmd.runstate import RunState

TIMER_ID = 0


def ram_id(vm: Vm) -> int:
    """The section id of `ram`."""
    return 2 if vm.has_default_nic else 1


def configuration(vm: Vm, options: MigrationOptions) -> Configuration:
    """What this side tells of itself, and compares."""
    capabilities = ("x-ignore-shared",) if options.is_on("x-ignore-shared") else ()
    uuid = None
    if vm.uuid is not None and options.is_on("validate-uuid"):
        uuid = bytes.fromhex(vm.uuid.replace("-", ""))
    return Configuration(vm.board.name, capabilities, uuid)


def head(vm: Vm, options: MigrationOptions) -> bytes:
    """Everything before RAM."""
    return stream.header() + stream.configuration(configuration(vm, options))


def early(vm: Vm, carried: list[CarriedSection]) -> bytes:
    """Carried sections that stood before RAM was complete."""
    first = ram_id(vm) + 3
    return b"".join(
        _again(section, first + index).encode()
        for index, section in enumerate(carried)
        if section.early
    )


def tail(
    vm: Vm, options: MigrationOptions, carried: list[CarriedSection], old_state: RunState
) -> list[bytes]:
    """Everything after RAM: the devices, EOF, and the description of what was sent.

    `old_state` is the run state before the guest was stopped for the migration.
    """
    first = ram_id(vm) + 3
    others = [
        (section.early, _again(section, first + index)) for index, section in enumerate(carried)
    ]
    early_ones = [device for is_early, device in others if is_early]
    late = [
        _device(TIMER_ID, TIMER, timer(vm.guest_time.now_ns(), vm.guest_time.now_ns())),
        *(device for is_early, device in others if not is_early),
        _device(
            first + len(carried) if carried else first - 1,
            GLOBALSTATE,
            globalstate(old_state.value, was_suspended=vm.runstate.was_suspended),
        ),
    ]
    return [
        *(device.encode() for device in late),
        stream.eof(),
        stream.vmdescription(configuration(vm, options), [*early_ones, *late]),
    ]


def switchover_start() -> bytes:
    """The command that stands between RAM and the devices."""
    return stream.command(stream.SWITCHOVER_START)


def _device(section_id: int, state: VMState, values: Values) -> DeviceState:
    payload, description = state.describe(values)
    name_first = {"name": state.name, "instance_id": 0, **description}
    return DeviceState(section_id, state.name, 0, state.version, payload, name_first)


def _again(section: CarriedSection, section_id: int) -> DeviceState:
    """A carried section under a new id; one that came undescribed is described as a buffer."""
    description = section.description or {
        "name": section.idstr,
        "instance_id": section.instance_id,
        "size": len(section.payload),
        "fields": [{"name": "data", "size": len(section.payload), "type": "buffer"}],
    }
    return DeviceState(
        section_id,
        section.idstr,
        section.instance_id,
        section.version,
        section.payload,
        description,
    )
