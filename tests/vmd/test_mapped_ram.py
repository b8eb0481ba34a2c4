"""mapped-ram: where pages stand in the file, what is written of them, and that it arrives."""

from __future__ import annotations

import fcntl
import os
import random
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qapi.error import QmpError
from vmd.memory import RamBlock
from vmd.migration.channels import file, stream
from vmd.migration.channels.file import IncomingFile, OutgoingFile, incoming
from vmd.migration.mapped_ram import MappedRamSaver, Region, bitmap_size
from vmd.migration.ram_load import RamLoader
from vmd.migration.source import LoadError, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Make = Callable[..., RamBlock]

PAGE = 4096
MIB = 1 << 20
START = 17  # bytes that a START section of RAM begins with
HEADER = START + 8 + 4 + 8  # where the first block's header stands


def no_fdset(path: str, access: int) -> None:
    return None


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes blocks that are gone after the test."""
    made: list[RamBlock] = []

    def new(name: str = "ram", pages: int = 16) -> RamBlock:
        made.append(RamBlock.anonymous(name, pages * PAGE))
        return made[-1]

    yield new
    for block in made:
        block.close()


class Saved(NamedTuple):
    """A START section and what follows it in a file."""

    path: Path
    saver: MappedRamSaver
    written: int


def save(
    path: Path,
    *blocks: RamBlock,
    offset: int = 0,
    detect_zero: bool = True,
    direct: bool = False,
    meanwhile: Callable[[], None] = lambda: None,
) -> Saved:
    """Save blocks; `meanwhile` is called between two rounds."""
    channel = OutgoingFile(str(path), offset, no_fdset)
    saver = MappedRamSaver(blocks, detect_zero=detect_zero, direct=direct)
    written = saver.start(channel, b"", b"")
    saver.sync()
    while sent := saver.send(channel, 5 * PAGE):
        written += sent
    meanwhile()
    saver.sync()
    while sent := saver.send_last(channel, MIB):
        written += sent
    written += saver.finish(channel)
    channel.close()
    saver.close()
    return Saved(path, saver, written)


def load(loader: RamLoader, channel: IncomingFile) -> None:
    """Load the START section that the file's stream begins with, up to its EOS."""
    source = Source(base=channel.origin + START)
    channel.skip(START)
    parse = loader.load(source, 4)
    buffer = memoryview(bytearray(100))
    for _ in parse:
        channel.skip(source.left_out)
        source.left_out = 0
        count = channel.read_into(buffer)
        source.feed(bytes(buffer[:count]))
        if not count:
            source.end()


def loaded(path: Path, *blocks: RamBlock, offset: int = 0, direct: bool = False) -> None:
    channel = incoming(str(path), offset, no_fdset)
    assert isinstance(channel, IncomingFile)
    if direct:
        channel.bypass_cache()
    try:
        load(RamLoader(blocks, file=channel), channel)
    finally:
        channel.close()


def pattern(block: RamBlock, seed: int = 1) -> None:
    """Runs of random data, of zeros that were written, and of pages never touched."""
    chance = random.Random(seed)
    page = 0
    while page < block.pages:
        count = min(chance.randint(1, 7), block.pages - page)
        kind = chance.randrange(3)
        if kind:
            data = chance.randbytes(count * PAGE) if kind == 1 else bytes(count * PAGE)
            block.write(page * PAGE, data)
        page += count


def test_a_region_begins_behind_its_header_and_bitmap() -> None:
    assert Region.behind(0x63, 4096) == (0x7F, MIB)
    assert Region.behind(MIB - 28 - 512, 4096) == (MIB - 512, MIB)
    assert Region.behind(MIB - 28 - 511, 4096) == (MIB - 511, 2 * MIB)


@pytest.mark.parametrize(("pages", "size"), [(0, 0), (1, 8), (64, 8), (65, 16), (4096, 512)])
def test_a_bitmap_is_whole_words(pages: int, size: int) -> None:
    assert bitmap_size(pages) == size


