"""Everything that a person may type, right and wrong: a corpus of lines, put to both programs.

The corpus is `tests/differential/lines/*.txt`: a scene begins with `== its name`, then come files
that it needs (`+ NAME BYTES`; a qcow2 image with snapshots: `* NAME BYTES TAG…`), the command line
(`$ …`), and lines as they are typed. Behind `;;` is a comment. Help is in each program's own words:
of it only the shape is compared, and that vmd explains nothing that QEMU does not have.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.differential.scenes import add_snapshots, explained, qcow2
from tests.differential.wires import OPTIONAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.differential.stage import Stage

CORPUS = Path(__file__).parents[1] / "lines"
HELP = ("help", "help info", "info", "?")
# What depends on what a program can do at all: vmd may lack rows of these.
LISTS = ("help log", "info migrate_capabilities", "info migrate_parameters")
# What QEMU takes out of a hash table, in whatever order.
UNORDERED = ("info chardev", "qom-list /", "qom-list /objects", "info pic", "info irq")


class _Scene(NamedTuple):
    name: str
    arguments: list[str]
    files: list[tuple[str, int]]
    images: list[list[str]]
    lines: list[str]


def scenes() -> Iterator[_Scene]:
    """All scenes of the corpus."""
    for path in sorted(CORPUS.glob("*.txt")):
        scene: _Scene | None = None
        for text in path.read_text(encoding="utf-8").splitlines():
            if text.startswith("== "):
                if scene is not None:
                    yield scene
                scene = _Scene(text[3:], [], [], [], [])
            elif scene is None or text.startswith(";;") or not text:
                continue
            elif text.startswith("+ "):
                name, size = text[2:].split()
                scene.files.append((name, int(size)))
            elif text.startswith("* "):
                scene.images.append(text[2:].split())
            elif text.startswith("$ "):
                scene.arguments.append(text[2:])
            else:
                scene.lines.append(text)
        if scene is not None:
            yield scene


def _shape_of_help(rows: list[str]) -> list[str]:
    """Of each explained command what stands before the explanation."""
    refused = [row for row in rows[1:] if row.startswith("unknown command")]
    return [rows[0], *explained(rows[1:]), *refused]


def _list_of_help(rows: list[str]) -> list[str]:
    first, *entries = _shape_of_help(rows)
    return [first, *(OPTIONAL + entry for entry in entries)]


def _sorted(rows: list[str]) -> list[str]:
    return [rows[0], *sorted(rows[1:])]


def _sorted_backends(rows: list[str]) -> list[str]:
    """What is told of each memory backend, sorted."""
    text = "\n".join(rows[1:])
    first, *others = text.split("memory backend: ")
    return [rows[0], *(row for other in sorted(others) for row in other.split("\n")), first]


def _types(rows: list[str]) -> list[str]:
    return [rows[0], *(OPTIONAL + row for row in rows[1:] if row)]


def _sorted_groups(rows: list[str]) -> list[str]:
    """Address spaces and the regions behind them, each kind sorted."""
    groups: list[list[str]] = [[]]
    for row in rows[1:]:
        groups[-1].append("FlatView" if row.startswith("FlatView #") else row)
        if not row:
            groups.append([])
    return [rows[0], *(row for group in sorted(map(_sorted_names, groups)) for row in group)]


def _sorted_names(group: list[str]) -> list[str]:
    """A flat view with its address spaces sorted."""
    names = [row for row in group if row.startswith(" AS ")]
    return [*group[:1], *sorted(names), *(row for row in group[1:] if row not in names)]


def _view(line: str) -> Callable[[list[str]], list[str]]:
    """What is compared of the answer to a line."""
    line = line.strip()
    if line in HELP:
        return _list_of_help
    if line.startswith(("help ", "? ")) and line not in LISTS:
        return _shape_of_help
    if line in UNORDERED:
        return _sorted
    if line == "info qdm":
        return _types
    if line == "info memdev":
        return _sorted_backends
    return _sorted_groups if line.startswith("info mtree") else list


def _play(stage: Stage, scene: _Scene) -> None:
    for name, size in scene.files:
        with stage.file(name).open("wb") as file:
            file.truncate(size)
    for name, length, *tags in scene.images:
        qcow2(stage.file(name), int(length))
        add_snapshots(stage.file(name), tags)
    machine = stage.start(" ".join(scene.arguments), qmp=False, human="pipe", guest="idle")
    for line in scene.lines:
        machine.human.type(line, view=_view(line), optional=line in LISTS)
    machine.human.leave()
    machine.exited()


def _as_question(scene: _Scene) -> Callable[[Stage], None]:
    def question(stage: Stage) -> None:
        _play(stage, scene)

    return question


for _scene in scenes():
    globals()[_scene.name.replace(" ", "_")] = _as_question(_scene)
