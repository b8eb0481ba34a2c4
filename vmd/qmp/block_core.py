"""Commands of block-core.json: block nodes, and the drives that use them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qapi.error import QmpError

if TYPE_CHECKING:
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


def block_set_write_threshold(machine: Machine, node_name: str, write_threshold: int) -> None:
    node = machine.nodes.by_name.get(node_name)
    if node is None:
        raise QmpError(f"Device '{node_name}' not found")
    node.write_threshold = write_threshold


HANDLERS = {
    "block-set-write-threshold": block_set_write_threshold,
    "block_resize": block_resize,
    "blockdev-add": blockdev_add,
    "blockdev-create": blockdev_create,
    "blockdev-del": blockdev_del,
    "query-block": query_block,
    "query-blockstats": query_blockstats,
    "query-named-block-nodes": query_named_block_nodes,
}
