"""Pages that are read straight into RAM, or found in runs by numpy: the outcome is that of
reading them one by one."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vmd.memory import RamBlock
from vmd.migration.ram import CONTINUE, EOS, PAGE, ZERO
from vmd.migration.ram_in_place import InPlace
from vmd.migration.ram_load import RamLoader
from vmd.migration.ram_runs import Vectors
from vmd.migration.source import LoadError, Source
from vmd.migration.stream import be64, cstr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAGE_SIZE = 4096
PAGES = 2048
READ = 1 << 18

Run = tuple[str, int, int]  # what, first page, how many


def records(runs: list[Run]) -> bytes:
    """A section's records: each run is named anew, except a "more"."""
    made = []
    for what, first, count in runs:
        for page in range(first, first + count):
            flag = ZERO if what == "zero" else PAGE
            goes_on = CONTINUE if what == "more" or page > first else 0
            made.append(be64(page * PAGE_SIZE | flag | goes_on) + (b"" if goes_on else cstr("ram")))
            made.append(b"\0" if what == "zero" else page.to_bytes(2, "big") * (PAGE_SIZE // 2))
    return b"".join(made) + be64(EOS)


class Outcome:
    """What became of a stream: the RAM, the error, and how many pages were read in place."""

    def __init__(
        self,
        stream: bytes,
        lengths: Callable[[], int],
        *,
        in_place: bool = False,
        vectors: Vectors | None = None,
    ) -> None:
        self.pages_in_place = 0
        self.error: list[str] | None = None
        block = RamBlock.anonymous("ram", PAGES * PAGE_SIZE)
        try:
            self._load(RamLoader([block], vectors=vectors), memoryview(stream), lengths, in_place)
        except LoadError as error:
            self.error = [*error.lines, error.strerror]
        self.ram = block.read(0, block.size)
        self.touched = sum(end - start for start, end in block.data_extents(0, block.size))
        block.close()

    def _load(
        self, loader: RamLoader, left: memoryview, lengths: Callable[[], int], in_place: bool
    ) -> None:
        source = Source()
        parse = loader.load(source, 4)
        try:
            while True:
                next(parse)
                source.keep()
                guess = loader.in_place(source) if in_place else None
                count = min(lengths(), READ, len(left))
                if guess is not None:
                    count = min(lengths(), guess.left, len(left))
                    _fill(guess, left[:count])
                    loader.settle(source, guess)
                    self.pages_in_place += count // (PAGE_SIZE + 8)
                else:
                    source.feed(left[:count])
                if not count:
                    source.end()
                left = left[count:]
        except StopIteration:
            pass


def _fill(guess: InPlace, data: memoryview) -> None:
    """Have the guess read all of it, a part at a time."""
    with tempfile.TemporaryFile() as file:
        for piece in (data[:5000], data[5000:]):
            file.write(piece)
            file.flush()
            file.seek(-len(piece), os.SEEK_CUR)
            while guess.left and guess.read(file.fileno()):
                pass


def all_of_it() -> int:
    return 1 << 30


def same(stream: bytes, lengths: Callable[[], int] = all_of_it) -> Outcome:
    """The outcome, which is that of reading the plain way."""
    plain = Outcome(stream, all_of_it)
    got = Outcome(stream, lengths, in_place=True)
    assert got.error == plain.error
    assert got.ram == plain.ram
    by_numpy = Outcome(stream, lengths, vectors=Vectors())
    assert by_numpy.error == plain.error
    assert by_numpy.ram == plain.ram
    return got


def test_a_long_run_of_pages_is_read_into_its_place() -> None:
    got = same(records([("page", 0, PAGES)]))
    assert got.pages_in_place > PAGES // 2
    assert got.error is None


def test_a_guess_that_was_wrong_leaves_nothing_where_it_looked() -> None:
    got = same(records([("page", 0, 700), ("zero", 700, 10), ("page", 1900, 2)]))
    assert got.pages_in_place > 0
    assert got.touched == 702 * PAGE_SIZE


def test_the_end_of_a_section_is_not_waited_for() -> None:
    source = Source()
    loader = RamLoader([RamBlock.anonymous("ram", PAGES * PAGE_SIZE)])
    parse = loader.load(source, 4)
    next(parse)
    source.feed(records([("page", 0, 600)]))
    with pytest.raises(StopIteration):
        next(parse)
    loader.blocks[0].close()


def test_memory_that_was_written_before_is_not_guessed_about() -> None:
    once = records([("page", 0, PAGES)])[:-8]
    got = same(once + records([("page", 0, 600), ("zero", 600, 1), ("page", 601, 500)]))
    assert got.error is None


def test_pages_beyond_the_block_are_refused_as_ever() -> None:
    got = same(records([("page", 0, PAGES + 5)]))
    assert got.error == [f"Illegal RAM offset {PAGES * PAGE_SIZE:x}", "Invalid argument"]


@pytest.mark.parametrize("at", [0, 3, 7, 8, 9, 4000, 4103])
def test_a_stream_that_is_cut_or_damaged_anywhere_is_refused_as_ever(at: int) -> None:
    stream = records([("page", 0, PAGES)])
    border = 900 * (PAGE_SIZE + 8) + 4
    same(stream[: border + at])
    same(stream[: border + at] + b"\xff" + stream[border + at + 1 :])


@st.composite
def runs(draw: st.DrawFn) -> list[Run]:
    made: list[Run] = [("page", draw(st.integers(0, 300)), draw(st.integers(250, 900)))]
    for _ in range(draw(st.integers(0, 4))):
        what = draw(st.sampled_from(["page", "zero", "more"]))
        behind = made[-1][1] + made[-1][2]
        first = draw(st.sampled_from([behind, behind + 1, 0, draw(st.integers(0, PAGES))]))
        made.append((what, first, draw(st.sampled_from([1, 2, 40, 300, 700]))))
    return made


@given(runs(), st.data())
@example([("page", 0, 900), ("more", 900, 700)], None)
def test_any_stream_in_any_pieces_ends_as_if_read_one_by_one(
    made: list[Run], data: st.DataObject | None
) -> None:
    def lengths() -> Iterator[int]:
        while True:
            yield all_of_it()
            if data is not None:
                yield data.draw(st.sampled_from([1 << 30, 100_000, 4104, 1 << 20, 5]))

    pieces = lengths()
    same(records(made), lambda: next(pieces))


def test_memory_that_is_closed_meanwhile_stays_mapped_while_it_is_read_into() -> None:
    block = RamBlock.anonymous("ram", PAGES * PAGE_SIZE)
    loader = RamLoader([block])
    source = Source()
    parse = loader.load(source, 4)
    next(parse)
    stream = records([("page", 0, PAGES)])
    guess = None
    while guess is None:
        source.feed(stream[: 1 << 18])
        stream = stream[1 << 18 :]
        next(parse)
        guess = loader.in_place(source)
    block.close()
    _fill(guess, memoryview(stream[: guess.left]))
    assert guess.settle() == (guess.pages, b"")
