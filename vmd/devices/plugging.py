"""The devices of one machine: plugged at the start or while it runs, and unplugged.

A PCI device that users unplug stays until the guest gives it up: a guest that listens does so as
soon as it runs, here or where it has moved to, and a reset takes it away in any case. Others go at
once, and what they were is told gone a moment after the command. Observed from
system/qdev-monitor.c, hw/acpi/pcihp.c and hw/core/qdev.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qapi.error import DEVICE_NOT_FOUND, QmpError
from vmd.devices import bus as buses
from vmd.devices import catalog, dimms, ejection, hurdles, parts, processors, realize, slots, values
from vmd.devices.bus import SYSTEM, Bus, Device
from vmd.options import check_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vmd.devices.balloon import Balloon
    from vmd.devices.catalog import DeviceType
    from vmd.devices.drives import Reserved
    from vmd.devices.watchdog import Watchdog
    from vmd.machine import Machine

GONE_NS = 50_000_000
"""How long after device_del a device that asks no guest is told gone."""
EJECT_NS = 50_000_000
"""How long a guest takes to give a device up."""
_RECORDED = "/machine/peripheral/dev"  # where the device was whose values the catalog tells
_UNATTACHED = "/machine/unattached/"
_INNER = "virtio-bus"  # nobody has one to plug something into
_OWN = ("driver", "bus", "id")
_READ_ONLY = ((dimms.TYPE, "size"),)


class Devices:
    """The tree of buses, and what is on it."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.root = Bus(SYSTEM, "main-system-bus", "")
        self.named: dict[str, Device] = {}
        self.anonymous: list[Device] = []
        self.own: list[Device] = []  # ports, drives and the rest that the board plugs in
        self.loose: list[Device] = []  # those that are on no bus
        self._numbers: dict[str, int] = {}
        self._anonymous_count = 0
        self.balloon: Balloon | None = None
        self.reserved: dict[str, Reserved] = {}
        self._drive_count = 0
        self.used_globals: set[tuple[str, str, str]] = set()
        self.lost_ticks = "delay"  # what becomes of them under KVM
        from vmd.devices.chipset import add_board_devices

        add_board_devices(self)
        if machine.kvm is not None and machine.globals:
            from vmd.devices.chipset import judge_timer_of_kvm

            judge_timer_of_kvm(self)

    def number_drive(self) -> int:
        """The number of a drive that is made now."""
        self._drive_count += 1
        return self._drive_count

    def all(self) -> Iterator[Device]:
        """Every device, in the order of the tree."""
        for device in self.root.devices:
            yield from _downwards(device)
        yield from self.loose

    def users(self) -> Iterator[Device]:
        """The devices that users plugged, in order."""
        yield from self.named.values()
        yield from self.anonymous

    def plugged(self) -> Iterator[Device]:
        """The devices that the board or users plugged, in order."""
        yield from self.own
        yield from self.users()

    # Plugging.

    def add(self, options: Mapping[str, Any], *, hotplug: bool, path: str | None = None) -> Device:
        """Plug a device in: `options` are device_add's; QmpError with QEMU's text if it cannot be.

        Values that are `values.Written` come from a command line. `path` is where one that the
        board plugs in itself is.
        """
        kind = self._kind(options.get("driver"))
        bus = self._bus(kind, options.get("bus"))
        if hotplug and self.machine.migration.under_way:
            raise QmpError("device_add not allowed while migrating")
        if hotplug and not kind.hotpluggable:
            raise QmpError(f"Device '{kind.name}' does not support hotplugging")
        if hotplug and bus is not None and not bus.hotpluggable:
            raise QmpError(f"Bus '{bus.name}' does not support hotplugging")
        device = self._make(kind, options.get("id"), bus, path)
        device.hotplugged = hotplug
        self._set_properties(device, options)
        try:
            hurdles.check(self.machine, device)
            parts.attach(self.machine, device)
            if bus is not None:
                slots.place(device, bus, self.machine.warn)
            parts.demand(device)
            realize.check(self.machine, self, device)
            hurdles.put_up(self.machine, device)
        except BaseException:
            _release(device)
            raise
        self._enter(device)
        realize.finish(self.machine, self, device)
        return device

    def _kind(self, name: object) -> DeviceType:
        if not isinstance(name, str):
            raise QmpError("Parameter 'driver' is missing")
        kind = catalog.find(name) or processors.find_type(name)
        if kind is None:
            from vmd.devices import types

            if name in types.TYPES and types.is_a(name, "device"):
                expected = "a non-abstract" if types.TYPES[name].abstract else "a pluggable"
                raise QmpError(f"Parameter 'driver' expects {expected} device type")
            raise QmpError(f"'{name}' is not a valid device model name")
        if kind.bus == _INNER:
            raise QmpError(f"No '{_INNER}' bus found for device '{kind.name}'")
        if not kind.pluggable:
            raise QmpError("Parameter 'driver' expects a pluggable device type")
        return kind

    def _bus(self, kind: DeviceType, wanted: object) -> Bus | None:
        if isinstance(wanted, str):
            bus = buses.find_by_name(self.root, wanted)
            if kind.bus is None or not bus.is_a(kind.bus):
                raise QmpError(f"Device '{kind.name}' can't go on {bus.type} bus")
            return bus
        if kind.bus is None:
            return None
        found = buses.find_by_type(self.root, kind.bus)
        if found is None or found.is_full:
            raise QmpError(f"No '{kind.bus}' bus found for device '{kind.name}'")
        return found

    def _make(
        self, kind: DeviceType, identifier: object, bus: Bus | None, path: str | None
    ) -> Device:
        if not isinstance(identifier, str):
            anonymous = f"/machine/peripheral-anon/device[{self._anonymous_count}]"
            return Device(kind, None, path or anonymous, bus)
        name = identifier
        check_id(name)
        if name in self.named or name == "type":
            raise QmpError(f"Duplicate device ID '{name}'")
        return Device(kind, name, f"/machine/peripheral/{name}", bus)

    def _set_properties(self, device: Device, options: Mapping[str, Any]) -> None:
        self.set_defaults(device)
        for name, value in options.items():
            if name not in _OWN:
                self._set(device, name, value)

    def set_defaults(self, device: Device) -> None:
        """The values that a device has of itself, and those that -global gives its type."""
        kind = device.type
        device.values = {
            info.name: info.default for info in kind.properties.values() if info.default is not None
        }
        for name, value in kind.values.items():
            is_path = isinstance(value, str) and value.startswith(_RECORDED)
            device.values[name] = device.path + value[len(_RECORDED) :] if is_path else value
        for rule in self.machine.globals:
            driver, name, text = rule
            if driver == kind.name or driver in realize.ancestors(kind.name):
                self.used_globals.add(rule)
                try:
                    self._set(device, name, values.Preset(text))
                except QmpError as error:
                    where = f"{driver}.{name}={text}"
                    raise QmpError(f"can't apply global {where}: {error.desc}") from None

    def _set(self, device: Device, name: str, value: object) -> None:
        info = device.type.settable(name)
        if info is None:
            raise QmpError(f"Property '{device.type.name}.{name}' not found")
        if (device.type.name, name) in _READ_ONLY:
            raise QmpError(f"Property '{device.type.name}.{name}' is not writable")
        device.values[name] = values.judge(device.type, info, value)
        device.given.add(name)

    def _enter(self, device: Device) -> None:
        if device.id is not None:
            self.named[device.id] = device
        elif device.path.startswith(_UNATTACHED):
            self.own.append(device)
        else:
            self.anonymous.append(device)
            self._anonymous_count += 1
        if device.bus is None:
            self.loose.append(device)
        else:
            device.bus.devices.append(device)
        self.add_buses(device)

    def add_buses(self, device: Device) -> None:
        """Make the buses that a device brings along."""
        kind = device.type
        backend = f"{device.path}/virtio-backend" if kind.backend else device.path
        for type_, end in kind.buses:
            name = f"{device.id}{end}" if device.id is not None else self._automatic(type_)
            device.buses.append(
                Bus(
                    type_,
                    name,
                    f"{backend}/{name}",
                    device,
                    hotpluggable=realize.is_hotpluggable_bus(device, type_),
                    most=realize.most_devices(type_),
                )
            )

    def _automatic(self, type_: str) -> str:
        word = type_.lower()
        number = self._numbers.get(word, 0)
        self._numbers[word] = number + 1
        return f"{word}.{number}"

    # Unplugging.

    def remove(self, name: str) -> None:
        """Ask for a device to go; QmpError if it may not."""
        device = self._find(name)
        if device.unplugging and not dimms.is_dimm(device):
            text = f"Device {device.id or device.path} is already in the process of unplug"
            raise QmpError(text)
        if device.bus is not None and not device.bus.hotpluggable:
            raise QmpError(f"Bus '{device.bus.name}' does not support hotplugging")
        if not device.type.hotpluggable:
            raise QmpError(f"Device '{device.type.name}' does not support hotplugging")
        if self.machine.migration.under_way:
            raise QmpError("device_del not allowed while migrating")
        if processors.is_cpu(device):
            processors.ask_to_go(self.machine, device)
            self._ask_for(device)
        elif dimms.is_dimm(device) or (device.bus is not None and device.bus.is_a("PCI")):
            self._ask_for(device)
        else:
            self._take_out(device)

    def _ask_for(self, device: Device) -> None:
        device.unplugging = device.asked = True
        ejection.note(self.root, self.machine.guest)
        self.guest_runs()

    def _find(self, name: str) -> Device:
        if name in self.named:
            return self.named[name]
        if not name:  # the container of them all
            raise QmpError(f"{name} is not a device")
        if name.startswith("/"):
            for device in self.all():
                if device.path == name:
                    return device
            realize.refuse_removal(self.machine, name)
        raise QmpError(f"Device '{name}' not found", DEVICE_NOT_FOUND)

    def forget_object(self, path: str) -> None:
        """An object of the user's is gone: what linked to it links to nothing."""
        for device in self.users():
            for name, value in device.values.items():
                if value == path:
                    device.values[name] = ""

    def guest_runs(self) -> None:
        """A guest that listens hears what is asked of it as soon as it runs."""
        if self.balloon is not None:
            self.balloon.guest_runs()
        for watchdog in self.watchdogs():
            watchdog.guest_runs()
        if self.machine.guest.listens and any(d.asked for d in self.plugged()):
            self.machine.clock.call_later(EJECT_NS, self._eject)

    def guest_stops(self) -> None:
        """Time stands still."""
        for watchdog in self.watchdogs():
            watchdog.guest_stops()

    def watchdogs(self) -> Iterator[Watchdog]:
        """In the order in which they were plugged."""
        return (each.state for each in self.users() if each.type.name in realize.WATCHDOGS)

    def arrived(self) -> None:
        """A guest has come with its RAM, which tells what it was asked for, and of open trays."""
        if self.balloon is not None:
            self.balloon.arrived()
        ejection.recall(self.root, self.machine.guest)
        if self.machine.guest.open_trays:
            from vmd.devices import trays

            trays.recall(self.machine)

    def _eject(self) -> None:
        if not self.machine.guest.listens:
            return
        self.take_out_waiting()
        modules = [dimm for dimm in dimms.plugged(self.machine) if dimm.asked]
        if modules and self.machine.migration.under_way:
            # RAM that is being sent stays; this guest looks again later.
            self.machine.clock.call_later(EJECT_NS, self._eject)
            return
        for dimm in modules:
            self._take_out(dimm)

    def reset(self) -> None:
        """The machine is reset: what was asked to go goes, trays close, nobody watches."""
        self.take_out_waiting()
        for device in self.plugged():
            if device.drive is not None:
                device.drive.tray_open = False
        for watchdog in self.watchdogs():
            watchdog.stop()

    def take_out_waiting(self) -> None:
        """The guest, or a reset, lets go of what was asked for; of a module only a guest does."""
        for functions in list(ejection.asked_slots(self.root)):
            for device in functions:
                device.asked = False
                if ejection.can_go(device):
                    self._take_out(device)
        for device in list(self.plugged()):
            if device.asked and processors.is_cpu(device):
                self._take_out(device)
        ejection.note(self.root, self.machine.guest)

    def _take_out(self, device: Device) -> None:
        for each in device.below():
            _release(each)
            realize.undo(self.machine, self, each)
            if each.id is not None:
                self.named.pop(each.id, None)
            else:
                (self.own if each in self.own else self.anonymous).remove(each)
        if device.bus is None:
            self.loose.remove(device)
        else:
            device.bus.devices.remove(device)
        if self.machine.guest.open_trays:
            from vmd.devices import trays

            trays.note(self.machine)
        self.machine.clock.call_later(GONE_NS, lambda: self._tell_gone(device))

    def _tell_gone(self, device: Device) -> None:
        for each in device.below():
            if each.type.backend is not None:
                self.machine.events.emit("DEVICE_DELETED", {"path": f"{each.path}/virtio-backend"})
            data: dict[str, object] = {} if each.id is None else {"device": each.id}
            self.machine.events.emit("DEVICE_DELETED", {**data, "path": each.path})


def _downwards(device: Device) -> Iterator[Device]:
    yield device
    for bus in device.buses:
        for child in bus.devices:
            yield from _downwards(child)


def _release(device: Device) -> None:
    while device.releases:
        device.releases.pop()()
