"""What QEMU judges when the board is built: the CPU model, and the NUMA nodes.

Observed from target/i386/cpu.c and hw/core/numa.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from qapi.error import QmpError
from qapi.size import parse_size
from vmd.devices.machines import MachineType, find_machine
from vmd.options import scan_unsigned

if TYPE_CHECKING:
    from vmd.cli.config import Config, CpuRequest
    from vmd.cli.report import Report
    from vmd.devices.host_cpu import HostCpu
    from vmd.devices.topology import Topology
    from vmd.machine import Machine
    from vmd.options import Options

LEVELS_OF_CPUS = ("thread-id", "core-id", "module-id", "cluster-id", "die-id", "socket-id")
USUAL_MODELS = ("max", "qemu64")
DEFAULT_MODEL = "qemu64"
MAX_NODES = 128


class NumaNode(NamedTuple):
    """One node of guest memory: its number, the memory backend's id, and its CPUs."""

    nodeid: int
    memdev: str | None
    cpus: frozenset[int]


def check_cpu(
    config: Config, report: Report, host: HostCpu | None = None
) -> tuple[tuple[str, Any], ...]:
    """What is asked of the CPUs beside their model; Quit if it cannot be had, or there is no such
    model. `host` is what there is under KVM."""
    machine = find_machine(config.machine_tree)
    assert machine is not None
    if config.cpu is None and (host is None or not machine.is_pc):
        return ()
    asked: tuple[tuple[str, Any], ...] = ()
    if config.cpu is not None:
        try:
            _check_cpu(config.cpu, machine, on_host=host is not None)
        except QmpError as error:
            raise report.refuse(error) from None
        asked = features(config.cpu)
    given = dict(asked)
    bits = given.get("phys-bits")
    if host is not None and bits and bits != host.phys_bits:
        text = f"Host physical bits ({host.phys_bits}) does not match phys-bits property ({bits})"
        report.warning(text)
    enforced = given.get("enforce", False)
    if enforced or given.get("check", True):
        _complain(config, report, host, enforced=enforced)
    if config.kvm_accel is not None and config.kvm_accel.irqchip == "off":
        raise report.refuse(QmpError("KVM does not support userspace APIC"))
    if host is not None and config.machine_properties.get("smm") == "on":
        raise report.refuse(QmpError("System Management Mode not supported by this hypervisor."))
    return asked


def _complain(config: Config, report: Report, host: HostCpu | None, *, enforced: bool) -> None:
    """Each CPU complains of what it lacks; the first gives up if it has to be as it was asked."""
    asked = features(config.cpu) if config.cpu is not None else ()
    model = config.cpu.model if config.cpu is not None else DEFAULT_MODEL
    if host is None and model in USUAL_MODELS and not asked:
        return
    from vmd.devices import cpu_features

    lacking = cpu_features.complaints(model, asked, host)
    for _ in range(1 if enforced else config.smp.cpus):
        for text in lacking:
            report.warning(text)
    if lacking and enforced:
        who = "TCG" if host is None else "Host"
        raise report.refuse(QmpError(f"{who} doesn't support requested features"))


def features(cpu: CpuRequest) -> tuple[tuple[str, Any], ...]:
    """What differs from the model, each once: `+x` and `-x` count last."""
    if not cpu.features and not cpu.toggled:
        return ()
    from vmd.devices import cpu_features

    pairs = [*cpu.features, *cpu.toggled]
    return tuple(dict(cpu_features.feature(cpu.model, *pair) for pair in pairs).items())


def _check_cpu(cpu: CpuRequest, machine: MachineType, *, on_host: bool) -> None:
    if not (cpu.model or cpu.features or cpu.toggled):
        raise QmpError("-cpu option cannot be empty")
    if cpu.model == "host" and not on_host:
        raise QmpError("CPU model 'host' requires KVM or HVF")
    if cpu.model not in USUAL_MODELS or cpu.features or cpu.toggled:
        _check_features(cpu, on_host=on_host)
    if not machine.is_pc:
        # A board without an interrupt controller has no place for a CPU.
        raise QmpError("apic-id property was not initialized properly")


def _check_features(cpu: CpuRequest, *, on_host: bool) -> None:
    from vmd.devices import cpu as models
    from vmd.devices import cpu_features

    if cpu.model not in models.names():
        raise QmpError(f"unable to find CPU model '{cpu.model}'")
    kind = f"{cpu.model}-x86_64-cpu"
    for name, value in cpu.features:
        try:
            cpu_features.feature(cpu.model, name, value)
        except QmpError as error:
            raise QmpError(f"can't apply global {kind}.{name}={value}: {error.desc}") from None
    for name, value in cpu.toggled:
        cpu_features.feature(cpu.model, name, value)
    if cpu.model not in ("host", "max") or not on_host:  # those have the host's own address bits
        cpu_features.check(features(cpu))


def numa_nodes(config: Config, report: Report) -> list[NumaNode]:
    """The nodes that `-numa node,…` and set-numa-node describe, by number; Quit where they make no
    sense."""
    nodes = _judged(config, report)
    for number in range(max(nodes, default=-1), -1, -1):
        if number not in nodes:
            raise report.refuse(QmpError(f"numa: Node ID missing: {number}"))
    return [nodes[number] for number in sorted(nodes)]


