"""One running daemon: a machine, its character devices and monitors, on the event loop.

The shell around everything pure: it opens what the configuration names in QEMU's order (sockets
that wait for a client come before the machine), puts monitors and the serial port on them, and
takes all of it down again.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

import qapi
from monitor.dispatcher import Dispatcher
from monitor.hmp_server import HmpMonitor
from monitor.server import QmpMonitor, broadcast_event
from qapi.error import QmpError
from vmd import chardev as chardevs
from vmd import hmp, qmp
from vmd.chardev import Chardev, Host
from vmd.cli import ports
from vmd.cli.build import build_machine
from vmd.cli.settle import choose_machine, settle
from vmd.cli.signals import SignalWatch
from vmd.clock import RealClock
from vmd.fdset import FdSets
from vmd.version import QEMU_VERSION, version_info

if TYPE_CHECKING:
    from collections.abc import Callable

    from monitor.hmp import HmpRegistry
    from monitor.registry import QmpRegistry
    from vmd.chardev.mux import MuxPort
    from vmd.chardev.options import ChardevOptions
    from vmd.cli.config import Config, IncomingRequest, MonitorRequest, PortRequest
    from vmd.cli.report import Report
    from vmd.events import Event
    from vmd.machine import Machine

FLUSH_NS = 200_000_000
"""How long the end waits for clients that have not yet read everything."""

SERIAL_BACKLOG = 1 << 20
"""What a guest may be ahead of whoever reads its serial line; more is lost, as on a real line."""


class Daemon:
    """Runs until the machine exits; `report` speaks on stderr."""

    def __init__(self, config: Config, report: Report) -> None:
        self._config = config
        self._report = report
        self._clock = RealClock()
        self._fdsets = FdSets()
        self._chardevs: dict[str, Chardev] = {}
        self._dispatcher = Dispatcher()
        self._qmp_monitors: list[QmpMonitor] = []
        self._terminal: asyncio.Task[None] | None = None
        self._ending: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._machine: Machine | None = None

    async def run(self, ready: Callable[[], None]) -> int:
        """Set up, call `ready` once, live, take down. The exit code; Quit if setting up fails."""
        signals = SignalWatch(asyncio.get_running_loop())
        try:
            choose_machine(self._config, self._report)
            for request in self._config.chardevs:
                with self._report.at(request.where):
                    await self._open_chardev(ports.chardev_of(request))
            settle(self._config, self._report)
            self._machine = machine = build_machine(
                self._config, self._report, self._clock, self._fdsets, self._end
            )
            machine.chardevs = self._chardevs
            await self._connect(machine)
            self._start_incoming(machine)
            signals.start(lambda text: self._signalled(machine, text))
            ready()
            machine.power_on()
            code = await self._ending
            await self._flush()
            return code
        finally:
            self._take_down()
            signals.stop()

    # Setting up.

    async def _open_chardev(self, options: ChardevOptions) -> Chardev:
        if options.label in self._chardevs:
            raise QmpError(f"Duplicate ID '{options.label}' for chardev")
        host = Host(
            clock=self._clock,
            info=self._report.info,
            error=self._report.error,
            announce=_announce,
            terminate=self._terminate,
            open_file=self._open_file,
        )
        chardev = chardevs.create(
            options.label, options.backend, host, options.mux, self._chardevs.get
        )
        self._chardevs[options.label] = chardev
        await chardev.open()
        return chardev

    def _open_file(self, path: str, flags: int, mode: int) -> int:
        fd = self._fdsets.open(path, flags)
        return os.open(path, flags, mode) if fd is None else fd

    async def _connect(self, machine: Machine) -> None:
        """Serial ports, then monitors, then whoever listens to the machine's events."""
        human = hmp.registry(console=_announce, report=self._report.error)
        commands = qmp.registry(qapi.load(), human.run_line)
        for index, port in enumerate(self._config.serials):
            await self._connect_serial(machine, port, index)
        for index, port in enumerate(self._config.parallels):
            await self._port(port, "parallel", index)
        for request in self._config.monitors:
            with self._report.at(request.where):
                self._connect_monitor(machine, request, human, commands)
        machine.events.subscribe(self._broadcast)
        chardevs.start(list(self._chardevs.values()))

    async def _port(self, port: PortRequest, kind: str, index: int) -> Chardev | None:
        options = ports.port_of(port, kind, index, self._report)
        if options is None or isinstance(options, str):
            if options is not None and options not in self._chardevs:
                raise self._report.refuse(ports.no_port(port, kind), port.where)
            return None if options is None else self._chardevs[options]
        with self._report.at(port.where):
            return await self._open_chardev(options)

    async def _connect_serial(self, machine: Machine, port: PortRequest, index: int) -> None:
        chardev = await self._port(port, "serial", index)
        if chardev is None:
            return
        with self._report.at(port.where):
            backend = chardevs.claim(chardev)
        serial = SerialPort(backend)
        if index == 0:
            machine.serial = serial.write

    def _connect_monitor(
        self,
        machine: Machine,
        request: MonitorRequest,
        human: HmpRegistry,
        commands: QmpRegistry,
    ) -> None:
        options = ports.monitor_of(request)
        chardev = self._chardevs.get(options.chardev)
        if chardev is None:
            raise QmpError(f'chardev "{options.chardev}" not found')
        backend = chardevs.claim(chardev)
        if options.mode == "control":
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
            HmpMonitor(backend, human, machine, self._dispatcher, version=QEMU_VERSION)

    def _start_incoming(self, machine: Machine) -> None:
        for request in self._config.incoming:
            with self._report.at(request.where):
                _start_incoming(machine, request)

    # Living.

    def _broadcast(self, event: Event) -> None:
        seconds, nanoseconds = divmod(event.wall_ns, 1_000_000_000)
        broadcast_event(self._qmp_monitors, event.name, event.data, seconds, nanoseconds // 1000)

    def _signalled(self, machine: Machine, text: str) -> None:
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

    def _take_down(self) -> None:
        for chardev in self._chardevs.values():
            chardev.close()
        if self._machine is not None:
            for backend in self._machine.backends.values():
                backend.close()


class SerialPort:
    """The guest's end of a serial line. What nobody takes is lost, as on a real line."""

    def __init__(self, backend: Chardev | MuxPort) -> None:
        self._backend = backend
        backend.attach(self)

    def write(self, data: bytes) -> None:
        """Speak."""
        if self._backend.is_open and self._backend.backlog < SERIAL_BACKLOG:
            self._backend.write(data)

    def opened(self) -> None:
        pass

    def received(self, data: bytes) -> None:
        pass  # no guest program listens

    def closed(self) -> None:
        pass

    def drained(self) -> None:
        pass


def _start_incoming(machine: Machine, request: IncomingRequest) -> None:
    if request.kind == "defer":
        return
    if request.kind == "uri":
        machine.migration.migrate_incoming(str(request.value))
    else:
        assert isinstance(request.value, dict)
        machine.migration.migrate_incoming(None, [request.value])


def _announce(text: str) -> None:
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()
