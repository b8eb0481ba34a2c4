"""Dirty bitmaps that a qcow2 image keeps: read when it is opened, stored when it is let go of.

While an image is open for writing those in it are marked as in use, so that whoever finds them
after a crash knows that they are of no value. Format: docs/interop/qcow2 of QEMU; order and texts
observed from block/qcow2-bitmap.c and block/qcow2.c.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from qapi.error import QmpError
from vmd.block import image
from vmd.block.bitmap_list import (
    AUTO,
    IN_USE,
    INVALID,
    IO_ERROR,
    MOST_BYTES,
    MOST_TABLE,
    Stored,
    encoded,
    entry_size,
    header_of,
    listed,
    read,
)
from vmd.block.bitmaps import MOST_NAME, DirtyBitmap, check, create, length_of
from vmd.block.bits import WORD
from vmd.block.clusters import Clusters

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vmd.block.node import Node

_MOST_READ = 1 << 32
"""Bytes of bits in one image; beyond it, it would take for ever to open it."""

_ENTRY = 8
_OFFSET, _ONES, _RESERVED = 0x00FF_FFFF_FFFF_FE00, 1, 0xFF00_0000_0000_01FE
_AUTOCLEAR_AT = 88


def come_back(node: Node) -> None:
    """The node is this machine's again: another one may have written to the image."""
    for bitmap in node.bitmaps:
        bitmap.skip_store = False
    if node.header is None:
        return
    try:
        node.header = image.parse_qcow2(node.read(0, image.READ_SIZE))
        node.virtual_size = node.header.size
        load(node)
    except QmpError as error:
        raise QmpError(f"Could not reopen qcow2 layer: {error.desc}") from None


def let_go(node: Node, report: Callable[[str], None]) -> None:
    """Have an image keep what it shall keep, if it is this machine's."""
    if node.header is None or not node.active:
        return
    try:
        store(node)
    except (QmpError, OSError) as error:
        text = "Lost persistent bitmaps during inactivation of node"
        report(f"{text} '{node.name}': {getattr(error, 'desc', error)}")


# Reading


def load(node: Node) -> None:
    """Have the bitmaps of an image that was just opened, or has come back; QmpError if damaged."""
    found = listed(node)
    if not found:
        return
    if sum(one.entries for one in found) * header_of(node).cluster_size > _MOST_READ:
        raise QmpError("Too many bits in the image's bitmaps")
    here = {bitmap.name for bitmap in node.bitmaps}
    made: list[DirtyBitmap] = []
    marked: list[Stored] = []
    try:
        for one in found:
            if one.flags & IN_USE and one.name in here:  # it came with a migration
                marked.append(one)
                continue
            bitmap = create(node, one.name, 1 << one.order, here)
            made.append(bitmap)
            if not one.flags & IN_USE:
                _read_bits(node, one, bitmap)
            bitmap.persistent = True
            bitmap.inconsistent = bool(one.flags & IN_USE)
            bitmap.enabled = one.flags == AUTO
            bitmap.read_only = node.read_only
            marked.append(one._replace(flags=one.flags | IN_USE))
        if marked != found and not node.read_only:
            _mark(node, marked)
    except BaseException:
        for bitmap in made:
            node.bitmaps.remove(bitmap)
        raise


def _read_bits(node: Node, one: Stored, bitmap: DirtyBitmap) -> None:
    cluster = header_of(node).cluster_size
    failed = f"Could not read bitmap_table table from image for bitmap '{one.name}': "
    try:
        data = read(node, one.table, one.entries * _ENTRY)
    except QmpError:
        raise QmpError(failed + IO_ERROR) from None
    table = [entry for (entry,) in struct.iter_unpack(">Q", data)]
    for entry in table:
        if entry & _RESERVED or (entry & _OFFSET and (entry & _ONES or entry % cluster)):
            raise QmpError(failed + INVALID)
    if one.entries != _clusters_of(bitmap, cluster):
        raise QmpError(f"Could not read bitmap '{one.name}' from image: {INVALID}")
    for number, entry in enumerate(table):
        first = number * cluster * 8
        if entry & _OFFSET:
            bitmap.bits.put_bytes(first, read(node, entry & _OFFSET, cluster))
        elif entry & _ONES:
            bitmap.bits.set(first, first + cluster * 8 - 1)


