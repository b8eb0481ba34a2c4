"""Dirty bitmaps in qcow2 images, whole and damaged. What real QEMU makes of them is asked in
tests/differential."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any

import pytest

from qapi.error import QmpError
from vmd.block import bitmaps, blank, resize
from vmd.block.bitmap_list import listed
from vmd.block.node import Node
from vmd.block.nodes import Nodes

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 64 << 20
CLUSTER = 4096


class Host:
    """Nodes of a machine, and what it reports."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.said: list[str] = []
        self.active = True
        self.nodes = Nodes(os.open, lambda: self.active, self.said.append)

    def image(self, **more: Any) -> Node:
        file = {"driver": "file", "filename": str(self.path)}
        return self.nodes.add({"driver": "qcow2", "node-name": "q", "file": file, **more})

    def make(self) -> None:
        """A blank image."""
        self.path.touch()
        file = self.nodes.add({"driver": "file", "node-name": "f", "filename": str(self.path)})
        options = {"size": SIZE, "cluster-size": CLUSTER}
        for offset, data in blank.pieces(blank.judge(options)):
            file.write(offset, data)
        self.nodes.remove("f")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    made = Host(tmp_path / "image")
    made.make()
    return made


def keep(
    node: Node, name: str, *places: int, granularity: int = 512, disabled: bool = False
) -> None:
    bitmaps.add(node, name, granularity, persistent=True, disabled=disabled)
    found = bitmaps.find(node, name)
    for place in places:
        found.bits.set(place // granularity, place // granularity)


def told(node: Node) -> dict[str | None, tuple[str, int, bool]]:
    return {one.name: (one.sha256(), one.granularity, one.enabled) for one in node.bitmaps}


def test_bitmaps_come_back_as_they_were_stored(host: Host) -> None:
    node = host.image()
    keep(node, "a", 0, 5 << 20, SIZE - 1)
    keep(node, "b", 77 << 10, granularity=65536, disabled=True)
    keep(node, "none")
    before = told(node)
    for _ in range(3):
        host.nodes.remove("q")
        node = host.image()
        assert told(node) == before
    assert host.said == []


def test_an_image_that_is_stored_again_and_again_does_not_grow(host: Host) -> None:
    sizes = []
    for _ in range(6):
        node = host.image()
        if not node.bitmaps:
            keep(node, "a", *range(0, SIZE, 1 << 20))
        host.nodes.remove("q")
        sizes.append(host.path.stat().st_size)
    assert len(set(sizes[1:])) == 1


def test_what_was_removed_leaves_no_cluster_behind(host: Host) -> None:
    node = host.image()
    keep(node, "a", *range(0, SIZE, 1 << 20))
    host.nodes.remove("q")
    full = host.path.stat().st_size
    node = host.image()
    bitmaps.remove(node, "a")
    keep(node, "b", *range(0, SIZE, 1 << 20))
    host.nodes.remove("q")
    assert host.path.stat().st_size <= full + CLUSTER
    assert [one.name for one in listed(host.image())] == ["b"]


def test_while_another_machine_has_the_image_its_bitmaps_are_not_here(host: Host) -> None:
    node = host.image()
    keep(node, "a", 0)
    before = told(node)
    host.nodes.activate(False)
    assert node.bitmaps == []
    other = Host(host.path)
    other.image()
    assert told(other.nodes.by_name["q"]) == before
    other.nodes.remove("q")
    host.nodes.activate(True)
    assert told(node) == before


def test_a_node_whose_bitmaps_travel_keeps_its_size(host: Host) -> None:
    node = host.image()
    keep(node, "a", 0)
    node.bitmaps[0].busy = True
    with pytest.raises(QmpError, match="Bitmap 'a' is currently in use by another operation"):
        resize.check(node, SIZE * 2)


def test_an_image_whose_counts_are_behind_is_not_written_to(host: Host) -> None:
    data = bytearray(host.path.read_bytes())
    data[79] |= 1  # incompatible: dirty
    host.path.write_bytes(data)
    node = host.image()
    keep(node, "a", 0)
    host.nodes.remove("q")
    assert host.path.read_bytes() == data
    (line,) = host.said
    assert line.startswith("Lost persistent bitmaps during inactivation of node 'q': ")


@pytest.mark.parametrize("seed", range(8))
def test_no_damage_of_an_image_is_more_than_an_error(host: Host, seed: int) -> None:
    node = host.image()
    for number in range(3):
        keep(node, f"b{number}", *range(0, SIZE, 3 << 20))
    host.nodes.remove("q")
    good, chance = host.path.read_bytes(), random.Random(seed)
    places = [at for at in range(len(good)) if good[at]]
    for _ in range(60):
        data = bytearray(good)
        for _ in range(chance.choice((1, 1, 2, 4))):
            data[chance.choice(places)] = chance.choice((0, 1, 0x7F, 0xFF, chance.randrange(256)))
        host.path.write_bytes(data)
        try:
            node = host.image(**{"read-only": True} if chance.random() < 0.2 else {})
            keep(node, "more", 0)
            bitmaps.remove(node, node.bitmaps[-1].name or "")
        except QmpError:
            pass
        if "q" in host.nodes.by_name:
            host.nodes.remove("q")
