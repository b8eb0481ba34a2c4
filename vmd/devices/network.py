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
    from collections.abc import Iterator, Mapping, MutableMapping

    from vmd.devices.bus import Device
    from vmd.machine import Machine

DEFAULT_PORT = "hub0port0"
MAC_PREFIX, FIRST_MAC = "52:54:00:12:34:", 0x56
_TUNGETIFF, _TUNGETVNETHDRSZ = 0x800454D2, 0x800454D7
_IFREQ, _FLAGS_AT, _IFF_VNET_HDR = 40, 16, 0x4000


class Netdev:
    """A backend. `fds` are the queues of a tap interface; `user` is the device that has it."""

    __slots__ = ("fds", "kind", "link", "name", "options", "user")

    def __init__(self, name: str, options: Mapping[str, Any], fds: list[int]) -> None:
        self.name = name
        self.kind = str(options["type"])
        self.options = options
        self.fds = fds
        self.link = True
        self.user: Nic | Netdev | None = None  # a hub's port has a backend behind it, too

    @property
    def header(self) -> bytes:
        """What stands before each frame of a tap interface: nothing, or an empty vnet header."""
        import fcntl

        request = bytearray(_IFREQ)
        try:
            fcntl.ioctl(self.fds[0], _TUNGETIFF, request)
            flags = int.from_bytes(request[_FLAGS_AT : _FLAGS_AT + 2], "little")
            if not flags & _IFF_VNET_HDR:
                return b""
            size = bytearray(4)
            fcntl.ioctl(self.fds[0], _TUNGETVNETHDRSZ, size)
        except OSError:
            return b""
        return bytes(int.from_bytes(size, "little"))

    def close(self) -> None:
        while self.fds:
            os.close(self.fds.pop())


class Nic:
    """A network device's end of its cable. `peer` is the backend, even one that is deleted."""

    __slots__ = ("device", "name", "peer")

    def __init__(self, device: Device, name: str, peer: Netdev | None) -> None:
        self.device = device
        self.name = name
        self.peer = peer

    @property
    def mac(self) -> str:
        return str(self.device.values["mac"])


class Networks:
    """All backends of a machine, by name; and all that hangs on cables, in order of appearance.

    Hubs stay when their ports are gone.
    """

    def __init__(self, *, with_default: bool = False) -> None:
        self.by_name: dict[str, Netdev] = {}
        self.ends: list[Netdev | Nic] = []
        self.hubs: list[int] = []
        self.hub_ports: dict[str, Netdev] = {}  # of hub 0; nobody can remove them
        if with_default:
            self.ends.append(user := Netdev("#net000", {"type": "user"}, []))
            self.add_port(DEFAULT_PORT, None)
            self._open_port("hub0port1", user)

    def add_port(self, name: str, backend: str | None) -> None:
        """Make a port of hub 0, with what is behind it; a device may find it by its name."""
        self._open_port(name, self.by_name[backend] if backend is not None else None)

    def _open_port(self, name: str, backend: Netdev | None) -> None:
        port = Netdev(name, {"type": "hubport", "hubid": 0}, [])
        port.user = backend
        self.hub_ports[name] = port
        self.ends.append(port)
        if 0 not in self.hubs:
            self.hubs.append(0)

    def add(
        self,
        options: Mapping[str, Any],
        named_fds: MutableMapping[str, int],
        *,
        checked: bool = False,
    ) -> None:
        """Make a backend from the schema's Netdev; QmpError if it cannot be.

        `checked`: its name need not be one that users may give.
        """
        name = str(options["id"])
        if not checked:
            check_id(name)
        if name in self.by_name:
            raise QmpError(f"Duplicate ID '{name}'")
        fds: list[int] = []
        if options["type"] == "tap":
            fds = _queues(options, named_fds)
        self.by_name[name] = netdev = Netdev(name, options, fds)
        self.ends.append(netdev)
        if netdev.kind == "hubport" and options["hubid"] not in self.hubs:
            self.hubs.append(options["hubid"])

    def remove(self, name: str) -> None:
        """Remove a backend; a device that has it loses its peer."""
        if name in self.hub_ports:
            raise QmpError(f"Device '{name}' is not a netdev")
        netdev = self.by_name.pop(name, None)
        if netdev is None:
            raise QmpError(f"Device '{name}' not found", DEVICE_NOT_FOUND)
        self.ends.remove(netdev)
        netdev.close()

    def plug(self, device: Device) -> None:
        """A network device is there: it has an address and a name, and perhaps a backend."""
        if "mac" not in device.given:
            device.values["mac"] = self._free_mac()
        kind = device.type.name
        count = sum(nic.device.type.name == kind for nic in self.nics())
        name = device.id or f"{kind}.{count}"
        netdev = self.find(str(device.values.get("netdev", "")))
        nic = Nic(device, name, netdev)
        if netdev is not None:
            netdev.user = nic
        self.ends.append(nic)

    def unplug(self, device: Device) -> None:
        for nic in list(self.nics()):
            if nic.device is device:
                self.ends.remove(nic)
                if nic.peer is not None:
                    nic.peer.user = None

    def nics(self) -> Iterator[Nic]:
        """The network devices."""
        return (end for end in self.ends if isinstance(end, Nic))

    def _free_mac(self) -> str:
        """The first address of QEMU's own that no device has."""
        taken = {nic.mac.lower().replace("-", ":") for nic in self.nics()}
        own = (f"{MAC_PREFIX}{last:02x}" for last in range(FIRST_MAC, 0xFF))
        return next((mac for mac in own if mac not in taken), f"{MAC_PREFIX}ff")

    def find(self, name: str) -> Netdev | None:
        """What a device is connected to by that name."""
        return self.by_name.get(name) or self.hub_ports.get(name)

    def attach(self, device: Device, name: str) -> None:
        netdev = self.find(name)
        if netdev is None:
            raise values.not_there(device.type, "netdev", name)
        if netdev.user is not None:
            raise values.taken(device.type, "netdev", name)

    def close(self) -> None:
        for netdev in self.by_name.values():
            netdev.close()


def set_link(machine: Machine, name: str, *, up: bool) -> None:
    """Plug in or pull the cable of a backend, or of a network device."""
    for end in machine.networks.ends:
        if end.name == name:
            if isinstance(end, Netdev):
                end.link = up
            else:
                end.device.place["link"] = up
            return
    raise QmpError(f"Device '{name}' not found", DEVICE_NOT_FOUND)


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
