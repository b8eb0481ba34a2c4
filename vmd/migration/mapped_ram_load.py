"""mapped-ram on its way in: pages are read from their places, and the stream goes on behind them.

What is refused, and with which words, observed from QEMU's migration/ram.c
(parse_ramblock_mapped_ram, read_ramblock_mapped_ram).
"""

from __future__ import annotations

import errno
import mmap

from vmd.memory.dirty import PAGE_BITS, PAGE_SIZE
from vmd.memory.vectors import bring_numpy
from vmd.migration.mapped_ram import HEADER_SIZE, VERSION, bitmap_size
from vmd.migration.source import LoadError, invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from vmd.memory import RamBlock
    from vmd.migration.source import Parse, Source

    Read = Callable[[memoryview, int], int]

    class MappedFile(Protocol):
        """The file that the stream is in.

        `read_at(buffer, position)` fills the buffer and returns the bytes that came; positions
        count from the beginning of the file. `read_pages` does the same for whole pages.
        """

        def read_at(self, buffer: memoryview, position: int) -> int: ...
        def read_pages(self, buffer: memoryview, position: int) -> int: ...


BITMAP_PIECE = 1 << 17  # bytes of bitmap looked at together
MOST_RAM = 1 << 44  # bytes; the bitmap of a longer block would take for ever, were it there
CHUNK = 1 << 20  # bytes that QEMU reads at once
STEP = 256 << 10  # what was read is still in the cache when it is written to RAM


def load_region(source: Source, block: RamBlock, length: int, file: MappedFile) -> Parse[None]:
    """Read a block's header, bitmap and pages; the source goes on behind its region.

    The source's positions are those of the file. Like QEMU this compares the block's length with
    nothing.
    """
    head = yield from source.skip(HEADER_SIZE, keep=HEADER_SIZE)
    if len(head) < HEADER_SIZE:
        raise invalid(
            "Could not read whole mapped-ram migration header"
            f" (expected {HEADER_SIZE}, got {len(head)} bytes)"
        )
    version = int.from_bytes(head[:4], "big")
    page_size, bitmap_at, pages_at = (int.from_bytes(head[i : i + 8], "big") for i in (4, 12, 20))
    if version > VERSION:
        raise invalid(
            "Migration mapped-ram capability version not supported"
            f" (expected <= {VERSION}, got {version})"
        )
    if pages_at % PAGE_SIZE:
        raise invalid(f"Error reading ramblock {block.idstr} pages, region has bad alignment")
    if not page_size:  # QEMU divides by it
        raise invalid(f"Error reading ramblock {block.idstr} pages, their size is 0")
    if length > MOST_RAM:
        raise invalid("Error reading dirty bitmap")
    behind = pages_at + length - source.position
    if behind < 0:  # QEMU goes back, and may do so for ever
        raise invalid(
            f"Error reading ramblock {block.idstr} pages, region is not behind its header"
        )
    block.clear(0, block.size)
    _Region(block, pages_at, file).load(bitmap_at, length // page_size)
    source.leave_out(behind)


class _Region:
    def __init__(self, block: RamBlock, pages_at: int, file: MappedFile) -> None:
        self._block = block
        self._pages_at = pages_at
        self._file = file
        self._buffer = memoryview(mmap.mmap(-1, STEP))  # it begins with a page

    def load(self, bitmap_at: int, pages: int) -> None:
        """Read the pages whose bits are set. Only a piece of the bitmap is ever held."""
        bring_numpy()
        import numpy as np

        buffer = memoryview(bytearray(min(bitmap_size(pages), BITMAP_PIECE)))
        left = bitmap_size(pages)
        first = 0
        while left:
            bits = buffer[: min(left, len(buffer))]
            if _read(self._file.read_at, bits, bitmap_at + first // 8) < len(bits):
                raise invalid("Error reading dirty bitmap")
            if np.frombuffer(bits, np.uint64).any():
                flags = np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")
                flags = flags[: pages - first]
                edges = np.flatnonzero(np.diff(flags, prepend=0, append=0)).tolist()
                for one, other in zip(edges[::2], edges[1::2], strict=True):
                    self._load_run((first + one) << PAGE_BITS, (first + other) << PAGE_BITS)
            left -= len(bits)
            first += 8 * len(bits)

    def _load_run(self, start: int, end: int) -> None:
        for offset in range(start, end, CHUNK):
            self._load_chunk(offset, min(CHUNK, end - offset))

    def _load_chunk(self, offset: int, size: int) -> None:
        block = self._block
        if offset + size > block.size or block.readonly:
            raise invalid(f"page outside of ramblock {block.idstr} range")
        done = 0
        while done < size:
            buffer = self._buffer_for(offset + done, min(size - done, STEP))
            count = _read(self._file.read_pages, buffer, self._pages_at + offset + done)
            if count < len(buffer):
                raise invalid(
                    f"({block.idstr}) failed to read page {offset:x}"
                    f"from file offset {self._pages_at + offset:x}:"
                    f" Partial read of size {done + count}, expected {size}"
                )
            if block.fd >= 0:
                try:
                    block.put(offset + done, buffer)
                except OSError as error:
                    raise LoadError(error.errno or errno.EIO) from None
            block.mark(offset + done, count)
            done += count

    def _buffer_for(self, offset: int, size: int) -> memoryview:
        """Where to read to: anonymous memory itself, or what will be written to a block's file."""
        if self._block.fd >= 0:
            return self._buffer[:size]
        if size == STEP:
            self._block.expect_data(offset)
        return self._block.view[offset : offset + size]


def _read(read: Read, buffer: memoryview, position: int) -> int:
    """As many bytes as there are, up to the buffer's length."""
    done = 0
    while done < len(buffer):
        count = read(buffer[done:], position + done)
        if not count:
            break
        done += count
    return done
