"""The schema language: what it takes, and where it says an error is."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qapi.parser import Array, Object, QapiSyntaxError, Truth, Word, parse_file, parse_text


def plain(node: object) -> object:
    """A parsed value without its positions."""
    if isinstance(node, Object):
        return {str(key): plain(value) for key, value in node.items()}
    if isinstance(node, Array):
        return [plain(value) for value in node]
    return node.value if isinstance(node, Truth) else node


def test_an_expression_is_json_with_single_quotes_and_comments() -> None:
    source = parse_text("# hello\n{ 'a': [ 'b', {}, [] ], # more\n  'c': true, 'd': false }\n")
    assert [plain(expression.value) for expression in source.expressions] == [
        {"a": ["b", {}, []], "c": True, "d": False}
    ]


def test_a_file_holds_many_expressions() -> None:
    source = parse_text("{ 'a': 'b' } { 'c': 'd' }\n\n{}")
    assert [plain(expression.value) for expression in source.expressions] == [
        {"a": "b"},
        {"c": "d"},
        {},
    ]


def test_every_word_knows_its_line_and_column() -> None:
    (expression,) = parse_text("\n  { 'a':\n      'b' }").expressions
    ((key, value),) = expression.value.items()
    assert isinstance(value, Word)
    assert [(word.where.line, word.where.column) for word in (key, value)] == [(2, 5), (3, 7)]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{ 'a': 1 }", "f:1:8: stray '1'"),
        ("{ 'a' 'b' }", "f:1:7: expected ':'"),
        ("{ 'a': 'b', }", "f:1:13: expected a key"),
        ("{ 'a': 'b' 'c' }", "f:1:12: expected ',' or '}'"),
        ("{ 'a': [ 'b' 'c' ] }", "f:1:14: expected ',' or ']'"),
        ("{ 'a': null }", "f:1:8: expected a string, an object, an array, true or false"),
        ("{ 'a': 'b',\n  'a': 'c' }", "f:2:3: key 'a' twice"),
        ("{ 'a': 'b", "f:1:8: string without an end"),
        ("{ 'a': 'b\n' }", "f:1:8: string without an end"),
        ("{ 'a': 'é' }", "f:1:8: a string holds printable ASCII only, and no backslash"),
        (r"{ 'a': 'b\'' }", "f:1:8: a string holds printable ASCII only, and no backslash"),
        ('{ "a": 1 }', "f:1:3: stray '\"'"),
        ("\t{}", "f:1:1: stray '\\t'"),
        ("[ 'a' ]", "f:1:1: expected '{'"),
        ("{ 'a': 'b' }\n}", "f:2:1: expected '{'"),
        ("{ 'a': ", "f:1:8: expected a string, an object, an array, true or false"),
        ("{ 'a': " + "[" * 70, "f:1:72: nested too deep"),
        ("{ 'include': 'no-such-file.json' }", "f:1:14: cannot read 'no-such-file.json'"),
        ("{ 'include': [] }", "f:1:3: 'include' takes a file name"),
        ("{ 'include': 'a', 'b': 'c' }", "f:1:1: a directive stands alone"),
        ("{ 'pragma': { 'x': true } }", "f:1:15: unknown pragma 'x'"),
        ("{ 'pragma': { 'doc-required': 'x' } }", "f:1:15: pragma 'doc-required' of a wrong type"),
        ("{ 'pragma': [] }", "f:1:3: 'pragma' takes an object"),
        ("##\n# @A:\n", "f:1:1: doc comment without an end"),
        ("##\n##\n{}", "f:1:1: empty doc comment"),
        ("##\n# A:\n##\n{}", "f:2:1: a doc comment begins with '# @NAME:'"),
        ("##\n# @A:\nx\n##\n{}", "f:3:1: expected '# ' or the closing '##'"),
        ("##\n# @A:\n# @b: x\n# @b: y\n##\n{}", "f:4:4: '@b' twice"),
        ("##\n# @A:\n##\n", "f:1:1: doc comment without a definition"),
        ("##\n# @A:\n##\n##\n# @B:\n##\n{}", "f:1:1: doc comment without a definition"),
        ("##\n# @A:\n##\n{ 'pragma': {} }", "f:1:1: doc comment without a definition"),
    ],
)
def test_an_error_says_where_it_is(text: str, error: str) -> None:
    with pytest.raises(QapiSyntaxError) as caught:
        parse_text(text, "f")
    assert str(caught.value) == error


def test_text_that_is_not_utf8_is_an_error_with_a_position(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(b"{}\n# \xff\n")
    with pytest.raises(QapiSyntaxError, match=r"bad\.json:2:3: not UTF-8"):
        parse_file(str(path))


def test_a_doc_comment_is_taken_apart() -> None:
    text = """
