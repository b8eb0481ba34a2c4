"""Where a stream goes or comes from: migration URIs and channel objects, one into the other.

Observed from migration/migration.c, migration/file.c and util/qemu-sockets.c. An address is the
schema's MigrationAddress as a plain dict: `{"transport": "file", "filename": …, "offset": …}`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qapi.error import QmpError
from qapi.size import parse_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Address = dict[str, object]

OFFSET_OPTION = ",offset="

# As sscanf reads them: what follows is looked through for options, and forgiven.
_NO_HOST = r":([^,]{1,32})"
_IPV6 = r"\[([^\]]{1,64})\]:([^,]{1,32})"
_HOST = r"([^:]{1,64}):([^,]{1,32})"
_FLAGS = ("ipv4", "ipv6", "keep-alive", "mptcp")


def parse_uri(uri: str) -> Address:
    """The address that a URI stands for; QmpError for a protocol that nobody speaks."""
    protocol, colon, rest = uri.partition(":")
    parse = _PROTOCOLS.get(protocol) if colon else None
    if parse is None:
        raise QmpError(f"unknown migration protocol: {uri}")
    return parse(rest)


def _parse_file(rest: str) -> Address:
    filename, option, text = rest.partition(OFFSET_OPTION)
    if not option:
        return {"transport": "file", "filename": filename, "offset": 0}
    size, error = parse_size(text)
    if error is not None:
        raise QmpError(f"file URI has bad offset {text}: {error}")
    return {"transport": "file", "filename": filename, "offset": size}


def _parse_exec(rest: str) -> Address:
    return {"transport": "exec", "args": ["/bin/sh", "-c", rest]}


def _parse_unix(rest: str) -> Address:
    if not rest:
        raise QmpError("invalid Unix socket address")
    return {"transport": "socket", "type": "unix", "path": rest}


def _parse_fd(rest: str) -> Address:
    if not rest:
        raise QmpError("invalid file descriptor address")
    return {"transport": "socket", "type": "fd", "str": rest}


def _parse_vsock(rest: str) -> Address:
    cid, _, port = rest.partition(":")
    if not cid or not port:
        raise QmpError(f"error parsing address '{rest}'")
    return {"transport": "socket", "type": "vsock", "cid": cid, "port": port}


def _parse_tcp(rest: str) -> Address:
    pattern, what = _HOST, "address"
    if rest.startswith(":"):
        pattern, what = _NO_HOST, "port in address"
    elif rest.startswith("["):
        pattern, what = _IPV6, "IPv6 address"
    match = re.match(pattern, rest)
    if match is None:
        raise QmpError(f"error parsing {what} '{rest}'")
    host, port = match.groups() if len(match.groups()) == 2 else ("", match[1])
    address: Address = {"transport": "socket", "type": "inet", "host": host, "port": port}
    return address | _inet_options(rest[match.end() :])


def _parse_rdma(rest: str) -> Address:
    host = _parse_tcp(rest)
    return {"transport": "rdma", "host": host["host"], "port": host["port"]}


def _inet_options(text: str) -> Address:
    """The options that stand anywhere in `text`; what nobody knows is passed over."""
    found: Address = {}
    to = re.search(r",to=([0-9]*)([^,]?)", text)
    if to is not None:
        if not to[1] or to[2]:
            raise QmpError("error parsing to= argument")
        found["to"] = int(to[1])
    for name in _FLAGS:
        flag = re.search(f",{name}([^,]*)", text)
        if flag is not None:
            if flag[1] not in ("", "=on", "=off"):
                raise QmpError(f"error parsing '{name}' flag '{flag[1]}'")
            found[name] = flag[1] != "=off"
    return found


_PROTOCOLS = {
    "exec": _parse_exec,
    "fd": _parse_fd,
    "file": _parse_file,
    "rdma": _parse_rdma,
    "tcp": _parse_tcp,
    "unix": _parse_unix,
    "vsock": _parse_vsock,
}


def from_channels(channels: Sequence[Mapping[str, object]]) -> Address:
    """The address of the one main channel of a channel list."""
    mains = [channel for channel in channels if channel["channel-type"] == "main"]
    if len(mains) > 1:
        raise QmpError("Channel list has more than one main entry")
    if not mains:
        raise QmpError("Channel list has no main entry")
    return _address(mains[0])


def _address(channel: Mapping[str, object]) -> Address:
    address = channel["addr"]
    assert isinstance(address, dict)
    return address


def choose(uri: str | None, channels: Sequence[Mapping[str, object]] | None) -> Address:
    """The address that `migrate` names by exactly one of its two arguments."""
    _check_exactly_one(uri, channels)
    return parse_uri(uri) if uri is not None else from_channels(channels or ())


def choose_incoming(uri: str | None, channels: Sequence[Mapping[str, object]] | None) -> Address:
    """The same for `migrate-incoming`, that takes its one channel whatever its type is."""
    _check_exactly_one(uri, channels)
    if uri is not None or not channels:
        return parse_uri(uri or "")
    if len(channels) > 1:
        raise QmpError("Channel list must have only one entry, for type 'main'")
    return _address(channels[0])


def _check_exactly_one(uri: object, channels: Sequence[object] | None) -> None:
    if (uri is None) == (not channels):
        raise QmpError("need either 'uri' or 'channels' argument")
