"""From a settled configuration to a machine: its objects, its RAM, its guest.

Texts observed from hw/core/machine.c and hw/core/numa.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import qapi
from qapi.error import QmpError
from vmd.cli.cpus import numa_nodes
from vmd.cli.globals import preset
from vmd.clock import HeldClock
from vmd.devices import board as boards
from vmd.guest.guest import GuestOptions
from vmd.machine import Machine
from vmd.machine_setup import MachineSetup
from vmd.memory import RamBlock
from vmd.user_objects import NoMachine, add_object, is_memory

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmd.cli.config import Config
    from vmd.cli.cpus import NumaNode
    from vmd.cli.report import Report
    from vmd.clock import Clock
    from vmd.devices.board import AuxBlock, Board
    from vmd.devices.objects import UserObject
    from vmd.devices.topology import Topology
    from vmd.fdset import FdSets
    from vmd.memory.backends import MemoryBackend
    from vmd.trace import Tracer


def early_objects(config: Config, report: Report) -> dict[str, UserObject]:
    """The objects that come before character devices, which may name them: all but memory."""
    owner = NoMachine(config.debug_threads)
    for request in config.objects:
        if not is_memory(request.properties):
            with report.at(""):
                add_object(owner, request.properties)
    return owner.objects


def begin_machine(
    config: Config,
    report: Report,
    clock: Clock,
    fdsets: FdSets,
    on_exit: Callable[[int], None],
    tracer: Tracer | None,
    objects: dict[str, UserObject],
) -> tuple[Machine, MachineSetup]:
    """The machine that `config` describes, so far as monitors need it, and what it is made from.

    It has a name and objects (`objects` exist already, memory comes to them), but no RAM. Quit if
    there cannot be one.
    """
    board = boards.find(config.machine)
    setup = MachineSetup(board)
    setup.objects = objects
    setup.name = config.name
    setup.debug_threads = config.debug_threads
    setup.uuid = config.uuid
    setup.cpus = config.smp.cpus
    setup.topology = config.smp
    if config.cpu is not None:
        setup.cpu_model = config.cpu.model
    setup.properties = dict(config.machine_properties)
    setup.kvm = config.kvm_accel
    setup.accel = config.accel
    setup.accel_properties = dict(config.accel_properties)
    setup.boot = _boot(board, config)
    setup.rtc = config.rtc
    setup.audiodevs = config.audiodevs
    setup.autostart = not config.paused
    if config.accel == "qtest":
        setup.guest_clock = HeldClock()
    setup.incoming = bool(config.incoming)
    setup.only_migratable = config.only_migratable
    setup.has_default_network = config.has_default_network
    if config.nets:
        from vmd.cli.nets import wishes

        config.wishes = wishes(config, board, qapi.load(), report)
    if board.has_cpus:
        from vmd.cli.furniture import furnish

        setup.furniture = furnish(config, board, report)
    setup.actions |= config.actions
    setup.globals = _device_globals(config, report)
    for request in config.objects:
        if is_memory(request.properties):
            with report.at(""):
                add_object(setup, request.properties)
    setup.memory_slots = config.memory.slots
    setup.max_ram_size = config.memory.max_size
    with report.at(_typed_guest(config)):
        guest = _guest_options(config)
        machine = Machine(
            setup,
            clock,
            guest,
            on_exit=on_exit,
            report=report.error,
            fdsets=fdsets,
            tracer=tracer,
        )
    return machine, setup


def finish_machine(machine: Machine, setup: MachineSetup, config: Config, report: Report) -> None:
    """Give the machine its CPUs' places and its RAM; then it can be powered on. Quit if not."""
    nodes = numa_nodes(config, report)
    setup.node_of_cpu = _nodes_of_cpus(nodes, config.smp)
    with report.at(""):
        _add_ram(setup, config, nodes)
    if not nodes and setup.board.has_cpus and config.memory.max_size > config.memory.size:
        # Memory that may be plugged needs a node to go to.
        setup.node_of_cpu = dict.fromkeys(range(config.smp.maxcpus), 0)
        setup.node_sizes = {0: setup.ram_size}
    _warn_of_homeless_cpus(nodes, config.smp, report)
    with report.at(_typed_guest(config)):
        machine.equip(setup)
    with report.at(""):
        migration = [given for given in config.globals if given.driver == "migration"]
        preset(machine.migration.options, migration, machine.report)


def _typed_guest(config: Config) -> str:
    return "-vmd " + ",".join(f"{key}={value}" for key, value in config.vmd.items())