def test_pages_stand_at_their_places_and_bits_say_which(make: Make, tmp_path: Path) -> None:
    block = make(pages=70)
    for page in (0, 3, 64, 69):
        block.write(page * PAGE, bytes((page + 1,)) * PAGE)
    saved = save(tmp_path / "file", block)
    data = saved.path.read_bytes()
    region = Region.behind(HEADER, 70)
    assert (
        data[START + 8 : HEADER + 28] == b"\3ram" + (70 * PAGE).to_bytes(8, "big") + region.encode()
    )
    bits = data[region.bitmap_offset : region.bitmap_offset + 16]
    assert bits == b"\x09\0\0\0\0\0\0\0\x21\0\0\0\0\0\0\0"
    assert data[region.pages_offset : region.pages_offset + block.size] == bytes(block.view)
    assert data[region.pages_offset + block.size :].startswith(b"\0\0\0\0\0\0\0\x10\x7e")
    assert (saved.saver.normal, saved.saver.duplicate) == (4, 66)
    assert saved.path.stat().st_blocks * 512 <= 7 * PAGE


@settings(max_examples=25)
@given(st.integers(0, 1000), st.booleans(), st.sampled_from([0, 1, 5000, 3 * MIB]))
def test_what_was_saved_arrives(
    tmp_path_factory: pytest.TempPathFactory, seed: int, detect_zero: bool, offset: int
) -> None:
    blocks = [RamBlock.anonymous(name, pages * PAGE) for name, pages in (("a", 90), ("b", 300))]
    for block in blocks:
        pattern(block, seed)
    path = tmp_path_factory.mktemp("mapped") / "file"
    saved = save(path, *blocks, offset=offset, detect_zero=detect_zero)
    targets = [RamBlock.anonymous(block.idstr, block.size) for block in blocks]
    loaded(path, *targets, offset=offset)
    for block, target in zip(blocks, targets, strict=True):
        assert bytes(block.view) == bytes(target.view)
    pages = saved.saver.normal + saved.saver.duplicate
    assert pages == 390
    assert detect_zero or not saved.saver.duplicate
    for block in (*blocks, *targets):
        block.close()


def test_a_page_that_is_sent_again_overwrites_itself(make: Make, tmp_path: Path) -> None:
    block, target = make(), make()
    block.fill(0, block.size, 1)

    def change() -> None:
        block.fill(PAGE, PAGE, 2)
        block.fill(2 * PAGE, PAGE, 0)  # what stood there stays in the file, but its bit goes

    save(tmp_path / "file", block, meanwhile=change)
    loaded(tmp_path / "file", target)
    assert bytes(target.view) == bytes(block.view)
    assert target.view[2 * PAGE] == 0


def test_memory_that_held_something_is_cleared_first(make: Make, tmp_path: Path) -> None:
    block, target = make(), make()
    target.fill(0, target.size, 7)
    save(tmp_path / "file", block)
    loaded(tmp_path / "file", target)
    assert not any(target.view)


def test_untouched_memory_stays_so_on_both_sides(make: Make, tmp_path: Path) -> None:
    block, target = make(pages=1 << 20), make(pages=1 << 20)
    block.write(3 << 30, b"here")
    saved = save(tmp_path / "file", block)
    loaded(tmp_path / "file", target)
    assert target.read(3 << 30, 4) == b"here"
    for one in (block, target):
        assert sum(end - start for start, end in one.data_extents(0, one.size)) <= MIB
    assert saved.path.stat().st_blocks * 512 <= MIB


def test_the_counted_bytes_are_pages_parts_and_bitmaps(make: Make, tmp_path: Path) -> None:
    block = make(pages=4096)
    block.fill(0, 5 * PAGE, 1)
    saver = save(tmp_path / "file", block).saver
    parts, rest = divmod(saver.ram_bytes - 5 * PAGE - 512, 8)
    assert rest == 0
    assert parts > 0


def test_an_ignored_block_cannot_be_saved_so(make: Make, tmp_path: Path) -> None:
    block = make()
    block.shared = block.named_file = True
    channel = OutgoingFile(str(tmp_path / "file"), 0, no_fdset)
    saver = MappedRamSaver([block], ignore_shared=True)
    saver.start(channel, b"", b"")
    with pytest.raises(QmpError, match="Unable to write to file: Bad address"):
        saver.finish(channel)
    channel.close()
    saver.close()


