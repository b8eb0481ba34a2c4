"""What the comparison forgives, and what it does not."""

from __future__ import annotations

from tests.differential import normal
from tests.differential.book import without_what_is_lacking


def test_durations_are_forgiven_but_not_their_type() -> None:
    assert normal.value({"total-time": 5}) == normal.value({"total-time": 900})
    assert normal.value({"total-time": "5"}) == {"total-time": "5"}


def test_page_counts_are_forgiven_only_where_ram_differs() -> None:
    counts = {"normal": 1, "duplicate": 4095}
    assert normal.value(counts, exact=True) == counts
    assert normal.value(counts) == {"normal": "<n>", "duplicate": "<n>"}


def test_that_no_bytes_were_sent_is_not_forgiven() -> None:
    assert normal.value({"precopy-bytes": 0}) == {"precopy-bytes": 0}
    assert normal.value({"precopy-bytes": 7}) == {"precopy-bytes": "<n>"}


def test_the_program_may_have_its_own_name_and_no_other_text() -> None:
    assert normal.text("vmd: -x: invalid option") == normal.text(
        "qemu-system-x86_64: -x: invalid option"
    )
    assert normal.text("warning: vmd: x") == "warning: vmd: x"


def test_a_pid_is_forgiven() -> None:
    said = "vmd: terminating on signal 15 from pid 77 (python3)"
    assert normal.text(said) == "<program>: terminating on signal 15 from pid <pid> (<command>)"


def test_the_order_of_members_is_forgiven() -> None:
    assert normal.line("<- return", {"b": 1, "a": 2}) == '<- return {"a": 2, "b": 1}'


def test_only_an_optional_line_may_be_lacking() -> None:
    expected = ["must", "~ may", "~ may too"]
    assert without_what_is_lacking(expected, ["~ may too"]) == ["must", "~ may too"]
