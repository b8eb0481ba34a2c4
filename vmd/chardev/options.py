"""Chardev options as text: `-chardev KIND,…` and the older `unix:P,server=on` forms.

Both end as the schema's ChardevBackend, `{"type": "socket", "data": {…}}`, which is also what
chardev-add brings. Pure. Observed from chardev/char.c and chardev/char-*.c.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from qapi.error import QmpError
from vmd.options import HelpWanted, OptionList, Options, parse_options

if TYPE_CHECKING:
    from collections.abc import Callable

    Data = dict[str, Any]

CHARDEV = OptionList(
    "chardev",
    "backend",
    {
        **dict.fromkeys(
            ("backend", "path", "input-path", "host", "port", "fd", "chardev", "logfile"), "str"
        ),
        **dict.fromkeys(("tls-creds", "tls-authz", "localaddr", "localport"), "str"),
        **dict.fromkeys(("chardevs.0", "chardevs.1", "chardevs.2", "chardevs.3"), "str"),
        **dict.fromkeys(
            ("server", "wait", "delay", "nodelay", "telnet", "ipv4", "ipv6", "mux", "signal"),
            "bool",
        ),
        **dict.fromkeys(
            ("append", "logappend", "abstract", "tight", "tn3270", "websocket"), "bool"
        ),
        **dict.fromkeys(
            ("to", "reconnect", "reconnect-ms", "width", "height", "cols", "rows"), "number"
        ),
        "size": "size",
    },
    defaults={"tight": "on"},
)


class ChardevOptions(NamedTuple):
    """One chardev to make: its label, the schema's ChardevBackend, and whether a mux is on top."""

    label: str
    backend: dict[str, Any]
    mux: bool = False


def backend_of(options: Options) -> ChardevOptions:
    """What a parsed `-chardev` asks for; QmpError with QEMU's text."""
    kind = options.get("backend")
    if options.id is None:
        raise QmpError("chardev: no id specified")
    if kind is None:
        raise QmpError(f'chardev: "{options.id}" missing backend')
    parse = KINDS.get(kind)
    if parse is None:
        raise QmpError(f"'{kind}' is not a valid char driver name")
    data = parse(options)
    for name, get in (("logfile", options.get), ("logappend", options.boolean)):
        if name in options:
            data[name] = get(name)
    kind = "ringbuf" if kind == "memory" else kind
    return ChardevOptions(options.id, {"type": kind, "data": data}, options.boolean("mux"))


def _nothing(options: Options) -> Data:
    return {}


def _copy(options: Options, data: Data, booleans: tuple[str, ...] = (), **numbers: str) -> Data:
    for name in booleans:
        if name in options:
            data[name] = options.boolean(name)
    for name in numbers.values():
        if name in options:
            data[name] = options.number(name)
    return data


def _socket(options: Options) -> Data:
    path, fd, host = options.get("path"), options.get("fd"), options.get("host")
    if (path is not None) + (fd is not None) + (host is not None) > 1:
        raise QmpError("None or one of 'path', 'fd' or 'host' option required.")
    if host is not None and options.get("port") is None:
        raise QmpError("chardev: socket: no port given")
    data: Data = {"addr": _socket_address(options), "server": options.boolean("server")}
    _copy(options, data, ("wait", "telnet", "tn3270", "websocket", "nodelay"))
    for name in ("tls-creds", "tls-authz"):
        if name in options:
            data[name] = options.get(name)
    # On the command line a server waits unless it is told not to.
    if data["server"]:
        data.setdefault("wait", True)
    if "delay" in options and "nodelay" in options:
        raise QmpError("'delay' and 'nodelay' are mutually exclusive")
    if "delay" in options:
        data["nodelay"] = not options.boolean("delay")
    for name in ("reconnect", "reconnect-ms"):
        if name in options:
            data[name] = options.number(name)
    return data


def _socket_address(options: Options) -> Data:
    path, host = options.get("path"), options.get("host")
    if path is not None:
        return {"type": "unix", "data": _copy(options, {"path": path}, ("abstract", "tight"))}
    if host is not None:
        data: Data = {"host": host, "port": options.get("port")}
        _copy(options, data, ("ipv4", "ipv6"), to="to")
        return {"type": "inet", "data": data}
    return {"type": "fd", "data": {"str": options.get("fd", "")}}


def _file(options: Options) -> Data:
    if "path" not in options:
        raise QmpError("chardev: file: no filename given")
    data = _copy(options, {"out": options.get("path")}, ("append",))
    if "input-path" in options:
        data["in"] = options.get("input-path")
    return data


def _pipe(options: Options) -> Data:
    if "path" not in options:
        raise QmpError("chardev: pipe: no device path given")
    return {"device": options.get("path")}


def _serial(options: Options) -> Data:
    if "path" not in options:
        raise QmpError("chardev: serial/tty: no device path given")
    return {"device": options.get("path")}


