"""What help options print: our words, in QEMU's shape, made from the tables they describe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmd.devices.machines import MACHINES, find_machine

if TYPE_CHECKING:
    from vmd.cli.config import Config

VERSION = (
    "QEMU emulator version 10.0.2 (vmd 0.1.0)\n"
    "vmd: a process that behaves like QEMU, with a simulated guest inside; Apache License 2.0\n"
)
ACCEL_HELP = "Accelerators supported in QEMU binary:\ntcg\nkvm\n"
VGA_HELP = """none                 no graphic card
std                  standard VGA (default)
cirrus               Cirrus VGA
virtio               Virtio VGA
"""
DISPLAY_HELP = "Available display backend types:\nnone\n"
CHARDEV_KINDS = (
    "stdio", "ringbuf", "mux", "pipe", "pty", "hub", "null", "socket", "vc", "memory", "udp",
    "file", "serial",
)  # fmt: skip
CHARDEV_HELP = "Available chardev backend types: \n" + "".join(f"  {k}\n" for k in CHARDEV_KINDS)

# Options whose argument or meaning needs words; by option name: (argument, lines).
TEXTS: dict[str, tuple[str, str]] = {
    "h": ("", "print this help and end"),
    "help": ("", "the same"),
    "version": ("", "print the version and end"),
    "machine": (
        "[type=]name[,prop=value[,...]]",
        "choose the machine ('-machine help' lists them, '-machine name,help' its properties);\n"
        "given again, it adds to what was said before\n"
        "accel=name1[:name2...] chooses the accelerator\n"
        "memory-backend=id takes the main RAM from -object memory-backend-*\n"
        "aux-ram-share=on|off shares all other RAM",
    ),
    "M": ("...", "short for -machine"),
    "cpu": ("model[,feature=on|off...]", "choose the CPU model ('-cpu help' lists them)"),
    "accel": (
        "[accel=]name[,prop=value[,...]]",
        "choose the accelerator; the first of several that is there is taken",
    ),
    "enable-kvm": ("", "short for -machine accel=kvm"),
    "smp": (
        "[[cpus=]n][,maxcpus=n][,sockets=n][,dies=n][,modules=n][,cores=n][,threads=n]",
        "number of CPUs and how they are nested",
    ),
    "numa": ("node[,memdev=id][,cpus=first[-last]][,nodeid=n]", "one node of guest memory"),
    "m": (
        "[size=]size[,slots=n,maxmem=size]",
        "guest RAM, in MiB unless a suffix says otherwise",
    ),
    "boot": ("[order=drives][,once=drives][,menu=on|off][,strict=on|off]", "boot order"),
    "global": ("driver.property=value", "set a property's default (migration.NAME=value)"),
    "name": ("name[,process=name][,debug-threads=on|off]", "name of the guest"),
    "uuid": ("%08x-%04x-%04x-%04x-%012x", "UUID of the guest"),
    "rtc": ("[base=utc|localtime|date][,clock=host|rt|vm][,driftfix=none|slew]", "guest's clock"),
    "vmd": (
        "[guest=name[,key=value...]][,history=file][,events=on|off][,bar=on|off]"
        "[,editor=rich|qemu][,kvm=on|off|auto]",
        "choose the guest's program, how the monitor is on a terminal, and whether there is a KVM\n"
        "(auto, the default: where /dev/kvm can be opened; the guest is simulated either way)",
    ),
    "display": ("none|vnc=address", "what shows the screen ('-display help')"),
    "nographic": ("", "put serial port and monitor on stdin and stdout"),
    "vga": ("none|std|cirrus|virtio", "graphics adapter"),
    "vnc": (
        "address[,password=on|off][,password-secret=id][,share=policy][,to=display]",
        "show the screen to VNC clients at host:display or unix:path ('none': to nobody)",
    ),
    "audio": ("[driver=]none[,id=id]", "no sound, which is all there is"),
    "chardev": (
        "kind,id=id[,option=value...]",
        "make a character device ('-chardev help' lists the kinds)\n"
        "socket,id=id,path=path[,server=on|off][,wait=on|off][,reconnect-ms=ms][,abstract=on]\n"
        "socket,id=id,host=host,port=port[,to=port][,ipv4=on|off][,ipv6=on|off][,nodelay=on]\n"
        "socket,id=id,fd=number    stdio,id=id[,signal=on|off]    pty,id=id[,path=link]\n"
        "file,id=id,path=path[,append=on|off][,input-path=path]    pipe,id=id,path=path\n"
        "ringbuf,id=id[,size=size]    null,id=id    vc,id=id\n"
        "all take mux=on|off, logfile=path, logappend=on|off",
    ),
    "serial": ("dev", "character device of the serial port"),
    "parallel": ("dev", "character device of the parallel port"),
    "monitor": ("dev", "human monitor on a character device (unix:, tcp:, stdio, ...)"),
    "qmp": ("dev", "QMP monitor on a character device"),
    "qmp-pretty": ("dev", "the same, with replies laid out to be read"),
    "mon": ("[chardev=]id[,mode=readline|control][,pretty=on|off]", "monitor on a -chardev"),
    "preconfig": ("", "wait for x-exit-preconfig before the machine is made"),
    "S": ("", "do not start the guest ('cont' does)"),
    "no-reboot": ("", "end instead of rebooting"),
    "no-shutdown": ("", "stop instead of ending when the guest powers off"),
    "action": (
        "event=action[,...]",
        "what to do on reboot=reset|shutdown, shutdown=poweroff|pause,\n"
        "panic=shutdown|pause|exit-failure|none, watchdog=reset|shutdown|poweroff|pause|...",
    ),
    "watchdog-action": ("action", "short for -action watchdog=action"),
    "incoming": (
        "uri|defer|channel",
        "wait for a migration; with defer until migrate-incoming names its source",
    ),
    "only-migratable": ("", "refuse what could not be migrated"),
    "nodefaults": ("", "no monitor or port that was not asked for"),
    "no-user-config": ("", "accepted: there is no configuration file"),
    "overcommit": ("[mem-lock=on|off|on-fault][,cpu-pm=on|off]", "lock all memory"),
    "pidfile": ("file", "write the process id to a file and keep it locked"),
    "daemonize": ("", "go to the background once everything is set up"),
    "qtest": (
        "chardev",
        "serve the qtest protocol there: a test reads and writes guest memory, and with\n"
        "-accel qtest moves the guest's time",
    ),
    "qtest-log": ("file", "log the protocol to a file instead of stderr ('none': not at all)"),
    "d": ("trace:pattern[,...]", "log these trace events ('-d trace:help' lists them)"),
    "D": ("file", "log to a file instead of stderr"),
    "trace": (
        "[[enable=]pattern][,events=file][,file=file]",
        "log these trace events ('-trace help' lists them); with '-' in front, do not",
    ),
    "msg": ("[timestamp=on|off][,guest-name=on|off]", "what stands in front of messages"),
    "blockdev": (
        "driver=file|qcow2|raw|null-co,node-name=name[,option=value...]",
        "make a block node; JSON is taken as well",
    ),
    "drive": (
        "[file=path][,if=ide|virtio|none][,media=disk|cdrom][,format=raw|qcow2][,id=name]...",
        "a drive; a device takes one with if=none by drive=name",
    ),
    "hda": ("path", "an image as the first IDE disk ('-hdb', '-hdc' and '-hdd' are the others)"),
    "hdb": ("path", "an image as the second IDE disk"),
    "hdc": ("path", "an image as the third IDE disk"),
    "hdd": ("path", "an image as the fourth IDE disk"),
    "cdrom": ("path", "an image as a CD in the third IDE drive"),
    "netdev": ("user|tap|hubport,id=name[,option=value...]", "make a network backend"),
    "nic": (
        "none|user|tap[,id=name][,model=type][,mac=address]...",
        "a network device with its backend",
    ),
    "net": ("none|nic|user|tap[,option=value...]", "one end of a network: devices, backends"),
    "fda": ("path", "an image as the first floppy"),
    "fdb": ("path", "an image as the second floppy"),
    "audiodev": ("none,id=name", "make a backend for sound, a silent one"),
    "add-fd": ("fd=number,set=number[,opaque=text]", "put an inherited descriptor into a set"),
    "device": (
        "type[,id=name][,bus=bus][,addr=slot][,prop=value...]",
        "plug a device in ('-device help' lists the types, '-device type,help' the properties)",
    ),
    "object": ("kind,id=id[,prop=value...]", "make an object ('-object help' lists the kinds)"),
}  # fmt: skip
MARGIN = 16


def full_help(program: str) -> str:
    from vmd.cli.table import SECTIONS

    parts = [VERSION, f"usage: {program} [options]\n"]
    for title, options in SECTIONS.items():
        parts.append(f"\n{title}:\n")
        parts.extend(_entry(option.name) for option in options)
    return "".join(parts)


def _entry(name: str) -> str:
    argument, text = TEXTS[name]
    head = f"-{name} {argument}".rstrip()
    indented = text.replace("\n", "\n" + " " * MARGIN)
    if len(head) < MARGIN:
        return f"{head:<{MARGIN}}{indented}\n"
    return f"{head}\n{'':<{MARGIN}}{indented}\n"


def machine_help(config: Config) -> str:
    """The machine types, or the properties of the one that was named."""
    machine = find_machine(config.machine_tree) if "type" in config.machine_tree else None
    if machine is None:
        lines = ["Supported machines are:\n"]
        for board in (known.board for known in MACHINES):
            if board.alias is not None:
                lines.append(f"{board.alias:<20} {board.description} (alias of {board.name})\n")
            default = " (default)" if board.is_default else ""
            lines.append(f"{board.name:<20} {board.description}{default}\n")
        return "".join(lines)
    lines = [f"{machine.type_name} options:\n"]
    for name, (kind, text) in sorted(machine.properties.items()):
        lines.append(f"  {f'{name}=<{kind}>':<22} - {text}\n")
    return "".join(lines)


def guest_help() -> str:
    """`-vmd guest=help`: the simulated guests and what can be set on each."""
    from vmd.guest import life
    from vmd.guest.guest import DEFAULT_PROGRAM
    from vmd.guest.program import PROGRAMS

    lines = ["Simulated guests (-vmd guest=NAME[,OPTION=VALUE...]):"]
    for name, program in PROGRAMS.items():
        default = " (default)" if name == DEFAULT_PROGRAM else ""
        lines.append(f"{name}{default}")
        lines += [f"  {option}=  {text}" for option, text in program.options.items()]
    lines.append("each of them")
    lines += [f"  {option}=  {text}" for option, text in life.OPTIONS.items()]
    return "\n".join(lines) + "\n"
