"""Every recorded command line is judged as real QEMU judged it. See record_cli.py."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest

from tests.vmd.cli_judge import ASK, judge, judge_opening

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "cli.jsonl")


def cases(opens: bool) -> list[object]:
    with open(DATA) as file:
        rows = [json.loads(line) for line in file]
    return [
        pytest.param(row["argv"], (row["status"], row["stderr"]), id=shlex.join(row["argv"][1:]))
        for row in rows
        if row["opens"] == opens
    ]


@pytest.mark.parametrize(("argv", "answer"), cases(opens=False))
def test_a_command_line_is_judged_as_qemu_judges_it(
    argv: list[str], answer: tuple[int, str]
) -> None:
    status, _, stderr = judge([*argv, *ASK])
    assert (status, stderr) == answer


@pytest.mark.parametrize(("argv", "answer"), cases(opens=True))
async def test_what_only_opening_shows_is_said_as_qemu_says_it(
    argv: list[str], answer: tuple[int, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert await judge_opening([*argv, *ASK]) == answer
