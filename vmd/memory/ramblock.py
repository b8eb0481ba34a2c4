"""A RAM block: a named piece of guest memory, anonymous or mapped from a memfd or a file.

A block belongs to the event loop: only there it is written, and a writer marks what it wrote
afterwards. A sender's thread may read it at any time; a page it reads too early is in the log.
"""

from __future__ import annotations

import errno
import mmap
import os
from contextlib import suppress

from vmd.memory.dirty import PAGE_BITS, PAGE_SIZE, DirtyLog, PendingPages
from vmd.memory.extents import file_extents, union

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAP_NORESERVE = 0x4000  # a terabyte of guest memory is a promise, not a demand on the host
_HUGE_BITS = 21
_HUGE = 1 << _HUGE_BITS
_DENSE = 64  # so many pages at once will not be the last ones of their huge page
_FEW_PAGES = 16 * PAGE_SIZE
_CLEAR = bytes(64 << 10)


def page_align(size: int) -> int:
    """`size` rounded up to whole pages."""
    return (size + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1)


def is_ignored(block: RamBlock, ignore_shared: bool) -> bool:
    """Whether x-ignore-shared leaves a block out: shared, and a file that has a name."""
    return ignore_shared and block.shared and block.named_file


def _pages(offset: int, length: int) -> tuple[int, int]:
    """The first page of a range of bytes, and how many there are."""
    first = offset >> PAGE_BITS
    return first, ((offset + length - 1) >> PAGE_BITS) - first + 1


