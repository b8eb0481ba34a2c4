"""Objects and their properties at the human monitor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import qapi
from monitor.hmp import HmpCommand
from monitor.json import INCOMPLETE, JsonDecoder, JsonError, encode
from qapi.error import QmpError
from vmd.options import HELP_WORDS, parse_keyval
from vmd.qmp import qom
from vmd.user_objects import add_object

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monitor.hmp import Hmp
    from vmd.devices.qom import Object
    from vmd.machine import Machine

BACKSLASH_SLASH = "\\x2f"


def object_add(machine: Machine, hmp: Hmp, object: str) -> None:
    tree, wants_help = parse_keyval(object, "qom-type")
    kind = tree.get("qom-type")
    if wants_help or kind in HELP_WORDS:
        from vmd.devices.object_help import object_help

        text = object_help(kind if isinstance(kind, str) and kind not in HELP_WORDS else None)
        if text is not None:
            hmp.print(text)
            return
    options = qapi.load().check_keyval("ObjectOptions", dict(tree))
    assert isinstance(options, dict)
    add_object(machine, options)


def object_del(machine: Machine, hmp: Hmp, id: str) -> None:
    qom.object_del(machine, id)


def qom_list(machine: Machine, hmp: Hmp, path: str | None = None) -> None:
    if path is None:
        hmp.print("/\n")
        return
    for found in qom.qom_list(machine, path):
        hmp.print(f"{found['name']} ({found['type']})\n")


def qom_get(machine: Machine, hmp: Hmp, path: str, property: str) -> None:
    value = qom.qom_get(machine, path, property)
    hmp.print(encode(value, pretty=True).replace("\r\n", "\n") + "\n")


def qom_set(
    machine: Machine, hmp: Hmp, path: str, property: str, value: str, json: bool = False
) -> None:
    """Without -j the value is text, which means what the property's present kind makes of it."""
    parsed = _parse(value) if json else _typed(value, qom.qom_get(machine, path, property))
    qom.qom_set(machine, path, property, parsed)


def _typed(text: str, old: object) -> object:
    from vmd.options import parse_boolean, scan_unsigned

    if isinstance(old, bool):
        return parse_boolean("value", text)
    number = scan_unsigned(text) if isinstance(old, int) else None
    return text if number is None else number


def _parse(text: str) -> object:
    decoder = JsonDecoder()
    decoder.feed(text.encode(errors="surrogateescape"))
    value = decoder.next()
    if value is INCOMPLETE:
        value = decoder.end()
    if isinstance(value, JsonError):
        raise QmpError(value.desc)
    return value


def _ids(machine: Machine, prefix: str) -> list[str]:
    found = qom.qom_list(machine, "/objects")
    return [str(entry["name"]) for entry in found if str(entry["type"]).startswith("child<")]


def info_qom_tree(machine: Machine, hmp: Hmp, path: str = "/machine") -> None:
    """Observed from qom/qom-hmp-cmds.c."""
    from vmd.devices import composition
    from vmd.devices.qom import Ambiguous, resolve

    try:
        found = resolve(composition.compose(machine, whole=True), path)
    except Ambiguous:
        hmp.print(f"Warning: Path '{path}' is ambiguous.\n")
        return
    if found is None:
        hmp.print(f"Path '{path}' could not be resolved.\n")
        return
    hmp.print("".join(f"{row}\n" for row in _branch(found, found.path.rpartition("/")[2], "")))


def _branch(found: Object, name: str, indent: str) -> Iterator[str]:
    yield f"{indent}/{name.replace('/', BACKSLASH_SLASH)} ({found.type})"
    for child in sorted(found.children):
        yield from _branch(found.children[child], child, indent + "  ")


COMMANDS = [
    HmpCommand(
        "object_add",
        "object:S",
        "[qom-type=]type,id=str[,prop=value][,...]",
        "create an object",
        object_add,
        preconfig=True,
        complete={1: lambda machine, prefix: qapi.load().enum("ObjectType")},
    ),
    HmpCommand(
        "object_del", "id:s", "id", "delete an object", object_del, True, complete={1: _ids}
    ),
    HmpCommand("qom-list", "path:s?", "path", "list an object's properties", qom_list, True),
    HmpCommand("qom-get", "path:s,property:s", "path property", "show a property", qom_get, True),
    HmpCommand(
        "qom-set",
        "json:-j,path:s,property:s,value:S",
        "[-j] path property value",
        "set a property\n\t\t\t -j: the value is JSON",
        qom_set,
        preconfig=True,
    ),
]

INFO = [
    HmpCommand(
        "qom-tree", "path:s?", "[path]", "show what is made of what", info_qom_tree, preconfig=True
    ),
]
