"""The QMP reference: the schema told for readers, and how much of QEMU's it is.

`qemu-names.json` holds the names of real QEMU's commands and events, by schema file, in its order;
`python docs/qmp_reference.py [qemu-system-x86_64]` asks an installed QEMU for them again.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NAMES = HERE / "qemu-names.json"
SCHEMA = HERE.parent / "qapi" / "schema" / "qapi-schema.json"

# query-qmp-schema tells everything in the order of QEMU's schema files, but not their names: the
# first command or event of each.
FIRST = {
    "query-status": "run-state",
    "JOB_STATUS_CHANGE": "job",
    "query-pr-managers": "block",
    "query-block": "block-core",
    "nbd-server-start": "block-export",
    "query-chardev": "char",
    "dump-guest-memory": "dump",
    "set_link": "net",
    "request-ebpf": "ebpf",
    "query-rocker": "rocker",
    "query-tpm-models": "tpm",
    "set_password": "ui",
    "query-migrate": "migration",
    "transaction": "transaction",
    "trace-event-get-state": "trace",
    "qmp_capabilities": "control",
    "query-qmp-schema": "introspect",
    "qom-list": "qom",
    "device-list-properties": "qdev",
    "query-cpus-fast": "machine",
    "query-cpu-model-expansion": "machine-target",
    "query-replay": "replay",
    "yank": "yank",
    "add_client": "misc",
    "rtc-reset-reinjection": "misc-target",
    "query-audiodevs": "audio",
    "query-acpi-ospm-status": "acpi",
    "query-pci": "pci",
    "query-stats": "stats",
    "x-query-virtio": "virtio",
    "VFIO_MIGRATION": "vfio",
    "query-cryptodev": "cryptodev",
    "cxl-inject-general-media-event": "cxl",
}
Names = dict[str, dict[str, list[str]]]


def ask(program: str) -> Names:
    """Real QEMU's commands and events, by schema file."""
    script = '{"execute": "qmp_capabilities"}{"execute": "query-qmp-schema"}{"execute": "quit"}'
    options = ["-machine", "none", "-nodefaults", "-display", "none", "-qmp", "stdio"]
    told = subprocess.run(
        [program, *options], input=script, capture_output=True, text=True, check=True
    ).stdout
    replies = [json.loads(line).get("return") for line in told.splitlines()]
    entries = next(reply for reply in replies if isinstance(reply, list))
    names: Names = {}
    family = ""
    for entry in entries:
        if entry["meta-type"] in ("command", "event"):
            family = FIRST.get(entry["name"], family)
            kinds = names.setdefault(family, {"command": [], "event": []})
            kinds[entry["meta-type"]].append(entry["name"])
    return names


def coverage() -> str:
    """How many of QEMU's commands and events there are, by schema file, as a table."""
    theirs: Names = json.loads(NAMES.read_text())
    ours = {name for kind in ("command", "event") for name in _definitions(kind)}
    lines = [
        "| schema file | commands | events | not there |",
        "|---|---:|---:|---|",
    ]
    sums = [0, 0, 0, 0]
    for family, kinds in theirs.items():
        counts = []
        for kind in ("command", "event"):
            counts += [sum(name in ours for name in kinds[kind]), len(kinds[kind])]
        sums = [one + other for one, other in zip(sums, counts, strict=True)]
        missing = [name for names in kinds.values() for name in names if name not in ours]
        told = "all" if len(missing) == counts[1] + counts[3] else ", ".join(missing)
        cells = [_share(*counts[:2]), _share(*counts[2:]), told if missing else ""]
        lines.append(f"| {family} | {' | '.join(cells)} |".replace("|  |", "| |"))
    lines.append(f"| **together** | {_share(*sums[:2])} | {_share(*sums[2:])} | |")
    own = sorted(
        ours - {name for kinds in theirs.values() for one in kinds.values() for name in one}
    )
    if own:
        lines += ["", f"QEMU has not: {', '.join(own)}."]
    return "\n".join(lines)


def _share(there: int, all_: int) -> str:
    return f"{there} of {all_}" if all_ else "–"


