"""Socket addresses as chardevs take them: bind, connect, and how QEMU writes them down.

An address is the schema's SocketAddressLegacy: `{"type": "unix", "data": {"path": …}}`. All errors
are QmpError with QEMU's text. Observed from util/qemu-sockets.c and chardev/char-socket.c.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
import sys
from typing import TYPE_CHECKING, Any, TypeVar

from qapi.error import QmpError
from vmd.chardev.chardev import strerror

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator, Mapping

T = TypeVar("T")

PATH_MAX = 108
BACKLOG = 1
CONNECTING = socket.AI_CANONNAME | socket.AI_V4MAPPED | socket.AI_ADDRCONFIG
NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV

_FD = r"-?[0-9]+"


def describe(address: Mapping[str, Any]) -> str:
    """The address inside a filename: `unix:/p`, `tcp:h:1`; no scheme for inet."""
    data = address["data"]
    if address["type"] == "unix":
        if not data.get("abstract"):
            return f"{data['path']}"
        return f"{data['path']},abstract=on" + (",tight=on" if data.get("tight", True) else "")
    if address["type"] == "inet":
        return f"{data['host']}:{data['port']}"
    if address["type"] == "vsock":
        return f"{data['cid']}:{data['port']}"
    return str(data.get("name", data["str"]))  # a descriptor that a monitor has named


def _unix_name(data: Mapping[str, Any]) -> str | bytes:
    path = os.fsencode(str(data["path"]))
    # An abstract name spends a byte on its leading zero; a path needs no final one.
    room = PATH_MAX - 1 if data.get("abstract") else PATH_MAX
    if len(path) > room:
        raise QmpError(
            f"UNIX socket path '{data['path']}' is too long",
            hint=f"Path must be less than {room} bytes",
        )
    if not data.get("abstract"):
        return path
    name = b"\0" + path
    return name if data.get("tight", True) else name.ljust(PATH_MAX, b"\0")


def _call(function: str, local: socket.socket, path: bytes) -> None:
    """bind or connect with a path that fills its field: Python's own want a final zero."""
    import ctypes

    name = socket.AF_UNIX.to_bytes(2, sys.byteorder) + path
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(local.fileno(), name, len(name)) != 0:
        raise OSError(ctypes.get_errno(), "")


def _temporary_path() -> str:
    import tempfile

    return tempfile.mktemp(prefix="qemu-socket-")


def listen(address: Mapping[str, Any]) -> list[socket.socket]:
    """Sockets that listen there, non-blocking; more than one where a name has several addresses."""
    if address["type"] == "unix":
        return [_listen_unix(address["data"])]
    if address["type"] == "inet":
        return _listen_inet(address["data"])
    if address["type"] == "vsock":
        return [_listen_vsock(address["data"])]
    return [inherited(str(address["data"]["str"]))]


def _listen_unix(data: Mapping[str, Any]) -> socket.socket:
    if not data["path"] and not data.get("abstract"):
        data = {"path": _temporary_path()}
    name = _unix_name(data)
    listener = _new_listener("Unix socket", socket.AF_UNIX)
    try:
        if not data.get("abstract"):
            # Whatever stands there is removed, as QEMU does; a live server behind it is not asked.
            try:
                os.unlink(name)
            except FileNotFoundError:
                pass
            except OSError as error:
                raise QmpError(
                    f"Failed to unlink socket {data['path']}: {strerror(error)}"
                ) from None
        try:
            if len(name) < PATH_MAX or data.get("abstract"):
                listener.bind(name)
            else:
                _call("bind", listener, os.fsencode(name))
            listener.listen(BACKLOG)
        except OSError as error:
            raise QmpError(f"Failed to bind socket to {data['path']}: {strerror(error)}") from None
    except QmpError:
        listener.close()
        raise
    return listener


def family_of(data: Mapping[str, Any]) -> int:
    """The family that `ipv4` and `ipv6` leave, which may be any."""
    ipv4, ipv6 = data.get("ipv4"), data.get("ipv6")
    if ipv4 is False and ipv6 is False:
        raise QmpError("Cannot disable IPv4 and IPv6 at same time")
    if ipv6 is False or (ipv4 and not ipv6):
        return socket.AF_INET
    if ipv4 is False or (ipv6 and not ipv4):
        return socket.AF_INET6
    return socket.AF_UNSPEC


