"""The HMP reference: the human monitor's command table told for readers, beside QEMU's.

`qemu-hmp-names.json` holds the names of real QEMU's commands and of what `info` shows;
`python docs/hmp_reference.py [qemu-system-x86_64]` asks an installed QEMU for them again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NAMES = HERE / "qemu-hmp-names.json"
Names = dict[str, list[str]]

LETTERS = {
    "s": "a word, which may stand in quotes",
    "F": "the name of a file",
    "B": "the name of a block device",
    "S": "the rest of the line",
    "O": "an option list, `name=value,…`",
    "i": "an expression of 32 bits",
    "l": "an expression of 64 bits",
    "M": "an expression, in MiB",
    "o": "a size; a bare number counts MiB",
    "b": "`on` or `off`",
    "/": "`/`, a count, a notation (`x` `d` `u` `o` `c` `i`) and a size (`b` `h` `w` `g`)",
}
SUBJECTS = (
    ("Stop and go", ("run_state",)),
    ("Migration", ("migration", "dirty_rate")),
    ("Devices and networks", ("device",)),
    ("Drives", ("block",)),
    ("Character devices", ("char",)),
    ("The machine", ("info", "inside", "machine")),
    ("Memory, CPUs and ports", ("debug", "ports")),
    ("Objects", ("misc",)),
    ("Traces and the log", ("trace",)),
    ("The monitor itself", ("",)),
)


def ask(program: str) -> Names:
    """Real QEMU's commands and what `info` shows, with the aliases of each."""
    options = ["-machine", "none", "-nodefaults", "-display", "none", "-monitor", "stdio"]
    found: Names = {}
    for kind, line in (("commands", "help"), ("info", "help info")):
        told = subprocess.run(
            [program, *options], input=f"{line}\nquit\n", capture_output=True, text=True, check=True
        ).stdout
        rows = told.replace("\r", "").rpartition(line + "\x1b[K\n")[2].split("\n")
        names = []
        for row in rows:
            # A few have a line end among their parameters.
            words = (row.removeprefix("info ") if kind == "info" else row).split()
            if words and not row.startswith(("\t", "[", "(qemu)")):
                names.append(words[0])
        found[kind] = names
    return found


def _table() -> Any:
    sys.path.insert(0, str(HERE.parent))
    from vmd import hmp

    return hmp.registry().table


def coverage() -> str:
    """How much of QEMU's there is, as a table."""
    theirs: Names = json.loads(NAMES.read_text())
    table = _table()
    ours = {
        "commands": [command.name for command in table.commands],
        "info": [command.name for command in table.find("info").subcommands.commands],
    }
    lines = ["| | there | not there |", "|---|---:|---|"]
    for kind, title in (("commands", "commands"), ("info", "`info …`")):
        there = [name for name in theirs[kind] if name in ours[kind]]
        missing = [name for name in theirs[kind] if name not in ours[kind]]
        told = ", ".join(missing)
        lines.append(f"| {title} | {len(there)} of {len(theirs[kind])} | {told} |")
    return "\n".join(lines)


def reference() -> str:
    """Every command, by subject."""
    table = _table()
    by_subject: dict[str, list[tuple[str, Any]]] = {}
    for prefix, commands in (
        ("", table.commands),
        ("info ", table.find("info").subcommands.commands),
    ):
        for command in commands:
            by_subject.setdefault(_subject(command), []).append((prefix, command))
    lines: list[str] = []
    for title, _ in SUBJECTS:
        lines += [f"## {title}", ""]
        for prefix, command in by_subject.pop(title):
            lines += _entry(prefix, command)
    assert not by_subject, by_subject
    return "\n".join(lines).rstrip()


def _subject(command: Any) -> str:
    module = command.handler.__module__ if command.handler is not None else ""
    last = module.removeprefix("vmd.hmp.") if module.startswith("vmd.hmp.") else ""
    for title, modules in SUBJECTS:
        if last in modules:
            return title
    raise SystemExit(f"no subject for {command.name}")


def _entry(prefix: str, command: Any) -> list[str]:
    first, *others = command.help.split("\n")
    names = " or ".join(f"`{prefix}{name}`" for name in command.names)
    lines = [f"### {prefix}{command.names[0]}", ""]
    if len(command.names) > 1:
        lines += [f"Also {names.rpartition(' or ')[2]}.", ""]
    params = command.params.removeprefix(f"{command.name} ")  # a few repeat the name
    usage = f"{prefix}{command.names[0]} {params}".rstrip()
    lines += ["```", usage, "```", "", _sentence(first)]
    told = dict(other.strip().split(": ", 1) for other in others if ": " in other)
    arguments = [_argument(parameter, told) for parameter in command.parameters]
    lines += ["", *arguments] if arguments else []
    notes = []
    if command.handler is None:
        notes.append("Not available, as in a QEMU that was built without it.")
    if command.preconfig:
        notes.append("Allowed before the machine exists.")
    lines += ["", " ".join(notes)] if notes else []
    return [*lines, ""]


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return (text if text.endswith((".", "`")) else text + ".").replace("<", "&lt;")


def _argument(parameter: Any, told: dict[str, str]) -> str:
    if parameter.letter == "-":
        name = f"-{parameter.flag}"
        value = " and a word" if parameter.modifier == "s" else ""
        return f"- `{name}`{value}: {told.get(name, parameter.name)}"
    kind = LETTERS[parameter.letter]
    optional = ", optional" if parameter.modifier == "?" else ""
    dotted = ", behind a dot" if parameter.modifier == "." else ""
    about = told.get(parameter.name)
    return f"- `{parameter.name}`: {f'{about}; ' if about else ''}{kind}{optional}{dotted}"


if __name__ == "__main__":
    asked = ask(sys.argv[1] if len(sys.argv) > 1 else "qemu-system-x86_64")
    asked = {kind: sorted(set(names), key=names.index) for kind, names in asked.items()}
    NAMES.write_text(json.dumps(asked, indent=1) + "\n")
