"""Dirty bitmaps, as questions about them handle and look at them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.differential.stage import Machine


def bitmap(machine: Machine, command: str, name: str = "b", node: str = "n", **more: Any) -> None:
    """One of the commands block-dirty-bitmap-*."""
    machine.qmp.execute(f"block-dirty-bitmap-{command}", {"node": node, "name": name, **more})


def bitmap_hash(machine: Machine, name: str = "b", node: str = "n") -> None:
    machine.qmp.execute("x-debug-block-dirty-bitmap-sha256", {"node": node, "name": name})


def bitmaps(machine: Machine) -> None:
    """What is told of the bitmaps of all nodes that have any."""
    machine.qmp.execute("query-named-block-nodes", view=_of_nodes)


def _of_nodes(nodes: list[dict[str, Any]]) -> dict[str, list[list[object]]]:
    return {node["node-name"]: told(node) for node in nodes if "dirty-bitmaps" in node}


def told(node: dict[str, Any]) -> list[list[object]]:
    """Of each bitmap: its name, bytes that are dirty, granularity, and what else is true."""
    return [
        [
            *(each.get("name"), each["count"], each["granularity"]),
            *(name for name, value in each.items() if value is True),
        ]
        for each in node.get("dirty-bitmaps", ())
    ]