def is_named(address: Mapping[str, Any]) -> bool:
    """Whether a host must be looked up by its name, which may take long."""
    if address["type"] != "inet":
        return False
    host = str(address["data"]["host"])
    return bool(host) and re.fullmatch(r"[0-9.]+|.*:.*", host) is None


async def beside(address: Mapping[str, Any], call: Callable[[], T]) -> T:
    """The result of what looks up the address; nobody waits for its name but who asks."""
    if not is_named(address):
        return call()
    from vmd.worker import in_a_thread

    return await in_a_thread(call)


def _resolve(data: Mapping[str, Any], passive: bool) -> list[tuple[int, Any]]:
    family = family_of(data)
    host, port = str(data["host"]), str(data["port"])
    name = os.fsencode(host)  # as it is: what Python would make of a text may fail
    try:
        found = socket.getaddrinfo(
            (name or None) if passive else name,
            os.fsencode(port),
            family,
            socket.SOCK_STREAM,
            0,
            (socket.AI_PASSIVE if passive else CONNECTING)
            | (NUMERIC if data.get("numeric") else 0),
        )
    except socket.gaierror as error:
        raise QmpError(f"address resolution failed for {host}:{port}: {error.args[1]}") from None
    return [(info[0], info[4]) for info in found]


def _listen_inet(data: Mapping[str, Any]) -> list[socket.socket]:
    listeners: list[socket.socket] = []
    failure: QmpError | None = None
    for family, name in _resolve(data, passive=True):
        try:
            listeners.append(_listen_one(family, name, data))
        except QmpError as error:
            failure = failure or error
    if not listeners and failure is not None:
        raise failure
    return listeners


def _listen_one(family: int, name: Any, data: Mapping[str, Any]) -> socket.socket:
    host, first, *rest = name
    error: OSError | None = None
    for port in _ports(first, data):
        listener = _new_listener("a socket", family, _protocol(data))
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((host, port, *rest))
            listener.listen(BACKLOG)
            return listener
        except OSError as caught:
            listener.close()
            error = caught
            if caught.errno != errno.EADDRINUSE:
                raise QmpError(f"Failed to bind socket: {strerror(caught)}") from None
    assert error is not None
    raise QmpError(f"Failed to find an available port: {strerror(error)}")


def _new_listener(what: str, family: int, protocol: int = 0) -> socket.socket:
    try:
        return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK, protocol)
    except OSError as error:
        raise QmpError(f"Failed to create {what}: {strerror(error)}") from None


def _protocol(data: Mapping[str, Any]) -> int:
    return int(getattr(socket, "IPPROTO_MPTCP", 262)) if data.get("mptcp") else 0


def _vsock_name(data: Mapping[str, Any]) -> tuple[int, int]:
    for what in ("cid", "port"):
        text = str(data[what])
        if re.fullmatch("[0-9]{1,10}", text) is None or int(text) >= 1 << 32:
            raise QmpError(f"Failed to parse {what} '{text}'")
    return int(data["cid"]), int(data["port"])


def _listen_vsock(data: Mapping[str, Any]) -> socket.socket:
    name = _vsock_name(data)
    try:
        listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        raise QmpError(f"Failed to create socket: {strerror(error)}") from None
    try:
        listener.bind(name)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise QmpError(f"Failed to bind socket: {strerror(error)}") from None
    return listener


def _ports(first: int, data: Mapping[str, Any]) -> Iterator[int]:
    last = int(data.get("to", first))
    yield from range(first, max(last, first) + 1)


def inherited(text: str) -> socket.socket:
    """The socket behind a descriptor that the process was started with."""
    if re.fullmatch(_FD, text) is None:
        raise QmpError(f"Unable to parse FD number {text}")
    number = int(text)
    try:
        is_socket = stat.S_ISSOCK(os.fstat(number).st_mode)
    except (OSError, OverflowError):
        is_socket = False
    if not is_socket:
        raise QmpError(f"File descriptor '{text}' is not a socket")
    found = socket.socket(fileno=number)
    found.setblocking(False)
    found.set_inheritable(False)
    return found


