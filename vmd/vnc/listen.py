"""Where a VNC server listens, from the words of `-vnc`. Observed from ui/vnc.c."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qapi.error import QmpError
from vmd.chardev import address
from vmd.options import scan_unsigned
from vmd.vnc.server import Server

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, MutableMapping

    from vmd.machine import Machine
    from vmd.options import Options

PORT_BASE = 5900
LAST_PORT = 65535
_UNIX = "unix:"
_SHARING = {"ignore": "force-shared", "allow-exclusive": "allow-exclusive"}
_SHARING |= {"force-shared": "force-shared"}


def open_server(machine: Machine, options: Options) -> Server:
    """Make the server that `-vnc` asks for; QmpError with QEMU's text if there can be none."""
    written = options.get("vnc") or "none"
    name = options.id or _free_name(machine)
    secret = _secret(machine, options, name)
    share = options.get("share", "allow-exclusive")
    if share not in _SHARING:
        raise QmpError("unknown vnc share= option")
    for flag in ("lossy", "non-adaptive"):
        options.boolean(flag)
    sockets, path = _listen(written, options)
    server = Server(machine, name, sockets, secret, share=_SHARING[share], unlink=path)
    machine.vnc.append(server)
    return server


async def listen_at(
    asked: Mapping[str, Any], fds: MutableMapping[str, int]
) -> tuple[list[socket.socket], list[str]]:
    """The sockets of a SocketAddress, and paths to remove with them."""
    from vmd.worker import in_a_thread

    wanted = {name: value for name, value in asked.items() if name != "type"}
    if asked["type"] == "fd":
        wanted["str"] = str(_handed_over(asked["str"], fds))
    found = await in_a_thread(partial(address.listen, {"type": asked["type"], "data": wanted}))
    has_path = asked["type"] == "unix" and not asked.get("abstract")
    return found, [str(each.getsockname()) for each in found] if has_path else []


def _handed_over(name: str, fds: MutableMapping[str, int]) -> int:
    fd = fds.pop(name, None)
    if fd is None:
        raise QmpError(f"File descriptor named '{name}' has not been found")
    return fd


def _free_name(machine: Machine) -> str:
    """The first has a name of its own, the others are counted."""
    taken = {server.name for server in machine.vnc}
    name, number = "default", 2
    while name in taken:
        name, number = f"vnc{number}", number + 1
    return name


def _listen(written: str, options: Options) -> tuple[list[socket.socket], str | None]:
    """The sockets, and a path to remove at the end."""
    if written == "none":
        return [], None
    if written.startswith(_UNIX):
        path = written[len(_UNIX) :]
        sockets = address.listen({"type": "unix", "data": {"path": path}})
        return sockets, sockets[0].getsockname()
    host, colon, display = written.rpartition(":")
    if not colon:
        raise QmpError("no vnc port specified")
    number = None if display.startswith("-") else scan_unsigned(display)
    if number is None:
        raise QmpError(f"can't convert to a number: {display}")
    if number + PORT_BASE > LAST_PORT:
        raise QmpError(f"port {display} out of range")
    data: dict[str, object] = {"host": host.strip("[]"), "port": str(number + PORT_BASE)}
    if "to" in options:
        data["to"] = options.number("to") + PORT_BASE
    for family in ("ipv4", "ipv6"):
        if family in options:
            data[family] = options.boolean(family)
    return address.listen({"type": "inet", "data": data}), None


def _secret(machine: Machine, options: Options, name: str) -> Callable[[], bytes | None] | None:
    """What gives the password when a client comes: an object's, or what clients set by command."""
    identifier = options.get("password-secret")
    if identifier is not None:
        if "password" in options:
            raise QmpError("'password' flag is redundant with 'password-secret'")
        from vmd.devices.objects import Secret

        found = machine.objects.get(identifier)
        if found is None:
            raise QmpError(f"No secret with id '{identifier}'")
        if not isinstance(found, Secret):
            raise QmpError(f"Object with id '{identifier}' is not a secret")
        content = found.content
        return lambda: content
    if options.boolean("password"):
        return lambda: next(each.password for each in machine.vnc if each.name == name)
    return None
