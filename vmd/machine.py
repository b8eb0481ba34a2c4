"""One machine: owns run state, RAM, guest, clock and migration. Many may live in one process.

What a command does to the life of a machine is here, once; QMP and HMP handlers call it.
Observed from system/runstate.c and system/cpus.c.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from qapi.error import QmpError
from vmd.display import Screen
from vmd.events import EventBus
from vmd.guest.guest import Guest
from vmd.guest.time import GuestTime
from vmd.guest_side import GuestSide
from vmd.input import OF_A_PC, Input
from vmd.machine_setup import address_space
from vmd.migration.blockers import Blockers
from vmd.migration.controller import Migration
from vmd.runstate import NEEDS_RESET, RunState, RunStateMachine
from vmd.trace import Tracer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from vmd.announce import Announcements
    from vmd.block.node import Node
    from vmd.block.nodes import Nodes
    from vmd.chardev.registry import Chardevs
    from vmd.clock import Clock
    from vmd.devices.host_cpu import HostCpu
    from vmd.devices.network import Networks
    from vmd.devices.plugging import Devices
    from vmd.devices.processors import Processors
    from vmd.dump import Dump
    from vmd.fdset import FdSets
    from vmd.guest.guest import GuestOptions
    from vmd.jobs import Jobs
    from vmd.machine_setup import MachineSetup
    from vmd.migration.dirty_limit import DirtyLimits
    from vmd.vnc.server import Server as VncServer

NIL_UUID = "00000000-0000-0000-0000-000000000000"

CAUSES = {"host-qmp-quit": 2, "host-ui": 5, "guest-shutdown": 6, "guest-panic": 8}
"""The numbers that QEMU has for these causes of a shutdown."""

WAKEUP_BY_COMMAND = 3


class Machine:
    """A virtual machine with a simulated guest. All methods run on the event loop.

    `on_exit(code)` is told once when the process should end; `report(text)` gets what QEMU would
    print on stderr, without the program's name.
    """

    def __init__(
        self,
        setup: MachineSetup,
        clock: Clock,
        guest_options: GuestOptions,
        *,
        on_exit: Callable[[int], None],
        report: Callable[[str], None],
        fdsets: FdSets,
        tracer: Tracer | None = None,
    ) -> None:
        self.board = setup.board
        self.name = setup.name
        self.debug_threads = setup.debug_threads
        self.uuid = setup.uuid
        self.cpus = setup.cpus
        self.cpu_model = setup.cpu_model
        self.cpu_features: tuple[tuple[str, object], ...] = ()
        self.topology = setup.topology
        self.memory_slots = setup.memory_slots
        self.max_ram_size = setup.max_ram_size
        self.properties = setup.properties
        self.kvm = setup.kvm
        self.accel = setup.accel
        self.accel_properties = setup.accel_properties
        self.boot = setup.boot
        self.rtc = setup.rtc
        self.audiodevs = setup.audiodevs
        self.rtc_offset: int | None = None  # seconds that the guest has set it ahead of the host's
        self.all_blocks = setup.all_blocks
        self.backends = setup.backends
        self.objects = setup.objects
        self.autostart = setup.autostart
        self.only_migratable = setup.only_migratable
        self.furniture = setup.furniture
        self.has_default_network = setup.has_default_network
        self.globals = setup.globals
        self.actions = dict(setup.actions)
        self.clock = clock
        self.born_ns = clock.wall_ns()
        self.events = EventBus(clock)
        self.report = report
        self.tell = report  # the same while a QMP command runs: QEMU then omits its name
        self.warn: Callable[[str], None] = lambda text: report(f"warning: {text}")
        self.fdsets = fdsets
        self.chardevs: Chardevs | None = None
        self.vnc: list[VncServer] = []
        self.qtest: dict[str, str] | None = None  # its object's properties, with -qtest
        self.exit_preconfig: Callable[[], Awaitable[None]] | None = None  # while it is not complete
        self.set_numa_node: Callable[[dict[str, Any]], None] | None = None  # likewise
        self.serial: Callable[[bytes], None] = lambda data: None
        self.exiting = False
        self._on_exit = on_exit
        self.tracer = tracer or Tracer()
        # QEMU readies the announcements of its first migration at the start.
        self.tracer.emit("qemu_announce_timer_del", "free named: 0 free timer: 0 id: (null)")
        self.runstate = RunStateMachine(
            RunState.INMIGRATE if setup.incoming else RunState.PRELAUNCH, self._trace_runstate
        )
        self.guest_clock = setup.guest_clock or clock
        self.guest_time = GuestTime(self.guest_clock)
        self.screen = Screen()
        self.input = Input(
            OF_A_PC if setup.board.has_cpus else (),
            clock,
            self.tracer,
            lambda: self.runstate.is_live,
        )
        self._guest_options = guest_options
        self.guest_side = GuestSide(self)
        self.equipped = False
        self.firmware_ran = False  # since the last reset
        self._take_ram(setup)
        self.blockers = Blockers(self._is_migrating, only_migratable=setup.only_migratable)
        self.migration = Migration(self, incoming=setup.incoming)

    def equip(self, setup: MachineSetup) -> None:
        """What it was made from is complete: places of CPUs, RAM, and a guest in it."""
        self.equipped = True
        self._take_ram(setup)

    def _take_ram(self, setup: MachineSetup) -> None:
        self.node_of_cpu = setup.node_of_cpu
        self.node_sizes = setup.node_sizes
        self.ram_size = setup.ram_size
        self.ram_blocks = setup.ram_blocks
        self.main_ram = setup.main_ram
        self.memory = address_space(setup)
        ram = setup.main_ram[0] if setup.main_ram else None
        self.guest = Guest(
            ram, self.guest_clock, self.guest_side, self.guest_side.says, self._guest_options
        )

    # Life: start, stop, and what commands make of them.

    def power_on(self) -> None:
        """The process is ready: boot the guest, unless somebody else's is about to arrive."""
        if self.runstate.state is RunState.INMIGRATE:
            return
        self.guest.boot()
        if self.autostart:
            self.vm_start()

    def vm_start(self) -> None:
        """Go live: running, or suspended again if that is how the guest was stopped."""
        if self.runstate.is_live:
            return
        self.back()
        suspended = self.runstate.was_suspended
        target = RunState.SUSPENDED if suspended else RunState.RUNNING
        if not self.runstate.may_become(target):
            # QEMU sends RESUME and aborts; a machine that can be asked again serves better.
            self.runstate.become(target)
        self.runstate.was_suspended = False
        self.events.emit("RESUME")
        self.runstate.become(target)
        self._trace_notify(running=True)
        self.follow_runstate()

    def vm_stop(self, state: RunState) -> None:
        """Leave a live state for `state`; a machine that is not live just takes the state."""
        if not self.runstate.is_live:
            self.runstate.become(state)
            return
        suspended = self.runstate.state is RunState.SUSPENDED
        self.runstate.become(state)
        self.runstate.was_suspended = suspended
        self._trace_notify(running=False)
        self.follow_runstate()
        self.events.emit("STOP")

    def stop(self) -> None:
        """The `stop` command."""
        self.dump.forbid()
        if self.runstate.state is RunState.INMIGRATE:
            self.autostart = False
        elif self.runstate.is_live:
            self.vm_stop(RunState.PAUSED)

    def cont(self) -> None:
        """The `cont` command."""
        self.dump.forbid()
        state = self.runstate.state
        if state in NEEDS_RESET:
            raise QmpError("Resetting the Virtual Machine is required")
        if state is RunState.FINISH_MIGRATE:
            raise QmpError("Migration is not finalized yet")
        if state is RunState.INMIGRATE:
            self.autostart = True
        else:
            self.vm_start()

    def _is_migrating(self) -> bool:
        return self.migration.under_way or self.runstate.state is RunState.SAVE_VM

    def _trace_runstate(self, old: RunState, new: RunState) -> None:
        if self.tracer.active:
            text = f"current_run_state {_numbered(old)} new_state {_numbered(new)}"
            self.tracer.emit("runstate_set", text)

    def _trace_notify(self, *, running: bool) -> None:
        if self.tracer.active:
            text = f"running {running:d} reason {_numbered(self.runstate.state)}"
            self.tracer.emit("vm_state_notify", text)

    def follow_runstate(self) -> None:
        """Guest and guest clock go exactly while the state is running."""
        if self.runstate.state is RunState.RUNNING:
            self.guest_time.start()
            self.screen.lit = self.firmware_ran = True
            self.guest.start()
            if (devices := self._made("devices")) is not None:
                devices.guest_runs()
        else:
            self.guest.stop()
            self.guest_time.stop()
            if (devices := self._made("devices")) is not None:
                devices.guest_stops()

    # Reset, power, sleep.

    def system_reset(self, reason: str = "host-qmp-system-reset", guest: bool = False) -> None:
        """Reset by a command, or by the guest itself."""
        if self.actions["reboot"] == "shutdown":
            self.shut_down(reason, guest=guest)
            return
        self.runstate.was_suspended = False
        self.firmware_ran = self.runstate.state is RunState.RUNNING
        if self.runstate.state is not RunState.INMIGRATE:
            self.screen.clear()
            if (devices := self._made("devices")) is not None:
                devices.reset()
            self.guest.reset()
        self.events.emit("RESET", {"guest": guest, "reason": reason})
        keeps = (RunState.RUNNING, RunState.INMIGRATE, RunState.FINISH_MIGRATE)
        if self.runstate.state not in keeps:
            self.runstate.become(RunState.PRELAUNCH)

    def system_powerdown(self) -> None:
        """Press the power button; a guest that listens shuts down."""
        self.tracer.emit("qemu_system_powerdown_request", "")
        self.events.emit("POWERDOWN")
        if self.board.has_cpus:
            self.guest.press_power_button()

    def system_wakeup(self) -> None:
        """Wake a suspended guest."""
        if not self.board.wakeup_support:
            raise QmpError("wake-up from suspend is not supported by this guest")
        self.tracer.emit("system_wakeup_request", f"reason={WAKEUP_BY_COMMAND}")
        if self.runstate.state is not RunState.SUSPENDED:
            raise QmpError("Unable to wake up: guest is not in suspended state")
        self.runstate.become(RunState.RUNNING)
        self.events.emit("WAKEUP")
        self.follow_runstate()
        if self.guest.restarts_on_wakeup:
            self.clock.call_later(0, self.guest_side.restarts)

    def shut_down(self, reason: str, *, guest: bool, code: int = 0) -> None:
        """End the process with `code`, or only stop, as `-action shutdown` says."""
        self.events.emit("SHUTDOWN", {"guest": guest, "reason": reason})
        if self.actions["shutdown"] != "pause":
            self.exit(code)
        elif self.runstate.is_live:
            self.vm_stop(RunState.SHUTDOWN)

    def trace_shutdown(self, reason: str) -> None:
        """Have the trace tell of a wish for a shutdown."""
        self.tracer.emit("qemu_system_shutdown_request", f"reason={CAUSES[reason]}")

    # The end of the process.

    def quit(self, reason: str = "host-qmp-quit") -> None:
        """End the process whatever `-no-shutdown` says."""
        if self.exiting:
            return
        if reason != "host-signal":
            self.trace_shutdown(reason)
        self.events.emit("SHUTDOWN", {"guest": False, "reason": reason})
        self.exit(0)

    def exit(self, code: int) -> None:
        """Ask for the end; a migration under way is cancelled first."""
        if self.exiting:
            return
        self.exiting = True
        self.migration.abandon()
        for name in ("dump", "jobs", "announcements"):
            if (part := self._made(name)) is not None:
                part.abandon()
        if self.dirty_limits is not None:
            self.dirty_limits.abandon()
        self.guest.stop()
        if (nodes := self._made("nodes")) is not None:
            nodes.end()
        self._on_exit(code)

    # Its parts, made when somebody first asks: most of them only wait for that.

    def _made(self, name: str) -> Any:
        """One of them, or None if nobody has asked yet."""
        return self.__dict__.get(name)

    @cached_property
    def dump(self) -> Dump:
        """The one dump of its memory."""
        from vmd.dump import Dump

        return Dump(self)

    @cached_property
    def jobs(self) -> Jobs:
        """The background jobs."""
        from vmd.jobs import Jobs

        return Jobs(self.events)

    @cached_property
    def devices(self) -> Devices:
        """The devices, those of the board among them."""
        from vmd.devices.plugging import Devices

        return Devices(self)

    def throttled(self) -> set[str]:
        """The names of the throttle groups that drives are in."""
        from vmd.devices import throttle

        groups = throttle.groups(self) if self._made("devices") is not None else []
        return {group.name for group in groups}

    @cached_property
    def processors(self) -> Processors:
        """The CPUs that are there."""
        from vmd.devices.processors import Processors

        return Processors(self)

    @cached_property
    def nodes(self) -> Nodes:
        """The block nodes."""
        from vmd.block.nodes import Nodes

        return Nodes(
            self.open_file,
            lambda: self.runstate.state is not RunState.INMIGRATE,
            self.report,
        )

    def node_of(self, name: str) -> Node | None:
        """What is in the drive of that name, else the node of that name."""
        from vmd.devices import drives

        return drives.node_of(self, name)

    def named_media(self) -> list[tuple[str, Node]]:
        """What is in each drive that has a name."""
        from vmd.devices import drives

        return drives.named_media(self)

    @cached_property
    def networks(self) -> Networks:
        """The network backends."""
        from vmd.devices.network import Networks

        return Networks(with_default=self.has_default_network)

    @cached_property
    def host_cpu(self) -> HostCpu | None:
        """What the host's KVM offers to CPUs, if that is the accelerator."""
        if self.kvm is None:
            return None
        from vmd.devices.host_cpu import host_cpu

        return host_cpu(self.kvm.device)

    @cached_property
    def dirty_limits(self) -> DirtyLimits | None:
        """What CPUs may dirty, if the accelerator has rings that tell what they do."""
        if self.kvm is None or not self.kvm.ring:
            return None
        from vmd.migration.dirty_limit import DirtyLimits

        return DirtyLimits(self, self.migration.options, self.kvm.ring)

    @cached_property
    def announcements(self) -> Announcements:
        """What network devices tell of where they are."""
        from vmd.announce import Announcements

        return Announcements(self)

    # Moving.

    def gone(self) -> None:
        """It lives elsewhere now, and its images are that one's."""
        if (nodes := self._made("nodes")) is not None:
            nodes.activate(False)

    def back(self) -> None:
        """Its images are its own from now on; QmpError, which is told on stderr, if one is not."""
        if (nodes := self._made("nodes")) is not None:
            try:
                nodes.activate(True)
            except QmpError as error:
                self.tell("\n".join(filter(None, (error.desc, error.hint))))
                raise

    def arrived(self, options: Mapping[str, object]) -> None:
        """A migration has come in: devices know its guest, and tell the network where they are.

        `options` are the parameters of migration.
        """
        devices: Devices | None = self._made("devices")
        if devices is None and (self.guest.asked_for or self.guest.open_trays):
            devices = self.devices
        if devices is not None:
            devices.arrived()
        from vmd.announce import OWN, of_migration

        self.announcements.begin(OWN, of_migration(options))

    def open_file(self, path: str, flags: int) -> int:
        """A file of the host, or a descriptor that was handed over; OSError or QmpError."""
        return self.fdsets.open_file(path, flags, 0o644)


def _numbered(state: RunState) -> str:
    return f"{list(RunState).index(state)} ({state.value})"