def _clusters_of(bitmap: DirtyBitmap, cluster: int) -> int:
    """How many clusters its bits take: whole words, and none for no bits at all."""
    words = -(-bitmap.bits.length // WORD)
    return -(-words * (WORD // 8) // cluster)


# Writing


def demand_resizable(node: Node) -> None:
    """QmpError if there are bitmaps in the image that cannot have another size."""
    here = {bitmap.name: bitmap for bitmap in node.bitmaps}
    for one in listed(node):
        bitmap = here.get(one.name)
        if bitmap is None:
            text = "Cannot resize qcow2 with persistent bitmaps that were not loaded into memory"
            raise QmpError(text)
        check(bitmap)


def demand_room(node: Node, name: str, granularity: int) -> None:
    """QmpError if the node's image cannot keep a new bitmap."""
    called = _called(node)
    if node.driver != "qcow2":
        raise QmpError(f"Can't store persistent bitmaps to {called}: Operation not supported")
    try:
        if header_of(node).version < 3:
            raise QmpError("Cannot store dirty bitmaps in qcow2 v2 files")
        _demand_fitting(node, name, granularity)
        names = [name, *(bitmap.name or "" for bitmap in _kept(node))]
        if len(names) > image.MOST_BITMAPS:
            raise QmpError("Maximum number of persistent bitmaps is already reached")
        if sum(map(entry_size, names)) > image.MOST_DIRECTORY:
            raise QmpError("Not enough space in the bitmap directory")
    except QmpError as error:
        text = f"Can't make bitmap '{name}' persistent in '{called}': {error.desc}"
        raise QmpError(text) from None


def _called(node: Node) -> str:
    """The name of the drive that it is in, or else its own."""
    names = (getattr(user, "name", "") for user in node.parents if not hasattr(user, "bitmaps"))
    return next((name for name in names if name), node.name)


def _demand_fitting(node: Node, name: str, granularity: int) -> None:
    bits = -(-length_of(node) // granularity)
    size = -(-bits // 8)
    if size > min(MOST_BYTES, MOST_TABLE * header_of(node).cluster_size):
        raise QmpError("Too much space will be occupied by the bitmap. Use larger granularity")
    if len(name.encode(errors="surrogateescape")) > MOST_NAME:
        raise QmpError(f"Name length exceeds maximum ({MOST_NAME} characters)")


def _kept(node: Node) -> list[DirtyBitmap]:
    """Those that the image is to keep."""
    return [bitmap for bitmap in node.bitmaps if bitmap.persistent and not bitmap.skip_store]


def remove(node: Node, name: str) -> None:
    """Take a bitmap out of the image, if it is there; QmpError if that cannot be."""
    found = listed(node)
    gone = [one for one in found if one.name == name]
    if gone:
        clusters = _clusters(node)
        _write_list(node, clusters, [one for one in found if one.name != name])
        _give_back(node, clusters, gone)
        clusters.flush()


def store(node: Node) -> None:
    """Put into the image what it shall keep, and have these bitmaps no longer.

    QmpError if that cannot be.
    """
    found = {one.name: one for one in listed(node)}
    dropped: list[Stored] = []
    fresh: list[DirtyBitmap] = []
    for bitmap in _kept(node):
        assert bitmap.name is not None
        if bitmap.inconsistent or bitmap.read_only:
            continue
        _demand_storable(node, bitmap, bitmap.name)
        old = found.get(bitmap.name)
        if old is not None:
            if not old.flags & IN_USE:
                raise QmpError(f"Bitmap '{bitmap.name}' already exists in the image")
            dropped.append(old)
        order = bitmap.granularity.bit_length() - 1
        found[bitmap.name] = Stored(bitmap.name, 0, 0, AUTO * bitmap.enabled, order)
        fresh.append(bitmap)
    if fresh:
        _store(node, list(found.values()), {str(bitmap.name): bitmap for bitmap in fresh}, dropped)
    for bitmap in _kept(node):
        if bitmap.name in found:
            node.bitmaps.remove(bitmap)


def _demand_storable(node: Node, bitmap: DirtyBitmap, name: str) -> None:
    if node.read_only:
        raise QmpError("No write access")
    if header_of(node).version < 3:
        raise QmpError("Cannot store dirty bitmaps in qcow2 v2 files")
    try:
        _demand_fitting(node, name, bitmap.granularity)
    except QmpError as error:
        text = f"Bitmap '{name}' doesn't satisfy the constraints: {error.desc}"
        raise QmpError(text) from None


def _store(
    node: Node,
    wanted: list[Stored],
    fresh: dict[str, DirtyBitmap],
    dropped: Sequence[Stored],
) -> None:
    clusters = _clusters(node)
    written = []
    for one in wanted:
        bitmap = fresh.get(one.name)
        if bitmap is not None:
            table, entries = _write_bits(node, clusters, bitmap)
            if not entries:
                raise QmpError(f"Failed to update bitmap extension: {INVALID}")
            one = one._replace(table=table, entries=entries)
        written.append(one)
    _write_list(node, clusters, written)
    _give_back(node, clusters, dropped)
    clusters.flush()


def _clusters(node: Node) -> Clusters:
    """Those of the image; QmpError if it does not say rightly which of them are free."""
    header = header_of(node)
    if header.dirty or header.corrupt:
        raise QmpError("The reference counts of the image are not in order")
    return Clusters(_file(node), header)


def _write_bits(node: Node, clusters: Clusters, bitmap: DirtyBitmap) -> tuple[int, int]:
    """Where its table is, and how many entries that has. Of what is clean nothing is written."""
    size, file = header_of(node).cluster_size, _file(node)
    table = []
    for number in range(_clusters_of(bitmap, size)):
        data = bitmap.bits.to_bytes(number * size * 8, size)
        table.append(clusters.allocate(size) if any(data) else 0)
        if table[-1]:
            file.write(table[-1], data)
    offset = clusters.allocate(len(table) * _ENTRY)
    file.write(offset, struct.pack(f">{len(table)}Q", *table))
    return offset, len(table)


def _give_back(node: Node, clusters: Clusters, dropped: Sequence[Stored]) -> None:
    """Nobody needs the clusters of these any more."""
    size = header_of(node).cluster_size
    for one in dropped:
        data = read(node, one.table, one.entries * _ENTRY)
        for (entry,) in struct.iter_unpack(">Q", data):
            if entry & _OFFSET:
                clusters.free(entry & _OFFSET, size)
        clusters.free(one.table, one.entries * _ENTRY)


def _write_list(node: Node, clusters: Clusters, wanted: Sequence[Stored]) -> None:
    """The list in a new place, and the header that leads there."""
    old, directory = header_of(node).bitmaps, None
    if wanted:
        data = encoded(wanted)
        directory = image.Directory(len(wanted), len(data), clusters.allocate(len(data)))
        clusters.flush()
        _file(node).write(directory.offset, data)
    _write_header(node, directory)
    if old is not None:
        clusters.free(old.offset, old.size)


def _mark(node: Node, wanted: Sequence[Stored]) -> None:
    """Change flags in the list where it is; meanwhile the image says that it has no bitmaps."""
    header, file = header_of(node), _file(node)
    assert header.bitmaps is not None
    file.write(_AUTOCLEAR_AT, struct.pack(">Q", header.autoclear & ~image.AUTOCLEAR_BITMAPS))
    file.write(header.bitmaps.offset, encoded(wanted))
    file.write(_AUTOCLEAR_AT, struct.pack(">Q", header.autoclear))


def _write_header(node: Node, directory: image.Directory | None) -> None:
    """The image's header anew, with this list of bitmaps or with none."""
    header, file = header_of(node), _file(node)
    data = node.read(0, header.cluster_size)
    autoclear = header.autoclear & ~image.AUTOCLEAR_BITMAPS
    found = [(kind, each) for kind, each in image.extensions(data, header.header_length)]
    found = [(kind, each) for kind, each in found if kind != image.BITMAPS]
    if directory is not None:
        autoclear |= image.AUTOCLEAR_BITMAPS
        entry = image.BITMAPS_EXTENSION.pack(directory.entries, 0, directory.size, directory.offset)
        found.append((image.BITMAPS, entry))
    made = bytearray(data[: header.header_length])
    struct.pack_into(">Q", made, _AUTOCLEAR_AT, autoclear)
    for kind, each in found:
        made += struct.pack(">II", kind, len(each)) + each.ljust(-(-len(each) // 8) * 8, b"\0")
    made += bytes(8)
    name_at, length = struct.unpack_from(">QI", data, 8)
    if name_at:
        struct.pack_into(">Q", made, 8, len(made))
        made += data[name_at : name_at + length]
    if len(made) > header.cluster_size:
        raise QmpError("Failed to update bitmap extension: No space left on device")
    file.write(0, bytes(made).ljust(header.cluster_size, b"\0"))
    node.header = header._replace(autoclear=autoclear, bitmaps=directory)


def _file(node: Node) -> Node:
    assert node.file is not None
    return node.file
