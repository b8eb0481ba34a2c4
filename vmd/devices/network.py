"""Network backends, and the cable between each and its device. No guest of ours sends a frame.

Observed from net/net.c and net/tap.c.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from qapi.error import DEVICE_NOT_FOUND, QmpError
from vmd.devices import values
from vmd.options import check_id

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

    from vmd.devices.bus import Device
    from vmd.machine import Machine


class Netdev:
    """A backend. `fds` are the queues of a tap interface; `user` is the device that has it."""

    __slots__ = ("fds", "kind", "link", "name", "user")

    def __init__(self, name: str, kind: str, fds: list[int]) -> None:
        self.name = name
        self.kind = kind
        self.fds = fds
        self.link = True
        self.user: Device | None = None

    def close(self) -> None:
        while self.fds:
            os.close(self.fds.pop())


class Networks:
    """All backends of a machine, by name."""

    def __init__(self) -> None:
        self.by_name: dict[str, Netdev] = {}

    def add(self, options: Mapping[str, Any], named_fds: MutableMapping[str, int]) -> None:
        """Make a backend from the schema's Netdev; QmpError if it cannot be."""
        name = str(options["id"])
        check_id(name)
        if name in self.by_name:
            raise QmpError(f"Duplicate ID '{name}'")
        fds: list[int] = []
        if options["type"] == "tap":
            fds = _queues(options, named_fds)
        self.by_name[name] = Netdev(name, str(options["type"]), fds)

    def remove(self, name: str) -> None:
        """Remove a backend; a device that has it loses its peer."""
        netdev = self.by_name.pop(name, None)
        if netdev is None:
            raise QmpError(f"Device '{name}' not found", DEVICE_NOT_FOUND)
        netdev.close()

    def attach(self, device: Device, name: str) -> None:
        netdev = self.by_name.get(name)
        if netdev is None:
            raise values.not_there(device.type, "netdev", name)
        if netdev.user is not None:
            raise values.taken(device.type, "netdev", name)
        netdev.user = device

        def release() -> None:
            netdev.user = None

        device.releases.append(release)

    def close(self) -> None:
        for netdev in self.by_name.values():
            netdev.close()


def set_link(machine: Machine, name: str, *, up: bool) -> None:
    """Plug in or pull the cable of a backend, or of a network device."""
    netdev = machine.networks.by_name.get(name)
    if netdev is not None:
        netdev.link = up
        return
    device = machine.devices.named.get(name)
    if device is None or "netdev" not in device.type.properties:
        raise QmpError(f"Device '{name}' not found", DEVICE_NOT_FOUND)
    device.place["link"] = up


def _queues(options: Mapping[str, Any], named: MutableMapping[str, int]) -> list[int]:
    """The descriptors of a tap's queues, taken over."""
    if ("fd" in options) == ("fds" in options):
        raise QmpError("tap: either 'fd' or 'fds' must be given")
    words = str(options["fd"]).split(":") if "fd" in options else str(options["fds"]).split(":")
    found = []
    for word in words:
        if word[:1].isdigit():
            fd = int(word) if word.isdigit() else -1
        else:
            fd = named.pop(word, -1)
            if fd < 0:
                raise QmpError(f"File descriptor named '{word}' has not been found")
        try:
            os.set_inheritable(fd, False)
            os.set_blocking(fd, False)
        except (OSError, OverflowError):
            name = options["id"]
            text = f"{name}: Can't use file descriptor {word}: {os.strerror(errno.EBADF)}"
            raise QmpError(text) from None
        found.append(fd)
    return found
