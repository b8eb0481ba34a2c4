"""All character devices of one process, by label: made, found, taken away.

Observed from chardev/char.c: chardev-add and chardev-remove say the same as the command line does,
with a few words in front.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from qapi.error import QmpError
from vmd.chardev import claim, create, mux_of
from vmd.chardev.memory import MemoryDriver, Ring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, MutableMapping

    from vmd.chardev.chardev import Chardev, Host
    from vmd.chardev.options import ChardevOptions


class Chardevs:
    """Labels and their devices. A mux's own base is listed too, as `LABEL-base`."""

    def __init__(self, host: Host, daemonized: bool = False) -> None:
        self._host = host
        self._daemonized = daemonized
        self._devices: dict[str, Chardev] = {}

    def get(self, label: str) -> Chardev | None:
        return self._devices.get(label)

    def __contains__(self, label: object) -> bool:
        return label in self._devices

    def values(self) -> Iterable[Chardev]:
        return self._devices.values()

    async def add(
        self, label: str, backend: Mapping[str, Any], mux: bool = False, *, opened: bool = True
    ) -> Chardev:
        """Make and open a device (`backend` is the schema's ChardevBackend); QmpError if it fails.

        Waits for a peer where it is told to. With `opened` off it is only listed: somebody else
        reads and writes where it would.
        """
        if label in self._devices:
            raise QmpError(f"Duplicate ID '{label}' for chardev")
        if backend["type"] == "stdio":
            self._check_stdio()
        device = create(label, backend, self._host, mux, self.get)
        parts = [device]
        if mux and (driver := mux_of(device)) is not None:
            parts.append(driver.base)
        for part in parts:
            self._devices[part.label] = part
        try:
            if opened:
                await device.open()
        except BaseException:
            for part in parts:
                del self._devices[part.label]
                part.close()
            raise
        return device

    def _check_stdio(self) -> None:
        if self._daemonized:
            raise QmpError("cannot use stdio with -daemonize")
        if any(device.kind == "stdio" for device in self._devices.values()):
            raise QmpError("cannot use stdio by multiple character devices")

    def _with_fd(
        self, backend: Mapping[str, Any], fds: MutableMapping[str, int]
    ) -> Mapping[str, Any]:
        """The backend, where it names a descriptor with that one's number."""
        if backend["type"] != "socket" or backend["data"]["addr"]["type"] != "fd":
            return backend
        from vmd.chardev.socket import check_socket

        check_socket(backend["data"], self._host)
        return _with_fd(backend, fds)

    async def plug(
        self, label: str, backend: Mapping[str, Any], fds: MutableMapping[str, int]
    ) -> dict[str, object]:
        """chardev-add: the schema's ChardevReturn. A socket may take one of the named `fds`."""
        if label in self._devices:
            raise QmpError(f"Chardev with id '{label}' already exists")
        try:
            device = await self.add(label, self._with_fd(backend, fds))
        except QmpError as error:
            raise QmpError(f"Failed to add chardev '{label}': {error.desc}") from None
        _start(device)
        return _to_tell(device)

    async def plug_options(self, options: ChardevOptions, fds: MutableMapping[str, int]) -> None:
        """What the human monitor's chardev-add does: a multiplexer may stand in front."""
        label, backend, mux = options
        if label in self._devices:
            text = f"attempt to add duplicate property '{label}' to object (type 'container')"
            raise QmpError(text)
        _start(await self.add(label, self._with_fd(backend, fds), mux))

    async def change(
        self, label: str, backend: Mapping[str, Any], fds: MutableMapping[str, int]
    ) -> dict[str, object]:
        """chardev-change: the schema's ChardevReturn.

        A device that nobody uses is made anew, and is lost if that fails. One in use goes on until
        the other is open.
        """
        old = self._devices.get(label)
        if old is None:
            raise QmpError(f"Chardev '{label}' does not exist")
        if old.kind in ("mux", "hub"):
            raise QmpError("For mux or hub device hotswap is not supported yet")
        if not self._is_used(old):
            del self._devices[label]
            old.close()
            return await self.plug(label, backend, fds)
        move = old.mover
        if move is None:
            raise QmpError("Chardev user does not support chardev hotswap")
        new = create(label, self._with_fd(backend, fds), self._host, find=self.get)
        try:
            await new.open()
        except BaseException:
            new.close()
            raise
        old.detach()
        self._devices[label] = new
        move(claim(new))
        _start(new)
        old.close()
        return _to_tell(new)

    def unplug(self, label: str) -> None:
        """chardev-remove: only a device that nobody uses."""
        device = self._find(label)
        if self._is_used(device):
            raise QmpError(f"Chardev '{label}' is busy")
        del self._devices[label]
        device.close()

    def send_break(self, label: str) -> None:
        """chardev-send-break: no guest program listens to a line, so nobody minds."""
        self._find(label)

    def yankable(self) -> dict[str, Callable[[], None]]:
        """Sockets by label, and how to make each let go of its peer at once."""
        return {
            label: getattr(device.driver, "yank")  # noqa: B009 (only sockets have it)
            for label, device in self._devices.items()
            if device.kind == "socket"
        }

    def _find(self, label: str) -> Chardev:
        if label not in self._devices:
            raise QmpError(f"Chardev '{label}' not found")
        return self._devices[label]

    def _is_used(self, device: Chardev) -> bool:
        return device.in_use or self._is_base(device)

    def _is_base(self, device: Chardev) -> bool:
        muxes = (mux_of(other) for other in self._devices.values())
        return any(mux is not None and mux.base is device for mux in muxes)

    def ring(self, label: str) -> Ring:
        """The bytes of a ringbuf (`take` and `write` are ringbuf-read and ringbuf-write)."""
        device = self._devices.get(label)
        if device is None:
            raise QmpError(f"Device '{label}' not found")
        if not isinstance(device.driver, MemoryDriver) or device.driver.ring is None:
            raise QmpError(f"{label} is not a ringbuf device")
        return device.driver.ring

    def start(self) -> None:
        """All frontends are attached: muxes begin to speak to theirs."""
        for device in self._devices.values():
            _start(device)

    def close(self) -> None:
        """The end: everything is let go of, sockets are removed, the terminal is put back."""
        for device in self._devices.values():
            device.close()
        self._devices.clear()


def _start(device: Chardev) -> None:
    mux = mux_of(device)
    if mux is not None:
        mux.start()


def _to_tell(device: Chardev) -> dict[str, object]:
    return {"pty": device.filename.removeprefix("pty:")} if device.kind == "pty" else {}


def _with_fd(backend: Mapping[str, Any], fds: MutableMapping[str, int]) -> Mapping[str, Any]:
    """A socket's backend with the number of the descriptor that it names; it is no longer ours.

    Observed from socket_get_fd in util/qemu-sockets.c.
    """
    data = backend["data"]
    name = data["addr"]["data"]["str"]
    fd = fds.pop(name, None)
    if fd is None:
        raise QmpError(f"File descriptor named '{name}' has not been found")
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        os.close(fd)
        raise QmpError(f"File descriptor '{name}' is not a socket")
    address = {"type": "fd", "data": {"str": str(fd), "name": name}}
    return {"type": "socket", "data": {**data, "addr": address}}