def reference() -> str:
    """Every definition of the schema, by file, commands and events first."""
    lines: list[str] = []
    by_file: dict[str, list[Any]] = {}
    for expression in _source().expressions:
        by_file.setdefault(Path(expression.where.file).stem, []).append(expression)
    for family, expressions in by_file.items():
        lines += [f"## {family}", ""]
        order = ("command", "event", "struct", "union", "alternate", "enum")
        for kind in order:
            for expression in expressions:
                if kind in expression.value:
                    lines += _definition(kind, expression)
    return "\n".join(lines).rstrip()


def _source() -> Any:
    from qapi.parser import parse_file

    return parse_file(str(SCHEMA))


def _definitions(kind: str) -> list[str]:
    return [str(one.value[kind]) for one in _source().expressions if kind in one.value]


def _definition(kind: str, expression: Any) -> list[str]:
    value, doc = expression.value, expression.doc
    lines = [f"### {value[kind]}", "", f"*{kind}{_flags(value)}*", ""]
    lines += [*_paragraphs(doc.body), ""]
    described = {str(name): " ".join(_words(text)) for name, text in doc.members.items()}
    rows = _rows(value, described)
    lines += [*rows, ""] if rows else []
    if "returns" in value:
        lines += [f"Returns {_type(value['returns'])}.", ""]
    for feature, text in doc.features.items():
        lines += [f"Feature `{feature}`: {' '.join(_words(text))}", ""]
    return lines


def _flags(value: Any) -> str:
    """What is special about a command, after its kind."""
    flags = {
        "allow-oob": "may be run out of band",
        "allow-preconfig": "allowed before the machine exists",
    }
    told = [text for key, text in flags.items() if getattr(value.get(key), "value", False)]
    return "".join(f", {text}" for text in told)


def _rows(value: Any, described: dict[str, str]) -> list[str]:
    """The members of a definition, one a line."""
    data = value.get("data", {})
    rows = []
    if "enum" in value:
        for item in data:
            name = str(item["name"] if isinstance(item, dict) else item)
            rows.append(_row(f"`{name}`", described.get(name, "")))
        return rows
    if isinstance(data, str):
        return [f"Its members are those of {_type(data)}."]
    base = value.get("base", {})
    if isinstance(base, str):
        rows.append(f"- the members of {_type(base)}")
        base = {}
    if "union" in value:
        rows += _members(base, described)
        tag = value["discriminator"]
        for case, branch in data.items():
            rows.append(f"- if `{tag}` is `{case}`: the members of {_type(branch)}")
        return rows
    return rows + _members(data, described)


def _members(members: Any, described: dict[str, str]) -> list[str]:
    rows = []
    for key, kind in members.items():
        name = key.removeprefix("*")
        optional = ", optional" if key != name else ""
        rows.append(_row(f"`{name}` ({_type(kind)}{optional})", described.get(name, "")))
    return rows


def _row(what: str, text: str) -> str:
    return f"- {what}: {text}" if text else f"- {what}"


def _type(kind: Any) -> str:
    if isinstance(kind, dict):
        return _type(kind["type"]) if "type" in kind else "an object"
    if isinstance(kind, list):
        return f"a list of {_type(kind[0])}"
    name = str(kind)
    # Headings of defined types can be linked to; built-in types are written small.
    return f"[{name}](#{name.lower()})" if name[:1].isupper() else name


def _paragraphs(text: list[str]) -> list[str]:
    return [_quoted(line) for line in "\n".join(text).strip().split("\n")]


def _words(text: list[str]) -> list[str]:
    return _quoted(" ".join(text)).split()


def _quoted(text: str) -> str:
    """`@name` as code, and what Markdown would take for a tag as text."""
    return re.sub(r"@([\w-]+)", r"`\1`", text.replace("<", "&lt;"))


if __name__ == "__main__":
    asked = ask(sys.argv[1] if len(sys.argv) > 1 else "qemu-system-x86_64")
    NAMES.write_text(json.dumps(asked, indent=1) + "\n")
