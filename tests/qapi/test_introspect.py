"""Our query-qmp-schema beside QEMU's: nothing that it has not, and the same of what both have."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import qapi
from qapi.introspect import introspect

Entry = dict[str, Any]

SCHEMA = qapi.load()
OURS: dict[str, Entry] = {str(entry["name"]): entry for entry in introspect(SCHEMA)}
with open(Path(__file__).parent / "data" / "schema.json", encoding="ascii") as recording:
    QEMUS: dict[str, Entry] = {entry["name"]: entry for entry in json.load(recording)}


def references(entry: Entry) -> list[tuple[str, str]]:
    """The types that an entry names, each with what it is to it."""
    found: list[tuple[str, str]] = [
        (key, entry[key]) for key in ("arg-type", "ret-type", "element-type") if key in entry
    ]
    if entry["meta-type"] != "enum":
        for number, part in enumerate([*entry.get("members", ()), *entry.get("variants", ())]):
            found.append((str(part.get("name", part.get("case", number))), part["type"]))
    return found


def shape(entry: Entry) -> Entry:
    """All of an entry but the names of types."""
    if entry["meta-type"] in ("command", "event", "builtin"):
        hidden: set[str] = {"arg-type", "ret-type"}
    else:
        hidden = {"name", "element-type"}
    result = {key: value for key, value in entry.items() if key not in hidden}
    for key in ("members", "variants"):
        if key in result:
            result[key] = [
                {name: value for name, value in part.items() if name != "type"}
                for part in result[key]
            ]
    return result


def reduced(theirs: Entry, ours: Entry) -> Entry:
    """QEMU's entry with only those enum values, branches and optional members that ours has too.

    We may have less than QEMU; what we lack must be something that a client can do without.
    """
    kept: Entry = {}
    for key in ("members", "variants"):
        if key in theirs:
            kept[key] = [part for part in theirs[key] if part in ours[key] or is_needed(part, key)]
    if ours["meta-type"] == "enum":
        kept["members"] = [part for part in theirs["members"] if part in ours["members"]]
        kept["values"] = [part["name"] for part in kept["members"]]
    return theirs | kept


def is_needed(part: Entry, key: str) -> bool:
    """Whether a member is not optional."""
    return key == "members" and "default" not in part


def compare(name: str) -> Counter[str]:
    """Follow an entry and all it leads to, in both schemas at once. Counts entries by meta-type."""
    seen: set[tuple[str, str]] = set()
    counts: Counter[str] = Counter()
    pending: list[tuple[str, str, tuple[str, ...]]] = [(name, name, (name,))]
    while pending:
        ours_name, theirs_name, path = pending.pop()
        if (ours_name, theirs_name) in seen:
            continue
        seen.add((ours_name, theirs_name))
        ours, theirs = OURS[ours_name], QEMUS[theirs_name]
        mine, other = shape(ours), shape(theirs)
        other = reduced(other, mine)
        assert mine == other, f"{'/'.join(path)} differs"
        counts[ours["meta-type"]] += 1
        others = dict(references(theirs))
        for what, type_name in references(ours):
            pending.append((type_name, others[what], (*path, what)))
    return counts


@pytest.mark.parametrize("name", SCHEMA.order)
def test_a_command_or_event_is_told_as_qemu_tells_it(name: str) -> None:
    assert name in QEMUS, "QEMU does not know it"
    assert compare(name)["command"] + compare(name)["event"] == 1


def test_all_types_that_we_tell_are_compared() -> None:
    counts: Counter[str] = Counter()
    reached: set[str] = set()
    pending = list(SCHEMA.order)
    while pending:
        name = pending.pop()
        if name not in reached:
            reached.add(name)
            counts[OURS[name]["meta-type"]] += 1
            pending += [type_name for _, type_name in references(OURS[name])]
    print("compared:", ", ".join(f"{count} {meta}" for meta, count in sorted(counts.items())))
    assert reached == OURS.keys()


def test_commands_and_events_come_in_qemus_order() -> None:
    assert list(SCHEMA.order) == [name for name in QEMUS if name in SCHEMA.order]
    assert list(OURS)[: len(SCHEMA.order)] == list(SCHEMA.order)


def test_types_are_numbered_and_builtins_keep_their_names() -> None:
    names = [name for name in OURS if name not in SCHEMA.order and not name.startswith("[")]
    kept = {name for name in names if not name.isdigit()}
    assert kept <= {"any", "bool", "int", "null", "number", "str"}
    assert all(OURS[name]["meta-type"] == "builtin" for name in kept)
    numbers = {name for name in names if name.isdigit()}
    assert numbers == {str(number) for number in range(len(numbers))}


def test_each_array_is_named_after_its_element() -> None:
    arrays = [entry for entry in OURS.values() if entry["meta-type"] == "array"]
    assert [entry["name"] for entry in arrays] == [f"[{entry['element-type']}]" for entry in arrays]


def test_it_is_what_query_qmp_schema_may_return() -> None:
    SCHEMA.check_return("query-qmp-schema", introspect(SCHEMA))


def test_each_call_makes_new_objects() -> None:
    introspect(SCHEMA)[0]["name"] = "spoiled"
    assert introspect(SCHEMA)[0]["name"] != "spoiled"
