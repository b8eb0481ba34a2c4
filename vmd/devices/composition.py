"""The composition tree: what a machine is made of, as objects that paths lead to.

Observed from qom-list and qom-get of QEMU 10.0.2; what vmd does not have is not in the tree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qapi.error import QmpError
from vmd.devices import cpu, qom, rtc, types
from vmd.devices.qom import Object, Property, boolean, choice, resolve, text, unsigned32

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmd.devices.bus import Device
    from vmd.devices.catalog import Backend
    from vmd.devices.plugging import Devices
    from vmd.machine import Machine
    from vmd.memory.backends import MemoryBackend

MACHINE_DEFAULTS: dict[str, object] = {
    "acpi": "auto",
    "aux-ram-share": False,
    "default-bus-bypass-iommu": False,
    "dump-guest-core": True,
    "fd-bootchk": True,
    "graphics": True,
    "hmat": False,
    "hpet": True,
    "i8042": True,
    "max-fw-size": 8 << 20,
    "mem-merge": True,
    "nvdimm": False,
    "pic": "auto",
    "pit": "auto",
    "sata": True,
    "smbus": True,
    "smm": "auto",
    "suppress-vmdesc": False,
    "usb": False,
    "vmport": "on",  # what `auto` becomes without Xen
    "x-oem-id": "BOCHS ",
    "x-oem-table-id": "BXPC    ",
}
ON_OFF_AUTO = ("auto", "on", "off")
POLICIES = ("default", "preferred", "bind", "interleave")
MAX_NODES = 128
PERIPHERALS = ("peripheral", "peripheral-anon")
WHOLE_ADDRESS_SPACE = (1 << 64) - 1


def compose(machine: Machine, *, whole: bool = False) -> Object:
    """The root of the tree that the machine is now; `whole` with all that boards consist of."""
    root = Object("container", "/")
    objects = root.add("objects", "container")
    chardevs = root.add("chardevs", "container")
    board = root.add("machine", machine.board.name + types.MACHINE_SUFFIX, _board(machine))
    root.add("backend", "container")
    peripherals = {name: board.add(name, "container") for name in PERIPHERALS}
    unattached = board.add("unattached", "container")
    memory = unattached.add("system[0]", "memory-region", _system_memory())
    memory.link("container", "memory-region", None)
    if machine.board.has_cpus:
        for index, processor in machine.processors.by_index.items():
            container = processor.path.split("/")[2]
            _add_cpu(peripherals.get(container, unattached), machine, index, memory)
        _add_devices(machine.devices, {**peripherals, "unattached": unattached}, whole=whole)
        _add_rtc(machine, board, unattached)
    if machine.qtest is not None:
        board.add("qtest", "qtest", _qtest(machine.qtest))
    main_ram = None
    for name, backend in machine.backends.items():
        added = objects.add(name, backend.qom_type, _backend(backend))
        added.add(f"{name}[0]", "memory-region", _region_of(backend))
        if machine.main_ram == [backend.block]:
            main_ram = added
    board.link("memory-backend", "memory-backend", main_ram)
    for name, other in machine.objects.items():
        objects.add(name, other.qom_type, other.properties())
    for chardev in machine.chardevs.values() if machine.chardevs is not None else ():
        chardevs.add(chardev.label, f"chardev-{chardev.kind}")
    if whole:
        from vmd.devices import trees

        trees.add_board(root, machine)
    return root


def find(machine: Machine, path: str) -> Object:
    """The object at a path; QmpError if there is none. The whole tree is made only if need be."""
    small = resolve(compose(machine), path) if path.startswith("/") else None
    return small or qom.find(compose(machine, whole=True), path)


def find_to_list(machine: Machine, path: str) -> Object | None:
    """The object at a path with all that is in it, or None; Ambiguous if there are several."""
    if path.startswith(_WITHOUT_BOARD) or path in _SMALL:
        return resolve(compose(machine), path)
    return resolve(compose(machine, whole=True), path)


_WITHOUT_BOARD = ("/objects", "/chardevs", "/backend")
_SMALL = ("/", "/machine/peripheral", "/machine/peripheral-anon")


def cpu_path(index: int) -> str:
    """Where a CPU of a PC is: the first one brings a device of its own along."""
    return f"/machine/unattached/device[{index + 1 if index else 0}]"


# The machine


def _board(machine: Machine) -> dict[str, Property]:
    stored = machine.properties
    # Without a wish QEMU tells the most RAM below 4 GiB that the chipset can do.
    most = 4 << 30 if machine.board.alias == "q35" else 0xE0000000
    found = {
        "boot": Property("BootConfiguration", lambda: machine.boot),
        "memory": Property("MemorySizeConfiguration", lambda: _memory_size(machine)),
        "smp": Property("SMPConfiguration", machine.topology._asdict),
    }
    for info in types.properties(machine.board.name + types.MACHINE_SUFFIX):
        if info.name == "max-ram-below-4g":
            found[info.name] = Property(info.type, lambda: stored.get("max-ram-below-4g", most))
        elif info.name in MACHINE_DEFAULTS:
            found[info.name] = _stored(stored, info.name, info.type)
    return found


def _memory_size(machine: Machine) -> dict[str, int]:
    return {"size": machine.ram_size}


def _stored(stored: dict[str, Any], name: str, kind: str) -> Property:
    """A property of the machine that is only remembered, like all of them once it runs."""

    def read() -> object:
        return stored.get(name, MACHINE_DEFAULTS[name])

    def write(value: object) -> None:
        if kind == "bool":
            stored[name] = boolean(name, value)
        else:
            stored[name] = choice(name, value, ON_OFF_AUTO)

    return Property(kind, read, write if kind in ("bool", "OnOffAuto") else None)


def _qtest(values: dict[str, str]) -> dict[str, Property]:
    return {
        name: Property("string", _reader(values, name), _fixed(name)) for name in ("chardev", "log")
    }


def _fixed(name: str) -> Callable[[object], None]:
    def write(value: object) -> None:
        raise QmpError(f"Property '{name}' can not be set now")

    return write


# Its CPUs


def _system_memory() -> dict[str, Property]:
    return {
        "addr": Property("uint64", lambda: 0),
        "priority": Property("uint32", lambda: 0),
        "size": Property("uint64", lambda: WHOLE_ADDRESS_SPACE),
    }


def _add_cpu(parent: Object, machine: Machine, index: int, memory: Object) -> None:
    type_name = machine.cpu_model + cpu.SUFFIX

    node = machine.node_of_cpu.get(index)
    processor = machine.processors.by_index[index]
    own = {} if processor.device is None else _switched(processor.device)
    features = (*machine.cpu_features, *own.items())
    about = (machine.cpu_model, machine.topology, index, node, features, machine.host_cpu)
    kinds = cpu.kinds(type_name)

    def one(name: str) -> Property | None:
        if name not in kinds:
            return None
        values = cpu.instance(*about)
        if name == "hotplugged":
            hotplugged = processor.device is not None and processor.device.hotplugged
            return Property("bool", lambda: hotplugged)
        return Property(kinds[name], _reader(values, name), _refusal(type_name, name))

    def more() -> dict[str, Property]:
        found = {name: one(name) for name in kinds if name not in ("type", "memory")}
        return {name: each for name, each in found.items() if each is not None}

    added = parent.add(processor.path.rpartition("/")[2], type_name)
    added.link("memory", "memory-region", memory)
    added.more = more
    added.one = one


def _switched(device: Device) -> dict[str, bool]:
    """The features that were given to a CPU when it was plugged."""
    return {
        name: device.values[name] for name in device.given if device.values[name] in (True, False)
    }


def _reader(values: dict[str, Any], name: str) -> Callable[[], object]:
    return lambda: values[name]


def _refusal(type_name: str, name: str) -> Callable[[object], None] | None:
    """A device's properties are fixed once it is realized."""
    if name in ("hotpluggable", "hotplugged", "parent_bus", "realized", "unavailable-features"):
        return None
    original = cpu.original(name)

    def refuse(value: object) -> None:
        raise QmpError(
            f"Attempt to set property '{original}' on anonymous device (type '{type_name}')"
            " after it was realized"
        )

    return refuse


