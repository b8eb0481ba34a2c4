"""Ask real QEMU what it says to good and bad input, and keep its answers in `data/`.

Run by hand (`python tests/qapi/record.py [qemu-system-x86_64 [COMMAND…]]`) when there are new cases
or a new QEMU to follow; with names only the schema and the arguments of those commands are asked
again. The tests themselves only read what is kept:

- schema.json: the part of query-qmp-schema that our commands and events reach
- arguments.jsonl: {"command", "arguments", "error"}: what QMP says to arguments
- keyval.jsonl: {"type", "value", "error"}: the same for trees of strings, asked through HMP's
  object_add and `-incoming`
- options.jsonl: {"pairs", "error"}: the same for `-object`

`error` is the text if the input was refused for not fitting its type, else null: then it was taken,
or refused for another reason.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import qapi
from qapi.schema import Alternate, Enum, Schema, Struct, Union

QEMU = sys.argv[1] if len(sys.argv) > 1 else "qemu-system-x86_64"
ONLY = sys.argv[2:]
DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")
PLAIN = ["-machine", "none", "-nodefaults", "-display", "none", "-S"]
VERDICT = re.compile(
    r"Parameter '.*' is missing|Parameters? '.*' (is|are) unexpected|Invalid parameter type for .*"
    r"|Parameter '.*' expects (u?int(8|16|32|64)(_t)?|integer|size|number|'on' or 'off')"
    r"|Parameter '.*' expects an? (size|u?int64) value( or range)?"
    r"|Parameter '.*' does not accept value '.*'|Invalid parameter '.*'",
    re.DOTALL,
)
CRASHES = object()  # an answer that did not come
Case = dict[str, Any]


class Qemu:
    """A running QEMU and its monitor; started anew when a case has killed it."""

    def __init__(self, directory: str) -> None:
        self.process: subprocess.Popen[str] | None = None
        self.directory = directory  # files that odd names make go there

    def ask(self, command: str, arguments: object) -> Any:
        """The reply's object, or CRASHES."""
        if self.process is None:
            self.start()
        assert self.process is not None
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            reply = json.loads(line)
            if "return" in reply or "error" in reply:
                return reply
        self.process.wait()
        self.process = None
        return CRASHES

    def start(self) -> None:
        self.process = subprocess.Popen(
            [QEMU, *PLAIN, "-qmp", "stdio"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self.directory,
            text=True,
        )
        assert self.process.stdout is not None
        self.process.stdout.readline()
        self.ask("qmp_capabilities", {})

    def stop(self) -> None:
        if self.process is not None:
            self.ask("quit", {})
            self.process.wait()


def verdict(text: str) -> str | None:
    return text if VERDICT.fullmatch(text) else None


def write(name: str, cases: list[Case]) -> None:
    lines = sorted({json.dumps(case, ensure_ascii=True) for case in cases})
    with open(os.path.join(DATA, name), "w", encoding="ascii") as stream:
        stream.writelines(line + "\n" for line in lines)
    print(f"{name}: {len(lines)} cases, {sum(case['error'] is not None for case in cases)} refused")


# -- the schema


def record_schema(qemu: Qemu, schema: Schema) -> None:
    entries = {entry["name"]: entry for entry in qemu.ask("query-qmp-schema", {})["return"]}
    wanted = [name for name in entries if name in schema.commands or name in schema.events]
    for name in wanted:  # grows on the way
        entry = entries[name]
        names = [entry[key] for key in ("arg-type", "ret-type", "element-type") if key in entry]
        if entry["meta-type"] != "enum":
            parts = [*entry.get("members", ()), *entry.get("variants", ())]
            if entry.get("tag") == "qom-type":
                kinds = schema.enum("ObjectType")  # other types of objects lead too far
                parts = [part for part in parts if part.get("case", kinds[0]) in kinds]
            names += [part["type"] for part in parts]
        wanted += [name for name in dict.fromkeys(names) if name not in wanted]
    kept = [entries[name] for name in entries if name in wanted]
    with open(os.path.join(DATA, "schema.json"), "w", encoding="ascii") as stream:
        stream.write("[\n" + ",\n".join(json.dumps(entry) for entry in kept) + "\n]\n")
    print(f"schema.json: {len(kept)} of {len(entries)} entries")


# -- arguments

ODD_VALUES: list[object] = [
    *(0, 1, -1, 127, 128, -129, 255, 256, 65535, 65536, 2**31, 2**32 - 1, 2**32, -(2**31) - 1),
    *(2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 0.5, 1e3),
    *("", "x", "on", "1", "é", True, False, None, [], [1], ["x"], [None], {}, {"x": 1}, [{}], [[]]),
]
STRANGERS = (
    *(
        "a",
        "b",
        "c",
        "d",
        "foo",
        "bar",
        "baz",
        "zed",
        "x-y",
        "uri",
        "type",
        "Id",
        "",
        "é",
        "capability",
    ),
    *("transport", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("state", "host", "port", "size", "long-name-of-a-member-that-nobody-knows", "\0", "ü.x"),
)
SAMPLES: dict[str, list[object]] = {
    "str": ["text"],
    "bool": [True],
    "any": [None],
    "null": [None],
    "number": [1.5],
}
# Where a good value would do harm, or QEMU would end: what to give instead.
SAFE = {
    "uri": "zzz",
    "filename": "/nonexistent/file",
    "path": "/nonexistent",
    "size": 4096,
    "args": ["/nonexistent/program"],
}
# Not with arguments that it would take: it would end, or wait for a peer.
NEVER = {"quit", "migrate-incoming", "chardev-add", "chardev-change"}
# What a command says itself, in words that sound like the schema's.
OWN_WORDS = [("dump-guest-memory", f"Parameter '{end}' is missing") for end in ("begin", "length")]


def good_values(schema: Schema, kind: str) -> Iterator[object]:
    """Values of a type: every branch and every value of an enum occurs."""
    if kind.startswith("["):
        yield list(good_values(schema, kind[1:-1]))[:2]
        return
    if kind not in schema.types:
        yield from SAMPLES.get(kind, [1])
        return
    entity = schema.types[kind]
    if isinstance(entity, Enum):
        yield from entity.values[:3]
    elif isinstance(entity, Alternate):
        for branch in entity.branches.values():
            yield from good_values(schema, branch)
    else:
        yield from good_objects(schema, entity)


def good_objects(schema: Schema, entity: Struct | Union) -> Iterator[dict[str, object]]:
    full: dict[str, object] = {}
    for member in entity.members:
        value = next(good_values(schema, member.type))
        full[member.name] = SAFE.get(member.name, value)
    if isinstance(entity, Struct):
        yield full
        return
    for case, branch in entity.variants.items():
        other = schema.types[branch]
        assert isinstance(other, Struct | Union)
        for more in good_objects(schema, other):
            yield full | {entity.tag: case} | more


def spoiled(value: object) -> Iterator[object]:
    """The value with something wrong at one place, each place in turn."""
    yield from ODD_VALUES
    if isinstance(value, dict):
        for key, inner in value.items():
            yield {name: other for name, other in value.items() if name != key}
            for other in spoiled(inner):
                yield value | {key: other}
        for start in range(0, len(STRANGERS), 3):
            for count in (1, 2, 3, 5, 9, 20):
                yield value | dict.fromkeys(STRANGERS[start : start + count], 0)
        yield {}
    elif isinstance(value, list):
        for other in value[:1]:
            for worse in spoiled(other):
                yield [other, worse]


def doubly_spoiled(value: dict[str, object]) -> Iterator[dict[str, object]]:
    """Two things wrong: which one is told?"""
    names = list(value)
    for first in names:
        for second in names:
            if first != second:
                yield value | {second: [], first: {}}
                without = {key: value[key] for key in reversed(names) if key != first}
                yield {"stranger": 1} | without | {second: [[]]}
                yield without | {"stranger": 1, "another": 2}


def record_arguments(qemu: Qemu, schema: Schema) -> None:
    cases: list[Case] = []
    for name, command in schema.commands.items():
        if ONLY and name not in ONLY:
            continue
        entity = schema.types[command.data or "q_empty"]
        assert isinstance(entity, Struct | Union)
        tried: set[str] = set()
        for good in good_objects(schema, entity):
            for arguments in [good, *spoiled(good), *doubly_spoiled(good)]:
                key = json.dumps(arguments)
                if isinstance(arguments, dict) and key not in tried:
                    tried.add(key)
                    cases += ask_arguments(qemu, name, arguments)
    write("arguments.jsonl", [*kept_arguments(), *thinned(cases)])


def kept_arguments() -> list[Case]:
    """What was recorded of other commands than those to be asked."""
    with open(os.path.join(DATA, "arguments.jsonl"), encoding="ascii") as stream:
        cases = [json.loads(line) for line in stream]
    return [case for case in cases if ONLY and case["command"] not in ONLY]


def ask_arguments(qemu: Qemu, name: str, arguments: dict[str, object]) -> list[Case]:
    if name in NEVER:
        # It goes wrong at a stranger, if not before: nothing happens.
        arguments = arguments | {"stranger": 0}
    if arguments.get("qom-type") == "main-loop" and arguments.get("id") == "text":
        arguments = arguments | {"id": "loop"}  # it cannot be deleted, and others need the name
    reply = qemu.ask(name, arguments)
    if reply is CRASHES:
        return []
    if name == "object-add" and "return" in reply:
        qemu.ask("object-del", {"id": arguments["id"]})
    text = verdict(reply["error"]["desc"]) if "error" in reply else None
    text = None if (name, text) in OWN_WORDS else text
    return [{"command": name, "arguments": arguments, "error": text}]


def thinned(cases: list[Case]) -> list[Case]:
    """A few cases of each command and outcome, spread evenly; more where strangers compete."""
    groups: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        shape = re.sub("[0-9]+", "N", case["error"] or "")
        shape = "unexpected" if "unexpected" in shape else shape
        groups.setdefault((case["command"], shape), []).append(case)
    kept: list[Case] = []
    for (_, shape), group in groups.items():
        limit = 12 if shape == "unexpected" else 2
        kept += group[:: max(1, len(group) // limit)][: limit + 1]
    return kept


# -- trees of strings, and flat options

NUMBERS = (
    *(
        "1",
        "0",
        "+1",
        "-1",
        " 1",
        "1 ",
        "0x10",
        "010",
        "08",
        "",
        "x",
        "1k",
        "1.5k",
        "1.5",
        "4294967296",
    ),
    *("-4294967296", "18446744073709551615", "-18446744073709551615", "18446744073709551616"),
    *("0x", "0b1", "1_0", "１", "--1", "+-1", "1-2"),
)
SIZES = (
    *(
        "1",
        "64",
        "1k",
        "1K",
        "1.5k",
        "1.7k",
        ".5k",
        "1.k",
        "1.",
        "1.5",
        "0x10",
        "0x10k",
        "010",
        "+5",
    ),
    *(
        "",
        "k",
        ".",
        "-1",
        "1kk",
        "1b",
        "1e3",
        "1 k",
        " 1",
        "1 ",
        "inf",
        "18446744073709551616",
        "16E",
    ),
)
TRUTHS = ("on", "off", "yes", "no", "true", "false", "y", "n", "ON", "1", "", "maybe")
RANGES = (
    *("0", "1", "1-3", "3-1", "-1", "1-", "x", "", "65536", "0-65536", "1-1", "0x1-0x3", "1-2-3"),
    *("5-70000", "0-65535", "-", "1--1", "+1-2"),
)
BACKEND = {"qom-type": "memory-backend-ram", "id": "m"}
FILE = {"qom-type": "memory-backend-file", "id": "m", "mem-path": "/nonexistent/m", "size": "4k"}
INET = {"transport": "socket", "type": "inet", "host": "h", "port": "1"}


def object_trees() -> Iterator[dict[str, Any]]:
    """Never complete, so that no object is made: the last thing to be missed is the size."""
    yield {"id": "m"}
    yield {"qom-type": "memory-backend-ram"}
    yield {"qom-type": "zz", "id": "m"}
    yield BACKEND
    for text in NUMBERS:
        yield BACKEND | {"prealloc-threads": text}
        yield BACKEND | {"host-nodes": [text]}
    for text in SIZES:
        yield BACKEND | {"size": text, "stranger": "1"}
        yield FILE | {"align": text}
    for text in TRUTHS:
        yield BACKEND | {"share": text}
    for text in ("default", "Default", "", "bind"):
        yield BACKEND | {"policy": text}
    yield BACKEND | {"share": {"x": "on"}}
    yield BACKEND | {"policy": {"x": "on"}}
    yield BACKEND | {"prealloc-threads": ["1"]}
    yield BACKEND | {"size": {"x": "1"}}
    yield BACKEND | {"host-nodes": "1"}
    yield BACKEND | {"host-nodes": {"x": "1"}}
    yield BACKEND | {"host-nodes": ["1", "x"]}
    yield BACKEND | {"host-nodes": ["1", {"x": "1"}]}
    yield BACKEND | {"qom-type": {"x": "1"}}
    yield BACKEND | {"id": ["x"]}
    for start in range(10):
        for count in (1, 2, 3, 4, 7, 12):
            strangers = [word for word in STRANGERS if re.fullmatch("[a-z-]+", word)]
            keys = dict.fromkeys(strangers[start : start + count], "1")
            yield keys | BACKEND | {"size": "4k", "sharing": "1"}


def channel_trees() -> Iterator[dict[str, Any]]:
    yield {"channel-type": "main"}
    yield {"channel-type": "zz"}
    yield {"channel-type": "main", "addr": "x"}
    yield {"channel-type": {"x": "1"}}
    for addr in (
        *(
            {"transport": "zz"},
            {"transport": "socket"},
            {"transport": "exec"},
            {"transport": "file"},
        ),
        *({"transport": "exec", "args": "x"}, {"transport": "exec", "args": [{"x": "1"}]}),
        *({"transport": "exec", "args": {"x": "1"}}, {"transport": "socket", "type": "zz"}),
        *({"transport": "exec", "args": [["x"]]}, INET | {"host": {"x": "1"}}),
        *(INET | {"ipv4": text} for text in TRUTHS[8:]),
        *(INET | {"to": text} for text in NUMBERS if not text.strip().isdigit()),
        *(INET | {"zz": "1", "a": "1", "transport": "rdma"}, INET | {"zz": {"b": "1"}}),
        {"transport": "socket", "type": "unix", "path": "/nonexistent/s", "zz": ["1"]},
    ):
        yield {"channel-type": "main", "addr": addr}
    for text in NUMBERS:
        yield {
            "channel-type": "main",
            "addr": {"transport": "file", "filename": "/nonexistent/f", "offset": text},
        }


def flat(value: object, path: str = "") -> Iterator[str]:
    """A tree as `key=value` words."""
    if isinstance(value, str):
        yield f"{path}={value.replace(',', ',,')}"
        return
    items = value.items() if isinstance(value, dict) else enumerate(value)  # type: ignore[arg-type]
    for key, inner in items:
        yield from flat(inner, f"{path}.{key}" if path else str(key))


def record_keyval(qemu: Qemu) -> None:
    cases: list[Case] = []
    for tree in object_trees():
        line = "object_add " + ",".join(flat(tree))
        reply = qemu.ask("human-monitor-command", {"command-line": line})
        if reply is not CRASHES:
            text = reply["return"].removeprefix("Error: ").removesuffix("\r\n")
            cases.append({"type": "ObjectOptions", "value": tree, "error": verdict(text)})
    for tree in channel_trees():
        text = ask_options("-incoming", ",".join(flat(tree)))
        cases.append({"type": "MigrationChannel", "value": tree, "error": verdict(text)})
    write("keyval.jsonl", cases)


def ask_options(option: str, value: str) -> str:
    """What QEMU says to an option when it ends; a second option makes it end in any case."""
    done = subprocess.run(
        [QEMU, *PLAIN, option, value, "-object", "no-such-type,id=end"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = [line for line in done.stderr.splitlines() if "warning: " not in line]
    mark = f": {option} {value}: "
    return next((line.partition(mark)[2] for line in lines if mark in line), "")


def option_pairs() -> Iterator[list[tuple[str, str]]]:
    start = list(BACKEND.items())
    end = ("size", "4k")
    yield [("id", "m")]
    yield start[:1]
    yield start
    yield [("qom-type", "zz"), ("id", "m")]
    for text in NUMBERS:
        yield [*start, ("prealloc-threads", text), end]
    for text in SIZES:
        yield [*start, ("size", text), ("zz", "")]
    for text in TRUTHS:
        yield [*start, ("share", text), end, ("zz", "")]
    for text in RANGES:
        yield [*start, ("host-nodes", text), end, ("zz", "")]
    yield [*start, ("host-nodes", "1"), ("host-nodes", "3-4"), ("host-nodes", "x"), end]
    yield [*start, ("policy", "zz"), ("policy", "bind"), end, ("zz", "")]
    yield [*start, ("policy", "bind"), ("policy", "zz"), end]
    yield [*start, ("policy", ""), end]
    yield [*start, ("size", "zz"), end, ("zz", "")]
    yield [*start, ("size.x", "1")]
    words = [word for word in STRANGERS if re.fullmatch("[a-z-]+", word) and word != "size"]
    for first in range(8):
        for count in (1, 2, 3, 4, 7, 12):
            strangers = [(word, "1") for word in words[first : first + count]]
            yield [*start, *strangers, end]
            yield [start[0], *strangers[::-1], ("share", "on"), end, start[1]]


def record_options() -> None:
    cases: list[Case] = []
    for pairs in option_pairs():
        words = [f"{key}={value.replace(',', ',,')}" for key, value in pairs]
        cases.append({"pairs": pairs, "error": verdict(ask_options("-object", ",".join(words)))})
    write("options.jsonl", cases)


def main() -> None:
    os.makedirs(DATA, exist_ok=True)
    schema = qapi.load()
    with tempfile.TemporaryDirectory() as directory:
        qemu = Qemu(directory)
        record_schema(qemu, schema)
        record_arguments(qemu, schema)
        if not ONLY:
            record_keyval(qemu)
        qemu.stop()
    if not ONLY:
        record_options()


if __name__ == "__main__":
    main()
