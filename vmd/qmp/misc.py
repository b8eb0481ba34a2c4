"""Commands of misc.json: name, stop and go, file descriptors, the human monitor by QMP."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

from qapi.error import DEVICE_NOT_ACTIVE, QmpError

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from monitor.server import QmpMonitor
    from vmd.devices.objects import IOThread
    from vmd.machine import Machine

    RunLine = Callable[..., Any]


DISPLAYS = {"spice": "SPICE", "@dbus-display": "D-Bus display"}


def query_name(machine: Machine) -> dict[str, object]:
    return {} if machine.name is None else {"name": machine.name}


def query_iothreads(machine: Machine) -> list[dict[str, object]]:
    told = ("poll-max-ns", "poll-grow", "poll-shrink", "aio-max-batch")
    return [
        {
            "id": thread.id,
            "thread-id": thread.thread_id,
            **{name: thread.parameters[name] for name in told},
        }
        for thread in _as_walked(machine)
    ]


def _as_walked(machine: Machine) -> list[IOThread]:
    """The I/O threads as QEMU meets them in its table of objects."""
    from qapi.order import table_order

    found = machine.objects
    names = table_order([*machine.backends, *found])
    threads = [found[name] for name in names if name in found]
    return [cast("IOThread", each) for each in threads if each.qom_type == "iothread"]


def stop(machine: Machine) -> None:
    machine.stop()


def cont(machine: Machine) -> None:
    machine.cont()


async def x_exit_preconfig(machine: Machine) -> None:
    if machine.exit_preconfig is None:
        raise QmpError("The command is permitted only before machine initialization")
    await machine.exit_preconfig()


def human_monitor_command(run_line: RunLine) -> Callable[..., Any]:
    """The handler, given who executes a line of the human monitor."""

    def handler(
        machine: Machine, monitor: QmpMonitor, command_line: str, cpu_index: int | None = None
    ) -> Any:
        if cpu_index is not None and cpu_index not in machine.processors.by_index:
            raise QmpError("Parameter 'cpu-index' expects a CPU number")
        return run_line(machine, command_line, cpu_index=cpu_index)

    return handler


def getfd(machine: Machine, monitor: QmpMonitor, fdname: str) -> None:
    fd = _sent_fd(monitor)
    if fdname[:1].isdigit():
        os.close(fd)
        raise QmpError("Parameter 'fdname' expects a name not starting with a digit")
    old = monitor.fds.pop(fdname, None)
    if old is not None:
        os.close(old)
    monitor.fds[fdname] = fd


def closefd(machine: Machine, monitor: QmpMonitor, fdname: str) -> None:
    if fdname not in monitor.fds:
        raise QmpError(f"File descriptor named '{fdname}' not found")
    os.close(monitor.fds.pop(fdname))


def add_fd(
    machine: Machine,
    monitor: QmpMonitor,
    fdset_id: int | None = None,
    opaque: str | None = None,
) -> dict[str, object]:
    fd = _sent_fd(monitor)
    if fdset_id is not None and fdset_id < 0:
        os.close(fd)
        raise QmpError("Parameter 'fdset-id' expects a non-negative value")
    return machine.fdsets.add(fd, fdset_id, opaque)


def remove_fd(machine: Machine, fdset_id: int, fd: int | None = None) -> None:
    machine.fdsets.remove(fdset_id, fd)


def query_fdsets(machine: Machine) -> list[dict[str, object]]:
    return machine.fdsets.describe()


def query_command_line_options(
    machine: Machine, option: str | None = None
) -> list[dict[str, object]]:
    from vmd.option_lists import LISTS, machine_parameters, parameters

    found: list[dict[str, object]] = [
        {"option": name, "parameters": list(reversed(infos))}
        for name, infos in (
            ("machine", machine_parameters()),
            *((known.name, parameters(known)) for known in LISTS),
        )
        if option is None or option == name
    ]
    if option is not None and not found:
        raise QmpError(f"invalid option name: {option}")
    return found


def add_client(
    machine: Machine,
    monitor: QmpMonitor,
    protocol: str,
    fdname: str,
    skipauth: bool = False,
    tls: bool = False,
) -> Awaitable[None] | None:
    import socket

    fd = monitor.fds.pop(fdname, None)
    if fd is None:
        raise QmpError(f"File descriptor named '{fdname}' has not been found")
    try:
        peer = socket.socket(fileno=fd)
    except OSError:
        os.close(fd)
        raise QmpError("parameter @fdname must name a socket") from None
    try:
        if protocol == "vnc":
            return _look(machine, peer, skip_auth=skipauth)
        if protocol in DISPLAYS:
            raise QmpError(f"{DISPLAYS[protocol]} is not in use", DEVICE_NOT_ACTIVE)
        chardev = machine.chardevs.get(protocol) if machine.chardevs is not None else None
        if chardev is None:
            raise QmpError(f"protocol '{protocol}' is invalid")
        if not chardev.add_client(peer):
            raise QmpError("failed to add client")
    except QmpError:
        peer.close()
        raise
    return None


async def _look(machine: Machine, peer: socket.socket, *, skip_auth: bool) -> None:
    """Show the display; where there is none QEMU says that all is well, too, and serves nobody."""
    if machine.vnc:
        await machine.vnc[0].add_client(peer, skip_auth=skip_auth)
    else:
        peer.close()


def _sent_fd(monitor: QmpMonitor) -> int:
    fd = monitor.take_fd()
    if fd is None:
        raise QmpError("No file descriptor supplied via SCM_RIGHTS")
    return fd


HANDLERS = {
    "cont": cont,
    "query-command-line-options": query_command_line_options,
    "query-fdsets": query_fdsets,
    "query-iothreads": query_iothreads,
    "query-name": query_name,
    "remove-fd": remove_fd,
    "stop": stop,
    "x-exit-preconfig": x_exit_preconfig,
}
MONITOR_HANDLERS = {
    "add_client": add_client,
    "add-fd": add_fd,
    "closefd": closefd,
    "getfd": getfd,
}
