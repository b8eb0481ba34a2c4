"""One running daemon: a machine, its character devices and monitors, on the event loop.

The shell around everything pure: it opens what the configuration names in QEMU's order (sockets
that wait for a client come before the machine), puts monitors and the serial port on them, and
takes all of it down again.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

import qapi
from monitor.dispatcher import Dispatcher
from monitor.server import QmpMonitor, broadcast_event
from qapi.error import QmpError
from vmd import qmp
from vmd.chardev import Host, claim
from vmd.chardev.line import Line
from vmd.chardev.registry import Chardevs
from vmd.cli import ports
from vmd.cli.build import begin_machine, early_objects, finish_machine
from vmd.cli.cpus import check_cpu, set_numa_node
from vmd.cli.plug import MAX_SERIAL_PORTS, Port, add_devices, add_fd, open_displays
from vmd.cli.report import Quit
from vmd.cli.settle import choose_machine, settle
from vmd.cli.signals import SignalWatch
from vmd.clock import RealClock
from vmd.fdset import FdSets
from vmd.version import QEMU_VERSION, version_info

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from monitor.hmp import HmpRegistry
    from monitor.registry import QmpRegistry
    from monitor.terminal import TerminalMonitor
    from vmd.chardev import Chardev
    from vmd.chardev.options import ChardevOptions
    from vmd.cli.config import (
        ChardevRequest,
        Config,
        IncomingRequest,
        MonitorRequest,
        PortRequest,
    )
    from vmd.cli.report import Report
    from vmd.devices.objects import UserObject
    from vmd.events import Event
    from vmd.machine import Machine
    from vmd.machine_setup import MachineSetup
    from vmd.trace import Tracer

MAX_PARALLEL_PORTS = 3
FLUSH_NS = 200_000_000
"""How long the end waits for clients that have not yet read everything."""


class Daemon:
    """Runs until the machine exits; `report` speaks on stderr."""

    def __init__(self, config: Config, report: Report, tracer: Tracer) -> None:
        self._config = config
        self._report = report
        self._clock = RealClock()
        self._fdsets = FdSets()
        self._chardevs = Chardevs(self._host(), daemonized=config.daemonize)
        self._tracer = tracer
        self._dispatcher = Dispatcher(preconfig=config.preconfig, held=True, trace=tracer)
        self._human: HmpRegistry | None = None
        self._qmp_monitors: list[QmpMonitor] = []
        self._terminal: TerminalMonitor | None = None
        self._terminal_label: str | None = None
        self._ending: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._machine: Machine | None = None
        self._objects: dict[str, UserObject] = {}

    async def run(self, ready: Callable[[], None]) -> int:
        """Set up, call `ready` once, live, take down. The exit code; Quit if setting up fails."""
        signals = SignalWatch(asyncio.get_running_loop())
        try:
            for handed in self._config.added_fds:
                with self._report.at(handed.where):
                    add_fd(self._fdsets, handed.options)
            choose_machine(self._config, self._report)
            if self._config.objects:
                self._objects = early_objects(self._config, self._report)
            for request in self._config.chardevs:
                with self._report.at(request.where):
                    await self._open_chardev(request)
            settle(self._config, self._report)
            qtest = await self._open_qtest()
            machine, setup = begin_machine(
                self._config,
                self._report,
                self._clock,
                self._fdsets,
                self._end,
                self._tracer,
                self._objects,
            )
            self._machine = machine
            machine.chardevs = self._chardevs
            machine.tell = lambda text: self._report.write(f"{text}\n")
            # Before anybody can see that we are there.
            signals.start(lambda text: self._signalled(machine, text))
            self._connect_monitors(machine)
            if qtest is not None:
                self._connect_qtest(machine, qtest)
            if self._config.preconfig:
                machine.exit_preconfig = lambda: self._exit_preconfig(machine, setup)
                machine.set_numa_node = lambda asked: set_numa_node(
                    self._config, self._report, machine, asked
                )
            else:
                await self._complete(machine, setup)
            self._chardevs.start()
            ready()
            if machine.equipped:
                machine.power_on()
            self._dispatcher.release()
            code = await self._ending
            await self._flush()
            return code
        finally:
            await self._take_down()
            signals.stop()

    # Setting up.

    def _host(self) -> Host:
        return Host(
            clock=self._clock,
            info=self._report.info,
            error=self._report.error,
            announce=_announce,
            terminate=self._terminate,
            open_file=self._open_file,
            find_object=lambda name: self._objects.get(name),
        )

    async def _open_qtest(self) -> Chardev | None:
        text = self._config.qtest
        if text is None:
            return None
        try:
            options = ports.qtest_of(text)
            if not isinstance(options, str):
                return await self._chardevs.add(options.label, options.backend)
            if (known := self._chardevs.get(options)) is not None:
                return known
        except QmpError as error:
            if error.desc:
                self._report.error(error.desc, hint=error.hint)
        raise self._report.refuse(QmpError(f'Failed to initialize device for qtest: "{text}"'))

    def _connect_qtest(self, machine: Machine, chardev: Chardev) -> None:
        from vmd.qtest.server import QtestServer, file_log

        path = self._config.qtest_log
        log = self._report.write if path is None else file_log(path)
        with self._report.at(""):
            QtestServer(claim(chardev), machine, log)
        machine.qtest = {"chardev": chardev.label, "log": path or ""}

    async def _open_chardev(self, request: ChardevRequest) -> None:
        await self._add_chardev(ports.chardev_of(request))

    async def _add_chardev(self, options: ChardevOptions) -> Chardev:
        on_stdio = options.backend["type"] == "stdio" and not self._config.daemonize
        if on_stdio and os.isatty(0) and os.isatty(1):
            self._terminal_label = options.label
        return await self._chardevs.add(options.label, options.backend, options.mux)

    def _open_file(self, path: str, flags: int, mode: int) -> int:
        fd = self._fdsets.open(path, flags)
        return os.open(path, flags, mode) if fd is None else fd

    async def _complete(self, machine: Machine, setup: MachineSetup) -> None:
        """What comes after the monitors: CPUs, RAM, ports, devices, whoever is to arrive."""
        machine.cpu_features = check_cpu(self._config, self._report, machine.host_cpu)
        finish_machine(machine, setup, self._config, self._report)
        ports = await self._connect_ports(machine)
        add_devices(machine, self._config, self._report, ports)
        open_displays(machine, self._config, self._report)
        await self._start_incoming(machine)

    async def _exit_preconfig(self, machine: Machine, setup: MachineSetup) -> None:
        """x-exit-preconfig: a machine that cannot be made ends the process, without an answer."""
        self._report.named = False
        try:
            await self._complete(machine, setup)
        except Quit as end:
            self._end(end.status)
            await asyncio.get_running_loop().create_future()
        finally:
            self._report.named = True
        self._chardevs.start()
        self._dispatcher.preconfig = False
        machine.exit_preconfig = machine.set_numa_node = None
        machine.power_on()

    async def _connect_ports(self, machine: Machine) -> list[Port]:
        """Open what serial and parallel ports lead to; those of a PC, which get devices."""
        found = []
        for index, port in enumerate(self._config.serials):
            chardev = await self._connect_serial(machine, port, index)
            if chardev is not None and index < MAX_SERIAL_PORTS:
                found.append(Port(port, "serial", index, chardev.label))
        given = [port for port in self._config.parallels if port.text != "none"]
        for index, port in enumerate(given):
            if index == MAX_PARALLEL_PORTS:
                raise self._report.refuse(QmpError("too many parallel ports"), port.where)
            chardev = await self._port(port, "parallel", index)
            if chardev is None:
                continue
            if ports.needs_monitor(port):
                with self._report.at(port.where):
                    self._connect_human(machine, chardev)
            found.append(Port(port, "parallel", index, chardev.label))
        return found

    def _connect_monitors(self, machine: Machine) -> None:
        """Monitors, then whoever listens to the machine's events."""
        commands = qmp.registry(qapi.load(), self._run_human_line)
        for request in self._config.monitors:
            with self._report.at(request.where):
                self._connect_monitor(machine, request, commands)
        machine.events.subscribe(self._broadcast)

    async def _port(self, port: PortRequest, kind: str, index: int) -> Chardev | None:
        options = ports.port_of(port, kind, index, self._report)
        if options is None:
            return None
        if isinstance(options, str):
            chardev = self._chardevs.get(options)
            if chardev is None:
                raise self._report.refuse(ports.no_port(port, kind), port.where)
            return chardev
        try:
            return await self._add_chardev(options)
        except QmpError as error:
            self._report.error(error.desc, port.where, error.hint)
            raise self._report.refuse(ports.no_port(port, kind), port.where) from None

    async def _connect_serial(
        self, machine: Machine, port: PortRequest, index: int
    ) -> Chardev | None:
        chardev = await self._port(port, "serial", index)
        if chardev is None:
            return None
        shared = ports.needs_monitor(port)
        with self._report.at(port.where):
            # Who comes last has the focus: QEMU's machine without ports leaves it to the monitor.
            if machine.board.has_cpus:
                if shared:
                    self._connect_human(machine, chardev)
                return chardev
            serial = Line(claim(chardev))
            if shared:
                self._connect_human(machine, chardev)
        if index == 0:
            machine.serial = serial.write
            serial.hears = machine.guest_side.hears
        return chardev

    def _connect_monitor(
        self,
        machine: Machine,
        request: MonitorRequest,
        commands: QmpRegistry,
    ) -> None:
        options = ports.monitor_of(request)
        chardev = self._chardevs.get(options.chardev)
        if chardev is None:
            raise QmpError(f'chardev "{options.chardev}" not found')
        if options.mode == "control":
            backend = claim(chardev)
            chardev.set_echo(True)
            self._qmp_monitors.append(
                QmpMonitor(
                    backend,
                    commands,
                    machine,
                    self._dispatcher,
                    version=version_info(),
                    pretty=options.pretty,
                    oob=backend.threaded,
                )
            )
        else:
            self._connect_human(machine, chardev)

    def _connect_human(self, machine: Machine, chardev: Chardev) -> None:
        backend, human = claim(chardev), self._human_commands()
        if chardev.label == self._terminal_label and self._terminal is None:
            from vmd.cli.terminal import open_terminal

            wishes = self._config.terminal
            self._terminal = open_terminal(wishes, backend, human, machine, self._dispatcher)
            if os.isatty(2):
                self._report.divert = self._terminal.message
        else:
            from monitor.hmp_server import HmpMonitor

            HmpMonitor(backend, human, machine, self._dispatcher, version=QEMU_VERSION)

    def _human_commands(self) -> HmpRegistry:
        """The human monitor's table, made when first somebody wants it: most VMs have only QMP."""
        if self._human is None:
            from vmd import hmp

            self._human = hmp.registry(
                console=_announce, report=self._report.error, trace=self._tracer
            )
        return self._human

    def _run_human_line(self, machine: Machine, line: str, *, cpu_index: int | None) -> object:
        return self._human_commands().run_line(machine, line, cpu_index=cpu_index)

    async def _start_incoming(self, machine: Machine) -> None:
        for request in self._config.incoming[-1:]:  # given twice, the last one counts
            with self._report.at(request.where):
                opening = _start_incoming(machine, request)
                if opening is not None:
                    await opening

    # Living.

    def _broadcast(self, event: Event) -> None:
        seconds, nanoseconds = divmod(event.wall_ns, 1_000_000_000)
        broadcast_event(self._qmp_monitors, event.name, event.data, seconds, nanoseconds // 1000)

    def _signalled(self, machine: Machine, text: str) -> None:
        if self._terminal is not None:
            self._terminal.close()
        if machine.qtest is None:
            self._report.error(text)
        machine.quit("host-signal")

    def _terminate(self) -> None:
        if self._machine is not None:
            self._machine.quit("host-ui")

    def _end(self, code: int) -> None:
        """The machine wants to exit: what is being answered is answered, nothing else begins."""
        self._dispatcher.stop()
        if not self._ending.done():
            self._ending.set_result(code)

    # Taking down.

    async def _flush(self) -> None:
        """Let the last replies go out, but wait for nobody who does not read."""
        deadline = self._clock.now_ns() + FLUSH_NS
        while self._clock.now_ns() < deadline and any(
            chardev.backlog for chardev in self._chardevs.values() if chardev.is_open
        ):
            await self._clock.sleep(1_000_000)

    async def _take_down(self) -> None:
        if self._terminal is not None:
            self._terminal.close()
        for display in self._machine.vnc if self._machine is not None else ():
            display.close()
        self._chardevs.close()
        if self._machine is not None and not self._machine.migration.uses_memory:
            for backend in self._machine.backends.values():
                backend.close()


def _start_incoming(machine: Machine, request: IncomingRequest) -> Coroutine[Any, Any, None] | None:
    if request.kind == "defer":
        machine.migration.expect_incoming()
        return None
    if request.kind == "uri":
        return machine.migration.migrate_incoming(str(request.value))
    assert isinstance(request.value, dict)
    return machine.migration.migrate_incoming(None, [request.value])


def _announce(text: str) -> None:
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()
