"""What each option does to the configuration: one function an option, called in order.

A handler gets the parsing state, `where` (the option as it was typed) and its argument. It raises
QmpError with QEMU's text, or Quit where the option ends the process. From system/vl.c.
"""

from __future__ import annotations

import re
from typing import Any

from qapi.error import QmpError
from vmd import option_lists as lists
from vmd.cli.config import (
    AccelRequest,
    CpuRequest,
    GlobalRequest,
    IncomingRequest,
    NumaRequest,
)
from vmd.cli.parsing import Parsing, list_help, parse_json
from vmd.cli.report import Quit
from vmd.machine_setup import ACTIONS
from vmd.options import (
    HELP_WORDS,
    OptionList,
    merge_trees,
    parse_boolean,
    parse_keyval,
)

# Patterns are compiled when they are first used: most of them never are.
_UUID = "-".join(f"[0-9a-fA-F]{{{width}}}" for width in (8, 4, 4, 4, 12))
_GLOBAL = r"(?s)([^.=]{1,63})\.([^=]{1,63})=(.*)"
# What of -vmd is about the terminal and not about the guest.
TERMINAL = ("history", "events", "bar", "editor")
_URI = r"[a-zA-Z][a-zA-Z0-9+.]*:"


# The machine and what it is made of


def machine(state: Parsing, where: str, arg: str) -> None:
    tree, wants_help = parse_keyval(arg, "type")
    dashed = {key.replace("_", "-"): value for key, value in tree.items()}
    merge_trees(state.config.machine_tree, dashed)
    if wants_help:
        from vmd.cli.help import machine_help

        raise Quit(0, machine_help(state.config))


def _under_machine(state: Parsing, name: str, known: OptionList, arg: str) -> None:
    tree, wants_help = parse_keyval(arg, known.implied)
    if wants_help:
        raise Quit(0, list_help(known))
    merge_trees(state.config.machine_tree, {name: tree})


def smp(state: Parsing, where: str, arg: str) -> None:
    _under_machine(state, "smp", lists.SMP, arg)


def boot(state: Parsing, where: str, arg: str) -> None:
    _under_machine(state, "boot", lists.BOOT, arg)


def memory(state: Parsing, where: str, arg: str) -> None:
    options = state.options(lists.MEMORY, where, arg)
    tree: dict[str, Any] = {}
    if (size := options.get("size")) is not None:
        # A bare number counts MiB; the machine reads it again as a size.
        tree["size"] = f"{size}M" if size and size[-1].isdigit() else size
    if "maxmem" in options:
        tree["max-size"] = options.get("maxmem")
        if "slots" in options:
            tree["slots"] = options.get("slots")
    state.config.slots_without_max = "slots" in options and "maxmem" not in options
    merge_trees(state.config.machine_tree, {"memory": tree})


def accel(state: Parsing, where: str, arg: str) -> None:
    options = state.options(lists.ACCEL, where, arg)
    name = options.get("accel")
    if name is None or name in HELP_WORDS:
        from vmd.cli.help import ACCEL_HELP

        raise Quit(0, ACCEL_HELP)
    state.config.accels.append(AccelRequest(where, options))


def enable_kvm(state: Parsing, where: str, arg: str) -> None:
    merge_trees(state.config.machine_tree, {"accel": "kvm"})


def cpu(state: Parsing, where: str, arg: str) -> None:
    if arg in HELP_WORDS:
        from vmd.devices.cpu_features import cpu_help

        raise Quit(0, cpu_help())
    model, *words = arg.split(",")
    features: list[tuple[str, str]] = []
    toggled: list[tuple[str, str]] = []
    for word in filter(None, words):
        if word[0] in "+-":
            toggled.append((word[1:].replace("_", "-"), "on" if word[0] == "+" else "off"))
        else:
            name, equals, value = word.partition("=")
            features.append((name, value if equals else "on"))
    state.config.cpu = CpuRequest(model, features, toggled)


def numa(state: Parsing, where: str, arg: str) -> None:
    state.config.numa.append(NumaRequest(where, state.options(lists.NUMA, where, arg)))


def global_(state: Parsing, where: str, arg: str) -> None:
    short = re.fullmatch(_GLOBAL, arg)
    if short is not None:
        state.config.globals.append(GlobalRequest(where, *short.groups()))
        return
    options = state.options(lists.GLOBAL, where, arg)
    driver, name, value = (options.get(key) for key in ("driver", "property", "value"))
    if driver is None or name is None or value is None:
        raise QmpError("options 'driver', 'property', and 'value' are required")
    state.config.globals.append(GlobalRequest(where, driver, name, value))


# Who it is and what it does


def name(state: Parsing, where: str, arg: str) -> None:
    options = state.options(lists.NAME, where, arg)
    state.config.name = options.get("guest")
    state.config.process_name = options.get("process")
    state.config.debug_threads = options.boolean("debug-threads")
    _name_messages(state)


def msg(state: Parsing, where: str, arg: str) -> None:
    options = state.options(lists.MSG, where, arg)
    state.report.timestamps = options.boolean("timestamp")
    state.guest_name_in_messages = options.boolean("guest-name")
    _name_messages(state)


def _name_messages(state: Parsing) -> None:
    shown = state.guest_name_in_messages
    state.report.guest_name = (state.config.name or "") if shown else ""


