"""What the header of an image says. The contents are nobody's business here.

Format: docs/interop/qcow2 of QEMU.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from qapi.error import QmpError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = b"QFI\xfb"
HEADER = struct.Struct(">4sIQIIQIIQQIIQ")
NEWER = struct.Struct(">QQQII")
SNAPSHOT = struct.Struct(">QIHHIIQII")
READ_SIZE = 1 << 16
_LEAST_BITS, _MOST_BITS = 9, 21
_MOST_ORDER = 6
_MOST_REFCOUNTS = 8 << 20  # bytes
BACKING_FORMAT = 0xE2792ACA
BITMAPS = 0x23852875
BITMAPS_EXTENSION = struct.Struct(">IIQQ")
AUTOCLEAR_BITMAPS = 1
MOST_BITMAPS = 65535
MOST_DIRECTORY = 1024 * MOST_BITMAPS  # bytes
_DIRTY, _CORRUPT, _EXTENDED_L2 = 1, 2, 1 << 4
_MOST_NAME = 1023
_MOST_SNAPSHOTS = 65536
_MOST_L1 = 4 << 20


class Snapshot(NamedTuple):
    """A snapshot as the image lists it; times in seconds and ns."""

    id: str
    name: str
    vm_state_size: int
    date: tuple[int, int]
    clock_ns: int


class Directory(NamedTuple):
    """Where an image lists the bitmaps that it keeps: how many, and the list's bytes."""

    entries: int
    size: int
    offset: int


class Qcow2(NamedTuple):
    """A qcow2 header. Sizes in bytes; `backing` is as it is written in the image."""

    version: int
    size: int
    cluster_size: int
    backing: str | None
    backing_format: str | None
    refcount_bits: int
    lazy_refcounts: bool
    dirty: bool
    corrupt: bool
    extended_l2: bool
    compression: str
    snapshots_offset: int
    snapshot_count: int
    l1_offset: int
    l1_size: int
    refcounts_offset: int
    refcounts_clusters: int
    autoclear: int
    header_length: int
    bitmaps: Directory | None


def parse_qcow2(data: bytes) -> Qcow2:
    """The header that an image begins with; QmpError if it is none."""
    if len(data) < HEADER.size or data[:4] != MAGIC:
        raise QmpError("Image is not in qcow2 format")
    (
        _,
        version,
        backing_at,
        backing_length,
        cluster_bits,
        size,
        encryption,
        l1_size,
        l1_at,
        refcounts_at,
        refcounts_clusters,
        snapshot_count,
        snapshots_at,
    ) = HEADER.unpack_from(data)
    if version not in (2, 3):
        raise QmpError(f"Unsupported qcow2 version {version}")
    if not _LEAST_BITS <= cluster_bits <= _MOST_BITS:
        raise QmpError(f"Unsupported cluster size: 2^{cluster_bits}")
    incompatible = compatible = autoclear = 0
    refcount_order, length = 4, HEADER.size
    if version == 3:
        if len(data) < HEADER.size + NEWER.size:
            raise QmpError("qcow2 header too short")
        incompatible, compatible, autoclear, refcount_order, length = NEWER.unpack_from(
            data, HEADER.size
        )
        if length < HEADER.size + NEWER.size:
            raise QmpError("qcow2 header too short")
        if length > 1 << cluster_bits:
            raise QmpError("qcow2 header exceeds cluster size")
    if refcounts_clusters << cluster_bits > _MOST_REFCOUNTS:
        raise QmpError("Reference count table too large")
    if refcount_order > _MOST_ORDER:
        raise QmpError("Reference count entry width too large; may not exceed 64 bits")
    compression = data[104] if length > 104 and len(data) > 104 else 0
    backing = None
    if backing_at and backing_length:
        if backing_length > _MOST_NAME or backing_at + backing_length > len(data):
            raise QmpError("Backing file name too long")
        backing = data[backing_at : backing_at + backing_length].decode(errors="surrogateescape")
    if encryption:
        raise QmpError("Encrypted images are not supported")
    form = _extension(data, length, BACKING_FORMAT)
    return Qcow2(
        version,
        size,
        1 << cluster_bits,
        backing,
        None if form is None else form.decode(errors="replace"),
        1 << refcount_order,
        bool(compatible & 1),
        bool(incompatible & _DIRTY),
        bool(incompatible & _CORRUPT),
        bool(incompatible & _EXTENDED_L2),
        "zstd" if compression == 1 else "zlib",
        snapshots_at,
        min(snapshot_count, _MOST_SNAPSHOTS),
        l1_at,
        min(l1_size, _MOST_L1),
        refcounts_at,
        refcounts_clusters,
        autoclear,
        length,
        _directory(_extension(data, length, BITMAPS), autoclear, 1 << cluster_bits),
    )


def extensions(data: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """The header's extensions, which begin at `at`: the kind and the data of each."""
    while at + 8 <= len(data):
        kind, length = struct.unpack_from(">II", data, at)
        if kind == 0 or at + 8 + length > len(data):
            return
        yield kind, data[at + 8 : at + 8 + length]
        at += 8 + (length + 7) // 8 * 8


def _extension(data: bytes, at: int, wanted: int) -> bytes | None:
    return next((found for kind, found in extensions(data, at) if kind == wanted), None)


def _directory(data: bytes | None, autoclear: int, cluster: int) -> Directory | None:
    """That of the bitmaps, unless a program has written to the image that knew none."""
    if data is None:
        return None
    if len(data) != BITMAPS_EXTENSION.size:
        raise QmpError("bitmaps_ext: Invalid extension length")
    if not autoclear & AUTOCLEAR_BITMAPS:
        return None
    count, reserved, size, offset = BITMAPS_EXTENSION.unpack(data)
    if reserved:
        raise QmpError("bitmaps_ext: Reserved field is not zero")
    if count > MOST_BITMAPS:
        text = f"Image has {count} bitmaps, exceeding the QEMU supported maximum of {MOST_BITMAPS}"
        raise QmpError(f"bitmaps_ext: {text}")
    if not count:
        raise QmpError("found bitmaps extension with zero bitmaps")
    if offset % cluster:
        raise QmpError("bitmaps_ext: invalid bitmap directory offset")
    if size > MOST_DIRECTORY:
        text = f"exceeds the maximum supported size ({MOST_DIRECTORY})"
        raise QmpError(f"bitmaps_ext: bitmap directory size ({size}) {text}")
    return Directory(count, size, offset)


def parse_snapshots(data: bytes, count: int) -> list[Snapshot]:
    """The table of snapshots; one that is cut off ends it."""
    found = []
    at = 0
    for _ in range(count):
        if at + SNAPSHOT.size > len(data):
            break
        _, _, id_length, name_length, seconds, nanoseconds, clock, state, extra = (
            SNAPSHOT.unpack_from(data, at)
        )
        name_at = at + SNAPSHOT.size + extra + id_length
        if extra >= 8 and at + SNAPSHOT.size + 8 <= len(data):
            state = struct.unpack_from(">Q", data, at + SNAPSHOT.size)[0]
        identifier = data[at + SNAPSHOT.size + extra : name_at].decode(errors="replace")
        name = data[name_at : name_at + name_length].decode(errors="replace")
        found.append(Snapshot(identifier, name, state, (seconds, nanoseconds), clock))
        at = -(-(name_at + name_length) // 8) * 8
    return found
