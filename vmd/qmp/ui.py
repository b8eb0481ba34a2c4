"""Commands of ui.json: the display, the mouse and the keyboard."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from qapi.error import DEVICE_NOT_ACTIVE, QmpError
from vmd.clock import NS_PER_S
from vmd.options import scan_unsigned

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from monitor.server import QmpMonitor
    from vmd.machine import Machine


async def screendump(
    machine: Machine,
    filename: str,
    device: str | None = None,
    head: int | None = None,
    format: str = "ppm",
) -> None:
    from vmd import display
    from vmd.worker import in_a_thread

    if device is not None:
        display.console_of(machine, device, head or 0)
    elif head is not None:
        raise QmpError("'head' must be specified together with 'device'")
    if not display.has_display(machine):
        raise QmpError("There is no console to take a screendump from")
    picture = machine.screen.picture()
    data = display.png(picture) if format == "png" else display.ppm(picture)
    await in_a_thread(lambda: _save(machine, filename, data))


def _save(machine: Machine, filename: str, data: bytes) -> None:
    fd = _create(machine, filename)
    try:
        with open(fd, "wb", buffering=0) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
    except OSError as error:
        raise QmpError(os.strerror(error.errno or 0)) from None


def _create(machine: Machine, filename: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        return machine.fdsets.open_file(filename, flags, 0o666)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
    except QmpError as error:
        # Here QEMU tells of a set of descriptors as of a file.
        missing = error.desc.startswith("Failed to find fdset")
        reason = os.strerror(errno.ENOENT if missing else errno.EACCES)
    raise QmpError(f"failed to open file '{filename}': {reason}")


def query_mice(machine: Machine) -> list[dict[str, object]]:
    mice = [taker for taker in machine.input.takers if "btn" in taker.kinds]
    return [
        {
            "name": mouse.name,
            "index": mouse.number,
            "current": mouse is mice[0],
            "absolute": "abs" in mouse.kinds,
        }
        for mouse in reversed(mice)
    ]


def send_key(
    machine: Machine, keys: Sequence[Mapping[str, object]], hold_time: int | None = None
) -> None:
    machine.input.press(keys, hold_time)


def input_send_event(
    machine: Machine,
    events: Sequence[Mapping[str, object]],
    device: str | None = None,
    head: int | None = None,
) -> None:
    console = -1
    if device is not None:
        from vmd import display

        console = display.console_of(machine, device, head or 0)
    machine.input.send(events, console)


def query_display_options(machine: Machine) -> dict[str, object]:
    return {"type": "none"}


def query_vnc(machine: Machine) -> dict[str, object]:
    if not machine.vnc or not machine.vnc[0].servers:
        return {"enabled": False}
    server = machine.vnc[0]
    first = server.servers[-1]
    return {
        "enabled": True,
        **{name: first[name] for name in ("host", "service", "family")},
        "auth": server.auth,
        "clients": [client.told() for client in reversed(server.clients)],
    }


def query_vnc_servers(machine: Machine) -> list[dict[str, object]]:
    return [
        {
            "id": server.name,
            "server": server.servers,
            "clients": [client.told() for client in reversed(server.clients)],
            "auth": server.auth,
        }
        for server in reversed(machine.vnc)
    ]


def set_password(machine: Machine, **options: Any) -> None:
    if options["protocol"] != "vnc":
        raise QmpError("SPICE is not in use", DEVICE_NOT_ACTIVE)
    if options.get("connected", "keep") != "keep":
        # Observed from monitor/qmp-cmds.c: VNC clients cannot be sent away.
        raise QmpError("parameter 'connected' must be 'keep' when 'protocol' is 'vnc'")
    _set_vnc_password(machine, options.get("display"), options["password"])


def change_vnc_password(machine: Machine, password: str) -> None:
    _set_vnc_password(machine, None, password)


def _set_vnc_password(machine: Machine, name: str | None, password: str) -> None:
    for server in machine.vnc:
        if name in (None, server.name) and server.secret is not None:
            server.password = password.encode()
            return
    raise QmpError("Could not set password")


async def display_update(
    machine: Machine, monitor: QmpMonitor, type: str, addresses: list[dict[str, Any]] | None = None
) -> None:
    """Let the server listen elsewhere. If it cannot, it listens nowhere (ui/vnc.c)."""
    if not machine.vnc:
        raise QmpError("Can not find vnc display")
    if addresses is not None:
        await machine.vnc[0].move(addresses, monitor.fds)


def display_reload(machine: Machine, type: str, tls_certs: bool = False) -> None:
    if tls_certs:
        # Nothing here speaks TLS.
        none = "vnc tls is not enabled" if machine.vnc else "Can not find vnc display"
        raise QmpError(none)


def client_migrate_info(
    machine: Machine,
    protocol: str,
    hostname: str,
    port: int | None = None,
    tls_port: int | None = None,
    cert_subject: str | None = None,
) -> None:
    if protocol != "spice":
        raise QmpError("Parameter 'protocol' expects 'spice'")
    raise QmpError("SPICE is not in use", DEVICE_NOT_ACTIVE)


def expire_password(machine: Machine, **options: Any) -> None:
    if options["protocol"] != "vnc":
        raise QmpError("SPICE is not in use", DEVICE_NOT_ACTIVE)
    expires_ns = _moment(options["time"], machine.clock.wall_ns())
    for server in machine.vnc:
        if options.get("display") in (None, server.name):
            server.expires_ns = expires_ns
            return
    raise QmpError("Could not set password expire time")


def _moment(text: str, now_ns: int) -> int | None:
    """When a password ends, in ns since 1970; None for never."""
    if text == "never":
        return None
    if text == "now":
        return 0
    seconds = scan_unsigned(text.removeprefix("+"))
    if seconds is None:
        raise QmpError(f"Parameter 'time' doesn't take value '{text}'")
    return (now_ns if text.startswith("+") else 0) + seconds * NS_PER_S


def query_spice(machine: Machine) -> dict[str, object]:
    return {"enabled": False, "migrated": False, "mouse-mode": "client"}


HANDLERS = {
    "change-vnc-password": change_vnc_password,
    "client_migrate_info": client_migrate_info,
    "display-reload": display_reload,
    "expire_password": expire_password,
    "input-send-event": input_send_event,
    "query-display-options": query_display_options,
    "query-mice": query_mice,
    "query-spice": query_spice,
    "query-vnc": query_vnc,
    "query-vnc-servers": query_vnc_servers,
    "screendump": screendump,
    "send-key": send_key,
    "set_password": set_password,
}
MONITOR_HANDLERS = {"display-update": display_update}