##
# @Shape:
#
# A shape.
# Of two lines.
#
# @sides: how many
#     there are
# @round: whether it rolls
#
# Features:
# @deprecated: @sides will go
#
# Since: 1.0
##
{ 'struct': 'Shape', 'data': {} }
"""
    (expression,) = parse_text(text).expressions
    doc = expression.doc
    assert doc is not None
    assert doc.symbol == "Shape"
    assert [line for line in doc.body if line] == ["A shape.", "Of two lines.", "Since: 1.0"]
    assert {word: " ".join(text).strip() for word, text in doc.members.items()} == {
        "sides": "how many there are",
        "round": "whether it rolls",
    }
    assert {word: " ".join(text).strip() for word, text in doc.features.items()} == {
        "deprecated": "@sides will go"
    }


def test_an_include_is_read_where_it_is_mentioned_first_and_only_there(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "main.json").write_text(
        "{ 'a': 'main' } { 'include': 'deep/one.json' } { 'include': 'two.json' } { 'b': 'main' }"
    )
    (tmp_path / "deep" / "one.json").write_text("{ 'include': '../two.json' } { 'a': 'one' }")
    (tmp_path / "two.json").write_text("{ 'include': 'main.json' } { 'a': 'two' }")
    source = parse_file(str(tmp_path / "main.json"))
    assert [plain(expression.value) for expression in source.expressions] == [
        {"a": "main"},
        {"a": "two"},
        {"a": "one"},
        {"b": "main"},
    ]
    assert [Path(file).name for file in source.files] == ["main.json", "one.json", "two.json"]


def test_an_error_in_an_included_file_names_that_file(tmp_path: Path) -> None:
    (tmp_path / "main.json").write_text("{ 'include': 'part.json' }")
    (tmp_path / "part.json").write_text("\n!")
    with pytest.raises(QapiSyntaxError, match=r"part\.json:2:1: stray '!'"):
        parse_file(str(tmp_path / "main.json"))


def test_pragmas_add_up() -> None:
    source = parse_text(
        "{ 'pragma': { 'command-name-exceptions': [ 'a_b' ] } }"
        "{ 'pragma': { 'command-name-exceptions': [ 'c_d' ], 'doc-required': true } }"
    )
    assert source.allowed("command-name-exceptions", "a_b")
    assert source.allowed("command-name-exceptions", "c_d")
    assert not source.allowed("member-name-exceptions", "a_b")
    assert source.pragmas["doc-required"] is True


@given(st.text(alphabet="{}[]:,'# @\n\tab_é\\0-", max_size=60) | st.text(max_size=40))
def test_any_text_parses_or_is_an_error_with_a_position(text: str) -> None:
    try:
        parse_text(text, "f")
    except QapiSyntaxError as error:
        assert str(error).startswith(f"f:{error.line}:{error.column}: ")
        assert error.line <= text.count("\n") + 1


values = st.recursive(
    st.booleans()
    | st.text(st.characters(codec="ascii", min_codepoint=32, max_codepoint=126)).map(
        lambda text: text.replace("'", "").replace("\\", "")
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.from_regex(r"[a-z0-9*-]{1,8}", fullmatch=True), inner, max_size=4)
    ),
    max_leaves=20,
)


def written(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"'{key}': {written(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[\n" + " ,".join(written(inner) for inner in value) + "]"
    return f"'{value}'" if isinstance(value, str) else str(value).lower()


@given(st.dictionaries(st.sampled_from(["a", "b", "*c"]), values))
def test_what_is_written_is_read(value: dict[str, object]) -> None:
    (expression,) = parse_text(written(value)).expressions
    assert plain(expression.value) == value
