"""Streams that real QEMU has judged: damaged at every byte, and made to break one rule each."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from tests.vmd.record_streams import apply
from tests.vmd.streams import SPLITS, judged, kept, read
from vmd.memory import RamBlock
from vmd.migration.sections import VALIDATED_CAPABILITIES, Configuration
from vmd.migration.source import LoadError
from vmd.migration.stream import ENABLE_COLO, Notice


def stream_of(case: dict[str, Any]) -> bytes:
    if "base" in case:
        return apply(case, kept(case["base"]))
    return bytes.fromhex(case["stream"])


def answer(case: dict[str, Any], split: int) -> dict[str, Any]:
    """What vmd makes of the stream, told as QEMU's answer was recorded."""
    args, caps = case.get("args", []), case.get("caps", [])
    uuid = bytes.fromhex(args[1].replace("-", "")) if args else None
    validated = tuple(cap for cap in caps if cap in VALIDATED_CAPABILITIES)
    block = RamBlock.anonymous("ram", 16384)
    block.shared = block.named_file = True
    try:
        local = Configuration("none", validated, uuid)
        done = read(
            stream_of(case), local, [block], split=split, carry=False, x_colo="x-colo" in caps
        )
    except LoadError as error:
        strerror = f"load of migration failed: {error.strerror}"
        return {"status": "failed", "error": strerror, "lines": error.lines}
    else:
        lines = [notice.line for notice in done.all(Notice)]
        ram = hashlib.sha256(block.view).hexdigest()[:16]
        status = "colo" if "x-colo" in caps and ENABLE_COLO in done.commands else "completed"
        return {"status": status, "error": None, "lines": lines, "ram": ram}
    finally:
        block.close()


def disagreements(cases: list[dict[str, Any]], split: int) -> list[tuple[Any, ...]]:
    """Cases that vmd judges otherwise. Where QEMU crashed, any refusal is right."""
    found = []
    for case in cases:
        expected = {key: case[key] for key in ("status", "error", "lines", "ram") if key in case}
        mine = answer(case, split)
        if mine != expected and (case["status"], mine["status"]) != ("crash", "failed"):
            found.append((case.get("name"), case.get("cut"), case.get("xor"), expected, mine))
    return found


@pytest.mark.parametrize("split", SPLITS)
def test_a_stream_cut_anywhere_is_refused_in_qemus_words(split: int) -> None:
    assert disagreements([case for case in judged() if "cut" in case], split) == []


def test_a_stream_with_one_byte_changed_is_judged_as_qemu_judges_it() -> None:
    assert disagreements([case for case in judged() if "xor" in case], 1 << 30) == []


@pytest.mark.parametrize("split", SPLITS)
def test_a_made_stream_is_judged_as_qemu_judges_it(split: int) -> None:
    assert disagreements([case for case in judged() if "stream" in case], split) == []


def test_the_judge_was_asked_about_every_kind_of_damage() -> None:
    assert sum("cut" in case for case in judged()) > 300
    assert sum("xor" in case for case in judged()) > 1500
    assert sum("stream" in case for case in judged()) > 190
