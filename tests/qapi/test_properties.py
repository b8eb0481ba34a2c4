"""What holds for all values and all types of our schema."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import qapi
from qapi.error import QmpError
from qapi.order import bucket, first_left, object_order
from qapi.schema import Alternate, Enum, Struct, Union

SCHEMA = qapi.load()
OBJECTS = [name for name, entity in SCHEMA.types.items() if isinstance(entity, Struct | Union)]

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
builtins: dict[str, st.SearchStrategy[Any]] = {
    "str": st.text(max_size=5),
    "bool": st.booleans(),
    "null": st.none(),
    "any": anything,
    "number": st.floats(allow_nan=False, allow_infinity=False),
    "int": st.integers(-(2**63), 2**63 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "size": st.integers(0, 2**64 - 1),
    **{f"uint{bits}": st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64)},
    **{f"int{bits}": st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32)},
}


def _later(kind: str) -> st.SearchStrategy[Any]:
    """The same, found when it is needed: types may hold themselves."""
    return st.deferred(lambda: values(kind))


@cache
def values(kind: str) -> st.SearchStrategy[Any]:
    """Well-formed values of a type."""
    if kind.startswith("["):
        return st.lists(_later(kind[1:-1]), max_size=3)
    if kind in builtins:
        return builtins[kind]
    entity = SCHEMA.types[kind]
    if isinstance(entity, Enum):
        return st.sampled_from(entity.values)
    if isinstance(entity, Alternate):
        return st.one_of([_later(branch) for branch in entity.branches.values()])
    fixed = st.fixed_dictionaries(
        {member.name: _later(member.type) for member in entity.members if not member.optional},
        optional={member.name: _later(member.type) for member in entity.members if member.optional},
    )
    if isinstance(entity, Struct):
        return fixed
    tag, variants = entity.tag, entity.variants
    return fixed.flatmap(
        lambda base: values(variants[base[tag]]).map(lambda branch: {**base, **branch})
    )


some_object = st.sampled_from(OBJECTS).flatmap(
    lambda kind: st.tuples(st.just(kind), st.deferred(lambda: values(kind)))
)


@given(some_object)
def test_a_well_formed_value_passes_unchanged(case: tuple[str, dict[str, Any]]) -> None:
    kind, value = case
    assert SCHEMA.check(kind, value) == value


@given(some_object, st.text(max_size=4).map("stranger".__add__))
def test_a_stranger_is_named(case: tuple[str, dict[str, Any]], stranger: str) -> None:
    kind, value = case
    with pytest.raises(QmpError) as caught:
        SCHEMA.check(kind, {stranger: None} | value)
    assert caught.value.desc == f"Parameter '{stranger}' is unexpected"


@given(some_object, st.data())
def test_a_missing_member_is_named(case: tuple[str, dict[str, Any]], data: st.DataObject) -> None:
    kind, value = case
    entity = SCHEMA.types[kind]
    assert isinstance(entity, Struct | Union)
    needed = [member.name for member in entity.members if not member.optional]
    assume(needed)
    gone = data.draw(st.sampled_from(needed))
    with pytest.raises(QmpError, match=f"Parameter '{gone}' is missing"):
        SCHEMA.check(kind, {name: item for name, item in value.items() if name != gone})


@given(
    st.sampled_from(list(SCHEMA.commands)),
    st.dictionaries(st.sampled_from(["uri", "channels", "id", "size", "capabilities"]), anything)
    | st.dictionaries(st.text(max_size=5), anything),
)
def test_any_arguments_are_taken_or_refused(command: str, arguments: dict[str, object]) -> None:
    try:
        taken = SCHEMA.check_arguments(command, arguments)
    except QmpError as error:
        assert error.desc.startswith(("Parameter '", "Invalid parameter type for '"))
    else:
        assert taken.keys() == arguments.keys()


def as_strings(value: Any) -> Any:
    """A value as `key=value` options would bring it."""
    if isinstance(value, dict):
        return {key: as_strings(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [as_strings(inner) for inner in value]
    if isinstance(value, bool):
        return "on" if value else "off"
    return value if isinstance(value, str) else str(value)


@given(st.sampled_from(["ObjectOptions", "MigrationChannel", "SocketAddress"]), st.data())
def test_strings_mean_what_json_means(kind: str, data: st.DataObject) -> None:
    value = data.draw(values(kind))
    assert SCHEMA.check_keyval(kind, as_strings(value)) == value


@given(values("ObjectOptions"))
def test_flat_options_mean_what_json_means(value: dict[str, Any]) -> None:
    for name in ("rules", "limits"):  # objects cannot be written so
        value.pop(name, None)
    pairs: list[tuple[str, str | None]] = []
    for key, item in value.items():
        items = item if isinstance(item, list) else [item]
        pairs += [(key, as_strings(one)) for one in items]
    expected = {key: item for key, item in value.items() if item != []}
    assert SCHEMA.check_options("ObjectOptions", pairs) == expected


@given(st.lists(st.text(max_size=4), unique=True))
def test_an_objects_order_goes_up_the_buckets_latest_first(keys: list[str]) -> None:
    ordered = object_order(keys)
    assert sorted(ordered) == sorted(keys)
    for one, next_one in pairwise(ordered):
        if bucket(one) == bucket(next_one):
            assert keys.index(one) > keys.index(next_one)
        else:
            assert bucket(one) < bucket(next_one)


@given(st.lists(st.text(max_size=3), unique=True, min_size=1, max_size=90), st.data())
def test_the_first_left_is_one_that_is_left(keys: list[str], data: st.DataObject) -> None:
    left = data.draw(st.lists(st.sampled_from(keys), unique=True, min_size=1))
    assert first_left(keys, [key for key in keys if key not in left]) in left
