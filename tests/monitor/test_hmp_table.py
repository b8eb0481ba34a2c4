"""The human monitor's command table, beside what QEMU's has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vmd import hmp

NAMES = json.loads((Path(__file__).parents[2] / "docs" / "qemu-hmp-names.json").read_text())
TABLE = hmp.registry().table
INFO = TABLE.find("info")
assert INFO is not None and INFO.subcommands is not None
LACKING = [
    *(name.split("|")[0] for name in NAMES["commands"] if TABLE.find(name.split("|")[0]) is None),
    *(f"info {name}" for name in NAMES["info"] if INFO.subcommands.find(name) is None),
]


@pytest.mark.parametrize("line", LACKING)
def test_what_qemu_has_and_vmd_lacks_is_refused_as_unknown(line: str) -> None:
    said = hmp.registry().run_line(object(), f"{line} 1")
    assert said == f"unknown command: '{line}'\r\n"


def test_every_command_of_the_table_has_a_help_text() -> None:
    assert INFO is not None and INFO.subcommands is not None
    for command in (*TABLE.commands, *INFO.subcommands.commands):
        assert command.help.strip()
        assert command.help[0].islower() or not command.help[0].isalpha()


def test_every_command_of_the_table_has_arguments_of_known_types() -> None:
    assert INFO is not None and INFO.subcommands is not None
    for command in (*TABLE.commands, *INFO.subcommands.commands):
        assert len(command.parameters) == command.args_type.count(":")
