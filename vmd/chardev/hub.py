"""One user of several devices: all hear what it says, it hears each. From chardev/char-hub.c."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qapi.error import QmpError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vmd.chardev.chardev import Chardev

MAX_DEVICES = 4
STACKS = ("mux", "hub")


class Spoke:
    """The hub's end of one device: that device's frontend."""

    def __init__(self, hub: HubDriver, device: Chardev) -> None:
        self._hub = hub
        self.device = device

    @property
    def listens(self) -> bool:
        return self._hub.is_heard

    def opened(self) -> None:
        self._hub.spoke_opened(self)

    def received(self, data: bytes) -> None:
        self._hub.heard(data)

    def closed(self) -> None:
        self._hub.spoke_closed()

    def drained(self) -> None:
        self._hub.drained()


class HubDriver:
    """The hub as a chardev. It is open while one of its devices is."""

    filename = "hub"
    threaded = True

    def __init__(self, label: str, devices: list[Chardev]) -> None:
        self._label = label
        self._devices = devices
        self._spokes: list[Spoke] = []
        self._reads = False
        self._chardev: Chardev | None = None

    async def open(self, chardev: Chardev) -> None:
        self._chardev = chardev
        for device in self._devices:
            # Each stays with the hub from here on; a later one that is taken lets go of all.
            spoke = Spoke(self, device.claim())
            self._spokes.append(spoke)
            device.attach(spoke)

    @property
    def is_heard(self) -> bool:
        """Whether the hub's own user listens."""
        return self._chardev is not None and self._chardev.frontend_open

    # The frontend of each device

    def spoke_opened(self, spoke: Spoke) -> None:
        assert self._chardev is not None
        if not self._chardev.is_open:
            self._chardev.connected()
        if not self._reads:
            spoke.device.pause_reading()

    def spoke_closed(self) -> None:
        assert self._chardev is not None
        if not any(spoke.device.is_open for spoke in self._spokes):
            self._chardev.lost()

    def heard(self, data: bytes) -> None:
        assert self._chardev is not None
        self._chardev.receive(data)

    def drained(self) -> None:
        assert self._chardev is not None
        self._chardev.drained()

    # The side of the chardev

    @property
    def backlog(self) -> int:
        """Who takes least holds up all."""
        return max((spoke.device.backlog for spoke in self._open_spokes()), default=0)

    def write(self, data: bytes) -> None:
        for spoke in self._open_spokes():
            spoke.device.write(data)

    def _open_spokes(self) -> list[Spoke]:
        return [spoke for spoke in self._spokes if spoke.device.is_open]

    def pause(self) -> None:
        self._reads = False
        for spoke in self._spokes:
            spoke.device.pause_reading()

    def resume(self) -> None:
        self._reads = True
        for spoke in self._spokes:
            spoke.device.resume_reading()

    def take_fd(self) -> int | None:
        found = (spoke.device.take_fd() for spoke in self._spokes)
        return next((fd for fd in found if fd is not None), None)

    def abort(self) -> None:
        for spoke in self._open_spokes():
            spoke.device.abort()

    def set_echo(self, echo: bool) -> None:
        for spoke in self._spokes:
            spoke.device.set_echo(echo)

    def close(self) -> None:
        for spoke in self._spokes:
            spoke.device.detach()
        self._spokes = []


def hub_driver(
    label: str, options: Mapping[str, Any], find: Callable[[str], Chardev | None]
) -> HubDriver:
    """A hub over devices that exist; `options` is the schema's ChardevHub."""
    names: list[str] = options["chardevs"]
    if not names:
        raise QmpError("hub: 'chardevs' list is not defined")
    devices: list[Chardev] = []
    for name in names:
        device = find(name)
        if device is None:
            raise QmpError(f"hub: chardev can't be found by id '{name}'")
        if device.kind in STACKS:
            raise QmpError(
                f"hub: multiplexers and hub devices can't be stacked, check chardev '{name}', "
                "chardev should not be a hub device or have 'mux=on' enabled"
            )
        if len(devices) == MAX_DEVICES:
            text = f"hub: too many uses of chardevs '{label}' (maximum is {MAX_DEVICES})"
            raise QmpError(text)
        devices.append(device)
    return HubDriver(label, devices)
