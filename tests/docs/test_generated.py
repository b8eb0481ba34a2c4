"""What the documents say of the code is what the code says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import qapi
from vmd import hmp

DOCS = Path(__file__).parents[2] / "docs"


def test_the_documents_are_fresh() -> None:
    check = [sys.executable, str(DOCS / "generate.py"), "--check"]
    result = subprocess.run(check, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"make docs brings them up to date: {result.stdout}"


def test_what_the_tutorial_shows_is_what_a_terminal_shows() -> None:
    check = [sys.executable, str(DOCS / "captures.py"), "--check"]
    result = subprocess.run(check, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"python docs/captures.py plays it again: {result.stderr}"


def test_every_command_and_event_has_its_heading() -> None:
    headings = re.findall(r"^### (\S+)$", (DOCS / "qmp-reference.md").read_text(), re.M)
    schema = qapi.load()
    assert set(headings) >= {*schema.commands, *schema.events}
    assert len(headings) == len(set(headings))


def test_every_link_of_the_reference_leads_to_a_heading() -> None:
    text = (DOCS / "qmp-reference.md").read_text()
    anchors = {heading.lower() for heading in re.findall(r"^#+ (\S+)$", text, re.M)}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors


def test_every_command_and_event_is_qemus_or_says_that_it_is_not() -> None:
    names = json.loads((DOCS / "qemu-names.json").read_text())
    theirs = {name for kinds in names.values() for kind in kinds.values() for name in kind}
    ours = {name for name in qapi.load().order if not name.lower().startswith("x-vmd-")}
    assert ours <= theirs


def test_every_human_command_has_its_heading() -> None:
    headings = set(re.findall(r"^### (.+)$", (DOCS / "hmp-reference.md").read_text(), re.M))
    table = hmp.registry().table
    info = table.find("info")
    assert info is not None and info.subcommands is not None
    assert headings == {
        *(command.names[0] for command in table.commands),
        *(f"info {command.names[0]}" for command in info.subcommands.commands),
    }


def test_every_human_command_is_qemus() -> None:
    names = json.loads((DOCS / "qemu-hmp-names.json").read_text())
    table = hmp.registry().table
    info = table.find("info")
    assert info is not None and info.subcommands is not None
    assert {command.name for command in table.commands} <= set(names["commands"])
    assert {command.name for command in info.subcommands.commands} <= set(names["info"])
