"""Dirty bitmaps: which parts of a node were written since somebody began to look.

States, checks and texts observed from block/dirty-bitmap.c and block/monitor/bitmap-qmp-cmds.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qapi.error import QmpError
from vmd.block.bits import Bits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmd.block.node import Node

SECTOR = 512
MOST_NAME = 1023
_LEAST_DEFAULT, _MOST_DEFAULT = 4096, 65536
_MOST_BITS = 1 << 37
"""QEMU, which keeps all of them in memory, ends when it finds no room for so many."""


class DirtyBitmap:
    """One bitmap of a node of `size` bytes; a bit stands for `granularity` bytes.

    Without a name it is the successor of another one, which is busy, and for which it records.
    """

    __slots__ = (
        *("bits", "busy", "enabled", "granularity", "inconsistent", "name", "persistent"),
        *("read_only", "size", "skip_store", "successor"),
    )

    def __init__(self, name: str | None, size: int, granularity: int) -> None:
        self.name = name
        self.size = size
        self.granularity = granularity
        self.bits = Bits(-(-size // granularity))
        self.enabled = True
        self.busy = False
        self.persistent = False
        self.read_only = False
        self.inconsistent = False
        self.skip_store = False  # it travels with a migration, and not in the image
        self.successor: DirtyBitmap | None = None

    @property
    def count(self) -> int:
        """Bytes that are dirty: whole granules."""
        return self.bits.count() * self.granularity

    @property
    def is_recording(self) -> bool:
        return self.enabled or (self.successor is not None and self.successor.enabled)

    def mark(self, offset: int, length: int) -> None:
        """These bytes were written."""
        if self.enabled and length:
            self.bits.set(offset // self.granularity, (offset + length - 1) // self.granularity)

    def resize(self, size: int) -> None:
        """Its node has so many bytes from now on."""
        self.size = size
        self.bits.resize(-(-size // self.granularity))

    def unite(self, other: DirtyBitmap) -> None:
        """Everything is dirty here that is dirty there, on a node of the same size."""
        if other.granularity == self.granularity:
            self.bits.unite(other.bits)
            return
        for first, last in other.bits.runs():
            low, high = first * other.granularity, (last + 1) * other.granularity - 1
            self.bits.set(low // self.granularity, high // self.granularity)

    def describe(self) -> dict[str, Any]:
        """The schema's BlockDirtyInfo."""
        told: dict[str, Any] = {} if self.name is None else {"name": self.name}
        told |= {"count": self.count, "granularity": self.granularity}
        told |= {"recording": self.is_recording, "busy": self.busy, "persistent": self.persistent}
        return told | ({"inconsistent": True} if self.inconsistent else {})

    def sha256(self) -> str:
        from hashlib import sha256

        told = sha256()
        for piece in self.bits.words():
            told.update(piece)
        return told.hexdigest()


def length_of(node: Node) -> int:
    """Bytes that a node's bitmaps cover: whole sectors."""
    return -(-node.size // SECTOR) * SECTOR


def find(node: Node, name: str) -> DirtyBitmap:
    """The bitmap of that name; QmpError if there is none."""
    for bitmap in node.bitmaps:
        if bitmap.name == name:
            return bitmap
    raise QmpError(f"Dirty bitmap '{name}' not found")


def check(
    bitmap: DirtyBitmap,
    *,
    may_be_read_only: bool = False,
    may_be_inconsistent: bool = False,
) -> None:
    """QmpError if the bitmap cannot be worked with."""
    if bitmap.busy:
        text = "is currently in use by another operation and cannot be used"
        raise QmpError(f"Bitmap '{bitmap.name}' {text}")
    if bitmap.read_only and not may_be_read_only:
        raise QmpError(f"Bitmap '{bitmap.name}' is readonly and cannot be modified")
    if bitmap.inconsistent and not may_be_inconsistent:
        raise QmpError(
            f"Bitmap '{bitmap.name}' is inconsistent and cannot be used",
            hint="Try block-dirty-bitmap-remove to delete this bitmap from disk",
        )


def create(
    node: Node, name: str | None, granularity: int, names: set[str | None] | None = None
) -> DirtyBitmap:
    """A new bitmap of a node, the first of its list; QmpError if it cannot be.

    Who makes many tells the `names` of those that are there; the new one's is added.
    """
    if names is None:
        names = {bitmap.name for bitmap in node.bitmaps}
    if name is not None and name in names:
        raise QmpError(f"Bitmap already exists: {name}")
    if name is not None and len(name.encode(errors="surrogateescape")) > MOST_NAME:
        raise QmpError(f"Bitmap name too long: {name}")
    size = length_of(node)
    if -(-size // granularity) > _MOST_BITS:
        raise QmpError(f"A bitmap of {-(-size // granularity)} bits is too large")
    bitmap = DirtyBitmap(name, size, granularity)
    node.bitmaps.insert(0, bitmap)
    names.add(name)
    return bitmap


def default_granularity(node: Node) -> int:
    """That of the clusters of an image, within bounds."""
    image: Node | None = node
    while image is not None and image.driver == "raw":
        image = image.file
    if image is None or image.header is None:
        return _MOST_DEFAULT
    return min(max(image.header.cluster_size, _LEAST_DEFAULT), _MOST_DEFAULT)


def add(
    node: Node, name: str, granularity: int | None, *, persistent: bool, disabled: bool
) -> None:
    """block-dirty-bitmap-add; the name is not empty."""
    if granularity is None:
        granularity = default_granularity(node)
    elif granularity < SECTOR or granularity & (granularity - 1):
        raise QmpError("Granularity must be power of 2 and at least 512")
    if persistent:
        from vmd.block.persistent import demand_room

        demand_room(node, name, granularity)
    bitmap = create(node, name, granularity)
    bitmap.enabled, bitmap.persistent = not disabled, persistent


def withdraw(node: Node, name: str) -> DirtyBitmap:
    """Take a bitmap out of the image, if it is in there; its node still has it. QmpError if it
    cannot be removed."""
    bitmap = find(node, name)
    check(bitmap, may_be_inconsistent=True)
    if bitmap.persistent and not bitmap.skip_store and node.header is not None:
        from vmd.block import persistent

        persistent.remove(node, name)
    return bitmap


def remove(node: Node, name: str) -> None:
    """block-dirty-bitmap-remove."""
    node.bitmaps.remove(withdraw(node, name))


def merge(target: DirtyBitmap, sources: Iterable[DirtyBitmap]) -> None:
    """Add to the target what the sources have, or nothing if one of them does not fit."""
    together = DirtyBitmap(None, target.size, target.granularity)
    for source in sources:
        check(source, may_be_read_only=True)
        if source.size != target.size:
            raise QmpError(
                f"Bitmaps are of different sizes (destination size is {target.size}, source size"
                f" is {source.size}) and can't be merged"
            )
        together.unite(source)
    check(target)
    target.unite(together)


def written(node: Node, offset: int, length: int) -> None:
    """Bytes of a node were written, perhaps beyond its end."""
    end = -(-(offset + length) // SECTOR) * SECTOR
    for bitmap in node.bitmaps:
        if end > bitmap.size:
            bitmap.resize(end)
        bitmap.mark(offset, length)


def resized(node: Node) -> None:
    """A node has another size."""
    size = length_of(node)
    for bitmap in node.bitmaps:
        bitmap.resize(size)
