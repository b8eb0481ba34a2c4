"""The option table: every option that vmd knows, and nothing else is an option."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vmd.cli import chardev_handlers as chardevs
from vmd.cli import handlers as do

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmd.cli.parsing import Parsing


class Option(NamedTuple):
    """One option: its name without dashes, whether it takes an argument, and what it does."""

    name: str
    takes_argument: bool
    handle: Callable[[Parsing, str, str], None]


def _with(name: str, handle: Callable[[Parsing, str, str], None]) -> Option:
    return Option(name, True, handle)


def _part(name: str, handler: str = "") -> Option:
    """Of a part of the machine: most starts have none, so what handles it comes with the first."""

    def handle(state: Parsing, where: str, arg: str) -> None:
        from vmd.cli import part_handlers

        found: Callable[[Parsing, str, str], None] = getattr(part_handlers, handler or name)
        found(state, where, arg)

    return _with(name, handle)


def _bare(name: str, handle: Callable[[Parsing, str, str], None]) -> Option:
    return Option(name, False, handle)


# In the order of the help text, by section.
SECTIONS: dict[str, tuple[Option, ...]] = {
    "Standard options": (
        _bare("h", do.help_),
        _bare("help", do.help_),
        _bare("version", do.version),
        _with("machine", do.machine),
        _with("M", do.machine),
        _with("cpu", do.cpu),
        _with("accel", do.accel),
        _bare("enable-kvm", do.enable_kvm),
        _with("smp", do.smp),
        _with("numa", do.numa),
        _with("m", do.memory),
        _with("boot", do.boot),
        _with("global", do.global_),
        _with("name", do.name),
        _with("uuid", do.uuid),
        _with("rtc", do.rtc),
    ),
    "The simulated guest": (_with("vmd", do.vmd),),
    "Display options": (
        _with("display", do.display),
        _bare("nographic", do.nographic),
        _part("vga"),
        _part("vnc"),
        _part("audio"),
    ),
    "Character device options": (
        _with("chardev", chardevs.chardev),
        _with("serial", chardevs.serial),
        _with("parallel", chardevs.parallel),
        _with("monitor", chardevs.monitor),
        _with("qmp", chardevs.qmp),
        _with("qmp-pretty", chardevs.qmp_pretty),
        _with("mon", chardevs.mon),
    ),
    "Debug/Expert options": (
        _bare("preconfig", do.preconfig),
        _bare("S", do.paused),
        _bare("no-reboot", do.no_reboot),
        _bare("no-shutdown", do.no_shutdown),
        _with("action", do.action),
        _with("watchdog-action", do.watchdog_action),
        _with("incoming", do.incoming),
        _bare("only-migratable", do.only_migratable),
        _bare("nodefaults", do.nodefaults),
        _bare("no-user-config", do.no_user_config),
        _with("overcommit", do.overcommit),
        _with("pidfile", do.pidfile),
        _bare("daemonize", do.daemonize),
        _with("qtest", chardevs.qtest),
        _with("qtest-log", chardevs.qtest_log),
        _with("d", do.log_items),
        _with("D", do.logfile),
        _with("trace", do.trace),
        _with("msg", do.msg),
    ),
    "Device options": (
        _part("device"),
        _part("blockdev"),
        _part("drive"),
        *(_part(f"hd{letter}", "disk") for letter in "abcd"),
        _part("cdrom"),
        *(_part(f"fd{letter}", "floppy") for letter in "ab"),
        _part("netdev"),
        _part("nic"),
        _part("net"),
        _part("audiodev"),
        _part("add-fd", "add_fd"),
    ),
    "Generic object creation": (_part("object", "object_"),),
}

OPTIONS: dict[str, Option] = {
    option.name: option for section in SECTIONS.values() for option in section
}
