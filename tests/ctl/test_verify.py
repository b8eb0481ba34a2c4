"""`vmdctl verify` beside what real QEMU made of the same streams."""

from __future__ import annotations

import json
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from tests.ctl.looking import looked_at, put, put_libvirt, vmdctl
from tests.vmd import stream_cases as made
from tests.vmd.record_streams import SOURCES, apply
from tests.vmd.streams import judged, kept

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# A receiver like the source cannot object to what only another receiver would object to: its RAM
# has other blocks, it has no network, or it is no secondary. And one that has no block table knows
# no block.
OTHER_RECEIVERS = (
    "unknown block",
    "unknown block behind",
    "block smaller",
    "no table",
    "slirp without a default nic",
    "command 8",
)
OTHER_TABLES = ([41, 32],)  # the block's own entry is no longer read


def verdicts() -> Iterator[tuple[str, bytes, dict[str, Any]]]:
    """Every stream that a plain `-machine none` has judged, and what it said."""
    for line in judged():
        change = next((key for key in ("cut", "xor") if key in line), None)
        if line["status"] == "crash" or line.get("args") or line.get("caps"):
            continue
        if line.get("name") in OTHER_RECEIVERS or line.get("xor") in OTHER_TABLES:
            continue
        if change is not None:
            yield f"{change} {line[change]}", apply(line, kept("base")), line
        else:
            yield line["name"], bytes.fromhex(line["stream"]), line


def test_it_agrees_with_qemu_on_every_damaged_stream(tmp_path: Path) -> None:
    path = tmp_path / "stream"
    count = 0
    for name, data, line in verdicts():
        path.write_bytes(data)
        found = looked_at(path, strict=True, machine="none")
        assert (found.broken is None) == (line["status"] == "completed"), name
        count += 1
    assert count > 2000


def test_it_gives_qemus_own_reasons(tmp_path: Path) -> None:
    path = tmp_path / "stream"
    for name, data, line in verdicts():
        if line["status"] != "failed" or "block" in name:
            continue
        path.write_bytes(data)
        found = looked_at(path, strict=True, machine="none")
        broken = found.broken
        assert broken is not None
        assert f"load of migration failed: {broken.reason}" == line["error"], name
        first = line["lines"][:1]
        others = ("ramblock", "Size mismatch", "Illegal RAM offset", "Capability ", "UUID ")
        if first and not any(words in first[0] for words in others):
            assert [*found.notices, *broken.lines][:1] == first, name


def test_no_damage_is_too_much_for_inspecting_either(tmp_path: Path) -> None:
    path = tmp_path / "stream"
    for _, data, _ in verdicts():
        path.write_bytes(data)
        found = looked_at(path)
        assert (found.end is None) == (found.broken is not None)


@pytest.mark.parametrize("name", SOURCES)
def test_a_file_of_qemu_is_taken(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = put(tmp_path, name)
    said = vmdctl(capsys, "verify", path)
    assert said == (0, f"{path}: a receiver like its source takes it\n", "")


@pytest.mark.parametrize("kind", ["raw", "gzip", "sparse"])
def test_a_file_of_libvirt_is_taken(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vmdctl(capsys, "verify", put_libvirt(tmp_path, kind)).status == 0


def test_another_machine_does_not_take_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = put(tmp_path, "q35")
    said = vmdctl(capsys, "verify", "--machine", "pc-i440fx-10.0", path)
    assert said.status == 1
    line = "Machine type received is 'pc-q35-10.0' and local is 'pc-i440fx-10.0'"
    assert f"  {line}\n" in said.out


def test_a_break_is_told_with_offset_section_reason_and_what_was_expected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = made.HEADER + made.config() + made.section(made.TABLE + made.EOS)
    path = tmp_path / "spoiled"
    path.write_bytes(start + made.part(made.page(0))[:-5] + made.REST)
    offset = len(start) + len(made.part(made.page(0))) - 5
    said = vmdctl(capsys, "verify", path)
    assert said.status == 1
    assert said.out.splitlines() == [
        f"{path}: breaks at 0x{offset:x}, in the footer of section 'ram'"
        f" (id 1, from 0x{len(start):x})",
        "  Missing section footer for ram",
        "  load of migration failed: Invalid argument",
        "  expected: the section's footer: 7e 00 00 00 01",
        f"  found:    {made.REST[:16].hex(' ')}",
    ]


def test_programs_get_the_same_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cut"
    path.write_bytes(kept("base")[:100])
    told = json.loads(vmdctl(capsys, "verify", "--json", path).out)
    assert told["loads"] is False
    assert told["error"]["offset"] == 93  # where a page's header begins, of which a byte is missing
    assert told["error"]["found"] == kept("base")[93:100].hex()
    assert told["error"]["section"]["name"] == "ram"


def test_a_stream_cut_in_a_device_names_the_device(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cut"
    path.write_bytes(kept("q35")[:42500])
    said = vmdctl(capsys, "verify", path)
    assert "in section '0000:00:00.0/mch'" in said.out
    assert "expected: the state of 0000:00:00.0/mch" in said.out


# What a stream claims is not believed.


def test_a_block_of_a_petabyte_takes_no_memory(tmp_path: Path) -> None:
    size = 1 << 50
    table = made.table(("ram", size))
    path = tmp_path / "claim"
    path.write_bytes(made.HEADER + made.config() + made.section(table + made.EOS))
    broken = looked_at(path).broken
    assert broken is not None
    assert broken.lines[0] == f"The table tells of 0x{size:x} bytes of RAM"


def test_many_pages_are_counted_in_little_memory(tmp_path: Path) -> None:
    size = 1 << 40
    pages = b"".join(made.more(page << 12) for page in range(1, 2000))
    zeros = b"".join(made.record(size - (n << 12), 0x22, None, b"\0") for n in range(9, 1, -1))
    path = tmp_path / "large"
    path.write_bytes(
        made.HEADER
        + made.config()
        + made.section(made.table(("ram", size)) + made.EOS)
        + made.part(made.page(0), pages, zeros)
        + made.end()
        + made.REST
    )
    tracemalloc.start()
    try:
        found = looked_at(path)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert found.broken is None
    counted = found.ram.blocks[0].count()
    assert (counted.normal, counted.zero) == (2000, 8)
    assert counted.absent == (size >> 12) - 2008


def test_a_description_that_lies_about_its_section_gives_no_fields(tmp_path: Path) -> None:
    whole = kept("q35")
    path = tmp_path / "lies"
    for old, new in ((b'"array_len": 16', b'"array_len": 15'), (b'"size": 8}', b'"size": 9}')):
        path.write_bytes(whole.replace(old, new))
        found = looked_at(path)
        cpu = next(section for section in found.devices if section.idstr == "cpu")
        assert cpu.fields is None
        assert found.broken is None
