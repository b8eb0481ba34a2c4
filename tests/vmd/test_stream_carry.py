"""Device sections that vmd does not understand: told apart, kept, written so that QEMU agrees."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.differential.scenes import capabilities, load
from tests.differential.stage import stage
from tests.vmd.stream_cases import (
    DATA,
    DESCRIBED,
    EOF,
    START,
    be,
    end,
    globalstate,
    part,
    record,
    section,
)
from tests.vmd.streams import close_all, kept, local_of, read, rewritten
from vmd.migration.carry import described_size
from vmd.migration.source import LoadError
from vmd.migration.stream import CarriedSection, Ended, SectionSeen

if TYPE_CHECKING:
    from pathlib import Path

    from tests.differential.stage import Program

BOARDS = ("q35", "devices", "virtio-mem")
NONE = local_of("empty")


def carried(stream: bytes) -> list[tuple[str, bytes]]:
    done = read(stream, NONE)
    close_all(done.blocks)
    return [(section.idstr, section.payload) for section in done.all(CarriedSection)]


def description(*devices: dict[str, Any]) -> bytes:
    text = json.dumps({"configuration": {}, "page_size": 4096, "devices": devices}).encode()
    return EOF + b"\6" + be(4, len(text)) + text


def old_style(name: str, size: int) -> dict[str, Any]:
    return {"name": name, "instance_id": 0, "size": size, "fields": []}


@pytest.mark.parametrize("name", BOARDS)
def test_a_stream_without_description_is_split_like_one_with_it(name: str) -> None:
    whole = kept(name)
    with_it = read(whole, local_of(name))
    without = read(whole[: whole.rindex(b"\0\6") + 1], local_of(name))
    assert len(with_it.all(CarriedSection)) > 20
    assert [s._replace(description=None) for s in with_it.all(CarriedSection)] == without.all(
        CarriedSection
    )
    close_all([*with_it.blocks, *without.blocks])


@pytest.mark.parametrize("name", BOARDS)
def test_every_description_of_qemu_tells_the_size_of_its_section(name: str) -> None:
    done = read(kept(name), local_of(name))
    for section_ in done.all(CarriedSection):
        assert section_.description is not None
        assert described_size(section_.description) == len(section_.payload), section_.idstr
    close_all(done.blocks)


def test_a_section_in_front_of_ram_is_kept_as_an_early_one() -> None:
    done = read(kept("virtio-mem"), local_of("virtio-mem"))
    early = [section_ for section_ in done.all(CarriedSection) if section_.early]
    assert [(s.idstr, len(s.payload)) for s in early] == [
        ("0000:00:01.0/virtio-mem-device-early", 44)
    ]
    close_all(done.blocks)


def test_a_reader_on_a_socket_is_done_with_the_last_byte_of_the_description() -> None:
    done = read(kept("q35") + b"more", local_of("q35"))
    assert len(done.all(Ended)) == 1
    close_all(done.blocks)


def test_a_payload_that_looks_like_the_end_is_kept_whole_where_it_is_described() -> None:
    trap = b"\x7e" + be(4, 9) + EOF + b"\6" + be(4, 0)
    stream = START + end() + section(trap * 2, 9, "foo", 0, 1, 4) + globalstate()
    assert carried(stream + description(old_style("foo", 22))) == [("foo", trap * 2)]


def test_a_description_that_counts_wrong_is_corrected_by_the_footers() -> None:
    stream = START + end() + section(bytes(10), 9, "foo", 0, 1, 4)
    stream += section(bytes(3), 11, "bar", 0, 1, 4) + globalstate()
    for wrong in (9, 11, 1 << 40, 0):
        about = description(
            old_style("foo", wrong), old_style("bar", wrong), old_style("globalstate", 104)
        )
        assert carried(stream + about) == [("foo", bytes(10)), ("bar", bytes(3))]


@pytest.mark.parametrize("junk", [3, "x", None, {}, [], {"name": 5}, {"name": "foo", "fields": 3}])
def test_a_description_of_junk_is_as_good_as_none(junk: object) -> None:
    stream = START + end() + section(bytes(10), 9, "foo", 0, 1, 4) + globalstate()
    text = json.dumps({"devices": [junk]}).encode()
    assert carried(stream + EOF + b"\6" + be(4, len(text)) + text) == [("foo", bytes(10))]


def test_an_empty_description_ends_the_stream_of_a_foreign_writer() -> None:
    stream = START + end() + section(bytes(10), 9, "foo", 0, 1, 4) + globalstate() + DESCRIBED
    assert carried(stream) == [("foo", bytes(10))]


def test_a_section_without_a_footer_is_refused() -> None:
    stream = START + end() + section(bytes(10), 9, "foo", 0, 1, 4)[:-5] + globalstate() + EOF
    with pytest.raises(LoadError) as refused:
        read(stream, NONE)
    assert refused.value.lines == ["Missing section footer for foo"]


def test_ram_goes_on_behind_an_early_section() -> None:
    early = section(b"early", 9, "foo", 0, 1, 4)
    done = read(START + early + part(record(0, 8, "ram", DATA)) + end() + globalstate() + EOF, NONE)
    assert [s.early for s in done.all(CarriedSection)] == [True]
    assert [seen.kind for seen in done.all(SectionSeen)] == [1, 2, 3]
    assert done.blocks[0].read(0, 4096) == DATA
    close_all(done.blocks)


@given(st.binary(max_size=300), st.integers(1, 50))
def test_any_payload_comes_through_at_any_split(payload: bytes, split: int) -> None:
    stream = START + end() + section(payload, 9, "foo", 7, 1, 4) + globalstate()
    stream += description({**old_style("foo", len(payload)), "instance_id": 7})
    done = read(stream, NONE, split=split)
    (kept_,) = done.all(CarriedSection)
    assert (kept_.payload, kept_.instance_id) == (payload, 7)
    close_all(done.blocks)


def test_real_qemu_runs_a_board_that_vmd_has_carried(qemu: Program, tmp_path: Path) -> None:
    local = local_of("devices")
    done = read(kept("devices"), local)
    (tmp_path / "state").write_bytes(rewritten(done, local))
    (tmp_path / "bios").write_bytes(bytes(65536))
    close_all(done.blocks)
    with stage(qemu, tmp_path) as scene:
        machine = scene.start(
            "-machine q35 -accel tcg -nodefaults -m 8 -bios bios -smp 2"
            " -device virtio-rng-pci -device virtio-balloon-pci,id=b -device virtio-serial-pci"
            " -device qemu-xhci -device usb-kbd -device pcie-root-port,id=p"
            " -device e1000e,bus=p,romfile= -chardev null,id=n -device isa-serial,chardev=n"
            " -device intel-hda -device virtio-gpu-pci -incoming defer"
        )
        capabilities(machine, "events")
        load(machine, "file:state")
        machine.qmp.execute("cont")
        assert machine.qmp.execute("query-status")["status"] == "running"