# Devices


def _add_devices(devices: Devices, containers: dict[str, Object], *, whole: bool) -> None:
    for device in devices.plugged():
        if types.is_a(device.type.name, "cpu"):
            continue
        place, _, name = device.path.removeprefix("/machine/").partition("/")
        inner = added = containers[place].add(name, device.type.name)
        added.more = _later(device, None)
        backend = device.type.backend
        if backend is not None:
            inner = added.add("virtio-backend", backend.type)
            inner.more = _later(device, backend)
        for bus in device.buses:
            child = inner.add(bus.name, bus.type)
            child.link("parent", "device", None)
        if whole:
            from vmd.devices import trees

            trees.add_parts(added, device)


def _add_rtc(machine: Machine, board: Object, unattached: Object) -> None:
    """The real-time clock, on the bridge that it belongs to; the machine tells its time, too."""
    for device in machine.devices.all():
        bridge = device.bus.parent if device.bus is not None else None
        if device.type.name == rtc.TYPE and bridge is not None and device.path.endswith("/rtc"):
            added = unattached.add(bridge.path.rpartition("/")[2], bridge.type.name)
            added.more = _later(bridge, None)
            added.add("rtc", rtc.TYPE).more = _later(device, None)
    board.properties["rtc-time"] = Property("struct tm", lambda: rtc.date(machine), _no_time)


