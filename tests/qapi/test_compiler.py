"""What the compiler makes of a schema, and what it refuses."""

from __future__ import annotations

import pytest

from qapi.compiler import compile_source
from qapi.parser import QapiSyntaxError, parse_text
from qapi.schema import Alternate, Enum, Schema, Struct, Union

SHAPES = """
{ 'enum': 'Colour', 'data': [ 'red', { 'name': 'blue', 'features': [ 'deprecated' ] } ] }
{ 'struct': 'Base', 'data': { 'colour': 'Colour', '*size': 'uint8' } }
{ 'struct': 'Circle', 'base': 'Base', 'data': { 'radius': 'number', '*holes': [ 'Circle' ] } }
{ 'struct': 'Red', 'data': { 'name': 'str' } }
{ 'union': 'Thing', 'base': 'Base', 'discriminator': 'colour', 'data': { 'red': 'Red' } }
{ 'alternate': 'CircleOrName', 'data': { 'circle': 'Circle', 'name': 'str' } }
"""


def schema(text: str, defined: tuple[str, ...] = ()) -> Schema:
    return Schema(compile_source(parse_text(text, "f"), defined))


def members(entity: object) -> list[tuple[str, str, bool]]:
    assert isinstance(entity, Struct | Union)
    return [(member.name, member.type, member.optional) for member in entity.members]


def test_an_enum_keeps_its_values_in_order_with_their_features() -> None:
    colour = schema(SHAPES).types["Colour"]
    assert isinstance(colour, Enum)
    assert colour.values == ("red", "blue")
    assert colour.value_features == {"blue": ("deprecated",)}
    assert schema(SHAPES).enum("Colour") == ("red", "blue")


def test_a_struct_has_the_members_of_its_base_first() -> None:
    assert members(schema(SHAPES).types["Circle"]) == [
        ("colour", "Colour", False),
        ("size", "uint8", True),
        ("radius", "number", False),
        ("holes", "[Circle]", True),
    ]


def test_a_union_has_a_branch_for_every_value_of_its_tag() -> None:
    thing = schema(SHAPES).types["Thing"]
    assert isinstance(thing, Union)
    assert thing.tag == "colour"
    assert thing.variants == {"red": "Red", "blue": "q_empty"}


def test_an_alternate_names_its_branches() -> None:
    alternate = schema(SHAPES).types["CircleOrName"]
    assert isinstance(alternate, Alternate)
    assert alternate.branches == {"circle": "Circle", "name": "str"}


def test_a_command_tells_its_flags() -> None:
    found = schema(
        SHAPES + "{ 'command': 'paint', 'data': 'Thing', 'boxed': true, 'allow-oob': true,"
        "  'allow-preconfig': true, 'features': [ 'x' ], 'returns': [ 'Circle' ] }"
        "{ 'command': 'look' } { 'command': 'take', 'gen': false, 'coroutine': true }"
    ).commands
    paint, look, anything = found["paint"], found["look"], found["take"]
    assert (paint.data, paint.returns, paint.features) == ("Thing", "[Circle]", ("x",))
    assert (paint.boxed, paint.allow_oob, paint.allow_preconfig, paint.gen) == (True,) * 4
    assert (look.data, look.returns, look.boxed, look.allow_oob) == (None, None, False, False)
    assert (anything.gen, anything.coroutine, anything.success_response) == (False, True, True)


def test_commands_and_events_come_in_the_order_of_the_files() -> None:
    found = schema("{ 'command': 'b' } { 'event': 'Z' } { 'command': 'a' } { 'event': 'A' }")
    assert found.order == ("b", "Z", "a", "A")
    assert list(found.commands) == ["b", "a"]
    assert list(found.events) == ["Z", "A"]


