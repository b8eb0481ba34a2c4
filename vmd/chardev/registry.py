"""All character devices of one process, by label: made, found, taken away.

Observed from chardev/char.c: chardev-add and chardev-remove say the same as the command line does,
with a few words in front.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qapi.error import QmpError
from vmd.chardev import create
from vmd.chardev.memory import MemoryDriver, Ring
from vmd.chardev.mux import MuxDriver

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vmd.chardev.chardev import Chardev, Host


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
        if mux:
            assert isinstance(device.driver, MuxDriver)
            parts.append(device.driver.base)
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

    async def plug(self, label: str, backend: Mapping[str, Any]) -> dict[str, object]:
        """chardev-add: the schema's ChardevReturn."""
        if label in self._devices:
            raise QmpError(f"Chardev with id '{label}' already exists")
        try:
            device = await self.add(label, backend)
        except QmpError as error:
            raise QmpError(f"Failed to add chardev '{label}': {error.desc}") from None
        return {"pty": device.filename.removeprefix("pty:")} if device.kind == "pty" else {}

    def unplug(self, label: str) -> None:
        """chardev-remove: only a device that nobody uses."""
        device = self._find(label)
        if device.frontend_open or self._is_base(device):
            raise QmpError(f"Chardev '{label}' is busy")
        del self._devices[label]
        device.close()

    def _find(self, label: str) -> Chardev:
        if label not in self._devices:
            raise QmpError(f"Chardev '{label}' not found")
        return self._devices[label]

    def _is_base(self, device: Chardev) -> bool:
        drivers = (other.driver for other in self._devices.values())
        return any(isinstance(driver, MuxDriver) and driver.base is device for driver in drivers)

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
            if isinstance(device.driver, MuxDriver):
                device.driver.start()

    def close(self) -> None:
        """The end: everything is let go of, sockets are removed, the terminal is put back."""
        for device in self._devices.values():
            device.close()
        self._devices.clear()
