"""XBZRLE: what is sent of a changed page, what the cache keeps, and that it arrives."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vmd.streams import Collected
from vmd.memory import RamBlock
from vmd.migration.ram import RamSaver
from vmd.migration.ram_load import RamLoader, apply_xbzrle
from vmd.migration.source import Source, finish
from vmd.migration.xbzrle import PageCache, Xbzrle, XbzrleCounters, encode

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = 4096
ZERO = bytes(PAGE)


def changed(page: bytes, *places: int) -> bytes:
    made = bytearray(page)
    for place in places:
        made[place] ^= 0xBF
    return bytes(made)


def test_a_single_byte_as_qemu_encodes_it() -> None:
    assert encode(ZERO, changed(ZERO, 1132)) == bytes.fromhex("ec0801bf")


def test_runs_of_kept_and_of_new_bytes_alternate() -> None:
    assert encode(ZERO, changed(ZERO, 0, 1, 3)) == bytes.fromhex("0002bfbf0101bf")


def test_an_unchanged_page_is_nothing() -> None:
    assert encode(ZERO, ZERO) == b""


def test_a_page_that_is_all_new_overflows() -> None:
    assert encode(ZERO, b"x" * PAGE) is None
    assert encode(ZERO, b"x" * (PAGE - 2) + bytes(2)) is None
    assert encode(ZERO, b"x" * (PAGE - 3) + bytes(3)) is not None


pages = st.integers(0, 2**32).flatmap(
    lambda seed: st.integers(0, 600).map(lambda count: scattered(seed, count))
)


def scattered(seed: int, count: int) -> bytes:
    chance = random.Random(seed)
    return changed(ZERO, *(chance.randrange(PAGE) for _ in range(count)))


@given(pages, pages)
def test_what_is_encoded_can_be_applied(old: bytes, new: bytes) -> None:
    delta = encode(old, new)
    if delta is not None:
        assert len(delta) <= PAGE
        page = bytearray(old)
        assert apply_xbzrle(delta, page)
        assert page == new


def test_a_cached_page_is_found_under_its_address_only() -> None:
    cache = PageCache(4 * PAGE)
    assert cache.insert(PAGE, b"a", 1)
    assert cache.get(PAGE, 1) == b"a"
    assert cache.get(5 * PAGE, 1) is None


def test_a_young_page_keeps_its_place() -> None:
    cache = PageCache(4 * PAGE)
    cache.insert(PAGE, b"a", 1)
    assert not cache.insert(5 * PAGE, b"b", 2)
    assert cache.insert(5 * PAGE, b"b", 3)
    assert cache.get(PAGE, 3) is None


def test_a_page_that_is_used_stays_young() -> None:
    cache = PageCache(4 * PAGE)
    cache.insert(PAGE, b"a", 1)
    cache.get(PAGE, 2)
    assert not cache.insert(5 * PAGE, b"b", 3)


def test_what_is_counted() -> None:
    counters = XbzrleCounters()
    xbzrle = Xbzrle(lambda: 16 * PAGE, counters)
    assert xbzrle.change(0, ZERO, 1, last=False) is None
    assert xbzrle.change(0, ZERO, 2, last=False) == b""
    assert xbzrle.change(0, changed(ZERO, 1132), 2, last=False) == bytes.fromhex("ec0801bf")
    assert xbzrle.change(0, b"x" * PAGE, 2, last=False) is None
    counters.measure(8)
    assert counters.query(16 * PAGE) == {
        "cache-size": 16 * PAGE,
        "bytes": 7 + PAGE,
        "pages": 3,
        "cache-miss": 1,
        "cache-miss-rate": 0.125,
        "encoding-rate": 3 * PAGE / (7 + PAGE),
        "overflow": 1,
    }
    counters.measure(1)
    assert (counters.cache_miss_rate, counters.encoding_rate) == (0, 0)


def test_another_size_forgets_everything() -> None:
    size = [16 * PAGE]
    xbzrle = Xbzrle(lambda: size[0], XbzrleCounters())
    xbzrle.zero(0, 1)
    assert xbzrle.change(0, ZERO, 1, last=False) == b""
    size[0] = 32 * PAGE
    assert xbzrle.change(0, ZERO, 1, last=False) is None


def test_the_last_round_caches_nothing() -> None:
    xbzrle = Xbzrle(lambda: 16 * PAGE, XbzrleCounters())
    assert xbzrle.change(0, ZERO, 1, last=True) is None
    assert xbzrle.change(0, ZERO, 1, last=True) is None


@pytest.fixture
def blocks() -> Iterator[list[RamBlock]]:
    made = [RamBlock.anonymous(name, 64 * PAGE) for name in ("one", "two") * 2]
    yield made
    for block in made:
        block.close()


@pytest.mark.parametrize("cache_size", [PAGE, 16 * PAGE, 1 << 20])
@pytest.mark.parametrize("seed", range(4))
def test_rounds_of_changes_arrive(blocks: list[RamBlock], seed: int, cache_size: int) -> None:
    chance = random.Random(seed)
    sources, targets = blocks[:2], blocks[2:]
    counters = XbzrleCounters()
    saver = RamSaver(sources, xbzrle=Xbzrle(lambda: cache_size, counters))
    loader = RamLoader(targets)
    saver.setup()
    saver.sync()

    def round_of_parts() -> None:
        channel = Collected()
        while saver.send(channel, 5 * PAGE):
            finish(loader.load(Source(bytes(channel[5:-5])), 4))
            channel.clear()

    for block in sources:
        block.write(0, chance.randbytes(block.size))
    for turn in range(6):
        for _ in range(60):
            block = chance.choice(sources)
            place, length = chance.randrange(block.size - 300), chance.randrange(1, 300)
            fill = bytes(length) if chance.random() < 0.2 else chance.randbytes(length)
            block.write(place, fill)
        if chance.random() < 0.5:
            sources[0].fill(chance.randrange(64) * PAGE, PAGE, 0)
        saver.sync()
        if turn < 5:
            round_of_parts()
    channel = Collected()
    while saver.send_last(channel, 1 << 20):
        pass
    saver.finish(channel)
    finish(loader.load(Source(bytes(channel[5:-5])), 4))
    for source, target in zip(sources, targets, strict=True):
        assert bytes(source.view) == bytes(target.view)
    assert counters.cache_miss
    assert counters.pages or cache_size < 1 << 20
    saver.close()
