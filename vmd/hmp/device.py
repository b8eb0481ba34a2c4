"""Devices and networks that come and go, at the human monitor.

Observed from system/qdev-monitor.c, hw/pci/pci-hmp-cmds.c and net/net-hmp-cmds.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import qapi
from monitor.hmp import HmpCommand
from qapi.error import QmpError
from vmd.devices.network import Netdev, Networks, Nic
from vmd.hmp.info import on_off
from vmd.qmp import net, pci, qdev

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from monitor.hmp import Hmp
    from monitor.server import QmpMonitor
    from vmd.machine import Machine


def device_add(machine: Machine, hmp: Hmp, device: Mapping[str, str]) -> None:
    from vmd.devices.device_help import device_help
    from vmd.devices.values import Written

    text = device_help(device)
    if text is not None:
        hmp.print(text)
        return
    qdev.device_add(machine, **{name: Written(value) for name, value in device.items()})


def device_del(machine: Machine, hmp: Hmp, id: str) -> None:
    qdev.device_del(machine, id)


def netdev_add(machine: Machine, hmp: Hmp, netdev: Mapping[str, str]) -> None:
    if "id" not in netdev:
        raise QmpError("Parameter 'id' is missing")
    options: Any = qapi.load().check_options("Netdev", list(netdev.items()))
    # All that it wants of the asking monitor is its descriptors.
    net.netdev_add(machine, cast("QmpMonitor", hmp), **options)


def netdev_del(machine: Machine, hmp: Hmp, id: str) -> None:
    net.netdev_del(machine, id)


def set_link(machine: Machine, hmp: Hmp, name: str, up: bool) -> None:
    net.set_link(machine, name, up)


# Networks


def info_network(machine: Machine, hmp: Hmp) -> None:
    """Hubs with what is on them, the newest first; then all others, peers below their devices."""
    networks = machine.networks
    for hub in reversed(networks.hubs):
        hmp.print(f"hub {hub}\n")
        for port in reversed(networks.ends):
            if isinstance(port, Netdev) and _hub_of(port) == hub:
                other = f": {_end(port.user)}" if port.user is not None else ""
                hmp.print(f" \\ {port.name}{other}\n")
    for end in networks.ends:
        if isinstance(end, Netdev):
            if _hub_of(end) is None and end.user is None and not _is_uplink(networks, end):
                hmp.print(f"{_end(end)}\n")
        elif end.peer is None or _hub_of(end.peer) is None:
            hmp.print(f"{_end(end)}\n")
            if end.peer is not None:
                hmp.print(f" \\ {_end(end.peer)}\n")


def _is_uplink(networks: Networks, netdev: Netdev) -> bool:
    """Whether it hangs on a hub's port."""
    return any(isinstance(end, Netdev) and end.user is netdev for end in networks.ends)


def _hub_of(netdev: Netdev) -> int | None:
    return int(netdev.options["hubid"]) if netdev.kind == "hubport" else None


def _end(end: Netdev | Nic) -> str:
    if isinstance(end, Nic):
        return f"{end.name}: index=0,type=nic,model={end.device.type.name},macaddr={end.mac}"
    return f"{end.name}: index=0,type={end.kind},{_about(end)}"


def _about(netdev: Netdev) -> str:
    if netdev.kind == "user":
        restrict = on_off(netdev.options.get("restrict", False))
        return f"net=10.0.2.0,restrict={restrict}"
    return f"fd={netdev.fds[0]}" if netdev.fds else ""


def info_usernet(machine: Machine, hmp: Hmp) -> None:
    """No guest of ours connects to anything: below the titles is nothing. From net/slirp.c."""
    for netdev in machine.networks.by_name.values():
        if netdev.kind == "user":
            hmp.print(f"Hub -1 ({netdev.name}):\n{_CONNECTIONS}\n")


_CONNECTIONS = "  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ"


# PCI


def info_pci(machine: Machine, hmp: Hmp) -> None:
    buses: Any = pci.query_pci(machine)
    for bus in buses:
        for function in bus["devices"]:
            _show_function(function, hmp)


def _show_function(told: Mapping[str, Any], hmp: Hmp) -> None:
    hmp.print("".join(f"{row}\n" for row in _function(told)))
    for behind in told.get("pci_bridge", {}).get("devices", ()):
        _show_function(behind, hmp)