def _udp(options: Options) -> Data:
    if not options.get("port"):
        raise QmpError("chardev: udp: remote port not specified")
    families = _copy(options, {}, ("ipv4", "ipv6"))
    there = {"host": options.get("host") or "localhost", "port": options.get("port"), **families}
    data: Data = {"remote": {"type": "inet", "data": there}}
    if "localaddr" in options or "localport" in options:
        here = {"host": options.get("localaddr", ""), "port": options.get("localport", "0")}
        data["local"] = {"type": "inet", "data": {**here, **families}}
    return data


def _hub(options: Options) -> Data:
    """The devices, numbered from 0 without a gap."""
    names: list[str | None] = []
    while f"chardevs.{len(names)}" in options:
        names.append(options.get(f"chardevs.{len(names)}"))
    return {"chardevs": names}


def _pty(options: Options) -> Data:
    return {"path": options.get("path")} if "path" in options else {}


def _stdio(options: Options) -> Data:
    return _copy(options, {}, ("signal",))


def _ringbuf(options: Options) -> Data:
    return {"size": options.size("size")} if options.size("size") else {}


def _vc(options: Options) -> Data:
    return _copy(options, {}, w="width", h="height", c="cols", r="rows")


def _mux(options: Options) -> Data:
    if "chardev" not in options:
        raise QmpError("chardev: mux: no chardev given")
    return {"chardev": options.get("chardev")}


# In the order in which QEMU lists them
KINDS: dict[str, Callable[[Options], Data]] = {
    "stdio": _stdio,
    "ringbuf": _ringbuf,
    "mux": _mux,
    "pipe": _pipe,
    "pty": _pty,
    "hub": _hub,
    "null": _nothing,
    "socket": _socket,
    "vc": _vc,
    "memory": _ringbuf,
    "udp": _udp,
    "file": _file,
    "serial": _serial,
}

_VC_SIZE = r"([0-9]+)(C?)x([0-9]+)(C?)"
_UDP = (
    r"(?s)(?P<host>[^:]{1,64})?:(?P<port>[^@,]{1,32})"
    r"(?P<at>@)?(?(at)(?:(?P<here>[^:]{1,64})?:(?P<own>[^,]{1,32}))?)"
)
_INET = r"(?s)([^:]{0,64}):([^,]{1,32})(?:,(.*))?"


def parse_legacy(label: str, filename: str) -> Options | None:
    """What `-qmp FILENAME`, `-serial FILENAME` and their like mean, as if `-chardev` had said it.

    `mon:` in front puts a mux on top. None where a known kind has a shape that nobody reads;
    QmpError with QEMU's text for unknown kinds and parameters. `chardev:ID` and `none` are the
    caller's affair.
    """
    mux = filename.startswith("mon:")
    filename = filename.removeprefix("mon:")
    pairs = _legacy_pairs(filename)
    if pairs is None:
        return None
    if mux:
        pairs.append(("mux", "on"))
        if filename == "stdio":
            # A muxed terminal passes Ctrl-C to the guest; ^A x ends the process.
            pairs.append(("signal", "off"))
    return Options(label, tuple(pairs))


def _legacy_pairs(filename: str) -> list[tuple[str, str]] | None:
    if filename in ("null", "pty", "stdio"):
        return [("backend", filename)]
    if filename.startswith("vc"):
        return _vc_pairs(filename)
    kind, colon, rest = filename.partition(":")
    if colon and kind in ("file", "pipe", "pty"):
        # The whole rest is the path, commas and all.
        return [("backend", kind), ("path", rest)]
    if colon and kind == "unix":
        return [("backend", "socket"), *_more(rest, "path")]
    if colon and kind in ("tcp", "telnet"):
        match = re.fullmatch(_INET, rest)
        if match is None:
            return None
        host, port, more = match.groups()
        telnet = [("telnet", "on")] if kind == "telnet" else []
        return [("backend", "socket"), ("host", host), ("port", port), *_more(more or ""), *telnet]
    if colon and kind == "udp":
        return _udp_pairs(rest)
    if filename.startswith("/dev/") and not filename.startswith("/dev/parport"):
        return [("backend", "serial"), ("path", filename)]
    raise QmpError(f"'{filename}' is not a valid char driver")


def _udp_pairs(rest: str) -> list[tuple[str, str]] | None:
    match = re.match(_UDP, rest)
    if match is None:
        return None
    host, port, here, own_port = match["host"], match["port"], match["here"], match["own"]
    pairs = [("backend", "udp"), ("host", host or ""), ("port", port)]
    if match["at"]:
        if own_port is None:
            return None
        pairs += [("localaddr", here or ""), ("localport", own_port)]
    return pairs


def _more(text: str, implied: str | None = None) -> tuple[tuple[str, str], ...]:
    try:
        return parse_options(text, CHARDEV._replace(implied=implied)).pairs
    except HelpWanted:
        raise QmpError("Invalid parameter 'help'") from None


def _vc_pairs(filename: str) -> list[tuple[str, str]] | None:
    if not filename.startswith("vc:"):
        return [("backend", "vc")]
    match = re.fullmatch(_VC_SIZE, filename[len("vc:") :])
    if match is None:
        return None
    across, in_columns, down, in_rows = match.groups()
    return [
        ("backend", "vc"),
        ("cols" if in_columns else "width", across),
        ("rows" if in_rows else "height", down),
    ]
