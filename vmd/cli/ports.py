"""From requests to chardevs and their users: what the wiring asks when it opens them.

Each function raises QmpError with QEMU's text, to be reported at the request's `where`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from qapi.error import QmpError
from vmd.chardev.options import ChardevOptions, backend_of, parse_legacy
from vmd.cli.report import Quit
from vmd.options import HELP_WORDS

if TYPE_CHECKING:
    from vmd.cli.config import ChardevRequest, MonitorRequest, PortRequest
    from vmd.cli.report import Report

MODES = ("readline", "control")


class MonitorOptions(NamedTuple):
    """A monitor: the label of its chardev; mode "readline" (human) or "control" (QMP)."""

    chardev: str
    mode: str
    pretty: bool
    id: str | None


def chardev_of(request: ChardevRequest) -> ChardevOptions:
    """What to make; Quit(0) where the kind is `help`."""
    if request.options.get("backend") in HELP_WORDS:
        from vmd.cli.help import CHARDEV_HELP

        raise Quit(0, CHARDEV_HELP)
    return backend_of(request.options)


def monitor_of(request: MonitorRequest) -> MonitorOptions:
    options = request.options
    mode = options.get("mode", "readline")
    label = options.get("chardev")
    if mode not in MODES:
        raise QmpError(f"Parameter 'mode' does not accept value '{mode}'")
    if label is None:
        raise QmpError("Parameter 'chardev' is missing")
    pretty = options.boolean("pretty")
    if mode == "readline" and pretty:
        raise QmpError("'pretty' is not compatible with HMP monitors")
    return MonitorOptions(label, mode, pretty, options.id)


def port_of(
    request: PortRequest, kind: str, index: int, report: Report
) -> ChardevOptions | str | None:
    """The chardev of one `-serial` or `-parallel` (`kind`): options to make it, or the label of one
    that exists, or None for `none`.

    Unlike the others it speaks to `report` itself and raises Quit: QEMU says two things here. With
    `mon:` in front (`needs_monitor`) a human monitor shares the chardev's mux.
    """
    if request.text == "none":
        return None
    if request.text.startswith("chardev:"):
        return request.text[len("chardev:") :]
    try:
        options = parse_legacy(f"{kind}{index}", request.text)
        if options is not None:
            return backend_of(options)
    except QmpError as error:
        report.error(error.desc, request.where, error.hint)
    raise report.refuse(no_port(request, kind), request.where)


def qtest_of(text: str) -> ChardevOptions | str:
    """The chardev of `-qtest`: options to make it, or the label of one that exists."""
    if text.startswith("chardev:"):
        return text[len("chardev:") :]
    if text.startswith("mon:"):
        raise QmpError("mon: isn't supported in this context")
    options = parse_legacy("qtest", text)
    if options is None:
        raise QmpError("")
    return backend_of(options)


def no_port(request: PortRequest, kind: str) -> QmpError:
    """What QEMU adds when a port's chardev cannot be had."""
    return QmpError(f"could not connect {kind} device to character backend '{request.text}'")


def needs_monitor(request: PortRequest) -> bool:
    return request.text.startswith("mon:")
