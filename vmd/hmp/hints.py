"""What TAB offers on the user's own terminal beyond what QEMU does: values, addresses, paths.

A hint gets the machine and the words behind the command's name (flags left out), of which the last
is being typed; it gives what that word may be. Imported with the first TAB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import qapi
from monitor.completion import files
from vmd.hmp.info import on_off
from vmd.migration.parameters import BANDWIDTH, CHOICE, MAPPING, PARAMETERS, SWITCH
from vmd.qmp import migration, qom

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from vmd.machine import Machine

    Hint = Callable[[Machine, Sequence[str]], Iterable[str]]

TRANSPORTS = ("exec:", "fd:", "file:", "tcp:", "unix:", "vsock:")
MIB = 1 << 20


def parameter_value(machine: Machine, words: Sequence[str]) -> Iterable[str]:
    """All values of a choice; of anything else the present one, to be changed."""
    row = PARAMETERS.get(words[0])
    if row is None or row.kind == MAPPING:
        return ()
    if row.kind == SWITCH:
        return ("off", "on")
    if row.kind == CHOICE:
        schema = qapi.load()
        declared: Any = schema.types["MigrateSetParameters"]
        kind = next(member.type for member in declared.members if member.name == row.name)
        return schema.enum(kind)
    value = migration.query_migrate_parameters(machine)[row.name]
    if row.kind == BANDWIDTH and isinstance(value, int):
        return (f"{value // MIB}M",) if value % MIB == 0 else (f"{value}B",)
    return (on_off(value) if isinstance(value, bool) else str(value),)


def uri(machine: Machine, words: Sequence[str]) -> Iterable[str]:
    """The ways there are, and files behind those that are followed by one."""
    way, colon, path = words[-1].partition(":")
    if colon and way in ("file", "unix"):
        return [f"{way}:{name}" for name in files(path)]
    return TRANSPORTS


def cpu(machine: Machine, words: Sequence[str]) -> Iterable[str]:
    from vmd.qmp.machine import query_cpus_fast

    return [str(found["cpu-index"]) for found in query_cpus_fast(machine)]


def path(machine: Machine, words: Sequence[str]) -> Iterable[str]:
    """Objects below the one that the path has come to; those with children end in a slash."""
    above = words[-1].rpartition("/")[0] + "/"
    for name in _children(machine, above):
        whole = f"{above}{name}"
        yield f"{whole}/" if _children(machine, whole) else whole


def _children(machine: Machine, where: str) -> list[str]:
    from qapi.error import QmpError

    try:
        found = qom.qom_list(machine, where.rstrip("/") or "/")
    except QmpError:
        return []
    return [str(entry["name"]) for entry in found if str(entry["type"]).startswith("child<")]


def object_property(machine: Machine, words: Sequence[str]) -> Iterable[str]:
    from qapi.error import QmpError

    try:
        found = qom.qom_list(machine, words[0])
    except QmpError:
        return ()
    return [str(it["name"]) for it in found if not str(it["type"]).startswith("child<")]


def device_options(machine: Machine, words: Sequence[str]) -> Iterable[str]:
    """Behind a device's type its properties, and the ids of what a property may name."""
    from vmd.devices import catalog

    before, comma, last = words[-1].rpartition(",")
    kind = catalog.find(before.partition(",")[0])
    if not comma or kind is None:
        return ()
    name, is_value, _ = last.partition("=")
    if not is_value:
        return [f"{before},{name}=" for name in ("bus", "id", *sorted(kind.properties))]
    if name == "netdev":
        return [f"{before},netdev={found}" for found in machine.networks.by_name]
    if name == "drive":
        from vmd.qmp.block_core import query_named_block_nodes

        nodes = query_named_block_nodes(machine)
        return [f"{before},drive={node['node-name']}" for node in nodes]
    if name in kind.properties and kind.properties[name].type == "bool":
        return [f"{before},{name}={value}" for value in ("off", "on")]
    return ()


def _words(*words: str) -> Hint:
    return lambda machine, typed: words


HINTS: Mapping[str, Mapping[int, Hint]] = {
    "boot_set": {1: _words("a", "c", "d", "n")},
    "cpu": {1: cpu},
    "device_add": {1: device_options},
    "migrate": {1: uri},
    "migrate_continue": {1: _words("pre-switchover")},
    "migrate_incoming": {1: uri},
    "migrate_set_parameter": {2: parameter_value},
    "qom-get": {1: path, 2: object_property},
    "qom-list": {1: path},
    "qom-set": {1: path, 2: object_property},
    "qom-tree": {1: path},
}