async def connect(loop: asyncio.AbstractEventLoop, address: Mapping[str, Any]) -> socket.socket:
    """A connection to the address, non-blocking."""
    if address["type"] == "fd":
        return inherited(str(address["data"]["str"]))
    failure: OSError | None = None
    for family, name in await beside(address, lambda: targets(address)):
        peer = prepare(family, address)
        try:
            if _fills_its_room(name):
                _call("connect", peer, name)
            else:
                await loop.sock_connect(peer, name)
            return peer
        except OSError as error:
            peer.close()
            failure = error
        except BaseException:
            peer.close()
            raise
    assert failure is not None
    raise failed_to_connect(address, failure)


def targets(address: Mapping[str, Any]) -> list[tuple[int, Any]]:
    """Where to connect to, as (family, name), best first. Looks up names, and waits for that."""
    data = address["data"]
    if address["type"] == "unix":
        return [(socket.AF_UNIX, _unix_name(data))]
    if address["type"] == "vsock":
        return [(socket.AF_VSOCK, _vsock_name(data))]
    return _resolve(data, passive=False)


def failed_to_connect(address: Mapping[str, Any], error: OSError) -> QmpError:
    """What is said when none of the targets answers."""
    where = address["data"]["path"] if address["type"] == "unix" else describe(address)
    return QmpError(f"Failed to connect to '{where}': {strerror(error)}")


def _fills_its_room(name: Any) -> bool:
    """Whether a path leaves no room for a final zero, so that Python would refuse it."""
    return isinstance(name, bytes) and len(name) == PATH_MAX and name[:1] != b"\0"


def connect_waiting(peer: socket.socket, name: Any) -> None:
    """Connect to one of the targets, however long that takes."""
    peer.setblocking(True)
    if name in ("", b""):  # to the kernel an abstract name that is all zeros, when QEMU gives it
        peer.connect(bytes(PATH_MAX))
    elif _fills_its_room(name):
        _call("connect", peer, name)
    else:
        peer.connect(name)


def prepare(family: int, address: Mapping[str, Any]) -> socket.socket:
    """A socket that may be connected to one of the targets, non-blocking; QmpError if there are
    too many already."""
    kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK
    try:
        peer = socket.socket(family, kind, _protocol(address["data"]))
    except OSError as error:
        what = "" if family == socket.AF_UNIX else f" family {int(family)}"
        raise QmpError(f"Failed to create socket{what}: {strerror(error)}") from None
    if address["data"].get("keep-alive"):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return peer


def local_address(found: socket.socket) -> dict[str, Any]:
    """Where a socket stands, as an address: what a listener tells of itself."""
    return _as_address(found.family, found.getsockname())


def _as_address(family: int, name: Any) -> dict[str, Any]:
    if family == socket.AF_VSOCK:
        return {"type": "vsock", "data": {"cid": str(name[0]), "port": str(name[1])}}
    if family != socket.AF_UNIX:
        return {"type": "inet", "data": {"host": name[0], "port": str(name[1])}}
    if isinstance(name, bytes):
        # An abstract name; padded with zeros to the end it was not "tight".
        text = os.fsdecode(name[1:].rstrip(b"\0"))
        tight = len(name) < PATH_MAX
        return {"type": "unix", "data": {"path": text, "abstract": True, "tight": tight}}
    return {"type": "unix", "data": {"path": name}}


def describe_connection(peer: socket.socket, scheme: str, server: bool) -> str:
    """The filename of a connected socket: both ends for inet, the server's path for unix."""
    suffix = ",server=on" if server else ""
    if peer.family == socket.AF_UNIX:
        name = peer.getsockname() if server else peer.getpeername()
        return f"unix:{'' if isinstance(name, bytes) else name}{suffix}"
    if peer.family == socket.AF_VSOCK:
        return f"vsock:{_bracket(peer, peer.getsockname())}{suffix}"
    near, far = _bracket(peer, peer.getsockname()), _bracket(peer, peer.getpeername())
    return f"{scheme}:{near}{suffix} <-> {far}"


def _bracket(peer: socket.socket, name: Any) -> str:
    return f"[{name[0]}]:{name[1]}" if peer.family == socket.AF_INET6 else f"{name[0]}:{name[1]}"
