"""blockdev-create: what its job does. Observed from block/create.c and block/file-posix.c."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from qapi.error import QmpError
from vmd.block import blank, image
from vmd.block.permissions import demand_write
from vmd.worker import in_a_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vmd.block.node import Node
    from vmd.block.nodes import Nodes
    from vmd.jobs import Work

    OpenFile = Callable[[str, int], int]

CHUNK = 1 << 20
DRIVERS = ("file", "qcow2")
"""What blockdev-create can make."""


def begin(nodes: Nodes, open_file: OpenFile, options: Mapping[str, Any]) -> Work:
    """The first step of the job; what it gives is the rest. QmpError if it cannot be."""
    if options["driver"] == "file":
        return _begin_file(open_file, options)
    return lambda: _create_qcow2(nodes, options)


def _begin_file(open_file: OpenFile, options: Mapping[str, Any]) -> Work:
    path = str(options["filename"])
    try:
        fd = open_file(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    except OSError as error:
        raise QmpError(f"Could not create '{path}': {os.strerror(error.errno or 0)}") from None
    size, preallocation = int(options["size"]), str(options.get("preallocation", "off"))

    def fill() -> None:
        try:
            _fill(fd, size, preallocation)
        finally:
            os.close(fd)

    return lambda: in_a_thread(fill)


def _fill(fd: int, size: int, preallocation: str) -> None:
    """Give the file its size; whatever was in it is gone."""
    what = "resize file"
    try:
        os.ftruncate(fd, 0)
        if size >> 63 and preallocation != "off":
            raise QmpError("Cannot use preallocation for shrinking files")
        if preallocation == "metadata":
            raise QmpError("Unsupported preallocation mode: metadata")
        if preallocation == "falloc":
            what = "preallocate new data"
            if size:
                os.posix_fallocate(fd, 0, size)
        else:
            os.ftruncate(fd, size - (size >> 63 << 64))
        if preallocation == "full":
            what = "write zeros for preallocation"
            _write_zeros(fd, size)
            what = "flush file to disk"
            os.fsync(fd)
        elif size:
            # So that whoever opens it later can find out how its blocks must be aligned.
            os.pwrite(fd, bytes(4096 if size >= 4096 else 512), 0)
    except OSError as error:
        raise QmpError(f"Could not {what}: {os.strerror(error.errno or 0)}") from None


def _write_zeros(fd: int, size: int) -> None:
    zeros = memoryview(bytes(CHUNK))
    while size:
        size -= os.write(fd, zeros[: min(size, CHUNK)])


async def _create_qcow2(nodes: Nodes, options: Mapping[str, Any]) -> None:
    with nodes.borrowed(options["file"]) as node:
        demand_write(node)
        made = blank.judge(options)
        await in_a_thread(lambda: _write(node, made))


def _write(node: Node, made: blank.Blank) -> None:
    for offset, data in blank.pieces(made):
        node.write(offset, data)
    # QEMU opens what it has made: on a node that keeps nothing it finds no image.
    image.parse_qcow2(node.read(0, image.READ_SIZE))
