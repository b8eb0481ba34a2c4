"""Buttons, memory, keyboard and mouse at the human monitor. From hw/core and ui in QEMU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import qapi
from monitor.completion import LastPiece
from monitor.hmp import HmpCommand
from qapi.error import QmpError
from vmd.options import scan_unsigned
from vmd.qmp import machine as commands
from vmd.qmp import run_state, stats, ui

if TYPE_CHECKING:
    from monitor.hmp import Hmp
    from vmd.machine import Machine

MOST_BOOT_DEVICES = 3
BOOT_DEVICES = "abcdn"
BUTTONS = {"left": 1, "middle": 4, "right": 2}


def nmi(machine: Machine, hmp: Hmp) -> None:
    commands.inject_nmi(machine)


def balloon(machine: Machine, hmp: Hmp, value: int) -> None:
    commands.balloon(machine, value)


def watchdog_action(machine: Machine, hmp: Hmp, action: str) -> None:
    run_state.watchdog_set_action(machine, _enum("WatchdogAction", action))


def boot_set(machine: Machine, hmp: Hmp, bootdevice: str) -> None:
    """Observed from system/bootdevice.c and hw/i386/pc.c. There is no firmware to read it."""
    if not machine.board.has_cpus:
        hmp.print("no function defined to set boot device list for this architecture\n")
        return
    for place, letter in enumerate(bootdevice):
        wrong = None
        if not "a" <= letter <= "p":
            wrong = f"Invalid boot device '{letter}'"
        elif letter in bootdevice[:place]:
            wrong = f"Boot device '{letter}' was given twice"
        if wrong is not None:
            hmp.print(f"{wrong}\n")
            return
    if len(bootdevice) > MOST_BOOT_DEVICES:
        hmp.print("Too many boot devices for PC\n")
        return
    for letter in bootdevice:
        if letter not in BOOT_DEVICES:
            hmp.print(f"Invalid boot device for PC: '{letter}'\n")
            return
    hmp.print(f"boot device list now set to {bootdevice}\n")


def sendkey(machine: Machine, hmp: Hmp, keys: str, hold_time: int | None = None) -> None:
    codes = qapi.load().enum("QKeyCode")
    pressed: list[dict[str, Any]] = []
    for name in keys.split("-"):
        name = "less" if name == "<" else name
        number = scan_unsigned(name) if name.startswith("0x") else None
        if number is not None:
            pressed.append({"type": "number", "data": number})
        elif name in codes:
            pressed.append({"type": "qcode", "data": name})
        else:
            hmp.print(f"invalid parameter: {name}\n")
            return
    ui.send_key(machine, pressed, hold_time)


def mouse_button(machine: Machine, hmp: Hmp, button_state: int) -> None:
    events = []
    for name, bit in BUTTONS.items():
        if (machine.input.buttons ^ button_state) & bit:
            down = bool(button_state & bit)
            events.append({"type": "btn", "data": {"button": name, "down": down}})
    machine.input.buttons = button_state
    machine.input.happen(*events)


def mouse_set(machine: Machine, hmp: Hmp, index: int) -> None:
    machine.input.choose(index)


def mouse_move(
    machine: Machine, hmp: Hmp, dx_str: str, dy_str: str, dz_str: str | None = None
) -> None:
    events: list[dict[str, Any]] = [
        {"type": "rel", "data": {"axis": axis, "value": _leading_number(text)}}
        for axis, text in (("x", dx_str), ("y", dy_str))
    ]
    turned = _leading_number(dz_str or "0")
    if turned:
        button = "wheel-up" if turned > 0 else "wheel-down"
        events.append({"type": "btn", "data": {"button": button, "down": True}})
        machine.input.happen(*events)
        events = [{"type": "btn", "data": {"button": button, "down": False}}]
    machine.input.happen(*events)


def _leading_number(text: str) -> int:
    """As strtol reads it: what is no number is 0."""
    import re

    match = re.match(r"\s*[+-]?\d{1,18}", text)
    return int(match[0]) if match else 0


async def screendump(
    machine: Machine,
    hmp: Hmp,
    filename: str,
    format: str = "ppm",
    device: str | None = None,
    head: int | None = None,
) -> None:
    await ui.screendump(machine, filename, device, head, _enum("ImageFormat", format))


def info_iothreads(machine: Machine, hmp: Hmp) -> None:
    from vmd.qmp import misc

    for thread in misc.query_iothreads(machine):
        hmp.print(f"{thread['id']}:\n  thread_id={thread['thread-id']}\n")
        for name in ("poll-max-ns", "poll-grow", "poll-shrink", "aio-max-batch"):
            hmp.print(f"  {name}={thread[name]}\n")


def info_balloon(machine: Machine, hmp: Hmp) -> None:
    actual: Any = commands.query_balloon(machine)["actual"]
    hmp.print(f"balloon: actual={actual >> 20}\n")


def info_vm_generation_id(machine: Machine, hmp: Hmp) -> None:
    hmp.print(f"{commands.query_vm_generation_id(machine)['guid']}\n")


def info_mice(machine: Machine, hmp: Hmp) -> None:
    mice = ui.query_mice(machine)
    for mouse in mice:
        mark = "*" if mouse["current"] else " "
        absolute = " (absolute)" if mouse["absolute"] else ""
        hmp.print(f"{mark} Mouse #{mouse['index']}: {mouse['name']}{absolute}\n")
    if not mice:
        hmp.print("No mouse devices connected\n")


def info_vnc(machine: Machine, hmp: Hmp) -> None:
    """Observed from ui/ui-hmp-cmds.c."""
    found: Any = ui.query_vnc_servers(machine)
    for display in found:
        hmp.print(f"{display['id']}:\n")
        for server in display["server"]:
            hmp.print(f"  Server: {_where(server)}\n")
            hmp.print(f"    Auth: {server['auth']} (Sub: {server.get('vencrypt', 'none')})\n")
        for client in display["clients"]:
            hmp.print(f"  Client: {_where(client)}\n")
            for name in ("x509_dname", "sasl_username"):
                hmp.print(f"    {name}: {client.get(name, 'none')}\n")
        if not display["server"]:
            hmp.print(f"  Auth: {display['auth']} (Sub: {display.get('vencrypt', 'none')})\n")
    if not found:
        hmp.print("None\n")


def _where(peer: Any) -> str:
    websocket = " (Websocket)" if peer["websocket"] else ""
    return f"{peer['host']}:{peer['service']} ({peer['family']}){websocket}"


def set_password(
    machine: Machine,
    hmp: Hmp,
    protocol: str,
    password: str,
    display: str | None = None,
    connected: str | None = None,
) -> None:
    options = {"protocol": _enum("DisplayProtocol", protocol), "password": password}
    if connected is not None:
        options["connected"] = _enum("SetPasswordAction", connected)
    if display is not None and protocol == "vnc":
        options["display"] = display
    ui.set_password(machine, **options)


def expire_password(
    machine: Machine, hmp: Hmp, protocol: str, time: str, display: str | None = None
) -> None:
    options = {"protocol": _enum("DisplayProtocol", protocol), "time": time}
    if display is not None and protocol == "vnc":
        options["display"] = display
    ui.expire_password(machine, **options)


def client_migrate_info(
    machine: Machine,
    hmp: Hmp,
    protocol: str,
    hostname: str,
    port: int | None = None,
    tls_port: int | None = None,
    cert_subject: str | None = None,
) -> None:
    ui.client_migrate_info(machine, protocol, hostname, port, tls_port, cert_subject)


def _enum(name: str, value: str) -> str:
    if value not in qapi.load().enum(name):
        raise QmpError(f"invalid parameter value: {value}")
    return value


def info_stats(
    machine: Machine, hmp: Hmp, target: str, names: str | None = None, provider: str | None = None
) -> None:
    """Nothing here keeps statistics of the kinds that there are. From stats/stats-hmp-cmds.c."""
    if target not in qapi.load().enum("StatsTarget"):
        hmp.print(f"invalid stats target {target}\n")
        return
    if provider is not None and provider not in qapi.load().enum("StatsProvider"):
        hmp.print(f"invalid stats provider {provider}\n")
        return
    told: Any = stats.query_stats(machine, target)
    for result in told:
        hmp.print(f"provider: {result['provider']}\n")
        for each in result["stats"]:
            hmp.print(f"    {each['name']}: {each['value']}\n")


def info_spice(machine: Machine, hmp: Hmp) -> None:
    if not ui.query_spice(machine)["enabled"]:
        hmp.print("Server: disabled\n")


COMMANDS = [
    HmpCommand("nmi", "", "", "inject an NMI", nmi),
    HmpCommand("balloon", "value:M", "target", "ask the guest for memory (in MB)", balloon),
    HmpCommand(
        "boot_set", "bootdevice:s", "bootdevice", "choose what to boot from, in order", boot_set
    ),
    HmpCommand(
        "watchdog_action",
        "action:s",
        "[reset|shutdown|poweroff|pause|debug|none|inject-nmi]",
        "say what to do when the watchdog expires",
        watchdog_action,
        complete={1: lambda machine, prefix: qapi.load().enum("WatchdogAction")},
    ),
    HmpCommand(
        "sendkey",
        "keys:s,hold-time:i?",
        "keys [hold_ms]",
        "press keys, as in ctrl-alt-f1",
        sendkey,
        complete={1: LastPiece("-", lambda machine, prefix: qapi.load().enum("QKeyCode"))},
    ),
    HmpCommand(
        "set_password",
        "protocol:s,password:s,display:-ds,connected:s?",
        "protocol password [-d display] [action-if-connected]",
        "set the password of a display",
        set_password,
    ),
    HmpCommand(
        "expire_password",
        "protocol:s,time:s,display:-ds",
        "protocol time [-d display]",
        "say until when the password of a display is good",
        expire_password,
    ),
    HmpCommand(
        "client_migrate_info",
        "protocol:s,hostname:s,port:i?,tls-port:i?,cert-subject:s?",
        "protocol hostname port tls-port cert-subject",
        "tell those who look where the screen will be after a migration",
        client_migrate_info,
    ),
    HmpCommand(
        "mouse_button", "button_state:i", "state", "press buttons (1=L, 2=M, 4=R)", mouse_button
    ),
    HmpCommand(
        "mouse_set", "index:i", "index", "choose the mouse that gets what happens", mouse_set
    ),
    HmpCommand(
        "mouse_move", "dx_str:s,dy_str:s,dz_str:s?", "dx dy [dz]", "move the mouse", mouse_move
    ),
    HmpCommand(
        "screendump",
        "filename:F,format:-fs,device:s?,head:i?",
        "filename [-f format] [device [head]]",
        "save a picture of the display",
        screendump,
    ),
]

INFO = [
    HmpCommand(
        "stats",
        "target:s,names:s?,provider:s?",
        "target [names] [provider]",
        "show statistics of a target (vm or vcpu), those of these names (all: *), of a provider",
        info_stats,
    ),
    HmpCommand("iothreads", "", "", "show the I/O threads", info_iothreads, preconfig=True),
    HmpCommand("balloon", "", "", "show how much memory the guest has", info_balloon),
    HmpCommand("vm-generation-id", "", "", "show the VM generation ID", info_vm_generation_id),
    HmpCommand("mice", "", "", "show which mouse gets what happens", info_mice),
    HmpCommand("spice", "", "", "show the SPICE server", info_spice),
    HmpCommand("vnc", "", "", "show the VNC servers", info_vnc),
]