def spoil(path: Path, place: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        file.write(data)


@pytest.mark.parametrize(
    ("place", "data", "text"),
    [
        (HEADER, b"\0\0\0\2", "version not supported (expected <= 1, got 2)"),
        (HEADER + 4, bytes(8), "their size is 0"),
        (HEADER + 12, b"\0\1" + bytes(6), "Error reading dirty bitmap"),
        (HEADER + 12, b"\x80" + bytes(7), "Error reading dirty bitmap"),
        (HEADER + 26, b"\2\0", "region has bad alignment"),
        (HEADER + 20, b"\x7f" + bytes(7), "Partial read of size 0, expected 65536"),
        (HEADER - 8, b"\x7f" + bytes(7), "Error reading dirty bitmap"),
        (HEADER - 6, b"\1", "page outside of ramblock ram range"),
    ],
)
def test_a_spoiled_header_is_refused(
    make: Make, tmp_path: Path, place: int, data: bytes, text: str
) -> None:
    block = make()
    block.fill(0, block.size, 1)
    path = save(tmp_path / "file", block).path
    spoil(path, place, data)
    with pytest.raises(LoadError) as refused:
        loaded(path, make())
    assert text in refused.value.lines[0]


def test_pages_that_the_block_has_not_are_refused(make: Make, tmp_path: Path) -> None:
    block = make(pages=32)
    block.fill(0, block.size, 1)
    path = save(tmp_path / "file", block).path
    with pytest.raises(LoadError, match="page outside of ramblock ram range"):
        loaded(path, make(pages=16))


def test_a_record_of_a_page_is_refused(make: Make, tmp_path: Path) -> None:
    block = make()
    path = save(tmp_path / "file", block).path
    spoil(path, MIB + block.size, (8).to_bytes(8, "big"))
    with pytest.raises(LoadError, match="Unexpected RAM flags: 8"):
        loaded(path, make())


class Watched:
    """`os`, noting whether what is written or read at a place goes past the page cache."""

    def __init__(self) -> None:
        self.direct: list[tuple[str, bool, int]] = []

    def __getattr__(self, name: str) -> object:
        real = getattr(os, name)
        if name not in ("pwrite", "preadv"):
            return real

        def call(fd: int, data: object, place: int) -> int:
            direct = bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT)
            done: int = real(fd, data, place)
            self.direct.append((name, direct, done))
            return done

        return call


@pytest.mark.parametrize("direct", [False, True])
def test_direct_io_takes_pages_past_the_page_cache(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direct: bool
) -> None:
    probe = tmp_path / "probe"
    probe.touch()
    try:
        os.close(os.open(probe, os.O_WRONLY | os.O_DIRECT))
    except OSError:
        pytest.skip("this file system has no direct I/O")
    block, target = make(pages=300), make(pages=300)
    pattern(block)
    watched = Watched()
    for module in (file, stream):
        monkeypatch.setattr(module, "os", watched)
    save(tmp_path / "file", block, offset=77, direct=direct)
    loaded(tmp_path / "file", target, offset=77, direct=direct)
    assert bytes(target.view) == bytes(block.view)
    for name in ("pwrite", "preadv"):
        pages = {direct for called, direct, done in watched.direct if called == name and done > 999}
        bitmap = {
            direct for called, direct, done in watched.direct if called == name and done < 999
        }
        assert pages == {direct}
        assert bitmap == {False}


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(START, HEADER + 60), st.binary(max_size=8)), max_size=3))
def test_whatever_stands_in_the_table_is_loaded_or_refused(
    tmp_path_factory: pytest.TempPathFactory, spoilt: list[tuple[int, bytes]]
) -> None:
    block, target = RamBlock.anonymous("ram", 70 * PAGE), RamBlock.anonymous("ram", 70 * PAGE)
    pattern(block)
    path = save(tmp_path_factory.mktemp("mapped") / "file", block).path
    for place, data in spoilt:
        spoil(path, place, data)
    with suppress(LoadError):
        loaded(path, target)
    block.close()
    target.close()
