"""RAM as records: what is sent, what is counted, and that it arrives."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vmd.stream_cases import START
from tests.vmd.streams import Collected
from vmd.memory import RamBlock
from vmd.migration import stream
from vmd.migration.ram import MEM_SIZE, RamSaver
from vmd.migration.ram_load import MOST_MADE, RamLoader, apply_xbzrle
from vmd.migration.reader import StreamReader
from vmd.migration.sections import Configuration
from vmd.migration.source import LoadError, Source, finish
from vmd.migration.stream import be64, cstr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAGE = 4096
NAMED = 4  # bytes that naming a block `ram` adds to a record
Make = "Callable[..., RamBlock]"


@pytest.fixture
def make() -> Iterator[Callable[..., RamBlock]]:
    """Makes blocks that are gone after the test."""
    made: list[RamBlock] = []

    def new(name: str = "ram", pages: int = 16) -> RamBlock:
        made.append(RamBlock.anonymous(name, pages * PAGE))
        return made[-1]

    yield new
    for block in made:
        block.close()


def sections(saver: RamSaver, max_bytes: int = 1 << 30) -> Iterator[bytes]:
    """PART sections until nothing waits."""
    while (part := saver.part(max_bytes)) is not None:
        yield b"".join(part)


def records(section: bytes) -> bytes:
    """The records of a PART section, without header, EOS and footer."""
    return section[5:-13]


def load(loader: RamLoader, payload: bytes) -> None:
    finish(loader.load(Source(payload + (0x10).to_bytes(8, "big")), 4))


def transfer(saver: RamSaver, loader: RamLoader, max_bytes: int = 1 << 30) -> None:
    for section in sections(saver, max_bytes):
        load(loader, records(section))


def memfd_block(pages: int = 16) -> RamBlock:
    fd = os.memfd_create("ram")
    os.ftruncate(fd, pages * PAGE)
    return RamBlock("ram", pages * PAGE, fd)


def allocated(block: RamBlock) -> int:
    return os.fstat(block.fd).st_blocks * 512


def test_sixteen_mib_of_nothing_are_counted_as_qemu_counts_them(
    make: Callable[..., RamBlock],
) -> None:
    saver = RamSaver([make(pages=4096)])
    start = saver.setup()
    assert start.startswith(b"\1\0\0\0\1\3ram\0\0\0\0\0\0\0\4\0\0\0\0\1\0\0\4\3ram")
    saver.sync()
    (part,) = sections(saver)
    assert (saver.duplicate, saver.normal, saver.ram_bytes) == (4096, 0, 36876)
    assert len(records(part)) == 4096 * 9 + NAMED
    assert saver.pending == 0


def test_only_the_first_record_of_a_block_names_it(make: Callable[..., RamBlock]) -> None:
    saver = RamSaver([make("a", 2), make("b", 1)])
    saver.setup()
    saver.sync()
    (part,) = sections(saver)
    assert records(part) == (b"\0\0\0\0\0\0\0\2\1a\0\0\0\0\0\0\0\x10\x22\0\0\0\0\0\0\0\0\2\1b\0")


def test_a_page_with_one_byte_is_sent_whole(make: Callable[..., RamBlock]) -> None:
    block = make(pages=3)
    block.write(PAGE + 1234, b"x")
    saver = RamSaver([block])
    saver.setup()
    saver.sync()
    (part,) = sections(saver)
    assert (saver.duplicate, saver.normal) == (2, 1)
    assert b"\0\0\0\0\0\0\x10\x28" + block.read(PAGE, PAGE) in part


def test_blocks_are_sent_largest_first(make: Callable[..., RamBlock]) -> None:
    saver = RamSaver([make("small", 1), make("large", 2), make("tiny", 1)])
    head = saver.setup()
    assert head.index(b"large") < head.index(b"small") < head.index(b"tiny")


def test_a_shared_named_file_is_listed_but_not_sent(make: Callable[..., RamBlock]) -> None:
    block = make()
    block.shared = block.named_file = True
    block.gpa = 0x1000
    saver = RamSaver([block], ignore_shared=True)
    assert saver.setup()[29:].startswith((16 * PAGE).to_bytes(8, "big") + b"\0\0\0\0\0\0\x10\0")
    assert saver.sync() == 0
    assert saver.part(1 << 20) is None
    assert saver.total == 0


def test_zero_pages_are_sent_whole_where_detection_is_off(make: Callable[..., RamBlock]) -> None:
    source, target = memfd_block(), make()
    source.write(5 * PAGE, b"data")
    saver = RamSaver([source], detect_zero=False)
    saver.setup()
    saver.sync()
    transfer(saver, RamLoader([target]))
    assert (saver.duplicate, saver.normal) == (0, 16)
    assert allocated(source) == PAGE  # looked at before the comparison touches the rest
    assert bytes(target.view) == bytes(source.view)
    source.close()


@pytest.mark.parametrize(("may_be", "pages"), [(1, 32), (33 * PAGE, 64), (100 * PAGE, 128)])
def test_a_part_is_as_long_as_it_may_be_in_buffers_of_32_pages(
    make: Callable[..., RamBlock], may_be: int, pages: int
) -> None:
    block = make(pages=128)
    block.fill(0, block.size, 1)
    saver = RamSaver([block])
    saver.setup()
    saver.sync()
    lengths = [len(records(part)) for part in sections(saver, may_be)]
    assert lengths[0] == pages * (PAGE + 8) + NAMED
    assert set(lengths[1:]) <= {pages * (PAGE + 8)}
    assert sum(lengths) == 128 * (PAGE + 8) + NAMED


def test_of_zero_pages_a_buffer_holds_far_more(make: Callable[..., RamBlock]) -> None:
    saver = RamSaver([make(pages=10_000)])
    saver.setup()
    saver.sync()
    lengths = [len(records(part)) for part in sections(saver, 1)]
    assert lengths[:2] == [3641 * 9 + NAMED, 3641 * 9]


def test_what_is_written_meanwhile_is_sent_again(make: Callable[..., RamBlock]) -> None:
    source, target = make(), make()
    loader = RamLoader([target])
    saver = RamSaver([source])
    saver.setup()
    saver.sync()
    transfer(saver, loader)
    source.write(3 * PAGE - 1, b"ab")
    assert saver.pending == 0
    assert saver.sync() == 2
    assert saver.pending == 2 * PAGE
    transfer(saver, loader)
    assert bytes(target.view) == bytes(source.view)


def test_a_page_written_ahead_of_the_first_round_is_not_counted_twice(
    make: Callable[..., RamBlock],
) -> None:
    source, target = make(pages=64), make(pages=64)
    loader = RamLoader([target])
    saver = RamSaver([source])
    saver.setup()
    saver.sync()
    part = saver.part(1)
    assert part is not None
    load(loader, records(b"".join(part)))
    source.write(63 * PAGE, b"late")
    assert saver.sync() == 0
    transfer(saver, loader)
    assert bytes(target.view) == bytes(source.view)


def test_memory_touched_while_its_hole_is_being_sent_arrives(
    make: Callable[..., RamBlock],
) -> None:
    source, target = make(pages=2048), make(pages=2048)
    loader = RamLoader([target])
    saver = RamSaver([source])
    saver.setup()
    saver.sync()
    part = saver.part(9 * 100)
    assert part is not None
    load(loader, records(b"".join(part)))
    source.write(1500 * PAGE, b"just now")
    transfer(saver, loader)
    saver.sync()
    transfer(saver, loader)
    assert target.read(1500 * PAGE, 8) == b"just now"


def test_untouched_memory_is_neither_read_nor_filled(make: Callable[..., RamBlock]) -> None:
    source, target, again = memfd_block(1 << 16), memfd_block(1 << 16), make(pages=1 << 16)
    source.write(77 * PAGE, b"x")
    for sender, receiver in ((source, target), (target, again)):
        saver = RamSaver([sender])
        saver.setup()
        saver.sync()
        transfer(saver, RamLoader([receiver]))
        assert receiver.read(77 * PAGE, 1) == b"x"
    assert (allocated(source), allocated(target)) == (PAGE, PAGE)
    assert list(again.data_extents(0, again.size)) == [(77 * PAGE, 78 * PAGE)]
    source.close()
    target.close()


def test_a_zero_page_clears_what_was_there(make: Callable[..., RamBlock]) -> None:
    source, target = make(), make()
    target.fill(0, target.size, 0xFF)
    saver = RamSaver([source])
    saver.setup()
    saver.sync()
    transfer(saver, RamLoader([target]))
    assert not any(target.view)


def test_a_private_file_is_read_where_it_has_data_or_was_written(
    tmp_path: os.PathLike[str],
) -> None:
    path = os.path.join(tmp_path, "ram")
    with open(path, "wb") as file:
        file.truncate(64 * PAGE)
        file.seek(8 * PAGE)
        file.write(b"from the file")
    source = RamBlock("ram", 64 * PAGE, os.open(path, os.O_RDWR), private_mapping=True)
    target = RamBlock.anonymous("ram", 64 * PAGE)
    source.write(40 * PAGE, b"own")
    saver = RamSaver([source])
    saver.setup()
    saver.sync()
    transfer(saver, RamLoader([target]))
    assert bytes(target.view) == bytes(source.view)
    with open(path, "rb") as file:
        assert b"own" not in file.read()
    source.close()
    target.close()


def test_ending_the_log_makes_writes_cheap_again(make: Callable[..., RamBlock]) -> None:
    block = make()
    saver = RamSaver([block])
    saver.setup()
    saver.close()
    block.write(0, b"x")
    assert (block.pending, block.sync_dirty()) == (None, 0)


@given(
    st.lists(st.tuples(st.integers(0, 599), st.integers(0, 3)), max_size=40),
    st.lists(st.tuples(st.integers(0, 599), st.integers(0, 3)), max_size=20),
    st.integers(1, 200_000),
    st.integers(1, 6000),
)
def test_whatever_is_in_memory_arrives_whatever_the_pieces(
    first: list[tuple[int, int]], second: list[tuple[int, int]], budget: int, split: int
) -> None:
    source = [RamBlock.anonymous("a", 400 * PAGE), RamBlock.anonymous("b", 200 * PAGE)]
    target = [RamBlock.anonymous("a", 400 * PAGE), RamBlock.anonymous("b", 200 * PAGE)]
    loader = RamLoader(target)
    saver = RamSaver(source)

    def change(pages: list[tuple[int, int]]) -> None:
        for page, kind in pages:
            block, at = (source[0], page) if page < 400 else (source[1], page - 400)
            data = (bytes(PAGE), b"\1" * PAGE, bytes(PAGE - 1) + b"\1", os.urandom(PAGE))[kind]
            block.write(at * PAGE, data)

    def send() -> None:
        for section in sections(saver, budget):
            reader = Source()
            parse = loader.load(reader, 4)
            payload = section[5:-5]
            for start in range(0, len(payload), split):
                reader.feed(payload[start : start + split])
                next(parse, None)
                reader.keep()

    change(first)
    saver.setup()
    saver.sync()
    send()
    change(second)
    saver.sync()
    send()
    assert [bytes(b.view) for b in target] == [bytes(b.view) for b in source]
    for block in (*source, *target):
        block.close()


@given(st.binary(max_size=64))
def test_any_xbzrle_delta_is_applied_or_refused(delta: bytes) -> None:
    page = bytearray(b"\xaa" * PAGE)
    apply_xbzrle(delta, page)
    assert len(page) == PAGE


def test_a_block_that_nobody_knows_can_be_made_from_the_table(
    make: Callable[..., RamBlock],
) -> None:
    asked = []

    def unknown(name: str, length: int) -> RamBlock:
        asked.append((name, length))
        return make(name, length // PAGE)

    loader = RamLoader([], unknown=unknown)
    saver = RamSaver([make("pc.ram", 4)])
    load(loader, saver.setup()[17:-13])
    assert asked == [("pc.ram", 4 * PAGE)]
    assert [block.idstr for block in loader.blocks] == ["pc.ram"]


def test_blocks_made_for_a_stream_that_is_refused_go_again() -> None:
    made = []

    def unknown(name: str, length: int) -> RamBlock:
        made.append(RamBlock.anonymous(name, length))
        return made[-1]

    loader = RamLoader([], unknown=unknown)
    reader = StreamReader(Configuration("none"), loader, [])
    with pytest.raises(LoadError):
        reader.feed(START + b"\xff")
    assert [block.fd for block in made] == [-1]
    assert loader.blocks == []


def test_a_resizable_block_takes_the_sources_size_up_to_its_maximum() -> None:
    block = RamBlock.anonymous("/rom@etc/acpi/tables", 2 * PAGE, max_size=4 * PAGE)

    def announce(pages: int) -> None:
        size = pages * PAGE
        table = (size | 4).to_bytes(8, "big") + stream.cstr(block.idstr) + size.to_bytes(8, "big")
        load(RamLoader([block]), table)

    announce(3)
    assert block.size == 3 * PAGE
    with pytest.raises(LoadError) as refused:
        announce(5)
    assert refused.value.lines == [
        "Size too large: /rom@etc/acpi/tables: 0x5000 > 0x4000: Invalid argument"
    ]
    block.close()


def test_a_file_system_that_is_full_is_an_error_of_the_stream(
    make: Callable[..., RamBlock], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = make(), memfd_block()
    source.fill(0, source.size, 7)
    saver = RamSaver([source])
    saver.setup()
    saver.sync()
    monkeypatch.setattr(os, "pwritev", lambda *_: 0)
    with pytest.raises(LoadError) as refused:
        transfer(saver, RamLoader([target]))
    assert refused.value.strerror == "No space left on device"
    target.close()


def test_numpy_stays_out_until_a_page_is_sent() -> None:
    code = (
        "import sys\n"
        "from vmd.memory import RamBlock\n"
        "from vmd.migration.ram import RamSaver\n"
        "from vmd.migration.ram_load import RamLoader\n"
        "import vmd.migration.reader\n"
        "block = RamBlock.anonymous('m0', 1 << 40)\n"
        "block.shared = block.named_file = True\n"
        "saver = RamSaver([block], ignore_shared=True)\n"
        "saver.setup(); saver.sync(); saver.part(1)\n"
        "block.mark(0, 1 << 30); block.clear(0, 1 << 40)\n"
        "sys.exit('numpy' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_last_pages_stand_in_the_end_section(make: Callable[..., RamBlock]) -> None:
    source, target = make(), make()
    source.write(0, b"data")
    saver, loader = RamSaver([source]), RamLoader([target])
    saver.setup()
    saver.sync()
    channel = Collected()
    while saver.send_last(channel, 3 * PAGE):
        pass
    counted = saver.ram_bytes
    saver.finish(channel)
    assert channel.startswith(b"\3\0\0\0\1\0\0\0\0\0\0\0\x08\3ram")
    assert channel.endswith(b"\0\0\0\0\0\0\0\x10\x7e\0\0\0\1")
    load(loader, bytes(channel[5:-13]))
    assert bytes(target.view) == bytes(source.view)
    assert counted == len(channel) - 18, "neither the section's frame nor its EOS counts"


def test_an_end_section_without_pages_is_whole(make: Callable[..., RamBlock]) -> None:
    saver = RamSaver([make(pages=1)])
    saver.setup()
    channel = Collected()
    saver.finish(channel)
    assert channel == b"\3\0\0\0\1\0\0\0\0\0\0\0\x10\x7e\0\0\0\1"


def test_a_reader_never_waits_for_what_has_arrived(make: Callable[..., RamBlock]) -> None:
    source, target = make(pages=600), make(pages=600)
    source.write(PAGE, b"data")
    saver, loader = RamSaver([source]), RamLoader([target])
    saver.setup()
    saver.sync()
    for section in sections(saver, 253):
        reader = Source()
        parse = loader.load(reader, 4)
        payload = section[5:-5]
        for start in range(0, len(payload), 55):
            assert reader.available() <= PAGE + 8
            reader.feed(payload[start : start + 55])
            ended = next(parse, "ended") == "ended"
            reader.keep()
        assert ended
    assert bytes(target.view) == bytes(source.view)


def test_a_table_without_end_is_refused_before_it_has_taken_much() -> None:
    names = (f"/rom@{number}" for number in range(MOST_MADE + 2))
    table = b"".join(cstr(name) + be64(PAGE) for name in names)
    loader = RamLoader([], unknown=lambda name, size: RamBlock.anonymous(name, size))
    with pytest.raises(LoadError, match=f'Unknown ramblock "/rom@{MOST_MADE}"'):
        finish(loader.load(Source(be64((MOST_MADE + 2) * PAGE | MEM_SIZE) + table), 4))
    assert len(loader.made) == MOST_MADE
    loader.give_up()
