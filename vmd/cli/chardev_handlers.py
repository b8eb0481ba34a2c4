"""The handlers of options that make character devices and put monitors and ports on them.

See handlers.py. Observed from system/vl.c and monitor/monitor.c.
"""

from __future__ import annotations

from qapi.error import QmpError
from vmd import option_lists as lists
from vmd.chardev.options import CHARDEV, parse_legacy
from vmd.cli.config import ChardevRequest, MonitorRequest, PortRequest
from vmd.cli.parsing import Parsing
from vmd.options import Options, escape, parse_options


def chardev(state: Parsing, where: str, arg: str) -> None:
    options = state.options(CHARDEV, where, arg)
    state.config.chardevs.append(ChardevRequest(where, options))


def mon(state: Parsing, where: str, arg: str) -> None:
    options = state.options(lists.MON, where, arg)
    state.config.monitors.append(MonitorRequest(where, options))
    state.default_monitor = False


def monitor(state: Parsing, where: str, arg: str) -> None:
    state.default_monitor = False
    # QEMU looks at the first four letters only.
    if not arg.startswith("none"):
        add_monitor(state, where, arg, "readline")


def qmp(state: Parsing, where: str, arg: str) -> None:
    state.default_monitor = False
    add_monitor(state, where, arg, "control")


def qmp_pretty(state: Parsing, where: str, arg: str) -> None:
    state.default_monitor = False
    add_monitor(state, where, arg, "control", pretty=True)


def add_monitor(state: Parsing, where: str, filename: str, mode: str, pretty: bool = False) -> None:
    """A monitor on a chardev of its own, `compat_monitorN`, or on `chardev:ID`."""
    if filename.startswith("chardev:"):
        label = filename[len("chardev:") :]
        _check_label(label)
    else:
        label = f"compat_monitor{state.monitors_seen}"
        state.config.chardevs.append(_legacy(state, where, label, filename))
    state.monitors_seen += 1
    state.take_id("mon", label)
    pairs = [("mode", mode), ("chardev", label)]
    if mode == "control":
        pairs.append(("pretty", "on" if pretty else "off"))
    state.config.monitors.append(MonitorRequest(where, Options(label, tuple(pairs))))


def _check_label(label: str) -> None:
    try:
        parse_options(f"id={escape(label)}", lists.MON)
    except QmpError as error:
        # Here QEMU leaves its hint out.
        raise QmpError(error.desc) from None


def _legacy(state: Parsing, where: str, label: str, filename: str) -> ChardevRequest:
    try:
        options = parse_legacy(label, filename)
        if options is not None:
            state.take_id("chardev", label)
            return ChardevRequest(where, options)
    except QmpError as error:
        state.report.error(error.desc, where, error.hint)
    raise QmpError(f"parse error: {filename}")


def qtest(state: Parsing, where: str, arg: str) -> None:
    state.config.qtest = arg


def qtest_log(state: Parsing, where: str, arg: str) -> None:
    state.config.qtest_log = arg


def serial(state: Parsing, where: str, arg: str) -> None:
    state.config.serials.append(PortRequest(where, arg))
    if arg.startswith("mon:"):
        state.default_monitor = False


def parallel(state: Parsing, where: str, arg: str) -> None:
    state.config.parallels.append(PortRequest(where, arg))
    if arg.startswith("mon:"):
        state.default_monitor = False
