"""Our own way through a command line, without a machine: what vmd says and with which status."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import qapi
from qapi.error import QmpError
from qapi.schema import Schema
from vmd.chardev import Host, claim
from vmd.chardev.registry import Chardevs
from vmd.cli import cpus, ports, settle
from vmd.cli.config import Config
from vmd.cli.parse import parse
from vmd.cli.report import Quit, Report
from vmd.clock import HeldClock

PROGRAM = "qemu-system-x86_64"
ASK = ["-chardev", "stdio,id=ask", "-mon", "ask,mode=control"]


@cache
def schema() -> Schema:
    return qapi.load()


class KeptReport(Report):
    """A report that keeps what was said."""

    def __init__(self) -> None:
        super().__init__(PROGRAM, HeldClock())
        self.said = ""

    def write(self, text: str) -> None:
        self.said += text


class Silent:
    """A frontend that hears nothing and says nothing."""

    def opened(self) -> None: ...
    def received(self, data: bytes) -> None: ...
    def closed(self) -> None: ...
    def drained(self) -> None: ...


def read(argv: Sequence[str]) -> Config:
    """The configuration of a good command line."""
    report = KeptReport()
    try:
        config = parse([PROGRAM, *argv], report, schema)
        settle.choose_machine(config, report)
        settle.settle(config, report)
    except Quit as end:
        raise AssertionError(f"status {end.status}: {report.said}{end.output}") from None
    return config


def judge(argv: Sequence[str]) -> tuple[int, str, str]:
    """(status, stdout, stderr) of all that can be judged without touching the host."""
    report = KeptReport()
    try:
        config = parse([PROGRAM, *argv], report, schema)
        settle.choose_machine(config, report)
        for request in config.chardevs:
            with report.at(request.where):
                ports.chardev_of(request)
        settle.settle(config, report)
        for monitor in config.monitors:
            with report.at(monitor.where):
                ports.monitor_of(monitor)
        for index, port in enumerate(config.serials):
            ports.port_of(port, "serial", index, report)
        for index, port in enumerate(config.parallels):
            ports.port_of(port, "parallel", index, report)
        cpus.check_cpu(config, report)
        cpus.numa_nodes(config, report)
    except Quit as end:
        return end.status, end.output, report.said
    return 0, "", report.said


async def judge_opening(argv: Sequence[str]) -> tuple[int, str]:
    """(status, stderr) where chardevs are opened and monitors put on them, too."""
    report = KeptReport()
    host = Host(HeldClock(), report.info, report.error, lambda text: None, lambda: None)
    devices: Chardevs | None = None
    try:
        config = parse([PROGRAM, *argv], report, schema)
        settle.choose_machine(config, report)
        devices = Chardevs(host, config.daemonize)
        await _open(config, devices, report)
    except Quit as end:
        return end.status, report.said
    finally:
        if devices is not None:
            devices.close()
    return 0, report.said


async def _open(config: Config, devices: Chardevs, report: Report) -> None:
    for request in config.chardevs:
        with report.at(request.where):
            await devices.add(*ports.chardev_of(request))
    settle.settle(config, report)
    for monitor in config.monitors:
        with report.at(monitor.where):
            options = ports.monitor_of(monitor)
            device = devices.get(options.chardev)
            if device is None:
                raise QmpError(f'chardev "{options.chardev}" not found')
            claim(device).attach(Silent())
    for index, port in enumerate(config.serials):
        wanted = ports.port_of(port, "serial", index, report)
        if isinstance(wanted, str):
            if wanted not in devices:
                raise report.refuse(ports.no_port(port, "serial"), port.where)
        elif wanted is not None:
            try:
                await devices.add(*wanted)
            except QmpError as error:
                report.error(error.desc, port.where, error.hint)
                raise report.refuse(ports.no_port(port, "serial"), port.where) from None