def _no_time(value: object) -> None:
    raise QmpError(f"Property '{rtc.TYPE}.date' is not writable")


def _later(device: Device, backend: Backend | None) -> Callable[[], dict[str, Property]]:
    return lambda: _properties_of(device, backend)


def _properties_of(device: Device, backend: Backend | None = None) -> dict[str, Property]:
    """All properties of a device, or of the virtio device behind it."""
    kind = device.type.name if backend is None else backend.type
    values = device.values | (backend.values if backend is not None else {})
    parent = "" if device.bus is None else device.bus.path
    may_go = device.type.hotpluggable and (device.bus is None or device.bus.hotpluggable)
    told: dict[str, object] = {
        "realized": True,
        "hotplugged": device.hotplugged,
        "hotpluggable": may_go and backend is None,
        "parent_bus": parent if backend is None else f"{device.path}/virtio-bus",
    }
    found = {}
    for info in types.properties(kind):
        if info.name == "type" or info.type.startswith("child<"):
            continue
        value = told.get(info.name, values.get(info.name))
        if value is None:
            value = _nothing(info.type)
        refuse = None
        if info.name not in told and not info.name.startswith("legacy-"):
            refuse = _refuse_late(device, kind, info.name, backend)
        found[info.name] = Property(info.type, _constant(value), refuse)
    return found | device.own


def _constant(value: object) -> Callable[[], object]:
    return lambda: value


def _nothing(kind: str) -> object:
    """What a property without a value tells."""
    if kind == "bool":
        return False
    return 0 if kind.startswith(("int", "uint", "size")) or kind == "busnr" else ""


def _refuse_late(
    device: Device, kind: str, name: str, backend: Backend | None
) -> Callable[[object], None]:
    def refuse(value: object) -> None:
        which = f"device '{device.id}' (type '{kind}')"
        if device.id is None or backend is not None:
            which = f"anonymous device (type '{kind}')"
        raise QmpError(f"Attempt to set property '{name}' on {which} after it was realized")

    return refuse


# Memory backends


def _region_of(backend: MemoryBackend) -> dict[str, Property]:
    """The region of memory that a backend offers, in no address space of its own."""
    return {
        "container": Property("link<memory-region>", str),
        "addr": Property("uint64", int),
        "size": Property("uint64", lambda: backend.size),
        "priority": Property("uint32", int),
    }


def _backend(backend: MemoryBackend) -> dict[str, Property]:
    return {
        info.name: _backend_property(backend, info.name, info.type)
        for info in types.properties(backend.qom_type)
        if info.name != "type"
    }


def _backend_property(backend: MemoryBackend, name: str, kind: str) -> Property:
    def read() -> object:
        value = backend.properties[name]
        if name == "rom" and value == "auto":
            return "on" if backend.properties["readonly"] else "off"
        return value

    def write(value: object) -> None:
        _judge_backend(backend, name, value)
        backend.change(name, value)

    return Property(kind, read, write)


def _judge_backend(backend: MemoryBackend, name: str, value: object) -> None:
    """Refuse what cannot change any more, in QEMU's words (backends/hostmem*.c)."""
    kind = backend.qom_type
    if name == "size":
        raise QmpError(f"cannot change property size of {kind} ")
    if name in ("align", "offset"):
        raise QmpError(f"cannot change property '{name}' of {kind}")
    if name == "rom":
        raise QmpError(f"cannot change property '{name}' of {kind}.")
    if name == "mem-path":
        text(name, value)
        raise QmpError(f"cannot change property '{name}' of {kind}")
    if name == "hugetlbsize":
        raise QmpError("cannot change property value")
    if name == "prealloc-threads":
        if not unsigned32(name, value):
            raise QmpError(f"property '{name}' of {kind} doesn't take value '0'")
    elif name == "policy":
        choice(name, value, POLICIES)
    elif name == "host-nodes":
        _judge_nodes(value)
    else:
        boolean(name, value)
        if name in ("readonly", "pmem"):
            raise QmpError(f"cannot change property '{name}' of {kind}.")
        if name in ("share", "reserve"):
            raise QmpError("cannot change property value")


def _judge_nodes(value: object) -> None:
    if not isinstance(value, list):
        raise QmpError("Invalid parameter type for 'host-nodes', expected: array")
    for node in value:
        if not isinstance(node, int) or isinstance(node, bool):
            raise QmpError("Parameter 'host-nodes[0]' expects uint64")
        if not 0 <= node < MAX_NODES:
            raise QmpError(f"Invalid host-nodes value: {node}")
