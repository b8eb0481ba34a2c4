"""Draw the pictures and tables of the documentation from the code, so that none is wrong for long.

`python docs/generate.py` rewrites what stands between the `generated` marks of the documents in
this folder; with `--check` it only says (exit 1) that something would change.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE)]

import hmp_reference  # noqa: E402
from qmp_reference import coverage, reference  # noqa: E402

FLOORS = {
    "the door": ["vmd.__main__", "vmd.cli", "vmd.ctl"],
    "the desks": ["vmd.qmp", "vmd.hmp", "vmd.qtest"],
    "the machine": ["vmd"],
    "the faces": ["monitor"],
    "the words": ["qapi"],
}


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of the project, by dotted name."""
    for package in ("vmd", "monitor", "qapi"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(part for part in parts if part != "__init__"), path


def room(name: str) -> str:
    """A module's room: its sub-package, or itself."""
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[0] in ("vmd", "monitor") else parts[0]


def imports_of(path: Path) -> Iterator[str]:
    """What a module imports from the project when it runs (not what only type checkers see)."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.dump(branch.test)
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module in ("vmd", "vmd.cli", "vmd.qmp", "vmd.hmp"):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def draw_imports() -> str:
    """The rooms of the house and who leans on whom, as a mermaid picture."""
    edges = set()
    rooms = set()
    for name, path in modules():
        rooms.add(room(name))
        for target in imports_of(path):
            if target.split(".")[0] in ("vmd", "monitor", "qapi") and room(target) != room(name):
                edges.add((room(name), room(target)))
    rooms |= {end for edge in edges for end in edge}
    rooms -= {"vmd", "monitor"}
    lines = ["```mermaid", "flowchart TD"]
    placed: set[str] = set()
    for floor, prefixes in FLOORS.items():
        here = sorted(
            name
            for name in rooms - placed
            if any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)
        )
        placed |= set(here)
        lines.append(f'    subgraph {floor.replace(" ", "_")}["{floor}"]')
        lines += [f"        {name.replace('.', '_')}[{name}]" for name in here]
        lines.append("    end")
    for one, other in sorted(edges):
        if one in rooms and other in rooms:
            lines.append(f"    {one.replace('.', '_')} --> {other.replace('.', '_')}")
    return "\n".join([*lines, "```"])


def draw_table(table: dict, start: str) -> str:
    """A state machine's table as a mermaid picture."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {start.replace('-', '_')}"]
    for state in table:
        lines.append(f'    state "{state.value}" as {state.value.replace("-", "_")}')
    order = list(table)
    for state, targets in table.items():
        for target in sorted(targets, key=order.index):
            one, other = (s.value.replace("-", "_") for s in (state, target))
            lines.append(f"    {one} --> {other}")
    return "\n".join([*lines, "```"])


def draw_runstate() -> str:
    from vmd.runstate import TRANSITIONS

    return draw_table(TRANSITIONS, "prelaunch")


def draw_migration() -> str:
    from vmd.migration.state import TRANSITIONS

    return draw_table(TRANSITIONS, "none")


def draw_jobs() -> str:
    from vmd.jobs import TRANSITIONS

    return draw_table(TRANSITIONS, "undefined")


def draw_virsh() -> str:
    from tests.clients.libvirt.matrix import table

    return "\n".join(table())


PICTURES: dict[str, Callable[[], str]] = {
    "imports": draw_imports,
    "runstate": draw_runstate,
    "migration-status": draw_migration,
    "jobs": draw_jobs,
    "virsh": draw_virsh,
    "hmp-coverage": hmp_reference.coverage,
    "hmp-reference": hmp_reference.reference,
    "qmp-coverage": coverage,
    "qmp-reference": reference,
}


def main() -> int:
    stale = []
    for document in sorted(HERE.glob("*.md")):
        text = new = document.read_text()
        for name, draw in PICTURES.items():
            begin, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
            pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.S)
            if begin in new:
                picture = draw()
                new = pattern.sub(lambda _, p=picture, b=begin, e=end: f"{b}\n{p}\n{e}", new)
        if new != text:
            stale.append(document.name)
            if "--check" not in sys.argv:
                document.write_text(new)
    for name in stale:
        print(f"{name}: {'is stale' if '--check' in sys.argv else 'rewritten'}")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
