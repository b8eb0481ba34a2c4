"""Character devices: stdio, sockets, ptys, files, pipes, memory, and a mux above any of them.

`create` makes one from the schema's ChardevBackend; a kind is imported when it is first asked for.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

from qapi.error import QmpError
from vmd.chardev.chardev import Chardev, Driver, Frontend, Host, strerror

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vmd.chardev.mux import MuxDriver, MuxPort

__all__ = ["Chardev", "Frontend", "Host", "claim", "create"]

BASE_SUFFIX = "-base"


def create(
    label: str,
    backend: Mapping[str, Any],
    host: Host,
    mux: bool = False,
    find: Callable[[str], Chardev | None] = lambda label: None,
) -> Chardev:
    """A chardev that is not yet open (`await chardev.open()`).

    `backend` is the schema's ChardevBackend. With `mux` the device is called `LABEL-base` and a
    mux LABEL stands on it. `find` knows existing chardevs, for a mux put on one of them. Raises
    QmpError with QEMU's text.
    """
    kind: str = backend["type"]
    data: Mapping[str, Any] = backend.get("data", {})
    log = _open_log(data, host)
    if kind == "mux":
        base = find(data["chardev"])
        if base is None:
            raise QmpError(f"mux: base chardev {data['chardev']} not found")
        return Chardev(label, kind, _mux(base, host), log)
    driver = _hub(label, data, find) if kind == "hub" else _driver(kind, data, host)
    if not mux:
        return Chardev(label, kind, driver, log)
    base = Chardev(label + BASE_SUFFIX, kind, driver, log)
    return Chardev(label, "mux", _mux(base, host))


def _open_log(data: Mapping[str, Any], host: Host) -> int | None:
    if "logfile" not in data:
        return None
    mode = os.O_APPEND if data.get("logappend", False) else os.O_TRUNC
    path = data["logfile"]
    # A FIFO is neither waited for nor waited on.
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | mode
    try:
        return host.open_file(path, flags, 0o666)
    except OSError as error:
        raise QmpError(f"Could not create '{path}': {strerror(error)}") from None


def _hub(label: str, data: Mapping[str, Any], find: Callable[[str], Chardev | None]) -> Driver:
    from vmd.chardev.hub import hub_driver

    return hub_driver(label, data, find)


def _mux(base: Chardev, host: Host) -> Driver:
    from vmd.chardev.mux import MuxDriver

    return MuxDriver(base, host)


def _driver(kind: str, data: Mapping[str, Any], host: Host) -> Driver:
    """The driver of one kind: the table of kinds, with each import in its place."""
    if kind == "socket":
        from vmd.chardev.socket import SocketDriver

        return SocketDriver(data, host)
    if kind == "stdio":
        from vmd.chardev.stdio import StdioDriver

        return StdioDriver(data, host)
    if kind == "pty":
        from vmd.chardev.pty import PtyDriver

        return PtyDriver(data, host)
    if kind == "udp":
        from vmd.chardev.udp import UdpDriver

        return UdpDriver(data)
    if kind in ("file", "pipe", "serial"):
        from vmd.chardev import files

        made = {
            "file": files.file_driver,
            "pipe": files.pipe_driver,
            "serial": files.serial_driver,
        }
        return made[kind](data, host)
    from vmd.chardev.memory import RINGBUF_SIZE, MemoryDriver, Ring

    if kind in ("ringbuf", "memory"):
        return MemoryDriver(kind, Ring(data.get("size", RINGBUF_SIZE)))
    assert kind in ("null", "vc"), kind
    return MemoryDriver(kind)


def claim(chardev: Chardev) -> Chardev | MuxPort:
    """The chardev for one more frontend: itself, or a place on its mux; QmpError if it is taken."""
    mux = mux_of(chardev)
    return chardev.claim() if mux is None else mux.claim()


def mux_of(chardev: Chardev) -> MuxDriver | None:
    """Its driver, if it is a mux; asked for without the module that most processes never need."""
    return cast("MuxDriver", chardev.driver) if chardev.kind == "mux" else None
