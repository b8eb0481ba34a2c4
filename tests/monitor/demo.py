"""A small table of commands with QEMU's names and argument letters, for tests of the human monitor.

The handlers answer as QEMU's do on a machine that has nothing, so that recordings apply to them.
"""

from __future__ import annotations

from typing import Any

from monitor.completion import LastPiece
from monitor.hmp import (
    Hmp,
    HmpCommand,
    HmpRegistry,
    hmp_help,
    hmp_info_help,
    hmp_info_history,
)
from monitor.hmp_args import Format
from qapi.error import QmpError


class Machine:
    """What the demo's handlers work on: they note what they were called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.password: str | None = None
        self.running = True


def fails(text: str) -> Any:
    """A handler that notes its arguments and fails with the text, they are its fields."""

    def handler(machine: Machine, hmp: Hmp, **arguments: object) -> None:
        machine.calls.append(tuple(arguments.values()))
        raise QmpError(text.format(**arguments))

    return handler


def prints(text: str) -> Any:
    def handler(machine: Machine, hmp: Hmp, **arguments: object) -> None:
        machine.calls.append(tuple(arguments.values()))
        hmp.print(text.format(**arguments))

    return handler


def quit_(machine: Machine, hmp: Hmp) -> None:
    machine.running = False
    hmp.suspend()


def print_(machine: Machine, hmp: Hmp, fmt: Format, val: int) -> None:
    if fmt.notation == "c":
        letter = chr(val & 0xFF)
        escaped = {"'": "\\'", "\n": "\\n"}.get(letter, letter if val < 128 else f"\\x{val:x}")
        hmp.print(f"'{escaped}'\n")
    elif fmt.notation in "di":
        hmp.print(f"{val}\n")
    else:
        unsigned = val & (1 << 64) - 1
        notation = {"x": "#x", "o": "o", "u": "d"}[fmt.notation]
        zero_or_octal = "0" if fmt.notation == "o" and val else ""
        hmp.print("0\n" if not val else f"{zero_or_octal}{unsigned:{notation}}\n")


def device_add(machine: Machine, hmp: Hmp, device: dict[str, str]) -> None:
    machine.calls.append((device,))
    if "driver" not in device:
        raise QmpError("Parameter 'driver' is missing")
    raise QmpError(f"'{device['driver']}' is not a valid device model name")


def netdev_add(machine: Machine, hmp: Hmp, netdev: dict[str, str]) -> None:
    machine.calls.append((netdev,))
    if "id" not in netdev:
        raise QmpError("Parameter 'id' is missing")


def change(machine: Machine, hmp: Hmp, device: str, target: str, **others: object) -> None:
    def receive(password: str) -> None:
        machine.password = password

    if device == "vnc" and target == "password":
        hmp.read_password(receive)


def snapshot_blkdev(machine: Machine, hmp: Hmp, **arguments: object) -> None:
    if "snapshot_file" not in arguments:
        raise QmpError("Parameter 'snapshot-file' is missing")


NO_DEVICE = "Cannot find device='{device}' nor node-name='{device}'"
ON_OFF = ("on", "off")

INFO = [
    HmpCommand("history", handler=hmp_info_history, preconfig=True),
    HmpCommand("mice", handler=prints("No mouse devices connected\n")),
    HmpCommand("migrate", handler=prints("")),
    HmpCommand("migrate_parameters", handler=prints("")),
    HmpCommand("migrate_capabilities", handler=prints("")),
    HmpCommand("name", handler=prints(""), preconfig=True),
    HmpCommand(
        "status",
        help="show the current VM status (running|paused)",
        handler=prints("VM status: running\n"),
        preconfig=True,
    ),
    HmpCommand("usbhost"),
    HmpCommand("block", "nodes:-n,verbose:-v,device:B?", handler=prints("")),
]

COMMANDS = [
    HmpCommand("quit|q", help="quit the emulator", handler=quit_, preconfig=True),
    HmpCommand("help|?", "name:S?", "[cmd]", "show the help", hmp_help, preconfig=True),
    HmpCommand("info", "item:s?", "[subcommand]", "show", hmp_info_help, True, INFO),
    HmpCommand("cont|c", help="resume emulation", handler=prints("")),
    HmpCommand("stop|s", help="stop emulation", handler=prints("")),
    HmpCommand("print|p", "fmt:/,val:l", handler=print_),
    HmpCommand("cpu", "index:i", handler=prints("invalid CPU index\n")),
    HmpCommand("balloon", "value:M", handler=fails("No balloon device has been activated")),
    HmpCommand("chardev-remove", "id:s", handler=fails("Chardev '{id}' not found")),
    HmpCommand("object_del", "id:s", handler=fails("object '{id}' not found")),
    HmpCommand("qom-set", "json:-j,path:s,property:s,value:S", handler=fails("")),
    HmpCommand("qom-list", "path:s?", handler=fails("")),
    HmpCommand("eject", "force:-f,device:B", handler=fails("Device '{device}' not found")),
    HmpCommand("change", "device:B,force:-f,target:F,arg:s?,read-only-mode:s?", handler=change),
    HmpCommand("logfile", "filename:F", handler=prints("")),
    HmpCommand(
        "log", "items:s", "item1[,...]", "activate logging of the specified items", prints("")
    ),
    HmpCommand("memsave", "val:l,size:i,filename:s", handler=prints("")),
    HmpCommand("ringbuf_read", "device:s,size:i", handler=fails("Device '{device}' not found")),
    HmpCommand(
        "trace-event", "name:s,option:b,vcpu:i?", handler=prints('unknown event "{name}"\n')
    ),
    HmpCommand(
        "block_resize",
        "device:B,size:o",
        handler=fails("Cannot find device='{device}' nor node-name=''"),
    ),
    HmpCommand("block_stream", "device:B,speed:o?,base:s?", handler=fails(NO_DEVICE)),
    HmpCommand("block_job_cancel", "force:-f,device:B", handler=fails(NO_DEVICE)),
    HmpCommand(
        "drive_mirror",
        "reuse:-n,full:-f,device:B,target:s,format:s?",
        handler=fails(NO_DEVICE),
    ),
    HmpCommand(
        "snapshot_blkdev", "reuse:-n,device:B,snapshot-file:s?,format:s?", handler=snapshot_blkdev
    ),
    HmpCommand("nbd_server_start", "all:-a,writable:-w,uri:s", handler=fails("")),
    HmpCommand(
        "migrate",
        "detach:-d,resume:-r,uri:s",
        "[-d] [-r] uri",
        "migrate to URI (using -d to not wait for completion)\n"
        "\t\t\t -r to resume a paused postcopy migration",
        fails("unknown migration protocol: {uri}"),
    ),
    HmpCommand(
        "migrate_set_capability",
        "capability:s,state:b",
        handler=fails("invalid parameter value: {capability}"),
        complete={1: lambda machine, prefix: ["xbzrle"], 2: lambda machine, prefix: ON_OFF},
    ),
    HmpCommand(
        "set_password",
        "protocol:s,password:s,display:-ds,connected:s?",
        handler=fails("Could not set password"),
    ),
    HmpCommand(
        "sendkey",
        "keys:s,hold-time:i?",
        handler=prints(""),
        complete={
            1: LastPiece("-", lambda machine, prefix: ["caps_lock", "delete", "alt", "ctrl"])
        },
    ),
    HmpCommand("device_add", "device:O", handler=device_add),
    HmpCommand("netdev_add", "netdev:O", handler=netdev_add),
]


class Console:
    """What the process would print."""

    def __init__(self) -> None:
        self.stdout = ""
        self.stderr: list[str] = []


def registry(console: Console | None = None) -> HmpRegistry:
    console = console or Console()

    def write(text: str) -> None:
        console.stdout += text

    return HmpRegistry(
        COMMANDS,
        block_names=lambda machine: ["d0"],
        option_ids=lambda machine, group: {"n0"} if group == "netdev" else (),
        register=lambda machine, cpu_index, name: None,
        console=write,
        report=console.stderr.append,
    )
