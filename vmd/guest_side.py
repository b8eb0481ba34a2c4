"""The guest's side of its machine: what a guest can do to the machine that it runs on.

Each is what a device of a PC would do for it. Observed from system/runstate.c and hw/acpi/core.c.
"""

from __future__ import annotations

from vmd.runstate import RunState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmd.guest.time import GuestTime
    from vmd.machine import Machine


class GuestSide:
    """What `vmd.guest.guest` asks of its board, and the devices that speak for the guest."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    @property
    def guest_time(self) -> GuestTime:
        return self._machine.guest_time

    def says(self, data: bytes) -> None:
        """It writes to its screen and its first serial line."""
        self._machine.screen.write(data)
        self._machine.serial(data)

    def hears(self, data: bytes) -> None:
        """Something comes in on its first serial line."""
        self._machine.guest.hear(data)

    def powers_off(self) -> None:
        """The guest is done (ACPI S5)."""
        if self._machine.board.has_cpus:
            self._machine.trace_shutdown("guest-shutdown")
            self._machine.shut_down("guest-shutdown", guest=True)

    def resets(self) -> None:
        """The guest reboots."""
        if self._machine.board.has_cpus:
            self._machine.system_reset("guest-reset", guest=True)

    def panics(self) -> None:
        """The guest panics: it stands still, and tells of it if there is a device for that."""
        if self._machine.board.has_cpus:
            from vmd.devices import ioports

            self._machine.guest.halt()
            if ioports.has_pvpanic(self._machine):
                self.panicked()

    def panicked(self) -> None:
        """Somebody has told of a panic. From system/runstate.c."""
        action = self._machine.actions["panic"]
        if action == "none":
            self._machine.events.emit("GUEST_PANICKED", {"action": "run"})
            return
        shuts_down = action == "exit-failure" or (
            action == "shutdown" and self._machine.actions["shutdown"] == "poweroff"
        )
        told = "poweroff" if shuts_down else "pause"
        self._machine.events.emit("GUEST_PANICKED", {"action": told})
        if self._machine.runstate.is_live:
            self._machine.vm_stop(RunState.GUEST_PANICKED)
        if shuts_down:
            self._machine.trace_shutdown("guest-panic")
            self._machine.shut_down("guest-panic", guest=True, code=int(action == "exit-failure"))

    def restarts(self) -> None:
        """Some guests begin anew when woken: their firmware resets the machine, RAM is kept."""
        if self._machine.runstate.state is RunState.RUNNING:
            self._machine.events.emit("RESET", {"guest": True, "reason": "guest-reset"})
            self._machine.guest.restart()

    def suspends(self) -> None:
        """The guest goes to sleep (ACPI S3), if the board has sleep at all."""
        if self._machine.board.wakeup_support and self._machine.runstate.state is RunState.RUNNING:
            self._machine.runstate.become(RunState.SUSPENDED)
            self._machine.follow_runstate()
            self._machine.events.emit("SUSPEND")

    def arms_watchdog(self, timeout_ns: int) -> None:
        """The guest tells its watchdog, if it has one, how long it may be silent from now on."""
        if (found := next(self._machine.devices.watchdogs(), None)) is not None:
            found.start(timeout_ns)

    def sets_rtc(self, offset: int) -> None:
        """The guest has set its real-time clock to so many seconds ahead of the host's."""
        if self._machine.board.has_cpus:
            from vmd.devices.rtc import set_ahead

            set_ahead(self._machine, offset)
