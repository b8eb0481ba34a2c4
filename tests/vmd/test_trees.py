"""The trees that a person is shown of a machine: they follow what is plugged in and out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qapi.size_text import size_text
from vmd.devices import flatview, mtree
from vmd.devices.flatview import Piece

if TYPE_CHECKING:
    from vmd.devices.mtree import Group, Region


def _region(first: int, last: int, priority: int, name: str, *inner: Region) -> Region:
    return [first, last, priority, "ram", name, None, list(inner)]


def _alias(first: int, last: int, priority: int, target: str, begin: int) -> Region:
    alias = [target, begin, begin + last - first]
    return [first, last, priority, "ram", "alias", alias, []]


def _space(*regions: Region) -> Group:
    return {"kind": "address-space", "names": ["memory"], "regions": list(regions)}


def test_the_stronger_of_two_regions_hides_the_other() -> None:
    weak, strong = _region(0, 99, 0, "weak"), _region(20, 29, 1, "strong")
    space = _space(_region(0, 999, 0, "system", weak, strong))
    assert flatview.render(space, [space]) == [
        Piece(0, 19, 0, "ram", "weak", 0),
        Piece(20, 29, 1, "ram", "strong", 0),
        Piece(30, 99, 0, "ram", "weak", 30),
    ]


def test_a_region_that_answers_itself_fills_what_its_parts_leave() -> None:
    space = _space(_region(0, 9, 0, "io", _region(2, 3, 0, "port")))
    assert [str(piece).split(": ")[1] for piece in flatview.render(space, [space])] == [
        "io",
        "port",
        "io @0000000000000004",
    ]


def test_an_alias_shows_a_piece_of_a_region_elsewhere() -> None:
    target = {"kind": "memory-region", "names": ["rom"], "regions": [_region(100, 199, 0, "rom")]}
    space = _space(_region(0, 999, 0, "system", _alias(10, 19, 0, "rom", 50)))
    assert flatview.render(space, [space, target]) == [Piece(10, 19, 0, "ram", "rom", 50)]


def test_an_alias_of_something_that_is_gone_shows_nothing() -> None:
    space = _space(_region(0, 999, 0, "system", _alias(10, 19, 0, "rom", 0)))
    assert flatview.render(space, [space]) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.977 KiB"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (1 << 20, "1 MiB"),
        (1000 << 20, "0.977 GiB"),
        (3 << 60, "3 EiB"),
    ],
)
def test_sizes_are_written_with_three_digits(value: int, text: str) -> None:
    assert size_text(value) == text


def test_rows_are_indented_by_depth_and_switched_off_regions_leave_only_their_parts() -> None:
    hidden = _region(0, 9, 0, "", _region(0, 9, 0, "inner"))
    rows = list(mtree.rows([_region(0, 99, 0, "outer", hidden)], 1))
    assert [row.index("0") for row in rows] == [2, 6]