def test_what_stands_under_an_if_that_does_not_hold_is_left_out() -> None:
    text = """
    { 'enum': 'E',
      'data': [ 'a', { 'name': 'b', 'if': 'B' }, { 'name': 'c', 'if': { 'not': 'B' } } ] }
    { 'struct': 'S', 'data': { 'x': { 'type': 'int', 'if': { 'all': [ 'A', 'B' ] } } } }
    { 'command': 'only-b', 'if': { 'any': [ 'A', 'B' ] },
      'features': [ { 'name': 'f', 'if': 'A' }, 'g' ] }
    """
    without, with_b, both = schema(text), schema(text, ("B",)), schema(text, ("A", "B"))
    assert [found.enum("E") for found in (without, with_b)] == [("a", "c"), ("a", "b")]
    assert [members(found.types["S"]) for found in (with_b, both)] == [[], [("x", "int", False)]]
    assert list(without.commands) == []
    assert with_b.commands["only-b"].features == ("g",)
    assert both.commands["only-b"].features == ("f", "g")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{ 'data': {} }", "f:1:1: a definition has one of the keys"),
        ("{ 'enum': 'E', 'struct': 'E', 'data': [] }", "f:1:1: a definition has one of the keys"),
        ("{ 'struct': {}, 'data': {} }", "f:1:3: 'struct' takes a name"),
        ("{ 'struct': 'S' }", "f:1:13: struct 'S' lacks the key 'data'"),
        ("{ 'enum': 'E', 'data': [], 'x': 'y' }", "f:1:28: enum 'E' has no key 'x'"),
        ("{ 'struct': 'S', 'data': [] }", "f:1:26: members of 'S' must be an object"),
        ("{ 'struct': 'int', 'data': {} }", "f:1:13: 'int' is not written as struct names are"),
        ("{ 'struct': '9S', 'data': {} }", "f:1:13: '9S' is no name for a definition"),
        ("{ 'struct': 'SList', 'data': {} }", "f:1:13: 'SList' is no name for a definition"),
        ("{ 'command': 'a_b' }", "f:1:14: 'a_b' is not written as command names are"),
        ("{ 'command': 'Ab' }", "f:1:14: 'Ab' is not written as command names are"),
        ("{ 'event': 'a' }", "f:1:12: 'a' is not written as event names are"),
        ("{ 'command': 'a' }\n{ 'command': 'a' }", "f:2:14: 'a' is already defined"),
        ("{ 'enum': 'E', 'data': {} }", "f:1:24: 'data' takes an array"),
        ("{ 'enum': 'E', 'data': [ {} ] }", "f:1:26: 'data' takes names"),
        ("{ 'enum': 'E', 'data': [ 'a', 'a' ] }", "f:1:31: 'a' twice in 'data'"),
        ("{ 'enum': 'E', 'data': [ { 'name': 'a', 'x': 'y' } ] }", "has no key 'x'"),
        ("{ 'struct': 'S', 'data': { 'a': 'Int' } }", "f:1:33: unknown type 'Int'"),
        ("{ 'struct': 'S', 'data': { 'a': [ 'T' ] } }", "f:1:35: unknown type 'T'"),
        ("{ 'struct': 'S', 'data': { 'a': [ 'int', 'int' ] } }", "f:1:33: an array type has one"),
        ("{ 'struct': 'S', 'data': { 'a': true } }", "f:1:33: a type is a name or an array"),
        ("{ 'command': 'c', 'data': { 'a': 'c' } }", "f:1:34: unknown type 'c'"),
        (
            "{ 'struct': 'S', 'data': { 'a': 'int', '*a': 'int' } }",
            "f:1:40: member 'a' of 'S' twice",
        ),
        ("{ 'struct': 'S', 'data': { 'A': 'int' } }", "f:1:28: 'A' is not written as members'"),
        ("{ 'struct': 'S', 'data': { 'has-a': 'int' } }", "f:1:28: 'has-a' is no name for"),
        ("{ 'struct': 'S', 'data': { 'a': { 'x': 'int' } } }", "f:1:35: a member has no key 'x'"),
        ("{ 'struct': 'S', 'data': { 'a': {} } }", "f:1:33: a member lacks the key 'type'"),
        ("{ 'struct': 'S', 'base': 'B', 'data': {} }", "f:1:26: base 'B' is no struct"),
        ("{ 'struct': 'S', 'base': 'S', 'data': {} }", "f:1:13: 'S' contains itself"),
        (
            "{ 'struct': 'B', 'data': { 'a': 'int' } }"
            "{ 'struct': 'S', 'base': 'B', 'data': { 'a': 'int' } }",
            "f:1:54: 'S' has member 'a' twice",
        ),
        ("{ 'alternate': 'A', 'data': {} }", "f:1:29: branches of an alternate"),
        ("{ 'alternate': 'A', 'data': { 'a': 'any' } }", "f:1:31: branch 'a' cannot be told"),
        (
            "{ 'alternate': 'A', 'data': { 'a': 'int', 'b': 'number' } }",
            "f:1:43: branches 'a' and 'b' look the same",
        ),
        ("{ 'command': 'c', 'data': 'T' }", "f:1:27: 'data' of 'c' takes struct"),
        ("{ 'command': 'c', 'boxed': true }", "f:1:14: 'boxed' needs 'data'"),
        ("{ 'command': 'c', 'gen': true }", "f:1:26: 'gen' is written only to say false"),
        ("{ 'command': 'c', 'allow-oob': 'x' }", "f:1:32: 'allow-oob' is written only to say true"),
        ("{ 'command': 'c', 'returns': 'int' }", "f:1:30: 'c' returns no object"),
        ("{ 'command': 'c', 'allow-oob': true, 'coroutine': true }", "do not go together"),
        ("{ 'command': 'c', 'features': [ 'a', 'a' ] }", "f:1:38: 'a' twice in 'features'"),
        ("{ 'command': 'c', 'if': {} }", "f:1:25: an 'if' is a symbol or an object"),
        ("{ 'command': 'c', 'if': { 'x': 'A' } }", "f:1:27: an 'if' is made of"),
        ("##\n# @B:\n##\n{ 'command': 'c' }", "f:2:4: doc comment of 'B' before 'c'"),
        ("##\n# @c:\n# @x: y\n##\n{ 'command': 'c' }", "f:3:4: 'c' has no 'x' to describe"),
        (
            "##\n# @c:\n#\n# Features:\n# @x: y\n##\n{ 'command': 'c' }",
            "f:5:4: 'c' has no feature 'x' to describe",
        ),
        ("{ 'pragma': { 'doc-required': true } } { 'command': 'c' }", "'c' has no doc comment"),
    ],
)
def test_a_wrong_definition_is_refused_where_it_is_wrong(text: str, error: str) -> None:
    with pytest.raises(QapiSyntaxError) as caught:
        schema(text)
    assert error in str(caught.value)