def _judged(config: Config, report: Report) -> dict[int, NumaNode]:
    """Those so far; what the command line says is looked at once."""
    if config.numa_nodes is None:
        config.numa_nodes = {}
        for request in config.numa:
            with report.at(request.where):
                options = request.options
                given = (_read_options(options), options.get("memdev"), _cpus(options))
                _add_node(config, *given, has_size="mem" in options)
    return config.numa_nodes


def set_numa_node(config: Config, report: Report, machine: Machine, asked: dict[str, Any]) -> None:
    """The command set-numa-node, while the machine is not there yet; QmpError if it makes no
    sense."""
    nodes = _judged(config, report)
    if asked["type"] == "node":
        memdev = asked.get("memdev")
        if memdev is not None and memdev not in machine.backends:
            _demand_numa(config)
            raise QmpError(f"memdev={memdev} is ambiguous")
        cpus = frozenset(asked.get("cpus", ()))
        _add_node(config, asked.get("nodeid"), memdev, cpus, has_size=False)
    else:
        _demand_numa(config)
        _add_cpus(nodes, config.smp, asked)
    machine.node_of_cpu = {cpu: node.nodeid for node in nodes.values() for cpu in node.cpus}


def _add_cpus(nodes: dict[int, NumaNode], smp: Topology, asked: dict[str, Any]) -> None:
    """Put the CPUs of a place into a node."""
    number = asked.get("node-id")
    if number is None:
        raise QmpError("Missing mandatory node-id property")
    if number not in nodes:
        raise QmpError(
            f"Invalid node-id={number}, NUMA node must be defined with -numa node,nodeid=ID "
            "before it's used with -numa cpu,node-id=ID"
        )
    wanted = {name: asked[name] for name in LEVELS_OF_CPUS if name in asked}
    for name in wanted:
        if name not in smp.told(0):
            raise QmpError(f"{name} is not supported")
    found = frozenset(cpu for cpu in range(smp.maxcpus) if wanted.items() <= smp.told(cpu).items())
    if not found:
        raise QmpError("no match found")
    for other in nodes.values():
        if found & other.cpus and other.nodeid != number:
            raise QmpError(f"CPU is already assigned to node-id: {other.nodeid}")
    nodes[number] = nodes[number]._replace(cpus=nodes[number].cpus | found)


def _demand_numa(config: Config) -> MachineType:
    machine = find_machine(config.machine_tree)
    assert machine is not None
    if not machine.is_pc:
        raise QmpError("NUMA is not supported by this machine-type")
    return machine


def _add_node(
    config: Config,
    nodeid: int | None,
    memdev: str | None,
    cpus: frozenset[int],
    *,
    has_size: bool,
) -> None:
    _demand_numa(config)
    nodes, maxcpus = config.numa_nodes, config.smp.maxcpus
    assert nodes is not None
    if nodeid is None:
        nodeid = len(nodes)
    if nodeid >= MAX_NODES:
        raise QmpError(f"Max number of NUMA nodes reached: {nodeid}")
    if nodeid in nodes:
        raise QmpError(f"Duplicate NUMA nodeid: {nodeid}")
    for cpu in sorted(cpus):
        if cpu >= maxcpus:
            raise QmpError(f"CPU index ({cpu}) should be smaller than maxcpus ({maxcpus})")
        for other in nodes.values():
            if cpu in other.cpus:
                raise QmpError(f"CPU is already assigned to node-id: {other.nodeid}")
    if has_size and memdev is not None:
        text = "numa configuration should use either mem= or memdev=,mixing both is not allowed"
        raise QmpError(text)
    if has_size:
        text = "Parameter -numa node,mem is not supported by this machine type"
        raise QmpError(text, hint="Use -numa node,memdev instead")
    nodes[nodeid] = NumaNode(nodeid, memdev, cpus)


def _read_options(options: Options) -> int | None:
    """Judge names and types of the parameters; the node's number if it is given."""
    kind = options.get("type")
    if kind is None:
        raise QmpError("Parameter 'type' is missing")
    if kind != "node":
        raise QmpError(f"Parameter 'type' does not accept value '{kind}'")
    nodeid = None
    if (text := options.get("nodeid")) is not None:
        nodeid = scan_unsigned(text)
        if nodeid is None or text.lstrip().startswith("-") or nodeid >= 1 << 64:
            raise QmpError("Parameter 'nodeid' expects a uint64 value")
        if nodeid >= 1 << 16:
            raise QmpError("Parameter 'nodeid' expects uint16_t")
    _cpus(options)
    if (size := options.get("mem")) is not None and parse_size(size)[1] is not None:
        raise QmpError("Parameter 'mem' expects a size value")
    for name, _ in options.pairs:
        if name not in ("type", "nodeid", "cpus", "mem", "memdev"):
            raise QmpError(f"Invalid parameter '{name}'")
    return nodeid


def _cpus(options: Options) -> frozenset[int]:
    found: set[int] = set()
    for name, text in options.pairs:
        if name == "cpus":
            first, dash, last = text.partition("-")
            low = scan_unsigned(first)
            high = scan_unsigned(last) if dash else low
            if low is None or high is None or not low <= high < low + (1 << 16):
                raise QmpError("Parameter 'cpus' expects a uint64 value or range")
            found.update(range(low, high + 1))
    return frozenset(found)
