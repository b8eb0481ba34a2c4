"""What a person's TAB offers beyond QEMU's, asked of a machine that was made here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from monitor.completion import complete, usage
from monitor.hmp import Hmp
from vmd import hmp
from vmd.hmp.hints import HINTS
from vmd.migration.parameters import CHOICE, PARAMETERS

if TYPE_CHECKING:
    from pathlib import Path


def offered(line: str, helpful: bool = True, machine: Any = None) -> list[str]:
    found = complete(Hmp(hmp.registry(), machine, print), line, helpful)
    return sorted(candidate.decode() for candidate in found.candidates)


def test_every_choice_of_a_parameter_is_offered() -> None:
    for name, row in PARAMETERS.items():
        if row.kind == CHOICE:
            assert row.default in offered(f"migrate_set_parameter {name} ")
    assert offered("migrate_set_parameter mode c") == ["cpr-reboot"]
    assert offered("migrate_set_parameter direct-io ") == ["off", "on"]


def test_qemus_editor_offers_none_of_it() -> None:
    assert offered("migrate_set_parameter mode ", helpful=False) == []
    assert offered("migrate ", helpful=False) == []
    assert offered("migrate -", helpful=False) == []


def test_flags_are_offered_and_do_not_count_as_words() -> None:
    assert offered("migrate -") == ["-d", "-r"]
    assert "file:" in offered("migrate -d ")


def test_addresses_are_offered_and_files_behind_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vm.state").touch()
    (tmp_path / "old").mkdir()
    assert offered("migrate_incoming file:") == ["file:old/", "file:vm.state"]
    found = complete(Hmp(hmp.registry(), None, print), "migrate_incoming fil", True)
    assert found.insertion() == b"e:"


@pytest.mark.parametrize(
    "line", ["nosuch ", "migrate a b ", "migrate_set_parameter nosuch ", 'migrate "', "info x "]
)
def test_where_nothing_fits_nothing_is_offered(line: str) -> None:
    assert offered(line) == []


def test_every_hint_belongs_to_a_command() -> None:
    table = hmp.registry().table
    info = table.find("info")
    assert info is not None and info.subcommands is not None
    for name in HINTS:
        assert table.find(name) or info.subcommands.find(name), name


def test_the_bar_names_the_command_its_arguments_and_what_it_does() -> None:
    human = Hmp(hmp.registry(), None, print)
    assert usage(human, "") == usage(human, "nosuch x") == usage(human, '"') == ""
    assert usage(human, "migrate -d x").startswith("migrate [-d] [-r] uri  ")
    assert usage(human, "info status").startswith("info status  ")
    assert usage(human, "info stat").startswith("info [subcommand]  ")