ENUM = "{ 'enum': 'E', 'data': [ 'a', 'b' ] } { 'struct': 'S', 'data': { 'x': 'int' } }\n"


@pytest.mark.parametrize(
    ("base", "tag", "data", "error"),
    [
        ("{ 't': 'E' }", "u", "{ 'a': 'S' }", "discriminator 'u' is no member of the base"),
        ("{ '*t': 'E' }", "t", "{ 'a': 'S' }", "discriminator 't' is optional"),
        ("{ 't': 'str' }", "t", "{ 'a': 'S' }", "discriminator 't' is no enum"),
        ("{ 't': 'E' }", "t", "{ 'c': 'S' }", "'c' is no value of discriminator 't'"),
        ("{ 't': 'E' }", "t", "{ 'a': 'int' }", "branch 'a' is of type 'int', which is no object"),
        ("{ 't': 'E' }", "t", "{}", "branches of 'U' must be an object that is not empty"),
        ("{ 't': 'E', 'x': 'int' }", "t", "{ 'a': 'S' }", "branch 'a' has member 'x' of the base"),
        ("{ 't': 'E' }", "t", "{ 'a': 'U' }", "'U' contains itself"),
    ],
)
def test_a_union_whose_parts_do_not_fit_is_refused(
    base: str, tag: str, data: str, error: str
) -> None:
    union = f"{{ 'union': 'U', 'base': {base}, 'discriminator': '{tag}', 'data': {data} }}"
    with pytest.raises(QapiSyntaxError, match="f:2:") as caught:
        schema(ENUM + union)
    assert error in str(caught.value)
