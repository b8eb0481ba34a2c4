"""Nodes and drives as clients are told of them. Observed from block/qapi.c."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vmd.block.node import Node

_COUNTERS = (
    *("rd_bytes", "wr_bytes", "zone_append_bytes", "unmap_bytes"),
    *("rd_operations", "wr_operations", "zone_append_operations", "flush_operations"),
    *("unmap_operations", "rd_total_time_ns", "wr_total_time_ns", "zone_append_total_time_ns"),
    *("flush_total_time_ns", "unmap_total_time_ns", "wr_highest_offset", "rd_merged", "wr_merged"),
    *("zone_append_merged", "unmap_merged", "failed_rd_operations", "failed_wr_operations"),
    *("failed_zone_append_operations", "failed_flush_operations", "failed_unmap_operations"),
    *("invalid_rd_operations", "invalid_wr_operations", "invalid_zone_append_operations"),
    *("invalid_flush_operations", "invalid_unmap_operations"),
)
_NS = 1_000_000_000


def node_info(node: Node, *, flat: bool = False, writeback: bool = True) -> dict[str, Any]:
    """The schema's BlockDeviceInfo; `writeback` is what the drive does that has the node."""
    cache = node.options.get("cache", {})
    told: dict[str, Any] = {
        "file": node.filename,
        "ro": node.read_only,
        "drv": node.driver,
        "backing_file_depth": _depth(node),
        "active": node.active,
        "encrypted": False,
        "detect_zeroes": node.options.get("detect-zeroes", "off"),
        **dict.fromkeys(("bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"), 0),
        "image": image_info(node, flat=flat),
        "cache": {
            "writeback": writeback,
            "direct": bool(cache.get("direct", False)),
            "no-flush": bool(cache.get("no-flush", False)),
        },
        "write_threshold": _signed(node.write_threshold),
        "node-name": node.name,
    }
    if node.backing is not None:
        told["backing_file"] = node.backing.filename
    if node.bitmaps:
        told["dirty-bitmaps"] = [bitmap.describe() for bitmap in node.bitmaps]
    return told


def _signed(number: int) -> int:
    """As the schema's `int` tells a number of 64 bits."""
    return number - (1 << 64) if number >> 63 else number


def _depth(node: Node) -> int:
    return 0 if node.backing is None else 1 + _depth(node.backing)


def image_info(node: Node, *, flat: bool) -> dict[str, Any]:
    """The schema's ImageInfo."""
    told: dict[str, Any] = {
        "filename": node.filename,
        "format": node.driver,
        "virtual-size": node.size,
        "actual-size": node.allocated,
    }
    if not node.driver.startswith("null-"):
        told["dirty-flag"] = node.header.dirty if node.header is not None else False
    if node.driver == "file":
        told["format-specific"] = {"type": "file", "data": {}}
    header = node.header
    if header is None:
        return told
    told["cluster-size"] = header.cluster_size
    specific: dict[str, Any] = {
        "compat": "1.1" if header.version == 3 else "0.10",
        "compression-type": header.compression,
    }
    if header.version == 3:
        specific["lazy-refcounts"] = header.lazy_refcounts
    if header.bitmaps is not None:
        from vmd.block.bitmap_list import described

        specific["bitmaps"] = described(node)
    specific["refcount-bits"] = header.refcount_bits
    if header.version == 3:
        specific["corrupt"] = header.corrupt
        specific["extended-l2"] = header.extended_l2
    told["format-specific"] = {"type": "qcow2", "data": specific}
    if header.backing is not None:
        told["backing-filename"] = header.backing
        told["full-backing-filename"] = (
            header.backing if node.backing is None else node.backing.filename
        )
        if header.backing_format is not None:
            told["backing-filename-format"] = header.backing_format
    if node.backing is not None and not flat:
        told["backing-image"] = image_info(node.backing, flat=False)
    snapshots = [
        {
            "id": each.id,
            "name": each.name,
            "vm-state-size": each.vm_state_size,
            "date-sec": each.date[0],
            "date-nsec": each.date[1],
            "vm-clock-sec": each.clock_ns // _NS,
            "vm-clock-nsec": each.clock_ns % _NS,
        }
        for each in node.snapshots()
    ]
    return told | ({"snapshots": snapshots} if snapshots else {})


def node_stats(node: Node) -> dict[str, Any]:
    """The schema's BlockStats of a node: no guest of ours asks anything of a drive."""
    told: dict[str, Any] = {"stats": counters(accounted=False), "node-name": node.name}
    if node.driver in ("file", "host_device"):
        specific = dict.fromkeys(("discard-nb-ok", "discard-nb-failed", "discard-bytes-ok"), 0)
        told["driver-specific"] = {"driver": node.driver, **specific}
    if node.file is not None:
        told["parent"] = node_stats(node.file)
    if node.backing is not None:
        told["backing"] = node_stats(node.backing)
    return told


def counters(*, accounted: bool) -> dict[str, Any]:
    """The schema's BlockDeviceStats."""
    zeros: dict[str, Any] = dict.fromkeys(_COUNTERS, 0)
    return zeros | {
        "account_invalid": accounted,
        "account_failed": accounted,
        "timed_stats": [],
    }
