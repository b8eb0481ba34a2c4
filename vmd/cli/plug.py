"""The devices of the command line, plugged when the machine is there. From system/vl.c."""

from __future__ import annotations

import fcntl
from typing import TYPE_CHECKING, NamedTuple

from qapi.error import QmpError

if TYPE_CHECKING:
    from vmd.cli.config import Config, PortRequest
    from vmd.cli.drives import Wanted
    from vmd.cli.report import Report
    from vmd.fdset import FdSets
    from vmd.machine import Machine
    from vmd.options import Options

STDERR = 2
MAX_SERIAL_PORTS = 4  # that a PC has devices for; others are made, and nobody is there


class Port(NamedTuple):
    """A serial or parallel port that has a character device."""

    request: PortRequest
    kind: str
    number: int
    label: str


def add_devices(machine: Machine, config: Config, report: Report, ports: list[Port]) -> None:
    """Plug every `-device`, those written as JSON last; Quit where one is wrong.

    Before them comes what a board has of its own, with its ports.
    """
    if machine.globals:
        with report.at(""):
            assert machine.devices  # those of the board are judged as they are made
    for request in config.blockdevs:
        with report.at(request.where):
            machine.nodes.add(request.properties)
    for request in config.netdevs:
        with report.at(request.where):
            machine.networks.add(request.properties, {})
    if config.wishes:
        from vmd.cli.nets import connect

        connect(machine, config.wishes, report)
    machine.warn = lambda text: report.warning(text, report.place)
    if machine.furniture is not None:
        from vmd.cli.furniture import plug

        plug(machine, ports, report)
    drives = _open_drives(machine, config, report)
    for is_json in (False, True):
        for device in config.devices:
            if device.is_json is is_json:
                with report.at(device.where):
                    machine.devices.add(device.options, hotplug=False)
        if drives and not is_json:
            from vmd.cli.drives import plug_virtio

            plug_virtio(machine, drives, report)
    if config.has_network:
        _check_networks(machine, config, report)
    for driver, name, value in machine.globals:
        if (driver, name, value) not in machine.devices.used_globals:
            # Of what may be plugged later nobody knows yet whether it will be.
            from vmd.devices import catalog

            kind = catalog.find(driver)
            if kind is not None and not kind.hotpluggable:
                report.warning(f"global {driver}.{name}={value} not used")


def _check_networks(machine: Machine, config: Config, report: Report) -> None:
    """Warn of what is not connected, and of devices that there are not."""
    from vmd.devices.network import Netdev, Nic

    networks = machine.networks
    behind = [port.user for port in networks.hub_ports.values()]
    for name, port in networks.hub_ports.items():
        if port.user is None:
            report.warning(f"hub port {name} has no peer")
    if networks.hub_ports:
        has_nic = any(isinstance(end, Nic) for end in behind)
        has_backend = any(isinstance(end, Netdev) for end in behind)
        if has_backend and not has_nic:
            report.warning("hub 0 with no nics")
        elif has_nic and not has_backend:
            report.warning("hub 0 is not connected to host network")
    for end in networks.ends:
        if isinstance(end, Netdev) and end.user is None and end not in behind:
            report.warning(f"netdev {end.name} has no peer")
    for wish in config.wishes:
        if wish.lacking is not None:
            report.warning(wish.lacking)


def _open_drives(machine: Machine, config: Config, report: Report) -> list[Wanted]:
    if not config.drives:
        return []
    from vmd.cli.drives import open_drives

    return open_drives(machine, config, report)


def open_displays(machine: Machine, config: Config, report: Report) -> None:
    """Show the screen to whom the command line says; Quit where it cannot be shown."""
    for request in config.displays:
        from vmd.vnc.listen import open_server

        with report.at(request.where):
            audio = request.options.get("audiodev")
            if audio is not None and all(audio != known["id"] for known in config.audiodevs):
                raise QmpError(f"audiodev '{audio}' not found")
            open_server(machine, request.options)


def add_fd(fdsets: FdSets, options: Options) -> None:
    """Put a descriptor that was inherited into a set; QmpError if there is none."""
    fd, number = options.number("fd", -1), options.number("set", -1)
    if fd < 0:
        raise QmpError("fd option is required and must be non-negative")
    if fd <= STDERR:
        raise QmpError("fd cannot be a standard I/O stream")
    if number < 0:
        raise QmpError("set option is required and must be non-negative")
    try:
        own = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 0)
    except (OSError, OverflowError):
        raise QmpError("fd is not valid or already in use") from None
    fdsets.add(own, number, options.get("opaque"))
