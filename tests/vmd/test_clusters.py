"""Which clusters of a qcow2 image are free, and what becomes of those that are taken."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from qapi.error import QmpError
from vmd.block import blank, image
from vmd.block.clusters import Clusters
from vmd.block.node import Node

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZES = [(512, 16), (4096, 1), (4096, 2), (4096, 8), (65536, 16), (65536, 64)]


@pytest.fixture(params=SIZES, ids=str)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Node]:
    """The file of a blank image."""
    cluster, bits = request.param
    path = tmp_path / "image"
    path.touch()
    node = Node("file", "f", {})
    node.open(str(path), lambda name, flags: os.open(name, flags))
    options = {"size": 1 << 20, "cluster-size": cluster, "refcount-bits": bits}
    for offset, data in blank.pieces(blank.judge(options)):
        node.write(offset, data)
    yield node
    node.close()


def opened(file: Node) -> tuple[Clusters, int]:
    header = image.parse_qcow2(file.read(0, image.READ_SIZE))
    return Clusters(file, header), header.cluster_size


def test_what_is_taken_stays_taken_when_it_was_written(file: Node) -> None:
    clusters, size = opened(file)
    taken = [clusters.allocate(size) for _ in range(5)]
    run = clusters.allocate(3 * size - 1)
    clusters.flush()
    again, _ = opened(file)
    more = [again.allocate(size) for _ in range(4)]
    places = [*taken, *(run + n * size for n in range(3)), *more]
    assert len(set(places)) == 12 and 0 not in places
    assert all(place % size == 0 for place in places)


def test_what_was_given_back_is_taken_again(file: Node) -> None:
    clusters, size = opened(file)
    first, second = clusters.allocate(size), clusters.allocate(2 * size)
    clusters.allocate(size)
    clusters.free(first, 1)
    clusters.free(second, 2 * size)
    assert clusters.allocate(3 * size) == first


@pytest.mark.parametrize("file", [(512, 16), (512, 64)], ids=str, indirect=True)
def test_counts_go_on_in_another_block(file: Node) -> None:
    clusters, size = opened(file)
    taken = {clusters.allocate(size) for _ in range(600)}
    clusters.flush()
    again, _ = opened(file)
    assert len(taken) == 600 and again.allocate(size) not in taken


def test_an_image_whose_counts_forget_its_header_is_left_alone(file: Node) -> None:
    clusters, size = opened(file)
    clusters.free(0, size)
    clusters.flush()
    with pytest.raises(QmpError, match="not in order"):
        opened(file)
