"""What the parameter `block-bitmap-mapping` says: names of nodes and bitmaps here and on the wire.

A mapping is the schema's list of BitmapMigrationNodeAlias. Checks, their order and texts observed
from migration/block-dirty-bitmap.c.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    Node = dict[str, Any]
    Mapping = Sequence[Node]

_ALIAS = re.compile(r"[a-zA-Z][a-zA-Z0-9._-]*")
MOST_ALIAS, _MOST_NODE, _MOST_BITMAP = 255, 31, 1023


class Other(NamedTuple):
    """What a bitmap is called on the other side of the map, and whether it shall be persistent
    there (None: as it was)."""

    name: str
    persistent: bool | None


class Translation(NamedTuple):
    """What a node is called on the other side, and its bitmaps by their names on this one."""

    node: str
    bitmaps: dict[str, Other]


def complaint(mapping: Mapping) -> str | None:
    """What is wrong with a mapping, if anything is."""
    for outgoing in (True, False):
        if (text := _complaint(mapping, outgoing=outgoing)) is not None:
            return text
    return None


def translations(mapping: Mapping, *, outgoing: bool) -> dict[str, Translation]:
    """Of a sound mapping: names to aliases, or aliases to names, by the name of the node."""
    found = {}
    for node in mapping:
        own, other = _in_order(node["node-name"], node["alias"], outgoing=outgoing)
        bitmaps = {}
        for bitmap in node["bitmaps"]:
            key, name = _in_order(bitmap["name"], bitmap["alias"], outgoing=outgoing)
            bitmaps[key] = Other(name, bitmap.get("transform", {}).get("persistent"))
        found[own] = Translation(other, bitmaps)
    return found


def _in_order(name: str, alias: str, *, outgoing: bool) -> tuple[str, str]:
    return (name, alias) if outgoing else (alias, name)


def _complaint(mapping: Mapping, *, outgoing: bool) -> str | None:
    nodes: set[str] = set()
    for node in mapping:
        name, alias = node["node-name"], node["alias"]
        if _ALIAS.fullmatch(alias) is None:
            return f"The node alias '{alias}' is not well-formed"
        if _length(alias) > MOST_ALIAS:
            return f"The node alias '{alias}' is longer than {MOST_ALIAS} bytes"
        if _length(name) > _MOST_NODE:
            return f"The node name '{name}' is longer than {_MOST_NODE} bytes"
        key = name if outgoing else alias
        if key in nodes:
            if outgoing:
                return f"The node name '{name}' is mapped twice"
            return f"The node alias '{alias}' is used twice"
        nodes.add(key)
        if (text := _complaint_of_bitmaps(node, outgoing=outgoing)) is not None:
            return text
    return None


def _complaint_of_bitmaps(node: Node, *, outgoing: bool) -> str | None:
    bitmaps: set[str] = set()
    for bitmap in node["bitmaps"]:
        name, alias = bitmap["name"], bitmap["alias"]
        if _length(alias) > MOST_ALIAS:
            return f"The bitmap alias '{alias}' is longer than {MOST_ALIAS} bytes"
        if _length(name) > _MOST_BITMAP:
            return f"The bitmap name '{name}' is longer than {_MOST_BITMAP} bytes"
        key = name if outgoing else alias
        if key in bitmaps:
            if outgoing:
                return f"The bitmap '{node['node-name']}'/'{name}' is mapped twice"
            return f"The bitmap alias '{node['alias']}'/'{alias}' is used twice"
        bitmaps.add(key)
    return None


def _length(text: str) -> int:
    """Bytes that a name takes."""
    return len(text.encode(errors="surrogateescape"))
