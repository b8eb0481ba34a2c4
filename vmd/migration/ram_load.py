"""RAM on its way in: the `ram` section's records, applied to the blocks as they arrive.

Records are read one by one only where they change their kind; runs of pages, and of zero pages,
are found together and put into memory at once. What is refused, and with which words, is observed
from QEMU's migration/ram.c (ram_load_precopy) and migration/xbzrle.c.
"""

from __future__ import annotations

import errno

from vmd.memory.dirty import PAGE_SIZE
from vmd.memory.ramblock import is_ignored, page_align
from vmd.migration.ram import (
    CONTINUE,
    EOS,
    HOOK,
    MEM_SIZE,
    MULTIFD_FLUSH,
    PAGE,
    PAGE_RECORD,
    SECTION_VERSION,
    XBZRLE,
    ZERO,
    ZERO_RECORD,
)
from vmd.migration.ram_in_place import InPlace, Room
from vmd.migration.ram_runs import (
    MOST_ZEROS,
    MOST_ZEROS_LARGE,
    Vectors,
    pages_alike,
    zeros_alike,
)
from vmd.migration.source import LoadError, invalid, io_error, text
from vmd.migration.stream import be64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vmd.memory import RamBlock
    from vmd.migration.mapped_ram_load import MappedFile
    from vmd.migration.source import Parse, Source

_FLAGS = PAGE_SIZE - 1
_IN_STREAM = ZERO | PAGE | XBZRLE | HOOK | MULTIFD_FLUSH  # never with mapped-ram
_MOST_PAGES = 256  # records looked at together: about a MiB
_FEW = 8
_DENSE = 64
MOST_MADE = 4096  # blocks; QEMU's largest machines have hundreds
_LONG_RUN = 2 << 20  # bytes of data after which it is likely that it goes on


