"""Values against types: QEMU's recorded verdicts, and what we demand beyond them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import qapi
from qapi.compiler import compile_source
from qapi.error import COMMAND_NOT_FOUND, QmpError
from qapi.introspect import introspect
from qapi.parser import parse_text
from qapi.schema import Schema
from qapi.validate import Unfit

DATA = Path(__file__).parent / "data"
SCHEMA = qapi.load()

TREE = Schema(
    compile_source(
        parse_text(
            """
{ 'struct': 'Tree', 'data': { '*left': 'Tree', '*right': [ 'Tree' ], '*leaf': 'Leaf' } }
{ 'alternate': 'Leaf',
  'data': { 'number': 'int', 'name': 'str', 'flag': 'bool', 'none': 'null', 'tree': 'Tree',
            'list': [ 'int8' ] } }
{ 'command': 'plant', 'data': 'Tree' }
{ 'command': 'anything', 'gen': false }
{ 'enum': 'Kind', 'data': [ 'a' ] }
{ 'struct': 'Scalars',
  'data': { '*i8': 'int8', '*i16': 'int16', '*i32': 'int32', '*n': 'number', '*k': [ 'Kind' ],
            '*q': 'QType' } }
"""
        )
    )
)


def recorded(name: str) -> list[dict[str, Any]]:
    """The cases of a file, grouped so that one test stands for one command or type."""
    with open(DATA / name, encoding="ascii") as stream:
        return [json.loads(line) for line in stream]


def verdict(check: Callable[..., object], *arguments: object) -> str | None:
    try:
        check(*arguments)
    except QmpError as error:
        return error.desc
    return None


ARGUMENTS = recorded("arguments.jsonl")


def words(value: object) -> set[str]:
    """All names and strings in a JSON value."""
    if isinstance(value, dict):
        return set(value) | {word for inner in value.values() for word in words(inner)}
    if isinstance(value, list):
        return {word for inner in value for word in words(inner)}
    return {value} if isinstance(value, str) else set()


def vocabulary(schema: list[dict[str, Any]], command: str) -> set[str]:
    """All member names and enum values that a command's arguments can have."""
    entries = {entry["name"]: entry for entry in schema}
    found: set[str] = set()
    pending, seen = [entries[command]["arg-type"]], set()
    while pending:
        name = pending.pop()
        if name in seen or name not in entries:  # what no command of ours needs is not recorded
            continue
        seen.add(name)
        entry = entries[name]
        for part in entry.get("members", ()):
            if "name" in part:
                found.add(part["name"])
            pending += [part["type"]] if "type" in part else []
        pending += [part["type"] for part in entry.get("variants", ())]
        pending += [entry["element-type"]] if "element-type" in entry else []
    return found


def what_we_lack(command: str) -> set[str]:
    """Words that QEMU knows in a command's arguments and we do not: not our cases."""
    with open(DATA / "schema.json", encoding="ascii") as stream:
        theirs = vocabulary(json.load(stream), command)
    return theirs - vocabulary(introspect(SCHEMA), command)


# What no schema describes is judged elsewhere.
JUDGED = [name for name, entry in SCHEMA.commands.items() if entry.gen]


def test_every_command_is_recorded() -> None:
    assert set(JUDGED) <= {case["command"] for case in ARGUMENTS}


@pytest.mark.parametrize("command", JUDGED)
def test_arguments_are_judged_as_qemu_judges_them(command: str) -> None:
    lacking = what_we_lack(command)
    cases = [
        case
        for case in ARGUMENTS
        if case["command"] == command and not words(case["arguments"]) & lacking
    ]
    assert cases
    ours = [
        case | {"error": verdict(SCHEMA.check_arguments, command, case["arguments"])}
        for case in cases
    ]
    assert ours == cases


@pytest.mark.parametrize("type_name", ["ObjectOptions", "MigrationChannel"])
def test_trees_of_strings_are_judged_as_qemu_judges_them(type_name: str) -> None:
    cases = [case for case in recorded("keyval.jsonl") if case["type"] == type_name]
    ours = [
        case | {"error": verdict(SCHEMA.check_keyval, type_name, case["value"])} for case in cases
    ]
    assert ours == cases


def test_flat_options_are_judged_as_qemu_judges_them() -> None:
    cases = recorded("options.jsonl")
    ours = [
        case | {"error": verdict(SCHEMA.check_options, "ObjectOptions", case["pairs"])}
        for case in cases
    ]
    assert ours == cases


# -- what comes out


def test_arguments_come_out_in_the_schemas_order() -> None:
    given = {"channels": [], "resume": True, "uri": "file:x"}
    assert list(SCHEMA.check_arguments("migrate", given)) == ["uri", "channels", "resume"]


def test_arguments_are_not_changed_but_copied() -> None:
    given: dict[str, object] = {"max-bandwidth": -1}
    assert SCHEMA.check_arguments("migrate-set-parameters", given) == {"max-bandwidth": 2**64 - 1}
    assert given == {"max-bandwidth": -1}


def test_absent_members_stay_absent() -> None:
    assert SCHEMA.check_arguments("migrate", {}) == {}
    assert SCHEMA.check_arguments("query-status", {}) == {}


def test_null_is_a_value_where_the_type_says_so() -> None:
    given: dict[str, object] = {"leaf": None}
    assert TREE.check_arguments("plant", given) == given


def test_the_branch_of_a_union_follows_its_tag() -> None:
    channel = {
        "addr": {"path": "/s", "type": "unix", "transport": "socket"},
        "channel-type": "cpr",
    }
    assert SCHEMA.check("MigrationChannel", channel) == channel


