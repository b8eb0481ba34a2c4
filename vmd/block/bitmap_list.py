"""The list of bitmaps in a qcow2 image: what stands in it, and how it is written.

Format: docs/interop/qcow2 of QEMU; checks and texts observed from block/qcow2-bitmap.c.
"""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from qapi.error import QmpError
from vmd.block.bitmaps import MOST_NAME, length_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmd.block.image import Qcow2
    from vmd.block.node import Node

IN_USE, AUTO = 1, 2
MOST_TABLE = 0x8000000
"""Entries of a bitmap's table."""

MOST_BYTES = 0x20000000
"""Of a bitmap's bits."""

INVALID, IO_ERROR = os.strerror(errno.EINVAL), os.strerror(errno.EIO)
_HEAD = struct.Struct(">QIIBBHI")
_FLAGS = ((IN_USE, "in-use"), (AUTO, "auto"))
_KIND = 1
_LEAST_ORDER, _MOST_ORDER = 9, 31


class Stored(NamedTuple):
    """A bitmap as an image lists it: its table has so many entries, each leads to a cluster."""

    name: str
    table: int
    entries: int
    flags: int
    order: int

    @property
    def size(self) -> int:
        """Bytes that it takes in the list."""
        return entry_size(self.name)


def _raw(name: str) -> bytes:
    return name.encode(errors="surrogateescape")


def entry_size(name: str) -> int:
    return -(-(_HEAD.size + len(_raw(name))) // 8) * 8


def listed(node: Node) -> list[Stored]:
    """The bitmaps in an image; QmpError if the list is damaged."""
    header = header_of(node)
    if header.bitmaps is None:
        return []
    count, size, offset = header.bitmaps
    if not size:
        raise QmpError("Requested bitmap directory size is zero")
    try:
        data = read(node, offset, size)
    except QmpError:
        raise QmpError(f"Failed to read bitmap directory: {IO_ERROR}") from None
    found: list[Stored] = []
    at = 0
    while at < size:
        if at + _HEAD.size > size:
            raise QmpError("Broken bitmap directory")
        if len(found) == count:
            raise QmpError("More bitmaps found than specified in header extension")
        table, entries, flags, kind, order, length, extra = _HEAD.unpack_from(data, at)
        end = at + -(-(_HEAD.size + length + extra) // 8) * 8
        if end > size:
            raise QmpError("Broken bitmap directory")
        if extra:
            raise QmpError("Bitmap extra data is not supported")
        start = at + _HEAD.size
        name = data[start : start + length].split(b"\0")[0].decode(errors="surrogateescape")
        one = Stored(name, table, entries, flags, order)
        if kind != _KIND or length > MOST_NAME or not _is_sound(node, header, one):
            raise QmpError(f"Bitmap '{name}' doesn't satisfy the constraints")
        found.append(one)
        at = end
    if len(found) != count:
        raise QmpError("Less bitmaps found than specified in header extension")
    return found


def read(node: Node, offset: int, length: int) -> bytes:
    """Bytes of the image's file; behind its end there are zeros."""
    return node.read(offset, length).ljust(length, b"\0")


def _is_sound(node: Node, header: Qcow2, one: Stored) -> bool:
    if not one.entries or not one.table or one.table % header.cluster_size:
        return False
    if one.entries > MOST_TABLE or one.flags & ~(IN_USE | AUTO):
        return False
    if not _LEAST_ORDER <= one.order <= _MOST_ORDER:
        return False
    room = one.entries * header.cluster_size
    if room > MOST_BYTES:
        return False
    return bool(one.flags & IN_USE) or length_of(node) <= room * 8 << one.order


def described(node: Node) -> list[dict[str, Any]]:
    """The schema's Qcow2BitmapInfo of each, in the order of a human's screen."""
    return [
        {
            "flags": [name for flag, name in _FLAGS if one.flags & flag],
            "name": one.name,
            "granularity": 1 << one.order,
        }
        for one in listed(node)
    ]


def encoded(wanted: Sequence[Stored]) -> bytes:
    made = b""
    for one in wanted:
        name = _raw(one.name)
        head = _HEAD.pack(one.table, one.entries, one.flags, _KIND, one.order, len(name), 0)
        made += (head + name).ljust(one.size, b"\0")
    return made


def header_of(node: Node) -> Qcow2:
    """That of a node that is an image."""
    assert node.header is not None
    return node.header
