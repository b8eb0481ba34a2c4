"""Migration at the human monitor. Layout of the figures observed from migration-hmp-cmds.c."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import qapi
from monitor.hmp import HmpCommand
from monitor.hmp_args import INT64_MAX
from qapi.error import QmpError
from qapi.size import parse_size
from vmd.hmp.info import on_off
from vmd.migration import address
from vmd.migration.controller import Asker
from vmd.migration.parameters import (
    BANDWIDTH,
    CAPABILITIES,
    MAPPING,
    MIDDLE,
    NUMBER,
    PARAMETERS,
    SIZE,
    SMALL,
    SWITCH,
)
from vmd.options import parse_boolean, parse_option_size, parse_uint
from vmd.qmp import migration, net

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from monitor.hmp import Completer, Hmp
    from vmd.machine import Machine

PACE = ("initial", "max", "rounds", "step")


def migrate(
    machine: Machine, hmp: Hmp, uri: str, detach: bool = False, resume: bool = False
) -> None:
    machine.migration.migrate(uri, resume=resume, asker=_asker(hmp))
    if not hmp.interactive:
        if not detach:
            hmp.print("terminal does not allow synchronous migration, continuing detached\n")
    elif detach:
        hmp.hold(machine.migration.settled())
    else:
        from vmd.hmp.foreground import hold_prompt

        hold_prompt(machine, hmp)


def _asker(hmp: Hmp) -> Asker:
    """No command of this monitor gives it descriptors."""
    return Asker(lambda name: None, lambda text: hmp.print(f"{text}\n"))


def migrate_incoming(machine: Machine, hmp: Hmp, uri: str) -> Coroutine[Any, Any, None] | None:
    address.parse_uri(uri)  # QEMU's human monitor judges the address before anything else
    opening = machine.migration.migrate_incoming(uri, exit_on_error=False, asker=_asker(hmp))
    if opening is None and hmp.interactive:
        hmp.hold(machine.migration.settled())
    return opening


def migrate_cancel(machine: Machine, hmp: Hmp) -> None:
    migration.migrate_cancel(machine)


def migrate_continue(machine: Machine, hmp: Hmp, state: str) -> None:
    if state not in qapi.load().enum("MigrationStatus"):
        raise QmpError(f"invalid parameter value: {state}")
    migration.migrate_continue(machine, state)


def migrate_set_capability(machine: Machine, hmp: Hmp, capability: str, state: bool) -> None:
    if capability not in CAPABILITIES:
        raise QmpError(f"invalid parameter value: {capability}")
    machine.migration.set_capabilities([(capability, state)], lambda text: hmp.print(f"{text}\n"))


def migrate_set_parameter(machine: Machine, hmp: Hmp, parameter: str, value: str) -> None:
    if parameter not in PARAMETERS:
        raise QmpError(f"invalid parameter value: {parameter}")
    migration.migrate_set_parameters(machine, **{parameter: _typed(parameter, value)})


def _typed(name: str, text: str) -> object:
    """What was typed, as QMP would carry it."""
    kind = PARAMETERS[name].kind
    if kind in (SIZE, NUMBER):
        size = parse_option_size(name, text)
        if name == "xbzrle-cache-size" and size > INT64_MAX:
            raise QmpError(f"Invalid size {text}")
        return size
    if kind == BANDWIDTH:
        size, error = parse_size(text, 1 << 20)
        if error is not None or size > INT64_MAX:
            raise QmpError(f"Invalid size {text}")
        return size
    if kind == MAPPING:
        raise QmpError(f"The {name} parameter can only be set through QMP")
    if kind in (SMALL, MIDDLE):
        return parse_uint(name, text, 8 if kind == SMALL else 32)
    if kind == SWITCH:
        return parse_boolean(name, text)
    qapi.load().check_keyval("MigrateSetParameters", {name: text})
    return text


def x_colo_lost_heartbeat(machine: Machine, hmp: Hmp) -> Coroutine[Any, Any, None] | None:
    return migration.x_colo_lost_heartbeat(machine)


def announce_self(machine: Machine, hmp: Hmp, interfaces: str | None = None, id: str = "") -> None:
    """At the pace that the parameters of migration say."""
    pace = {name: machine.migration.options.number(f"announce-{name}") for name in PACE}
    names = None if interfaces is None else interfaces.split(",")
    net.announce_self(machine, **pace, interfaces=names, id=id)


def info_migrate_capabilities(machine: Machine, hmp: Hmp) -> None:
    for entry in migration.query_migrate_capabilities(machine):
        hmp.print(f"{entry['capability']}: {on_off(entry['state'])}\n")


def info_migrate_parameters(machine: Machine, hmp: Hmp) -> None:
    values = migration.query_migrate_parameters(machine)
    for name, row in PARAMETERS.items():
        if row.kind == MAPPING:
            _print_mapping(values.get(name), hmp)
            continue
        value = on_off(values[name]) if row.kind == SWITCH else values[name]
        hmp.print(f"{name}: {value}{row.unit}\n")


def _print_mapping(mapping: Any, hmp: Hmp) -> None:
    if mapping is None:
        return
    hmp.print("block-bitmap-mapping:\n")
    for node in mapping:
        hmp.print(f"  '{node['node-name']}' -> '{node['alias']}'\n")
        for bitmap in node["bitmaps"]:
            hmp.print(f"    '{bitmap['name']}' -> '{bitmap['alias']}'\n")


def info_migrate(machine: Machine, hmp: Hmp) -> None:
    _print_globals(machine, hmp)
    info: dict[str, Any] = migration.query_migrate(machine)
    if "blocked-reasons" in info:
        hmp.print("Outgoing migration blocked:\n")
        hmp.print("".join(f"  {reason}\n" for reason in info["blocked-reasons"]))
    if "status" not in info:
        return
    hmp.print(f"Migration status: {info['status']}")
    if info["status"] == "failed" and "error-desc" in info:
        hmp.print(f" ({info['error-desc']})")
    hmp.print(f"\ntotal time: {info.get('total-time', 0)} ms\n")
    for member, label in _TIMES:
        if member in info:
            hmp.print(f"{label}: {info[member]} ms\n")
    if "ram" in info:
        _print_ram(info["ram"], hmp)
    if "xbzrle-cache" in info:
        _print_xbzrle(info["xbzrle-cache"], hmp)
    if "cpu-throttle-percentage" in info:
        hmp.print(f"cpu throttle percentage: {info['cpu-throttle-percentage']}\n")
    if "dirty-limit-ring-full-time" in info:
        hmp.print(f"dirty-limit throttle time: {info['dirty-limit-throttle-time-per-round']} us\n")
        hmp.print(f"dirty-limit ring full time: {info['dirty-limit-ring-full-time']} us\n")
    if "socket-address" in info:
        hmp.print("socket address: [\n")
        for listener in info["socket-address"]:
            hmp.print(f"\t{_written_down(listener)}\n")
        hmp.print("]\n")


def _written_down(listener: dict[str, Any]) -> str:
    """A SocketAddress in one word, as QEMU writes it."""
    if listener["type"] == "unix":
        return f"unix:{listener['path']}"
    return f"tcp:{listener.get('host', listener.get('cid'))}:{listener['port']}"


_TIMES = (
    ("expected-downtime", "expected downtime"),
    ("downtime", "downtime"),
    ("setup-time", "setup"),
)


def _print_globals(machine: Machine, hmp: Hmp) -> None:
    hmp.print("globals:\n")
    hmp.print("store-global-state: on\n")
    hmp.print(f"only-migratable: {on_off(machine.only_migratable)}\n")
    hmp.print("send-configuration: on\nsend-section-footer: on\nsend-switchover-start: on\n")
    hmp.print("clear-bitmap-shift: 18\n")


def _print_ram(ram: dict[str, Any], hmp: Hmp) -> None:
    hmp.print(f"transferred ram: {ram['transferred'] >> 10} kbytes\n")
    hmp.print(f"throughput: {ram['mbps']:.2f} mbps\n")
    hmp.print(f"remaining ram: {ram['remaining'] >> 10} kbytes\n")
    hmp.print(f"total ram: {ram['total'] >> 10} kbytes\n")
    hmp.print(f"duplicate: {ram['duplicate']} pages\n")
    hmp.print(f"normal: {ram['normal']} pages\n")
    hmp.print(f"normal bytes: {ram['normal-bytes'] >> 10} kbytes\n")
    hmp.print(f"dirty sync count: {ram['dirty-sync-count']}\n")
    hmp.print(f"page size: {ram['page-size'] >> 10} kbytes\n")
    hmp.print(f"multifd bytes: {ram['multifd-bytes'] >> 10} kbytes\n")
    hmp.print(f"pages-per-second: {ram['pages-per-second']}\n")
    if ram["dirty-pages-rate"]:
        hmp.print(f"dirty pages rate: {ram['dirty-pages-rate']} pages\n")
    if ram["postcopy-requests"]:
        hmp.print(f"postcopy request count: {ram['postcopy-requests']}\n")
    for member, label in (("precopy-bytes", "precopy"), ("downtime-bytes", "downtime")):
        if ram[member]:
            hmp.print(f"{label} ram: {ram[member] >> 10} kbytes\n")


def _print_xbzrle(cache: dict[str, Any], hmp: Hmp) -> None:
    hmp.print(f"cache size: {cache['cache-size']} bytes\n")
    hmp.print(f"xbzrle transferred: {cache['bytes'] >> 10} kbytes\n")
    hmp.print(f"xbzrle pages: {cache['pages']} pages\n")
    hmp.print(f"xbzrle cache miss: {cache['cache-miss']} pages\n")
    hmp.print(f"xbzrle cache miss rate: {cache['cache-miss-rate']:.2f}\n")
    hmp.print(f"xbzrle encoding rate: {cache['encoding-rate']:.2f}\n")
    hmp.print(f"xbzrle overflow: {cache['overflow']}\n")


def _names(names: Iterable[str]) -> Completer:
    return lambda machine, prefix: names


COMMANDS = [
    HmpCommand(
        "announce_self",
        "interfaces:s?,id:s?",
        "[interfaces] [id]",
        "have network devices tell the network where they are",
        announce_self,
    ),
    HmpCommand(
        "migrate",
        "detach:-d,resume:-r,uri:s",
        "[-d] [-r] uri",
        "send the machine to uri, for example file:vm.state\n"
        "\t\t\t -d: do not wait for the end\n"
        "\t\t\t -r: go on with a migration that was interrupted",
        migrate,
    ),
    HmpCommand("migrate_cancel", "", "", "give up the migration under way", migrate_cancel),
    HmpCommand(
        "migrate_continue",
        "state:s",
        "state",
        "let a migration go on that waits in the given state",
        migrate_continue,
    ),
    HmpCommand(
        "migrate_incoming",
        "uri:s",
        "uri",
        "receive the machine from uri, after a start with -incoming defer",
        migrate_incoming,
    ),
    HmpCommand(
        "migrate_set_capability",
        "capability:s,state:b",
        "capability state",
        "turn a migration capability on or off",
        migrate_set_capability,
        complete={1: _names(CAPABILITIES), 2: _names(("off", "on"))},
    ),
    HmpCommand(
        "migrate_set_parameter",
        "parameter:s,value:s",
        "parameter value",
        "set a migration parameter",
        migrate_set_parameter,
        complete={1: _names(PARAMETERS)},
    ),
    HmpCommand(
        "x_colo_lost_heartbeat",
        "",
        "",
        "take the primary to be gone: this secondary takes over",
        x_colo_lost_heartbeat,
    ),
]

INFO = [
    HmpCommand("migrate", "", "", "show how the migration goes", info_migrate),
    HmpCommand(
        "migrate_capabilities", "", "", "show the migration capabilities", info_migrate_capabilities
    ),
    HmpCommand(
        "migrate_parameters", "", "", "show the migration parameters", info_migrate_parameters
    ),
]
