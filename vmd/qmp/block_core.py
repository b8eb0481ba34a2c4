"""Commands of block-core.json: block nodes, and the drives that use them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qapi.error import QmpError

if TYPE_CHECKING:
    from vmd.block.bitmaps import DirtyBitmap
    from vmd.block.node import Node
    from vmd.machine import Machine


def query_block(machine: Machine) -> list[dict[str, object]]:
    from vmd.devices import drives

    return drives.described(machine)


def query_blockstats(machine: Machine, query_nodes: bool | None = None) -> list[dict[str, object]]:
    from vmd.block.describe import node_stats
    from vmd.devices import drives

    if query_nodes:
        return [node_stats(node) for node in machine.nodes.by_name.values()]
    return drives.all_stats(machine)


def query_named_block_nodes(machine: Machine, flat: bool | None = None) -> list[dict[str, object]]:
    from vmd.block.describe import node_info

    nodes = reversed(machine.nodes.by_name.values())
    return [node_info(node, flat=bool(flat)) for node in nodes]


def blockdev_add(machine: Machine, **options: object) -> None:
    machine.nodes.add({name.replace("_", "-"): value for name, value in options.items()})


def blockdev_del(machine: Machine, node_name: str) -> None:
    machine.nodes.remove(node_name)


def blockdev_create(machine: Machine, job_id: str, options: dict[str, Any]) -> None:
    from vmd.block import create

    if options["driver"] not in create.DRIVERS:
        raise QmpError("Driver does not support blockdev-create")
    job = machine.jobs.create(job_id, "create")
    job.start(lambda: create.begin(machine.nodes, machine.open_file, options))


async def block_resize(
    machine: Machine, size: int, device: str | None = None, node_name: str | None = None
) -> None:
    from vmd.block import permissions, resize
    from vmd.devices import drives
    from vmd.worker import in_a_thread

    node = machine.nodes.by_name.get(node_name) if node_name else None
    if node is None and device:
        node = drives.medium(machine, device)
    if node is None:
        raise QmpError(f"Cannot find device='{device or ''}' nor node-name='{node_name or ''}'")
    if size < 0:
        raise QmpError("Parameter 'size' expects a >0 size")
    permissions.demand_resize(node)
    resize.check(node, size)
    await in_a_thread(lambda: resize.resize(node, size))


def block_dirty_bitmap_add(
    machine: Machine,
    node: str,
    name: str,
    granularity: int | None = None,
    persistent: bool = False,
    disabled: bool = False,
) -> None:
    from vmd.block import bitmaps
    from vmd.devices import drives

    if not name:
        raise QmpError("Bitmap name cannot be empty")
    found = drives.node_of(machine, node)
    if found is None:
        raise QmpError(f"Cannot find device='{node}' nor node-name='{node}'")
    bitmaps.add(found, name, granularity, persistent=persistent, disabled=disabled)


def block_dirty_bitmap_remove(machine: Machine, node: str, name: str) -> None:
    from vmd.block import bitmaps

    bitmaps.remove(node_with_bitmaps(machine, node), name)


def block_dirty_bitmap_clear(machine: Machine, node: str, name: str) -> None:
    from vmd.block import bitmaps

    bitmap = bitmap_of(machine, node, name)
    bitmaps.check(bitmap)
    bitmap.bits.clear()


def block_dirty_bitmap_enable(machine: Machine, node: str, name: str) -> None:
    switch_bitmap(machine, node, name, enabled=True)


def block_dirty_bitmap_disable(machine: Machine, node: str, name: str) -> None:
    switch_bitmap(machine, node, name, enabled=False)


def switch_bitmap(machine: Machine, node: str, name: str, *, enabled: bool) -> None:
    """Have a bitmap record, or stay as it is."""
    from vmd.block import bitmaps

    bitmap = bitmap_of(machine, node, name)
    bitmaps.check(bitmap, may_be_read_only=True)
    bitmap.enabled = enabled


def block_dirty_bitmap_merge(
    machine: Machine, node: str, target: str, bitmaps: list[str | dict[str, str]]
) -> None:
    from vmd.block.bitmaps import find, merge

    own = node_with_bitmaps(machine, node)
    found = find(own, target)
    sources = (  # looked up one after the other, each when those before it fit
        find(own, source)
        if isinstance(source, str)
        else bitmap_of(machine, source["node"], source["name"])
        for source in bitmaps
    )
    merge(found, sources)


async def x_debug_block_dirty_bitmap_sha256(
    machine: Machine, node: str, name: str
) -> dict[str, object]:
    from vmd.worker import in_a_thread

    return {"sha256": await in_a_thread(bitmap_of(machine, node, name).sha256)}


def bitmap_of(machine: Machine, node: str, name: str) -> DirtyBitmap:
    """A bitmap of a node, or of what is in a drive; QmpError if it is not there."""
    from vmd.block import bitmaps

    return bitmaps.find(node_with_bitmaps(machine, node), name)


def node_with_bitmaps(machine: Machine, name: str) -> Node:
    """The node of that name, or what is in the drive of that name; QmpError if there is none."""
    from vmd.devices import drives

    found = drives.node_of(machine, name)
    if found is None:
        raise QmpError(f"Node '{name}' not found")
    return found


def block_set_write_threshold(machine: Machine, node_name: str, write_threshold: int) -> None:
    node = machine.nodes.by_name.get(node_name)
    if node is None:
        raise QmpError(f"Device '{node_name}' not found")
    node.write_threshold = write_threshold


HANDLERS = {
    "block-dirty-bitmap-add": block_dirty_bitmap_add,
    "block-dirty-bitmap-clear": block_dirty_bitmap_clear,
    "block-dirty-bitmap-disable": block_dirty_bitmap_disable,
    "block-dirty-bitmap-enable": block_dirty_bitmap_enable,
    "block-dirty-bitmap-merge": block_dirty_bitmap_merge,
    "block-dirty-bitmap-remove": block_dirty_bitmap_remove,
    "block-set-write-threshold": block_set_write_threshold,
    "block_resize": block_resize,
    "blockdev-add": blockdev_add,
    "blockdev-create": blockdev_create,
    "blockdev-del": blockdev_del,
    "query-block": query_block,
    "query-blockstats": query_blockstats,
    "query-named-block-nodes": query_named_block_nodes,
    "x-debug-block-dirty-bitmap-sha256": x_debug_block_dirty_bitmap_sha256,
}
