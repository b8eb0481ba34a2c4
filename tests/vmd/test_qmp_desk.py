"""The QMP desk as a whole: the schema's commands and their handlers."""

from __future__ import annotations

import qapi
from vmd import qmp


def _run_line(machine: object, line: str, cpu_index: int | None = None) -> str:
    return ""


def test_each_command_has_one_handler_in_the_module_of_its_schema_file() -> None:
    qmp.registry(qapi.load(), _run_line).demand_same_names()


def test_each_handler_takes_what_the_schema_allows() -> None:
    assert qmp.registry(qapi.load(), _run_line).signature_problems() == []
