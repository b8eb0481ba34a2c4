"""State files that are damaged, or no state files: refused cleanly, or loaded whole.

What QEMU says to each is recorded elsewhere; here it is only asked that nothing worse happens:
no other exception, no memory taken on the stream's word, no byte of shared RAM touched too early.
"""

from __future__ import annotations

import os
import shutil
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from tests.faults.stand import PAGE, Subject, load
from vmd.memory import RamBlock
from vmd.migration.load import load as load_stream
from vmd.migration.source import LoadError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE = 8 * PAGE
MOST_MEMORY = 64 << 20
BOARDS = ("none", "pc")


class Bytes:
    """A stream in memory, as a channel that gives it in pieces."""

    def __init__(self, data: bytes) -> None:
        self._left = memoryview(data)

    def read_into(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


async def stream_of(board: str, path: Path) -> tuple[bytes, bytes]:
    """A small machine's state file, and its RAM."""
    source = Subject(SIZE, board=board)
    source.fill()
    await source.save(path)
    ram = bytes(source.block.view)
    source.close()
    return path.read_bytes(), ram


def take(target: Subject, stream: bytes) -> bool:
    """Load a stream: whether it arrived. Anything but a refusal in due form is an error."""
    machine = target.machine
    try:
        arrival = load_stream(machine, machine.migration.options, Bytes(stream))
    except LoadError as error:
        assert error.strerror
        return False
    assert target.block not in arrival.blocks
    for block in arrival.blocks:  # which this machine had not got
        block.close()
    return True


@pytest.fixture(params=BOARDS)
def board(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def target(board: str) -> Iterator[Subject]:
    subject = Subject(SIZE, board=board, incoming=True)
    yield subject
    subject.close()


async def test_a_stream_cut_at_any_byte_is_refused_or_whole(
    board: str, target: Subject, tmp_path: Path
) -> None:
    stream, ram = await stream_of(board, tmp_path / "state")
    whole = []
    cuts = places(stream)
    for cut in cuts:
        target.block.fill(0, SIZE, 0)
        if take(target, stream[:cut]):
            whole.append(cut)
            assert bytes(target.block.view) == ram
    # Only the description may be missing: whatever is cut before it is refused.
    assert whole == list(range(whole[0], len(stream)))
    assert len(cuts) < len(whole) * 4
    assert stream[whole[0] - 1] == 0
    assert stream[whole[0]] == 6


async def test_a_stream_with_any_byte_changed_is_refused_or_loaded(
    board: str, target: Subject, tmp_path: Path
) -> None:
    stream, _ = await stream_of(board, tmp_path / "state")
    taken = 0
    description = stream.index(b"{")
    for place in places(stream):
        for change in (0x01, 0x80, 0xFF) if place < description else (0x01,):
            spoiled = bytearray(stream)
            spoiled[place] ^= change
            taken += take(target, bytes(spoiled))
    assert taken > 0


async def test_no_length_that_a_stream_claims_is_believed(
    board: str, target: Subject, tmp_path: Path
) -> None:
    stream, _ = await stream_of(board, tmp_path / "state")
    take(target, stream)
    tracemalloc.start()
    try:
        for place in places(stream[: stream.index(b"{")]):
            for claim in (b"\xff" * 4, b"\x00\x00\x00\xff" + b"\xff" * 4):
                take(target, stream[:place] + claim + stream[place + len(claim) :])
                assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()


def places(stream: bytes) -> list[int]:
    """Every byte but most of those within a page's data."""
    found: list[int] = []
    at = 0
    while at < len(stream):
        run = len(stream) - at - len(stream[at:].lstrip(stream[at : at + 1]))
        found += range(at, at + min(run, 16))
        at += run
    return found


async def test_shared_ram_is_untouched_by_a_stream_that_is_refused_before_ram(
    tmp_path: Path,
) -> None:
    stream, _ = await stream_of("none", tmp_path / "state")
    first_page = stream.index(b"\x03ram", 60) + 4
    ram = tmp_path / "ram0"
    ram.write_bytes(os.urandom(SIZE))
    kept = ram.read_bytes()
    block = RamBlock("ram", SIZE, os.open(ram, os.O_RDWR), named_file=True)
    target = Subject(board="none", block=block, incoming=True)
    for cut in range(first_page):
        assert not take(target, stream[:cut])
        assert ram.read_bytes() == kept
    target.close()


async def test_other_ram_touches_nothing(tmp_path: Path) -> None:
    await stream_of("none", tmp_path / "state")
    target = await load(tmp_path / "state", board="none", size=2 * SIZE)
    assert target.migration.query()["status"] == "failed"
    assert not any(target.block.view[: 2 * SIZE])
    target.close()


# What is no state file at all.


def somebody_elses(kind: str, directory: Path) -> Path:
    path = directory / "strange"
    if kind == "a directory":
        path.mkdir()
    elif kind == "a program":
        shutil.copy("/bin/sh", path)
    elif kind == "a text":
        path.write_text("Dear state file,\n" * 1000)
    elif kind == "100 MB of zeros":
        path.touch()
        os.truncate(path, 100_000_000)
    elif kind == "an empty file":
        path.touch()
    else:
        return directory / "/dev" / kind
    return path


STRANGE = ("a directory", "a program", "a text", "100 MB of zeros", "an empty file")


@pytest.mark.parametrize("kind", [*STRANGE, "zero", "null", "full"])
async def test_what_is_no_state_file_is_refused_as_such(kind: str, tmp_path: Path) -> None:
    target = await load(somebody_elses(kind, tmp_path))
    assert target.migration.query() == {
        "status": "failed",
        "error-desc": "load of migration failed: Invalid argument",
    }
    assert target.reports == ["Not a migration stream"]
    assert target.state.value == "inmigrate"
    target.close()
