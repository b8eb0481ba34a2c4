"""Sections of dirty bitmaps that real QEMU has judged: made to break one rule each, or damaged."""

from __future__ import annotations

import json
import lzma
from typing import Any

import pytest

from monitor.json import encode
from tests.vmd.bitmap_stream_cases import KEPT, SIZE, cases, damaged, new, seen, whole
from tests.vmd.streams import SPLITS
from vmd.block.bitmaps import add
from vmd.block.node import Node
from vmd.memory import RamBlock
from vmd.migration.dirty_bitmaps_load import MOST_BITMAPS, BitmapsLoader
from vmd.migration.ram_load import RamLoader
from vmd.migration.reader import Device, StreamReader
from vmd.migration.sections import Configuration, globalstate_section
from vmd.migration.source import LoadError
from vmd.migration.stream import Notice

STATES = ["running"]


def a_node() -> Node:
    node = Node("null-co", "n", {})
    node.virtual_size = SIZE
    add(node, "own", None, persistent=False, disabled=False)
    return node


def answer(stream: bytes, split: int) -> dict[str, Any]:
    """What vmd makes of the stream, told as QEMU's answer was recorded."""
    node, block = a_node(), RamBlock.anonymous("ram", 16384)
    loader = BitmapsLoader({"n": node}.get)
    devices = [Device("globalstate", 0, globalstate_section(STATES))]
    reader = StreamReader(Configuration("none"), RamLoader([block]), devices, bitmaps=loader)
    records = []
    try:
        for at in range(0, len(stream), split):
            records += reader.feed(stream[at : at + split])
        records += reader.end()
    except LoadError as error:
        loader.give_up()
        records += reader.told()
        lines = [one.line for one in records if isinstance(one, Notice)] + error.lines
        told = {"status": "failed", "error": f"load of migration failed: {error.strerror}"}
    else:
        loader.begin()
        lines = [one.line for one in records if isinstance(one, Notice)]
        told = {"status": "completed", "error": None}
    finally:
        block.close()
    nodes = [{"node-name": "n", "dirty-bitmaps": [each.describe() for each in node.bitmaps]}]
    return told | {"bitmaps": json.loads(encode(seen(nodes))), "lines": lines}


def judged() -> list[dict[str, Any]]:
    return [json.loads(line) for line in lzma.decompress(KEPT.read_bytes()).splitlines()]


def disagreements(names: set[str], split: int) -> list[tuple[Any, ...]]:
    """Cases that vmd judges otherwise. Where QEMU crashed, any refusal is right."""
    found = []
    for case in judged():
        if case["name"] not in names:
            continue
        expected = {key: value for key, value in case.items() if key not in ("name", "stream")}
        mine = answer(bytes.fromhex(case["stream"]), split)
        if mine != expected and (case["status"], mine["status"]) != ("crash", "failed"):
            found.append((case["name"], expected, mine))
    return found


@pytest.mark.parametrize("split", SPLITS)
def test_a_made_section_is_judged_as_qemu_judges_it(split: int) -> None:
    assert disagreements(set(cases()), split) == []


def test_a_section_cut_or_changed_anywhere_is_judged_as_qemu_judges_it() -> None:
    assert disagreements(set(damaged()), 1 << 30) == []


def test_the_judge_was_asked_about_every_case() -> None:
    assert {case["name"]: case["stream"] for case in judged()} == {
        name: stream.hex() for name, stream in {**cases(), **damaged()}.items()
    }


def test_a_stream_with_bitmaps_without_end_is_refused() -> None:
    told = answer(whole(*(new(f"b{n}", 0) for n in range(MOST_BITMAPS + 1))), 1 << 30)
    assert (told["status"], told["lines"][0]) == (
        "failed",
        f"More than {MOST_BITMAPS} dirty bitmaps",
    )
