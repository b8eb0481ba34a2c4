"""Watchdogs: a guest says how long it may stay silent; if it does for longer, something is done.

The time is the guest's: it stands still while the machine does, and a reset ends the watch. What is
done is the machine's `watchdog` action. Observed from hw/watchdog/watchdog.c and wdt_ib700.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmd.runstate import RunState

if TYPE_CHECKING:
    from vmd.clock import Timer
    from vmd.machine import Machine

SECOND = 1_000_000_000
_STOP_PORT, _START_PORT = 0x441, 0x443
_LONGEST = 30  # seconds; each step of the four bits in the port is two less


class Watchdog:
    """One watchdog."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._left: int | None = None  # ns of the guest's time; None while it does not watch
        self._since: int | None = None  # when `left` was true, if time goes
        self._timer: Timer | None = None

    def start(self, timeout_ns: int) -> None:
        """Begin to watch, or begin anew."""
        self.stop()
        self._left = timeout_ns
        if self._machine.runstate.state is RunState.RUNNING:
            self.guest_runs()

    def stop(self) -> None:
        self._halt()
        self._left = None

    def guest_runs(self) -> None:
        clock = self._machine.guest_clock
        if self._left is not None and self._timer is None:
            self._since = clock.now_ns()
            self._timer = clock.call_later(self._left, self._expire)

    def guest_stops(self) -> None:
        if self._left is not None and self._since is not None:
            self._left -= self._machine.guest_clock.now_ns() - self._since
        self._halt()

    def _halt(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._since = None

    def _expire(self) -> None:
        self.stop()
        act(self._machine, str(self._machine.actions["watchdog"]))


def act(machine: Machine, action: str) -> None:
    """Do what shall be done when a watchdog expires; an NMI moves none of the guests."""
    machine.events.emit("WATCHDOG", {"action": action})
    if action == "reset":
        machine.system_reset("guest-reset", guest=True)
    elif action == "shutdown":
        machine.system_powerdown()
    elif action == "poweroff":
        machine.exit(0)
    elif action == "pause":
        machine.vm_stop(RunState.WATCHDOG)
    elif action == "debug":
        machine.tell("watchdog: timer fired")


def write_port(machine: Machine, port: int, value: int) -> None:
    """What a guest writes to a port of an ib700; other ports are nobody's."""
    for device in machine.devices.users():
        if device.type.name == "ib700":
            if port == _STOP_PORT:
                device.state.stop()
            elif port == _START_PORT:
                device.state.start((_LONGEST - 2 * (value & 0xF)) * SECOND)