def _device_globals(config: Config, report: Report) -> list[tuple[str, str, str]]:
    """Defaults of device properties: type, property, value."""
    found = []
    for given in config.globals:
        if given.driver == "migration":
            continue
        from vmd.devices import catalog

        if catalog.has_type(given.driver):
            found.append((given.driver, given.property, given.value))
        else:
            report.warning(f"global {given.driver}.{given.property} has invalid class name")
    return found


def _nodes_of_cpus(nodes: list[NumaNode], topology: Topology) -> dict[int, int]:
    """The NUMA node of each CPU. If none is given one sockets take turns, else the rest is in 0."""
    if not nodes:
        return {}
    given = {cpu: node.nodeid for node in nodes for cpu in node.cpus}
    return {
        cpu: given.get(cpu, 0) if given else topology.place(cpu)["socket-id"] % len(nodes)
        for cpu in range(topology.maxcpus)
    }


def _warn_of_homeless_cpus(nodes: list[NumaNode], topology: Topology, report: Report) -> None:
    """If some CPUs have a node, all should."""
    given = {cpu for node in nodes for cpu in node.cpus}
    homeless = []
    for cpu in range(topology.maxcpus) if given else ():
        if cpu not in given:
            place = ", ".join(f"{level}: {at}" for level, at in topology.told(cpu).items())
            homeless.append(f"CPU {cpu} [{place}]")
    if homeless:
        report.warning(f"CPU(s) not present in any NUMA nodes: {', '.join(homeless)}")
        report.warning(
            "All CPU(s) up to maxcpus should be described in NUMA config, ability to start up "
            "with partial NUMA mappings is obsoleted and will be removed in future"
        )


def _boot(board: Board, config: Config) -> dict[str, object]:
    """What to boot from; a PC has an order even if nobody gave one."""
    return {"order": "cad", **config.boot} if board.has_cpus else dict(config.boot)


def _add_ram(setup: MachineSetup, config: Config, nodes: list[NumaNode]) -> None:
    """Main RAM first, then the blocks that the board has anyway, in QEMU's order of creation."""
    board = setup.board
    backends = _main_backends(setup, config, nodes)
    if backends:
        setup.main_ram = [backend.block for backend in backends]
        setup.ram_size = sum(backend.size for backend in backends)
    else:
        setup.ram_size = config.memory.size if config.memory.given else board.default_ram_size
        if setup.ram_size:
            # Like QEMU's: a backend that nobody asked for, but that is one.
            properties = {"qom-type": "memory-backend-ram", "id": board.default_ram_id}
            add_object(setup, {**properties, "size": setup.ram_size})
            setup.main_ram = [setup.backends[board.default_ram_id].block]
    devices: list[AuxBlock] = []
    if setup.furniture is not None:
        from vmd.devices.furniture import blocks

        devices = blocks(board.alias, setup.furniture)
    others = [_aux(block) for block in (*board.bios, *devices, *board.acpi)]
    setup.ram_blocks = [*setup.main_ram, *others]
    setup.all_blocks += others


def _main_backends(
    setup: MachineSetup, config: Config, nodes: list[NumaNode]
) -> list[MemoryBackend]:
    """The memory backends that are main RAM: one for the machine, or one for each NUMA node."""
    of_nodes = [node.memdev for node in nodes if node.memdev is not None]
    name = config.machine_properties.get("memory-backend")
    if name is None:
        return _node_backends(setup, config, nodes)
    if of_nodes:
        raise QmpError(
            "'-machine memory-backend' and '-numa memdev' properties are mutually exclusive"
        )
    backend = setup.backends.get(str(name))
    if backend is None:
        raise QmpError(f"Memory backend '{name}' not found")
    if config.memory.given and config.memory.size != backend.size:
        raise QmpError("Machine memory size does not match the size of the memory backend")
    return [backend]


def _node_backends(
    setup: MachineSetup, config: Config, nodes: list[NumaNode]
) -> list[MemoryBackend]:
    if not nodes:
        return []
    backends = []
    for node in nodes:
        setup.node_sizes[node.nodeid] = 0
        if node.memdev is not None:
            if node.memdev not in setup.backends:
                raise QmpError(f"memdev={node.memdev} is ambiguous")
            backends.append(setup.backends[node.memdev])
            setup.node_sizes[node.nodeid] = backends[-1].size
    total = sum(setup.node_sizes.values())
    size = config.memory.size if config.memory.given else setup.board.default_ram_size
    if total != size:
        raise QmpError(
            f"total memory for NUMA nodes (0x{total:x}) should equal RAM size (0x{size:x})"
        )
    return backends


def _aux(block: AuxBlock) -> RamBlock:
    return RamBlock.anonymous(block.idstr, block.size, max_size=block.max_size)


def _guest_options(config: Config) -> GuestOptions:
    options = dict(config.vmd)
    return GuestOptions(options.pop("guest", None), options)