def test_an_unknown_command_is_command_not_found() -> None:
    with pytest.raises(QmpError, match="The command nope has not been found") as caught:
        SCHEMA.check_arguments("nope", {})
    assert caught.value.error_class == COMMAND_NOT_FOUND


def test_a_command_without_a_described_argument_takes_any() -> None:
    assert TREE.check_arguments("anything", {"x": [1]}) == {"x": [1]}


def test_strings_become_what_they_stand_for() -> None:
    tree: dict[str, object] = {
        "qom-type": "memory-backend-ram",
        "id": "m",
        "size": "1.5G",
        "share": "on",
        "prealloc-threads": "0x10",
        "host-nodes": ["1", "010"],
    }
    assert SCHEMA.check_keyval("ObjectOptions", tree) == {
        "qom-type": "memory-backend-ram",
        "id": "m",
        "host-nodes": [1, 8],
        "prealloc-threads": 16,
        "share": True,
        "size": 3 << 29,
    }


def test_flat_options_gather_lists_and_let_the_last_scalar_win() -> None:
    pairs = [
        ("qom-type", "memory-backend-ram"),
        ("host-nodes", "0-2"),
        ("size", "1"),
        ("id", "m"),
        ("size", "2k"),
        ("host-nodes", "7"),
        ("share", None),
    ]
    assert SCHEMA.check_options("ObjectOptions", pairs) == {
        "qom-type": "memory-backend-ram",
        "id": "m",
        "host-nodes": [0, 1, 2, 7],
        "share": True,
        "size": 2048,
    }


def test_flat_options_cannot_hold_objects() -> None:
    with pytest.raises(KeyError):
        SCHEMA.check_options("MigrationChannel", [("channel-type", "main")])


# -- types that our schema does not show yet


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ({"i8": -128}, None),
        ({"i8": 128}, "Parameter 'i8' expects int8_t"),
        ({"i16": -32769}, "Parameter 'i16' expects int16_t"),
        ({"i32": 1 << 31}, "Parameter 'i32' expects int32_t"),
        ({"i32": "1"}, "Invalid parameter type for 'i32', expected: integer"),
        ({"q": "qdict"}, None),
        ({"q": "dict"}, "Parameter 'q' does not accept value 'dict'"),
        ({"n": 1}, None),
        ({"n": True}, "Invalid parameter type for 'n', expected: number"),
        ({"k": ["a", "b"]}, "Parameter 'null' does not accept value 'b'"),
        ({"k": ["a", 1]}, "Invalid parameter type for 'k[1]', expected: string"),
    ],
)
def test_the_other_scalars_follow_the_same_rules(value: object, error: str | None) -> None:
    assert verdict(TREE.check, "Scalars", value) == error


@pytest.mark.parametrize("leaf", [1, "x", True, None, {"leaf": 2}, [1, -2]])
def test_an_alternate_takes_the_branch_that_looks_like_the_value(leaf: object) -> None:
    assert TREE.check("Tree", {"leaf": leaf}) == {"leaf": leaf}


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ({"leaf": {"leaf": [300]}}, "Parameter 'null' expects int8_t"),
        ({"leaf": {"leaf": {"x": 1}}}, "Parameter 'leaf.leaf.x' is unexpected"),
        ({"right": [{}, {"leaf": 1 << 63}]}, "for 'right[1].leaf', expected: integer"),
        ({"right": [{}, 7]}, "Invalid parameter type for 'right[1]', expected: object"),
    ],
)
def test_a_path_leads_through_lists_and_alternates(value: object, error: str) -> None:
    assert error in str(verdict(TREE.check, "Tree", value))


def deep(levels: int, innermost: object) -> dict[str, object]:
    value: object = innermost
    for level in range(levels):
        value = {"right": [value]} if level % 2 else {"left": value}
    assert isinstance(value, dict)
    return value


def test_depth_does_not_matter() -> None:
    fits = deep(5000, {"leaf": "end"})
    assert TREE.check_arguments("plant", fits) is not fits
    too_many = deep(5000, {"leaf": "end", "more": 1})
    text = verdict(TREE.check_arguments, "plant", too_many)
    assert text is not None
    assert text.startswith("Parameter 'right[0].left.right[0].left.")
    assert text.endswith(".more' is unexpected")


# -- what handlers return


def test_a_result_that_fits_passes() -> None:
    SCHEMA.check_return("query-status", {"running": True, "status": "running"})
    SCHEMA.check_return("human-monitor-command", "text")
    SCHEMA.check_return("stop", {})
    SCHEMA.check_event("STOP", None)
    SCHEMA.check_event("RESET", {"guest": False, "reason": "guest-reset"})


@pytest.mark.parametrize(
    ("command", "value"),
    [
        ("query-status", {"running": True}),
        ("query-status", {"running": True, "status": "walking"}),
        ("query-status", {"running": True, "status": "running", "singlestep": False}),
        ("query-status", None),
        ("human-monitor-command", 1),
        ("query-commands", ({"name": "x"},)),
        ("query-migrate-parameters", {"max-bandwidth": -1}),
        ("stop", None),
    ],
)
def test_a_result_that_does_not_fit_is_an_assertion(command: str, value: object) -> None:
    with pytest.raises(Unfit):
        SCHEMA.check_return(command, value)


def test_an_event_with_wrong_data_is_an_assertion() -> None:
    with pytest.raises(Unfit):
        SCHEMA.check_event("STOP", {"x": 1})
    with pytest.raises(Unfit):
        SCHEMA.check_event("RESET", None)