def _function(told: Mapping[str, Any]) -> Iterator[str]:
    slot, function = told["slot"], told["function"]
    yield f"  Bus {told['bus']:2}, device {slot:3}, function {function}:"
    kind, number = told["class_info"], told["id"]
    name = kind.get("desc") or f"Class {kind['class']:04}"
    yield f"    {name}: PCI device {number['vendor']:04x}:{number['device']:04x}"
    if "subsystem" in number and "subsystem-vendor" in number:
        yield f"      PCI subsystem {number['subsystem-vendor']:04x}:{number['subsystem']:04x}"
    if "irq" in told:
        yield f"      IRQ {told['irq']}, pin {chr(ord('A') + told['irq_pin'] - 1)}"
    if "pci_bridge" in told:
        bus = told["pci_bridge"]["bus"]
        yield f"      BUS {bus['number']}."
        yield f"      secondary bus {bus['secondary']}."
        yield f"      subordinate bus {bus['subordinate']}."
        reach = bus["io_range"]
        yield f"      IO range [0x{reach['base']:04x}, 0x{reach['limit']:04x}]"
        reach = bus["memory_range"]
        yield f"      memory range [0x{reach['base']:08x}, 0x{reach['limit']:08x}]"
        reach = bus["prefetchable_range"]
        where = f"[0x{reach['base']:08x}, 0x{reach['limit']:08x}]"
        yield f"      prefetchable memory range {where}"
    for region in told["regions"]:
        yield f"      BAR{region['bar']}: {_region(region)}"
    yield f'      id "{told["qdev_id"]}"'


def _region(region: Mapping[str, Any]) -> str:
    start, end = region["address"], region["address"] + region["size"] - 1
    if region["type"] == "io":
        return "I/O (not mapped)" if start == -1 else f"I/O at 0x{start:04x} [0x{end:04x}]"
    bits = 64 if region["mem_type_64"] else 32
    kind = f"{bits} bit{' prefetchable' if region['prefetch'] else ''} memory"
    return f"{kind} (not mapped)" if start == -1 else f"{kind} at 0x{start:08x} [0x{end:08x}]"


# Trees


def info_qtree(machine: Machine, hmp: Hmp, brief: bool = False) -> None:
    from vmd.devices import qtree

    hmp.print(qtree.text(machine, brief=brief))


def info_mtree(machine: Machine, hmp: Hmp, flatview: bool = False) -> None:
    from vmd.devices import flatview as flat
    from vmd.devices import mtree

    hmp.print(flat.text(machine) if flatview else mtree.text(machine))


def info_qdm(machine: Machine, hmp: Hmp) -> None:
    """Observed from system/qdev-monitor.c."""
    from vmd.devices import trees

    parts = ("".join(f"{row}\n" for row in (title, *rows)) for title, rows in trees.categories())
    hmp.print("\n".join(parts))


# What completion offers


def _devices(machine: Machine, prefix: str) -> Iterable[str]:
    return machine.devices.named


def _drivers(machine: Machine, prefix: str) -> Iterable[str]:
    from vmd.devices import catalog

    for name in catalog.names():
        kind = catalog.find(name)
        if kind is not None and kind.pluggable:
            yield name


def _netdevs(machine: Machine, prefix: str) -> Iterable[str]:
    return machine.networks.by_name


def _cables(machine: Machine, prefix: str) -> Iterable[str]:
    yield from machine.networks.by_name
    for name, device in machine.devices.named.items():
        if "netdev" in device.type.properties:
            yield name


def _kinds_of_netdev(machine: Machine, prefix: str) -> Iterable[str]:
    return qapi.load().enum("NetClientDriver")


COMMANDS = [
    HmpCommand(
        "device_add",
        "device:O",
        "driver[,prop=value][,...]",
        "plug a device in, as -device does",
        device_add,
        complete={1: _drivers},
    ),
    HmpCommand(
        "device_del", "id:s", "device", "ask for a device to go", device_del, complete={1: _devices}
    ),
    HmpCommand(
        "netdev_add",
        "netdev:O",
        "[user|tap|hubport],id=str[,prop=value][,...]",
        "make a network backend",
        netdev_add,
        preconfig=True,
        complete={1: _kinds_of_netdev},
    ),
    HmpCommand(
        "netdev_del",
        "id:s",
        "id",
        "remove a network backend",
        netdev_del,
        preconfig=True,
        complete={1: _netdevs},
    ),
    HmpCommand(
        "set_link",
        "name:s,up:b",
        "name on|off",
        "plug a network cable in, or pull it",
        set_link,
        complete={1: _cables, 2: lambda machine, prefix: ("off", "on")},
    ),
]

INFO = [
    HmpCommand("network", "", "", "show networks, and what is on them", info_network),
    HmpCommand(
        "qtree",
        "brief:-b",
        "[-b]",
        "show the tree of buses and devices (-b: without their properties)",
        info_qtree,
    ),
    HmpCommand(
        "mtree",
        "flatview:-f",
        "[-f]",
        "show the guest's address spaces (-f: as the guest sees them, without what is hidden)",
        info_mtree,
    ),
    HmpCommand("usernet", "", "", "show the connections of user networks", info_usernet),
    HmpCommand("qdm", "", "", "show which types of devices there are", info_qdm),
    HmpCommand("pci", "", "", "show the PCI functions", info_pci),
]