def uuid(state: Parsing, where: str, arg: str) -> None:
    if re.fullmatch(_UUID, arg) is None:
        raise QmpError("failed to parse UUID string: wrong format")
    state.config.uuid = arg.lower()


def incoming(state: Parsing, where: str, arg: str) -> None:
    request = IncomingRequest(where, "defer", arg)
    if arg != "defer" and re.match(_URI, arg):
        from vmd.migration.address import parse_uri

        parse_uri(arg)
        request = IncomingRequest(where, "uri", arg)
    elif arg != "defer":
        request = IncomingRequest(where, "channel", _channel(state, arg))
    state.config.incoming.append(request)


def _channel(state: Parsing, arg: str) -> object:
    if arg.startswith("{"):
        return state.load_schema().check("MigrationChannel", parse_json(arg))
    tree, wants_help = parse_keyval(arg, "channel-type")
    if wants_help:
        raise QmpError("Help is not available for this option")
    return state.load_schema().check_keyval("MigrationChannel", dict(tree))


def action(state: Parsing, where: str, arg: str) -> None:
    for key, value in state.options(lists.ACTION, where, arg).pairs:
        _act(state, key, value)


def _act(state: Parsing, event: str, does: str) -> None:
    if does not in ACTIONS[event]:
        raise QmpError(f"Parameter '{event}' does not accept value '{does}'")
    state.config.actions[event] = does


def watchdog_action(state: Parsing, where: str, arg: str) -> None:
    _act(state, "watchdog", arg)


def no_reboot(state: Parsing, where: str, arg: str) -> None:
    _act(state, "reboot", "shutdown")


def no_shutdown(state: Parsing, where: str, arg: str) -> None:
    _act(state, "shutdown", "pause")


def only_migratable(state: Parsing, where: str, arg: str) -> None:
    state.config.only_migratable = True


def paused(state: Parsing, where: str, arg: str) -> None:
    state.config.paused = True


def rtc(state: Parsing, where: str, arg: str) -> None:
    options = state.options(lists.RTC, where, arg)
    state.config.rtc = state.config.rtc._replace(**dict(options.pairs))


def overcommit(state: Parsing, where: str, arg: str) -> None:
    options = state.options(lists.OVERCOMMIT, where, arg)
    lock = options.get("mem-lock")
    if lock is not None:
        if lock not in ("on-fault",):
            try:
                lock = "on" if parse_boolean("mem-lock", lock) else "off"
            except QmpError:
                text = "parameter 'mem-lock' expects one of 'on', 'off', 'on-fault'"
                raise QmpError(text) from None
        state.config.memory_lock = lock


def vmd(state: Parsing, where: str, arg: str) -> None:
    if arg in HELP_WORDS or arg.removeprefix("guest=") in HELP_WORDS:
        from vmd.cli.help import guest_help

        raise Quit(0, guest_help())
    for key, value in state.options(lists.VMD, where, arg).pairs:
        if key == "kvm":
            if value not in lists.ON_OFF_AUTO:
                raise QmpError(f"Parameter 'kvm' does not accept value '{value}'")
            state.config.kvm = value
            continue
        (state.config.terminal if key in TERMINAL else state.config.vmd)[key] = value


# What is there without being asked for


def nodefaults(state: Parsing, where: str, arg: str) -> None:
    state.config.defaults = False


def no_user_config(state: Parsing, where: str, arg: str) -> None:
    """There is no configuration file to leave out."""


def nographic(state: Parsing, where: str, arg: str) -> None:
    state.config.nographic = True


def display(state: Parsing, where: str, arg: str) -> None:
    if arg.startswith("vnc="):
        from vmd.cli.part_handlers import vnc

        vnc(state, where, arg.removeprefix("vnc="))
        return
    if arg in HELP_WORDS:
        from vmd.cli.help import DISPLAY_HELP

        raise Quit(0, DISPLAY_HELP)
    if arg.startswith("{"):
        tree = parse_json(arg)
    else:
        tree, _ = parse_keyval(arg, "type")
    if not isinstance(tree, dict) or "type" not in tree:
        raise QmpError("Parameter 'type' is missing")
    if tree["type"] != "none":
        raise QmpError(f"Parameter 'type' does not accept value '{tree['type']}'")
    for key in tree:
        if key != "type":
            raise QmpError(f"Parameter '{key}' is unexpected")


# The process


def daemonize(state: Parsing, where: str, arg: str) -> None:
    state.config.daemonize = True


def preconfig(state: Parsing, where: str, arg: str) -> None:
    state.config.preconfig = True


def pidfile(state: Parsing, where: str, arg: str) -> None:
    state.config.pidfile = arg


def logfile(state: Parsing, where: str, arg: str) -> None:
    state.config.logfile = arg


def log_items(state: Parsing, where: str, arg: str) -> None:
    state.config.log_items = arg


def trace(state: Parsing, where: str, arg: str) -> None:
    from vmd.cli import tracing

    options = state.options(lists.TRACE, where, arg)
    tracing.enable(state, where, options.get("enable"))
    tracing.enable_from_file(state, options.get("events"))
    state.config.trace_file = options.get("file")


def version(state: Parsing, where: str, arg: str) -> None:
    from vmd.cli.help import VERSION

    raise Quit(0, VERSION)


def help_(state: Parsing, where: str, arg: str) -> None:
    from vmd.cli.help import full_help

    raise Quit(0, full_help(state.report.program))
