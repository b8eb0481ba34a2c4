"""Option lists and keyval trees: what no recorded command line shows."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qapi.error import QmpError
from vmd.options import (
    HelpWanted,
    OptionList,
    Options,
    escape,
    merge_trees,
    parse_keyval,
    parse_number,
    parse_options,
    scan_unsigned,
)

ANY = OptionList("any", "first")
KNOWN = OptionList("known", None, {"on": "bool", "n": "number", "s": "size", "t": "str"})

NAMES = st.from_regex(r"[a-zA-Z][a-zA-Z0-9_-]{0,8}", fullmatch=True).filter(lambda n: n != "id")
VALUES = st.text(max_size=12)


def written(pairs: list[tuple[str, str]]) -> str:
    return ",".join(f"{name}={escape(value)}" for name, value in pairs)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=6))
def test_what_was_written_as_options_is_read_back(pairs: list[tuple[str, str]]) -> None:
    assert parse_options(written(pairs), ANY).pairs == tuple(pairs)


@given(st.dictionaries(NAMES, VALUES, max_size=6))
def test_what_was_written_as_keyval_is_read_back(pairs: dict[str, str]) -> None:
    assert parse_keyval(written(list(pairs.items()))) == (pairs, False)


@given(st.text(alphabet=st.sampled_from("ab=,.id0? \0nohelp"), max_size=20))
def test_garbage_is_read_or_refused_but_never_worse(text: str) -> None:
    for read in (
        lambda: parse_options(text, ANY),
        lambda: parse_options(text, KNOWN),
        lambda: parse_keyval(text, "first"),
    ):
        with contextlib.suppress(QmpError, HelpWanted):
            read()


@given(st.integers(0, 2**64 - 1))
def test_a_number_may_be_written_in_any_c_base(number: int) -> None:
    for text in (str(number), hex(number), f"0{number:o}", f" +{number}"):
        assert parse_number("n", text) == number


@given(st.integers(1, 2**64 - 1))
def test_a_negative_number_wraps_around(number: int) -> None:
    assert scan_unsigned(f"-{number}") == 2**64 - number


def test_the_last_of_a_repeated_parameter_counts() -> None:
    options = parse_options("t=a,t=b", KNOWN)
    assert options.get("t") == "b"
    assert options.pairs == (("t", "a"), ("t", "b"))


def test_the_first_of_a_repeated_id_counts_and_is_no_parameter() -> None:
    assert parse_options("id=a,id=b,x=1", ANY) == Options("a", (("x", "1"),))


def test_an_absent_parameter_has_its_default() -> None:
    options = parse_options("", KNOWN)
    assert (options.get("t"), options.boolean("on", True), options.number("n", 7)) == (
        None,
        True,
        7,
    )
    assert "t" not in options


def test_parameters_are_read_as_their_types() -> None:
    options = parse_options("on=yes,n=0x10,s=1.5k", KNOWN)
    assert (options.boolean("on"), options.number("n"), options.size("s")) == (True, 16, 1536)


def test_help_is_wanted_only_of_a_list_that_knows_its_parameters() -> None:
    with pytest.raises(HelpWanted):
        parse_options("help", KNOWN)
    assert parse_options("x,help", ANY).pairs == (("first", "x"), ("help", "on"))


def test_a_short_form_boolean_warns_and_is_taken() -> None:
    heard: list[tuple[str, str]] = []
    options = parse_options("x,server,nowait", ANY, lambda *words: heard.append(words))
    assert options.pairs[1:] == (("server", "on"), ("wait", "off"))
    assert heard == [
        ("short-form boolean option 'server' deprecated", "Please use server=on instead"),
        ("short-form boolean option 'nowait' deprecated", "Please use wait=off instead"),
    ]


def test_dotted_keys_make_a_tree_and_numbers_make_lists() -> None:
    tree, _ = parse_keyval("a.b.c=1,a.b.d=2,l.1.x=q,l.0.x=p")
    assert tree == {"a": {"b": {"c": "1", "d": "2"}}, "l": [{"x": "p"}, {"x": "q"}]}


def test_a_vendor_prefix_keeps_its_dots() -> None:
    assert parse_keyval("x.__org.example_y.z=1")[0] == {"x": {"__org.example_y": {"z": "1"}}}


def test_merging_joins_objects_and_replaces_values() -> None:
    tree = parse_keyval("a.x=1,a.y=2,b=3")[0]
    merge_trees(tree, parse_keyval("a.y=4,c=5")[0])
    assert tree == {"a": {"x": "1", "y": "4"}, "b": "3", "c": "5"}


def test_merging_refuses_a_value_where_an_object_stands() -> None:
    tree = parse_keyval("a.x.y=1")[0]
    with pytest.raises(QmpError, match=r"Parameters 'a\.x\.\*' used inconsistently"):
        merge_trees(tree, parse_keyval("a.x=1")[0])
