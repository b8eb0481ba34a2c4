"""Another size for a node: the file at the bottom grows or shrinks, or an image's header says so.

A qcow2 image keeps its tables consistent: what lies behind a smaller end is given back. Observed
from block_resize in blockdev.c, block/io.c and block/qcow2.c; format: docs/interop/qcow2 of QEMU.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

from qapi.error import QmpError

if TYPE_CHECKING:
    from vmd.block.image import Qcow2
    from vmd.block.node import Node

MOST = ((1 << 63) - 1) >> 30 << 30
_NOT_POSSIBLE = "Image format driver does not support resize"
_SECTOR = 512
_SIZE_AT, _L1_SIZE_AT = 24, 36
_ENTRY = 8
_OFFSET = 0x00FF_FFFF_FFFF_FE00
_COMPRESSED = 1 << 62
_L1_MOST = 32 << 20


def check(node: Node, size: int) -> None:
    """Refuse a size that no node can have, or a node that cannot have another; QmpError."""
    if size > MOST:
        raise QmpError(f"offset({size}) exceeds maximum({MOST})")
    for bitmap in node.bitmaps:
        if bitmap.busy:  # QEMU aborts
            from vmd.block.bitmaps import check as demand_idle

            demand_idle(bitmap)
    if node.driver == "raw":
        if "size" in node.options:
            raise QmpError("Cannot resize fixed-size raw disks")
        assert node.file is not None
        check(node.file, size)
    elif node.driver == "qcow2":
        assert node.header is not None and node.file is not None
        if node.file.driver != "file":
            raise QmpError(_NOT_POSSIBLE)
        _check_image(node.header, size)
        if node.header.bitmaps is not None:
            from vmd.block.persistent import demand_resizable

            demand_resizable(node)
    elif node.driver == "host_device" and size > node.size:
        raise QmpError("Cannot grow device files")
    elif node.driver != "file":
        raise QmpError(_NOT_POSSIBLE)


def resize(node: Node, size: int) -> None:
    """Give a checked node so many bytes. Blocks; QmpError with QEMU's text if the host refuses."""
    try:
        if node.driver == "qcow2":
            _resize_image(node, size)
        elif node.driver == "raw":
            assert node.file is not None
            resize(node.file, size + int(node.options.get("offset", 0)))
        else:
            os.ftruncate(node.fileno(), size)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise QmpError(f"Failed to resize the file: {reason}") from None
    if node.bitmaps:
        from vmd.block.bitmaps import resized

        resized(node)


def _check_image(header: Qcow2, size: int) -> None:
    if size % _SECTOR:
        raise QmpError(f"The new size must be a multiple of {_SECTOR}")
    if header.snapshot_count and header.version < 3:
        raise QmpError("Can't resize a v2 image which has snapshots")
    if size < header.size and header.snapshot_count:
        raise QmpError("Can't shrink an image which has snapshots")
    if header.refcount_bits != 16 or header.extended_l2:
        raise QmpError(_NOT_POSSIBLE)
    # The table of tables may grow as far as its own clusters reach; it is never moved.
    room = -(-max(header.l1_size, 1) * _ENTRY // header.cluster_size) * header.cluster_size
    if _tables(header, size) * _ENTRY > min(room, _L1_MOST):
        raise QmpError("Failed to grow the L1 table: File too large")


def _tables(header: Qcow2, size: int) -> int:
    """How many entries of the first table an image of this size takes."""
    covered = header.cluster_size * (header.cluster_size // _ENTRY)
    return -(-size // covered)


def _resize_image(node: Node, size: int) -> None:
    header, file = node.header, node.file
    assert header is not None and file is not None
    if size < header.size:
        _give_back(file, header, size)
    entries = max(_tables(header, size), header.l1_size)
    if entries > header.l1_size:
        added = bytes((entries - header.l1_size) * _ENTRY)
        _put(file, added, header.l1_offset + header.l1_size * _ENTRY)
        _put(file, struct.pack(">I", entries), _L1_SIZE_AT)
    _put(file, struct.pack(">Q", size), _SIZE_AT)
    node.header = header._replace(size=size, l1_size=entries)
    node.virtual_size = size


def _put(file: Node, data: bytes, offset: int) -> None:
    os.pwrite(file.fileno(), data, offset)
    file.mark(offset, len(data))


def _give_back(file: Node, header: Qcow2, size: int) -> None:
    """Forget all clusters behind the new end."""
    fd = file.fileno()
    per_table = header.cluster_size // _ENTRY
    first = -(-size // header.cluster_size)
    table = _entries(fd, header.l1_offset, header.l1_size)
    for number in range(first // per_table, len(table)):
        at = table[number] & _OFFSET
        if not at:
            continue
        inner = _entries(fd, at, per_table)
        start = first - number * per_table if number == first // per_table else 0
        for index in range(start, per_table):
            entry = inner[index]
            if entry & _OFFSET and not entry & _COMPRESSED:
                _let_go(file, header, entry & _OFFSET)
        _put(file, bytes((per_table - start) * _ENTRY), at + start * _ENTRY)


def _let_go(file: Node, header: Qcow2, offset: int) -> None:
    """One user less of a cluster."""
    fd = file.fileno()
    cluster = offset // header.cluster_size
    per_block = header.cluster_size // 2
    block = _entries(fd, header.refcounts_offset + cluster // per_block * _ENTRY, 1)[0] & _OFFSET
    if block:
        at = block + cluster % per_block * 2
        (count,) = struct.unpack(">H", os.pread(fd, 2, at).ljust(2, b"\0"))
        _put(file, struct.pack(">H", max(count - 1, 0)), at)


def _entries(fd: int, offset: int, count: int) -> tuple[int, ...]:
    data = os.pread(fd, count * _ENTRY, offset).ljust(count * _ENTRY, b"\0")
    return struct.unpack(f">{count}Q", data)
