"""A blank qcow2 image: the bytes of its metadata, from what it shall be.

Format: docs/interop/qcow2 of QEMU. The layout (header, table of reference counts, their first
block, table of level 1) and the texts were observed from block/qcow2.c; where reference counts need
several blocks, ours follow each other.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from qapi.error import QmpError
from vmd.block.image import BACKING_FORMAT, HEADER, MAGIC, NEWER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEFAULT_CLUSTER = 1 << 16
DEFAULT_REFCOUNT_BITS = 16
SECTOR = 512
_LEAST_CLUSTER, _MOST_CLUSTER = 512, 2 << 20
_LEAST_EXTENDED = 16384
_MOST_LEVEL_1 = 32 << 20  # bytes
_MOST_NAME = 1023
_ENTRY = 8
_COMPRESSION, _EXTENDED_L2, _LAZY_REFCOUNTS = 1 << 3, 1 << 4, 1
_FEATURE_NAMES = 0x6803F857
_LEAST_FOR_NAMES = 4096  # smaller clusters have no room for the names of features
_NAMES = (
    *((0, 0, "dirty bit"), (0, 1, "corrupt bit"), (0, 2, "external data file")),
    *((0, 3, "compression type"), (0, 4, "extended L2 entries"), (1, 0, "lazy refcounts")),
    *((2, 0, "bitmaps"), (2, 1, "raw external data")),
)


class Blank(NamedTuple):
    """What an image shall be. Sizes in bytes."""

    size: int
    version: int
    cluster: int
    refcount_bits: int
    lazy_refcounts: bool
    extended_l2: bool
    zstd: bool
    backing: bytes | None
    backing_format: str | None


def judge(options: Mapping[str, Any]) -> Blank:
    """The schema's BlockdevCreateOptionsQcow2 in QEMU's order of checks; QmpError if unsound."""
    size, cluster = int(options["size"]), int(options.get("cluster-size", DEFAULT_CLUSTER))
    if size % SECTOR:
        raise QmpError(f"Image size must be a multiple of {SECTOR} bytes")
    version = 2 if options.get("version") == "v2" else 3
    extended = bool(options.get("extended-l2", False))
    newer = "compatibility level 1.1 {}above (use version=v3 or greater)"
    if extended and version == 2:
        raise QmpError(f"Extended L2 entries are only supported with {newer.format('and ')}")
    if cluster & (cluster - 1) or not _LEAST_CLUSTER <= cluster <= _MOST_CLUSTER:
        raise QmpError("Cluster size must be a power of two between 512 and 2048k")
    if extended and cluster < _LEAST_EXTENDED:
        text = "Extended L2 entries are only supported with cluster sizes of at least"
        raise QmpError(f"{text} {_LEAST_EXTENDED} bytes")
    if options.get("backing-fmt") is not None and "backing-file" not in options:
        raise QmpError("Backing format cannot be used without backing file")
    lazy = bool(options.get("lazy-refcounts", False))
    if lazy and version == 2:
        raise QmpError(f"Lazy refcounts only supported with {newer.format('and ')}")
    bits = int(options.get("refcount-bits", DEFAULT_REFCOUNT_BITS))
    if not 0 < bits <= 64 or bits & (bits - 1):
        raise QmpError("Refcount width must be a power of two and may not exceed 64 bits")
    if bits != DEFAULT_REFCOUNT_BITS and version == 2:
        text = "Different refcount widths than 16 bits require"
        raise QmpError(f"{text} {newer.format('or ')}")
    zstd = options.get("compression-type") == "zstd"
    if zstd and version == 2:
        text = "Non-zlib compression type is only supported with"
        raise QmpError(f"{text} {newer.format('and ')}")
    backing = options.get("backing-file")
    name = None if backing is None else str(backing).encode(errors="surrogateescape")
    return Blank(
        size, version, cluster, bits, lazy, extended, zstd, name, options.get("backing-fmt")
    )


def pieces(blank: Blank) -> Iterator[tuple[int, bytes]]:
    """What is to be written, in order: (offset, bytes). QmpError where it becomes impossible.

    What comes before an error has been written by then, as QEMU does it.
    """
    clusters = _Layout(blank, 0)
    yield from clusters.tables()
    yield 0, _header(blank._replace(backing=None, backing_format=None), clusters, 0)
    if blank.size:
        if blank.size >> 63:
            raise QmpError("Could not resize image: Image size cannot be negative")
        entries = _level_1_entries(blank)
        if entries * _ENTRY > _MOST_LEVEL_1:
            raise QmpError("Could not resize image: Failed to grow the L1 table: File too large")
        clusters = _Layout(blank, entries)
        yield from clusters.tables()
        yield clusters.level_1, bytes(entries * _ENTRY)
        yield 0, _header(blank._replace(backing=None, backing_format=None), clusters, blank.size)
    if blank.backing is not None:
        yield 0, _header(blank, clusters, blank.size)


def _level_1_entries(blank: Blank) -> int:
    of_level_2 = blank.cluster // (2 * _ENTRY if blank.extended_l2 else _ENTRY)
    return -(-blank.size // (blank.cluster * of_level_2))


class _Layout:
    """Where everything is. The header's cluster is 0, the reference table begins in cluster 1."""

    def __init__(self, blank: Blank, level_1_entries: int) -> None:
        self._cluster, self._bits = blank.cluster, blank.refcount_bits
        per_block = blank.cluster * 8 // blank.refcount_bits
        self.entries = level_1_entries
        of_level_1 = -(-level_1_entries * _ENTRY // blank.cluster)
        self.table_clusters = self.blocks = 1
        while True:
            self.total = 1 + self.table_clusters + self.blocks + of_level_1
            blocks = -(-self.total // per_block)
            table_clusters = -(-blocks * _ENTRY // blank.cluster)
            if (blocks, table_clusters) == (self.blocks, self.table_clusters):
                break
            self.blocks, self.table_clusters = blocks, table_clusters
        # The first block stands before the table of level 1, the others behind it.
        self.first_block = (1 + self.table_clusters) * blank.cluster
        self.level_1 = self.first_block + blank.cluster if level_1_entries else 0
        self._others = self.first_block + (1 + of_level_1) * blank.cluster

    def tables(self) -> Iterator[tuple[int, bytes]]:
        """The reference table and its blocks: each cluster that is there is used once."""
        places = [self.first_block]
        places += [self._others + n * self._cluster for n in range(self.blocks - 1)]
        table = struct.pack(f">{len(places)}Q", *places)
        yield self._cluster, table.ljust(self.table_clusters * self._cluster, b"\0")
        per_block = self._cluster * 8 // self._bits
        for number, place in enumerate(places):
            used = min(per_block, self.total - number * per_block)
            yield place, _counted(used, self._bits).ljust(self._cluster, b"\0")


def _counted(used: int, bits: int) -> bytes:
    """So many reference counts of 1. Those of less than a byte fill it from its low end."""
    if bits >= 8:
        return (1).to_bytes(bits // 8, "big") * used
    whole = sum(1 << at * bits for at in range(used))
    return whole.to_bytes(-(-used * bits // 8), "little")


def _header(blank: Blank, layout: _Layout, size: int) -> bytes:
    name = blank.backing
    extensions = b""
    if name is not None and blank.backing_format is not None:
        extensions += _extension(BACKING_FORMAT, blank.backing_format.encode())
    if blank.version == 3 and blank.cluster > _LEAST_FOR_NAMES:
        names = b"".join(struct.pack("BB46s", *key, text.encode()) for *key, text in _NAMES)
        extensions += _extension(_FEATURE_NAMES, names)
    extensions += bytes(8)
    length = HEADER.size + (NEWER.size + 8 if blank.version == 3 else 0)
    place = length + len(extensions)
    head = HEADER.pack(
        MAGIC,
        blank.version,
        0 if name is None else place,
        len(name or b""),
        blank.cluster.bit_length() - 1,
        size,
        0,
        layout.entries,
        layout.level_1,
        blank.cluster,
        layout.table_clusters,
        0,
        0,
    )
    if blank.version == 3:
        incompatible = _EXTENDED_L2 * blank.extended_l2 | _COMPRESSION * blank.zstd
        order = blank.refcount_bits.bit_length() - 1
        head += NEWER.pack(incompatible, _LAZY_REFCOUNTS * blank.lazy_refcounts, 0, order, length)
        head += struct.pack("B7x", blank.zstd)
    if name is not None:
        reason = "Invalid argument" if len(name) > _MOST_NAME else "No space left on device"
        if len(name) > _MOST_NAME or place + len(name) > blank.cluster:
            told = name.decode(errors="surrogateescape")
            form = blank.backing_format or "(null)"
            text = f"Could not assign backing file '{told}' with format '{form}': {reason}"
            raise QmpError(text)
    return (head + extensions + (name or b"")).ljust(blank.cluster, b"\0")


def _extension(kind: int, data: bytes) -> bytes:
    padded = data.ljust(-(-len(data) // 8) * 8, b"\0")
    return struct.pack(">II", kind, len(data)) + padded
