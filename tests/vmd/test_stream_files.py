"""State files that real QEMU wrote: read whole, and written again byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vmd.record_streams import SOURCES
from tests.vmd.streams import close_all, configured, kept, local_of, read, rewritten
from vmd.memory import RamBlock
from vmd.migration.source import LoadError
from vmd.migration.stream import CarriedSection, DeviceLoaded, Ended, Notice

# Of virtio-mem's unplugged memory a source sends nothing; a saver of RAM alone cannot know.
NAMES = tuple(name for name in SOURCES if name != "virtio-mem")


def ready_blocks(name: str) -> list[RamBlock]:
    """Blocks that a receiver brings along: the one that x-ignore-shared leaves out."""
    if name != "ignore-shared":
        return []
    block = RamBlock.anonymous("ram", 16384)
    block.shared = block.named_file = True
    return [block]


@pytest.mark.parametrize("split", [1 << 30, 4104, 61])
@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_qemu_is_read_and_written_again_byte_for_byte(name: str, split: int) -> None:
    local = local_of(name)
    done = read(kept(name), local, ready_blocks(name), split=split)
    assert rewritten(done, local, gpa=name == "ignore-shared") == kept(name)
    close_all(done.blocks)


def test_configuration_tells_machine_capabilities_and_uuid() -> None:
    done = read(kept("ignore-shared"), local_of("ignore-shared"), ready_blocks("ignore-shared"))
    assert configured(done) == local_of("ignore-shared")
    close_all(done.blocks)


def test_ram_holds_what_the_source_held() -> None:
    done = read(kept("base"), local_of("base"))
    (block,) = done.blocks
    assert (block.idstr, block.size) == ("ram", 16384)
    assert [any(block.read(page * 4096, 4096)) for page in range(4)] == [False, True, False, False]
    close_all(done.blocks)


def test_timer_and_globalstate_are_understood() -> None:
    done = read(kept("base"), local_of("base"))
    timer, globalstate = done.all(DeviceLoaded)
    assert timer.values["cpu_clock_offset"] > 0
    assert globalstate.values["runstate"].rstrip(b"\0") == b"running"
    close_all(done.blocks)


def test_nothing_is_carried_unless_the_caller_says_so() -> None:
    block = RamBlock.anonymous("ram", 1 << 20)
    with pytest.raises(LoadError) as refused:
        read(kept("plain"), local_of("plain"), [block], carry=False)
    block.close()
    assert refused.value.lines == [
        "Unknown savevm section or instance 'slirp' 0. Make sure that your current VM setup"
        " matches your saved VM setup, including any hotplugged devices"
    ]


def test_a_missing_description_is_noticed_and_forgiven() -> None:
    data = kept("base")
    done = read(data[: data.rindex(b"\0\6") + 1], local_of("base"))
    assert done.all(Notice) == [Notice("Expected vmdescription section, but got 0")]
    assert done.all(Ended) == [Ended(None)]
    close_all(done.blocks)


@given(st.data())
def test_the_split_of_the_bytes_does_not_matter(data: st.DataObject) -> None:
    whole = kept("plain")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    expected = read(whole, local_of("plain"))
    got = read(whole, local_of("plain"), cuts=cuts)
    assert got.records == expected.records
    assert [bytes(b.view) for b in got.blocks] == [bytes(b.view) for b in expected.blocks]
    close_all([*got.blocks, *expected.blocks])


@pytest.mark.parametrize("name", ["q35", "devices", "virtio-mem"])
@given(st.data())
def test_a_damaged_file_of_a_real_board_is_refused_cleanly_or_read(
    name: str, data: st.DataObject
) -> None:
    whole = bytearray(kept(name))
    for _ in range(data.draw(st.integers(0, 2))):
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(whole)) | st.just(len(whole)))
    try:
        done = read(bytes(whole[:cut]), local_of(name))
    except LoadError as error:
        assert error.strerror
    else:
        assert sum(len(section.payload) for section in done.all(CarriedSection)) <= len(whole)
        close_all(done.blocks)