class RamBlock:
    """Guest memory with a name.

    `size` bytes are used, `max_size` is what the block may grow to in a stream (they differ only
    for resizable ROMs); both are multiples of the page. `gpa` is the guest address of its first
    byte (0 if it is not mapped at top level). `shared` and `named_file` are what migration asks:
    is it mapped MAP_SHARED, and is it a memory-backend-file. `fd` is owned by the block; it is
    the mapping's file from `file_offset` on, or -1 where the memory is anonymous.

    `view` is the memory itself, for vectorised work; whoever writes through it calls `mark`
    afterwards. Offsets outside the block raise ValueError or IndexError.
    """

    __slots__ = (
        "_huge",
        "_log",
        "_map",
        "_meters",
        "_touched",
        "fd",
        "file_offset",
        "gpa",
        "idstr",
        "max_size",
        "named_file",
        "page_size",
        "pending",
        "readonly",
        "resizable",
        "shared",
        "size",
        "view",
    )

    def __init__(
        self,
        idstr: str,
        size: int,
        fd: int,
        *,
        max_size: int | None = None,
        gpa: int = 0,
        file_offset: int = 0,
        shared: bool = True,
        private_mapping: bool = False,
        named_file: bool = False,
        readonly: bool = False,
        page_size: int = PAGE_SIZE,
    ) -> None:
        """Map `size` bytes of `fd`; takes the descriptor over, also when it fails (OSError).

        Without a descriptor (-1) it is anonymous memory, private. `shared` says what the block is
        to migration; `private_mapping` maps a file copy-on-write.
        """
        private_mapping = private_mapping or fd < 0
        flags = mmap.MAP_PRIVATE if private_mapping else mmap.MAP_SHARED
        if fd < 0 or (private_mapping and os.fstatvfs(fd).f_bsize < _HUGE):
            flags |= MAP_NORESERVE  # huge pages must be reserved, or touching them kills us
        protection = mmap.PROT_READ | (0 if readonly else mmap.PROT_WRITE)
        max_size = size if max_size is None else max_size
        try:
            self._map = mmap.mmap(fd, max_size, flags, protection, offset=file_offset)
        except BaseException:
            if fd >= 0:
                os.close(fd)
            raise
        self.idstr = idstr
        self.size = size
        self.max_size = max_size
        self.resizable = max_size != size
        self.gpa = gpa
        self.fd = fd
        self.file_offset = file_offset
        self.shared = shared
        self.named_file = named_file
        self.readonly = readonly
        self.page_size = page_size
        self.view = memoryview(self._map)
        self.pending: PendingPages | None = None
        self._log: DirtyLog | None = None
        self._meters: tuple[DirtyLog, ...] = ()
        # What a private mapping holds is in no file that could be asked for its holes.
        self._touched: DirtyLog | None = DirtyLog() if private_mapping else None
        self._huge: set[int] = set()

    @classmethod
    def anonymous(
        cls, idstr: str, size: int, *, max_size: int | None = None, gpa: int = 0
    ) -> RamBlock:
        """Fresh private memory, all zero, that costs nothing until it is touched."""
        return cls(idstr, size, -1, max_size=max_size, gpa=gpa, shared=False)

    @property
    def pages(self) -> int:
        return self.size >> PAGE_BITS

    # Reading and writing

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`; fewer at the end of the block."""
        length = max(min(length, self.size - offset), 0)
        if length > PAGE_SIZE:
            # Reading a hole through the mapping would allocate it.
            if self._touched is None:
                data = os.pread(self.fd, length, self.file_offset + offset)
                if len(data) == length:
                    return data
            elif self.is_fresh(offset, offset + length):
                return bytes(length)
        return bytes(self.view[offset : offset + length])

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write `data` at `offset`. Writes to a read-only block are lost, as in a ROM."""
        if not self.readonly:
            self.view[offset : offset + len(data)] = data
            self.mark(offset, len(data))

    def put_pages(self, offset: int, pages: list[memoryview]) -> None:
        """Write whole pages one behind the other, at most IOV_MAX (1024). Marks nothing.

        Fresh memory of a file is filled through the file: it need neither be faulted in nor zeroed
        before, and a full file system is an OSError and not the end of the process.
        """
        if self._touched is not None or self.page_size != PAGE_SIZE:
            if len(pages) >= _DENSE:
                self.expect_data(offset)
            for page in pages:
                self.view[offset : offset + PAGE_SIZE] = page
                offset += PAGE_SIZE
            return
        while pages:
            done = os.pwritev(self.fd, pages, self.file_offset + offset) // PAGE_SIZE
            if not done:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            pages = pages[done:]
            offset += done * PAGE_SIZE

    def put(self, offset: int, data: memoryview) -> None:
        """The same with whole pages that are one piece of memory already."""
        if self._touched is not None or self.page_size != PAGE_SIZE:
            self.view[offset : offset + len(data)] = data
            return
        while len(data):
            done = os.pwrite(self.fd, data, self.file_offset + offset)
            if not done:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            data = data[done:]
            offset += done

    def is_fresh(self, start: int, end: int) -> bool:
        """Whether [start, end) is anonymous memory that nobody has written to yet."""
        return self.fd < 0 and next(self.data_extents(start, end), None) is None

    def expect_data(self, offset: int) -> None:
        """Let fresh memory from `offset` on come in huge pages, which saves most of the faults.

        For data that comes densely: a page here and there shall not cost 2 MiB each. The host's
        huge pages may begin anywhere in ours, hence two of them are meant.
        """
        piece = offset >> _HUGE_BITS
        if self.fd < 0 and piece not in self._huge:
            self._huge.add(piece)
            start = piece << _HUGE_BITS
            with suppress(OSError):  # a host without huge pages
                self._map.madvise(mmap.MADV_HUGEPAGE, start, min(2 * _HUGE, self.max_size - start))

    def fill(self, offset: int, length: int, byte: int) -> None:
        """Set `length` bytes from `offset` to `byte`; zeros do not touch what is untouched."""
        if self.readonly:
            return
        if not byte:
            self.clear(offset, length)
        else:
            pattern = bytes((byte,)) * min(length, len(_CLEAR))
            for start in range(offset, offset + length, len(pattern)):
                end = min(start + len(pattern), offset + length)
                self.view[start:end] = pattern[: end - start]
            self.mark(offset, length)

    def clear(self, offset: int, length: int) -> None:
        """Zero a range without touching memory that never held anything; it is dirty then."""
        if self.readonly:
            return
        self._log_dirty(offset, length)
        if length <= _FEW_PAGES and self._touched is None:
            self._clear_few(offset, offset + length)
            return
        for start, end in self.data_extents(offset, offset + length):
            for first in range(start, end, len(_CLEAR)):
                last = min(first + len(_CLEAR), end)
                zeros = _CLEAR[: last - first]
                if self.view[first:last].tobytes() != zeros:
                    self.view[first:last] = zeros

    def _clear_few(self, start: int, end: int) -> None:
        """Page by page: looking for the end of the data around would cost more."""
        while start < end:
            try:
                data = os.lseek(self.fd, self.file_offset + start, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return
                data = self.file_offset + start
            start = max(data - self.file_offset, start)
            stop = min((start | (PAGE_SIZE - 1)) + 1, end)
            if start < stop:
                self.view[start:stop] = _CLEAR[: stop - start]
            start = stop

    def data_extents(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Ranges of [start, end) that may hold other bytes than zero, ascending and disjoint.

        ValueError, or OSError, where the block has been closed meanwhile.
        """
        if self.fd < 0:
            return self._touched_extents(start, end)
        base = self.file_offset
        extents = file_extents(self.fd, base + start, base + end)
        ranges = ((first - base, last - base) for first, last in extents)
        if self._touched is None:
            return ranges
        return union(ranges, self._touched_extents(start, end))

    def _touched_extents(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        if self._touched is None:
            raise ValueError("the memory has been closed")
        for first, last in self._touched.runs(start >> PAGE_BITS, page_align(end) >> PAGE_BITS):
            yield max(first << PAGE_BITS, start), min(last << PAGE_BITS, end)

    # The dirty log

    def mark(self, offset: int, length: int) -> None:
        """Note that bytes were written: to be called after writing, on the event loop."""
        if self._touched is not None and length > 0:
            self._touched.mark(*_pages(offset, length))
        self._log_dirty(offset, length)

    def _log_dirty(self, offset: int, length: int) -> None:
        if self._log is not None and length > 0:
            self._log.mark(*_pages(offset, length))
        for meter in self._meters if length > 0 else ():
            meter.mark(*_pages(offset, length))

    def start_dirty_log(self) -> None:
        """Begin to log writes; all pages are pending."""
        self._log = DirtyLog()
        self.pending = PendingPages(self.pages)

    def sync_dirty(self) -> int:
        """Make the logged pages pending; returns how many were not pending before."""
        if self._log is None or self.pending is None:
            return 0
        return self.pending.merge(self._log.take())

    def stop_dirty_log(self) -> None:
        self._log = None
        self.pending = None

    def start_meter(self) -> DirtyLog:
        """Begin to count pages that are written, whatever else is logged or counted."""
        meter = DirtyLog()
        self._meters += (meter,)
        return meter

    def stop_meter(self, meter: DirtyLog) -> int:
        """How many pages were written since that meter was started."""
        self._meters = tuple(other for other in self._meters if other is not meter)
        return meter.count()

    def madvise(self, advice: int, offset: int = 0, length: int | None = None) -> None:
        """madvise(2) on the mapping; OSError as it says."""
        self._map.madvise(advice, offset, self.size - offset if length is None else length)

    def address(self) -> int:
        """Where the block is mapped in this process."""
        import ctypes

        return ctypes.addressof(ctypes.c_char.from_buffer(self._map))

    def close(self) -> None:
        """Unmap and close; a view still held by someone keeps the mapping until it goes."""
        self.stop_dirty_log()
        self._meters = ()
        with suppress(BufferError):
            self.view.release()
            self._map.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
