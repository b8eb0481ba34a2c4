"""RAM blocks, their dirty log, and the guest's address space."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmd.memory import PAGE_SIZE, AddressSpace, RamBlock, split_ram
from vmd.memory.dirty import CHUNK, DirtyLog, PendingPages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MIB = 1 << 20
GIB = 1 << 30
TIB = 1 << 40


@pytest.fixture
def block() -> Iterator[RamBlock]:
    made = RamBlock.anonymous("ram", 64 * PAGE_SIZE)
    yield made
    made.close()


def memfd_block(size: int) -> RamBlock:
    fd = os.memfd_create("ram")
    os.ftruncate(fd, size)
    return RamBlock("ram", size, fd)


def allocated(block: RamBlock, around: int) -> int:
    """Bytes of host memory that the block takes; of anonymous memory, in the MiB from there on."""
    if block.fd >= 0:
        return os.fstat(block.fd).st_blocks * 512
    with open("/proc/self/pagemap", "rb") as pages:
        pages.seek((block.address() + around) // PAGE_SIZE * 8)
        words = pages.read(MIB // PAGE_SIZE * 8)
    return sum(byte >> 7 for byte in words[7::8]) * PAGE_SIZE


@pytest.mark.parametrize("make", [memfd_block, partial(RamBlock.anonymous, "ram")])
def test_fresh_memory_is_zero_and_costs_nothing(make: Callable[[int], RamBlock]) -> None:
    block = make(TIB)
    assert block.read(TIB - MIB, MIB) == bytes(MIB)
    assert list(block.data_extents(0, TIB)) == []
    block.clear(0, TIB)
    block.fill(0, TIB, 0)
    assert allocated(block, TIB // 2) == allocated(block, TIB - MIB) == 0
    block.write(TIB // 2, b"here")
    assert allocated(block, TIB // 2) == PAGE_SIZE
    assert list(block.data_extents(0, TIB)) == [(TIB // 2, TIB // 2 + PAGE_SIZE)]
    block.close()


def test_what_is_written_is_read(block: RamBlock) -> None:
    block.write(4090, b"across a page")
    assert block.read(4088, 17) == b"\0\0across a page\0\0"


def test_a_read_ends_with_the_block(block: RamBlock) -> None:
    assert len(block.read(block.size - 3, 10)) == 3
    assert block.read(block.size + 5, 10) == b""


def test_a_write_outside_is_refused(block: RamBlock) -> None:
    with pytest.raises(ValueError, match="memoryview"):
        block.write(block.size - 1, b"ab")


def test_fill_sets_every_byte_of_the_range_and_none_beside_it(block: RamBlock) -> None:
    block.fill(10, 3 * MIB // 16, 0x5A)
    assert block.read(0, 12) == bytes(10) + b"ZZ"
    assert block.read(10 + 3 * MIB // 16 - 1, 2) == b"Z\0"


def test_a_read_only_block_keeps_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "rom"
    path.write_bytes(b"r" * PAGE_SIZE)
    block = RamBlock("rom", PAGE_SIZE, os.open(path, os.O_RDONLY), readonly=True)
    block.write(0, b"x")
    block.fill(0, 10, 0)
    block.clear(0, 10)
    assert block.read(0, 3) == b"rrr"
    block.close()


def test_a_failed_mapping_leaves_no_descriptor_behind() -> None:
    fd = os.memfd_create("short")
    with pytest.raises(ValueError, match="mmap length"):
        RamBlock("ram", PAGE_SIZE, fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_a_closed_block_waits_for_those_who_still_look_at_it(block: RamBlock) -> None:
    block.write(0, b"seen")
    window = block.view[:4]
    block.close()
    assert bytes(window) == b"seen"


# The dirty log


def test_only_what_is_written_after_the_start_is_dirty(block: RamBlock) -> None:
    block.write(0, b"before")
    block.start_dirty_log()
    assert block.pending is not None
    assert block.pending.take(64) == [(0, 64)]
    block.write(5 * PAGE_SIZE - 1, b"ab")
    block.fill(9 * PAGE_SIZE, PAGE_SIZE + 1, 0)
    assert block.sync_dirty() == 4
    assert block.pending.take(1) == []  # the cursor stands at the end
    block.pending.rewind()
    assert block.pending.take(64) == [(4, 2), (9, 2)]
    assert block.pending.count == 0


def test_a_terabyte_is_logged_in_a_moment() -> None:
    block = RamBlock.anonymous("ram", TIB)
    block.start_dirty_log()
    block.mark(0, TIB)
    assert block.sync_dirty() == 0
    assert block.pending is not None
    assert block.pending.count == TIB // PAGE_SIZE
    block.close()


@given(st.data())
def test_pending_pages_are_exactly_those_marked_and_not_yet_taken(data: st.DataObject) -> None:
    pages = 3 * CHUNK + 100
    pending, log = PendingPages(pages), DirtyLog()
    expected, logged = set(range(pages)), set[int]()
    for _ in range(data.draw(st.integers(0, 12))):
        action = data.draw(st.sampled_from(["mark", "merge", "take", "rewind"]))
        if action == "mark":
            first = data.draw(st.integers(0, pages - 1))
            count = data.draw(st.integers(0, min(pages - first, 2 * CHUNK)))
            log.mark(first, count)
            logged |= set(range(first, first + count))
        elif action == "merge":
            assert pending.merge(log.take()) == len(logged - expected)
            expected |= logged
            logged = set()
        elif action == "take":
            limit = data.draw(st.integers(1, pages))
            runs = pending.take(limit)
            taken = [page for first, count in runs for page in range(first, first + count)]
            assert taken == sorted(set(taken) & expected)
            assert len(taken) <= limit
            expected -= set(taken)
        else:
            pending.rewind()
        assert pending.count == len(expected)
    pending.merge(log.take())
    expected |= logged
    left = []
    for _ in range(2):
        while runs := pending.take(1000):
            left += [page for first, count in runs for page in range(first, first + count)]
        pending.rewind()
    assert sorted(left) == sorted(expected)


# The address space


@pytest.mark.parametrize(
    ("q35", "size", "layout"),
    # `info mtree -f` of pc-q35-10.0 and pc-i440fx-10.0, holes below 1 MiB left aside
    [
        (True, 2815 * MIB, [(0, 2815 * MIB, 0)]),
        (True, 2816 * MIB, [(0, 2 * GIB, 0), (4 * GIB, 768 * MIB, 2 * GIB)]),
        (True, 5000 * MIB, [(0, 2 * GIB, 0), (4 * GIB, 2952 * MIB, 2 * GIB)]),
        (False, 3583 * MIB, [(0, 3583 * MIB, 0)]),
        (False, 3584 * MIB, [(0, 3 * GIB, 0), (4 * GIB, 512 * MIB, 3 * GIB)]),
    ],
)
def test_a_pc_leaves_room_below_four_gib(
    q35: bool, size: int, layout: list[tuple[int, int, int]]
) -> None:
    assert split_ram(size, q35=q35) == layout


def test_access_crosses_borders_and_holes() -> None:
    low, high = RamBlock.anonymous("low", PAGE_SIZE), RamBlock.anonymous("high", PAGE_SIZE)
    space = AddressSpace()
    space.map(0x10000, high)
    space.map(0x1000, low)
    space.map(0x2000, high, 0x800, 0x100)
    space.write(0x1FFE, b"ab" + b"cd")
    assert (low.read(0xFFE, 2), high.read(0x800, 2)) == (b"ab", b"cd")
    assert space.read(0x1FFD, 6) == b"\0abcd\0"
    space.write(0x20FF, b"xyz")
    assert space.read(0x20FE, 4) == b"\0x\0\0"
    space.fill(0, 1 << 20, 7)
    assert space.read(0x10FFF, 2) == b"\7\0"
    assert space.find(0x2001) == (high, 0x801)
    assert space.find(0x3000) is None
    space.unmap(high)
    assert space.read(0x1FFF, 2) == b"\7\0"
    low.close()
    high.close()


def test_nothing_is_mapped_over_something() -> None:
    block = RamBlock.anonymous("ram", 2 * PAGE_SIZE)
    space = AddressSpace()
    space.map(PAGE_SIZE, block)
    with pytest.raises(ValueError, match="0x0 is mapped already"):
        space.map(0, block)
    block.close()