class RamLoader:
    """Fills RAM blocks from a stream.

    `unknown(name, length)` is asked for a block that the stream has and `blocks` has not: it
    returns a new block to fill, or None to refuse the stream as QEMU does. `made` are these
    blocks; `blocks` grows by them. With `ignore_shared` the table tells guest addresses, and
    shared files must not be sent. With `file` (mapped-ram) RAM is not in the stream but beside it.
    With `vectors` runs are found by numpy.
    """

    def __init__(
        self,
        blocks: Iterable[RamBlock],
        *,
        ignore_shared: bool = False,
        unknown: Callable[[str, int], RamBlock | None] | None = None,
        file: MappedFile | None = None,
        vectors: Vectors | None = None,
    ) -> None:
        self.blocks = list(blocks)
        self._ignore_shared = ignore_shared
        self._unknown = unknown
        self._file = file
        self.made: list[RamBlock] = []
        self._block: RamBlock | None = None  # the one that CONTINUE refers to
        self._next = 0  # behind the last run of records
        self._pages_from = -1  # where the run of data that ends there began, if it is data
        self._awaits_page = False
        self._room: Room | None = None
        self._window = _FEW
        self._pages_alike, self._zeros_alike = pages_alike, zeros_alike
        self._most_zeros = MOST_ZEROS
        if vectors is not None:
            self._pages_alike, self._zeros_alike = vectors.pages_alike, vectors.zeros_alike
            self._most_zeros = MOST_ZEROS_LARGE

    def load(self, source: Source, version: int) -> Parse[None]:
        """One section's records, up to its EOS; LoadError as the real thing refuses."""
        if version != SECTION_VERSION:
            raise invalid()
        while True:
            while self._run(source):
                pass
            if self._window > _MOST_PAGES:
                yield from self._wait_for_a_page(source)
            word = yield from source.be64()
            if source.failed:
                raise io_error("Getting RAM address failed")
            flags = word & _FLAGS
            if self._file is not None and flags & _IN_STREAM:
                raise invalid(f"Unexpected RAM flags: {flags & _IN_STREAM}")
            if flags & (ZERO | PAGE | XBZRLE):
                yield from self._page(source, word - flags, flags)
            elif flags & ~CONTINUE == MEM_SIZE:
                yield from self._table(source, word - flags)
            elif flags & ~CONTINUE == EOS:
                return
            elif flags & ~CONTINUE not in (HOOK, MULTIFD_FLUSH):
                raise invalid(f"Unknown combination of migration flags: 0x{flags:x}")
            if source.failed:
                raise io_error()

    def in_place(self, source: Source) -> InPlace | None:
        """Where to read the next bytes into, if they are likely to be a run of pages."""
        if not self._awaits_page or self._block is None:
            return None
        long = self._pages_from >= 0 and self._next - self._pages_from >= _LONG_RUN
        if not long or not InPlace.is_worth_it(self._block, self._next):
            return None
        self._block.expect_data(self._next)
        if self._room is None:
            self._room = Room()
        begun = source.rest()
        source.base -= len(begun)
        return InPlace(self._room, self._block, self._next, begun)

    def settle(self, source: Source, guess: InPlace) -> None:
        """Take over what became of a guess."""
        pages, rest = guess.settle()
        assert self._block is not None
        self._block.mark(self._next, pages * PAGE_SIZE)
        self._next += pages * PAGE_SIZE
        if len(rest) >= PAGE_RECORD:
            self._window = _FEW  # wrong: the next guess has to be earned
        source.base += pages * PAGE_RECORD
        source.feed(rest)

    def go_on_in(self, blocks: Iterable[RamBlock]) -> None:
        """What comes from now on goes into these, which have the names of the others."""
        self.blocks, self.made = list(blocks), []
        self._unknown = self._file = self._room = None
        self._block = self._find(self._block.idstr) if self._block is not None else None

    def give_up(self) -> None:
        """The stream is refused: the blocks that were made for it go again."""
        for block in self.made:
            self.blocks.remove(block)
            block.close()
        self.made.clear()

    # The block table

    def _table(self, source: Source, total: int) -> Parse[None]:
        """Entries until their lengths add up to the total, which is trusted as little as QEMU's."""
        left = total
        while left:
            name = text((yield from source.string()))
            length = yield from source.be64()
            block = self._find(name)
            if block is None and length and not source.failed:
                block = self._make(name, length)
            if block is None:
                raise invalid(f'Unknown ramblock "{name}", cannot accept migration')
            if self._file is not None:
                # QEMU looks neither at the length nor for a guest address (migration/ram.c).
                yield from self._load_mapped(source, block, length, self._file)
                left = (left - length) % (1 << 64)
                continue
            _resize(block, length)
            if self._ignore_shared:
                yield from self._check_gpa(source, block)
            left = (left - length) % (1 << 64)
            if source.failed:
                raise io_error()

    def _load_mapped(
        self, source: Source, block: RamBlock, length: int, file: MappedFile
    ) -> Parse[None]:
        from vmd.migration.mapped_ram_load import load_region

        if block.resizable and page_align(length) <= block.max_size:
            block.size = page_align(length)
        yield from load_region(source, block, length, file)

    def _check_gpa(self, source: Source, block: RamBlock) -> Parse[None]:
        gpa = yield from source.be64()
        if source.failed:
            raise io_error()
        if is_ignored(block, True) and gpa != block.gpa:
            raise invalid(f"Mismatched GPAs for block {block.idstr} {gpa}!= {block.gpa}")

    def _make(self, name: str, length: int) -> RamBlock | None:
        if len(self.made) >= MOST_MADE:
            return None
        try:
            block = self._unknown(name, length) if self._unknown is not None else None
        except OSError as error:
            raise LoadError(error.errno or errno.ENOMEM) from None
        if block is not None:
            self.blocks.append(block)
            self.made.append(block)
        return block

    def _find(self, name: str) -> RamBlock | None:
        return next((block for block in self.blocks if block.idstr == name), None)

    # One record

    def _page(self, source: Source, address: int, flags: int) -> Parse[None]:
        """A record that is about a page; `address` is its offset in the block."""
        block = yield from self._target(source, address, flags)
        kind = flags & ~CONTINUE
        if kind == ZERO:
            fill = yield from source.byte()
            if fill:
                raise invalid(f"Found a zero page with value {fill}")
            block.clear(address, PAGE_SIZE)
            self._passed(address, 1, data=False)
            return
        if kind == PAGE:
            data = yield from source.take(PAGE_SIZE)
            if not source.failed:
                block.view[address : address + PAGE_SIZE] = data
                self._passed(address, 1, data=True)
        elif kind == XBZRLE:
            yield from _load_xbzrle(source, block, address)
        else:
            raise invalid(f"Unknown combination of migration flags: 0x{flags:x}")
        block.mark(address, PAGE_SIZE)

    def _target(self, source: Source, address: int, flags: int) -> Parse[RamBlock]:
        """The block that a record means, with the address inside it."""
        illegal = f"Illegal RAM offset {address:x}"
        if flags & CONTINUE:
            if self._block is None:
                raise invalid("Ack, bad migration stream!", illegal)
        else:
            name = text((yield from source.string()))
            self._block = self._find(name)
            if self._block is None:
                raise invalid(f"Can't find block {name}", illegal)
            if is_ignored(self._block, self._ignore_shared):
                raise invalid(f"block {name} should not be migrated !", illegal)
        if address >= self._block.size or self._block.readonly:
            raise invalid(illegal)
        return self._block

    # Many records

    def _wait_for_a_page(self, source: Source) -> Parse[None]:
        """Wait where nothing of the next page is consumed, so that it may be read in place."""
        while source.available() < PAGE_RECORD and not source.ended:
            # Pages that were read in place meanwhile have moved what comes next.
            expected = be64(self._next | PAGE | CONTINUE)
            if not expected.startswith(source.glance(len(expected))):
                return
            self._awaits_page = True
            yield
            self._awaits_page = False

    def _run(self, source: Source) -> bool:
        """Apply the whole records at the head that form one run; False if there is none."""
        head, pos, block = source.head, source.pos, self._block
        if block is None or len(head) - pos < ZERO_RECORD:
            return False
        word = int.from_bytes(head[pos : pos + 8], "big")
        address, flags = word & ~_FLAGS, word & _FLAGS
        if flags == PAGE | CONTINUE:
            stride, most, alike = PAGE_RECORD, _MOST_PAGES, self._pages_alike
        elif flags == ZERO | CONTINUE:
            stride, most, alike = ZERO_RECORD, self._most_zeros, self._zeros_alike
        else:
            return False
        whole = min((len(head) - pos) // stride, (block.size - address) // PAGE_SIZE, most)
        if self._window < _DENSE <= whole:
            # Many together may come in huge pages, but not where a small one is already.
            ahead = pos + (_DENSE - 1) * stride
            if head[ahead : ahead + 8] == be64(word + (_DENSE - 1) * PAGE_SIZE):
                self._window = most
        limit = min(whole, self._window)
        if limit > 1 and head[pos + stride : pos + stride + 8] != be64(word + PAGE_SIZE):
            limit = 1
        count = alike(head, pos, word, limit) if limit > 0 else 0
        if not count:
            return False  # also a zero page that is not zero: it is judged by itself
        self._window = (
            min(self._window * 8, MOST_ZEROS_LARGE) if count == limit and count > 1 else _FEW
        )
        if flags & PAGE:
            _put_pages(block, address, head[pos : pos + count * PAGE_RECORD])
        else:
            block.clear(address, count * PAGE_SIZE)
        self._passed(address, count, data=bool(flags & PAGE))
        source.pos = pos + stride * count
        return True

    def _passed(self, address: int, count: int, *, data: bool) -> None:
        """Note that so many pages from `address` on are done."""
        if not data:
            self._pages_from = -1
        elif self._pages_from < 0 or address != self._next:
            self._pages_from = address
        self._next = address + count * PAGE_SIZE


def _put_pages(block: RamBlock, address: int, records: memoryview) -> None:
    pages = [records[i : i + PAGE_SIZE] for i in range(8, len(records), PAGE_RECORD)]
    count = len(pages)
    try:
        block.put_pages(address, pages)
    except OSError as error:
        raise LoadError(error.errno or errno.EIO) from None
    block.mark(address, count * PAGE_SIZE)


def _resize(block: RamBlock, length: int) -> None:
    """Make the block as long as the source's; only a resizable one can (system/physmem.c)."""
    size = page_align(length)
    if size == block.size:
        return
    if not block.resizable:
        raise invalid(
            f"Size mismatch: {block.idstr}: 0x{size:x} != 0x{block.size:x}: Invalid argument"
        )
    if size > block.max_size:
        raise invalid(
            f"Size too large: {block.idstr}: 0x{size:x} > 0x{block.max_size:x}: Invalid argument"
        )
    block.size = size


# XBZRLE: what changed in a page, as runs of kept and of new bytes


def _load_xbzrle(source: Source, block: RamBlock, address: int) -> Parse[None]:
    failed = f"Failed to decompress XBZRLE page at {address:x}"
    encoding = yield from source.byte()
    length = yield from source.be16()
    if encoding != 1:
        raise invalid("Failed to load XBZRLE page - wrong compression!", failed)
    if length > PAGE_SIZE:
        raise invalid("Failed to load XBZRLE page - len overflow!", failed)
    delta = yield from source.take(length)
    page = bytearray(block.view[address : address + PAGE_SIZE])
    if not apply_xbzrle(delta, page):
        raise invalid("Failed to load XBZRLE page - decode error!", failed)
    block.view[address : address + PAGE_SIZE] = page


def apply_xbzrle(delta: bytes, page: bytearray) -> bool:
    """Apply an encoded change to `page`; False if it is malformed."""
    i = at = 0
    while i < len(delta):
        if len(delta) - i < 2:
            return False
        for literal in (False, True):
            number = _uleb128(delta, i)
            if number is None:
                return False
            n, used = number
            i += used
            if literal:
                if n == 0 or at + n > len(page) or i + n > len(delta):
                    return False
                page[at : at + n] = delta[i : i + n]
                i += n
            elif (n == 0 and i > used) or at + n > len(page):
                return False  # only the first run may skip nothing
            at += n
    return True


def _uleb128(data: bytes, i: int) -> tuple[int, int] | None:
    """A number of at most 14 bits and how many bytes it takes."""
    if i >= len(data):
        return None
    if not data[i] & 0x80:
        return data[i], 1
    if i + 1 >= len(data) or data[i + 1] & 0x80:
        return None
    return data[i] & 0x7F | data[i + 1] << 7, 2
