"""What the monitors tell a log of themselves, event by event.

Names and lines are QEMU's (monitor/trace-events and the code that its QAPI compiler writes).
Whoever calls has asked first whether the log is `active`.
"""

from __future__ import annotations

from types import CoroutineType
from typing import TYPE_CHECKING, Any, Protocol

from monitor.json import JsonError, encode
from qapi.error import QmpError

if TYPE_CHECKING:
    from monitor.qmp import Request
    from monitor.registry import QmpCommand


class Trace(Protocol):
    """A log of events; `active` while any of them is wanted."""

    active: bool

    def emit(self, name: str, text: str) -> None: ...


def seen(trace: Trace, monitor: object, document: object) -> None:
    """A document has been read."""
    if not isinstance(document, JsonError):
        trace.emit("handle_qmp_command", f"mon {_pointer(monitor)} req: {encode(document)}")


def taken(trace: Trace, request: Request) -> None:
    """A request is about to be run."""
    document = request.document
    if isinstance(document, JsonError):
        trace.emit("monitor_qmp_err_in_band", document.desc)
        return
    band = "out_of_band" if request.oob else "in_band"
    has_id = isinstance(document, dict) and "id" in document
    trace.emit(f"monitor_qmp_cmd_{band}", encode(request.id) if has_id else "")


def sent(trace: Trace, monitor: object, text: str) -> None:
    """A message goes to the client."""
    trace.emit("monitor_qmp_respond", f"mon {_pointer(monitor)} resp: {text.rstrip()}")


def greeted(trace: Trace, version: object) -> None:
    """QEMU asks its own query-version for what a greeting tells."""
    trace.emit("qmp_enter_query_version", "{}")
    trace.emit("qmp_exit_query_version", f"{encode(version)} 1")


def typed(trace: Trace, monitor: object, line: str) -> None:
    """The human monitor runs a line."""
    trace.emit("handle_hmp_command", f"mon {_pointer(monitor)} cmdline: {line}")


def call(
    trace: Trace,
    command: QmpCommand,
    machine: object,
    monitor: object,
    arguments: dict[str, object],
) -> Any:
    """QmpCommand.call, with an event in front and one behind."""
    name = command.name.replace("-", "_")

    def entered() -> None:
        trace.emit(f"qmp_enter_{name}", encode(arguments))

    def left(result: object) -> None:
        value = {} if result is None else result
        trace.emit(f"qmp_exit_{name}", f"{encode(value)} 1")

    def failed(error: QmpError) -> None:
        trace.emit(f"qmp_exit_{name}", f"{error.desc} 0")

    async def wait(work: Any) -> Any:
        try:
            result = await work
        except QmpError as error:
            failed(error)
            raise
        left(result)
        return result

    checked = command.check(arguments)
    entered()
    try:
        result = command.run(machine, monitor, checked)
    except QmpError as error:
        failed(error)
        raise
    if type(result) is CoroutineType:
        return wait(result)
    left(result)
    return result


def _pointer(thing: object) -> str:
    return f"0x{id(thing):x}"
