"""Virtual machines that a test drives through the qtest socket, and their end."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.differential.stage import find_vmd
from tests.qtest.client import Vm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.differential.stage import Program
    from tests.qtest.client import Launch


@pytest.fixture
def here() -> Iterator[Path]:
    """A directory whose name is short enough for sockets in it."""
    with tempfile.TemporaryDirectory(prefix="vmd-") as name:
        yield Path(name)


@pytest.fixture
def launch(here: Path) -> Iterator[Launch]:
    """Starts a machine from a command line; all of them end with the test."""
    running: list[Vm] = []

    def launch_one(arguments: str, name: str = "vm", program: Program | None = None) -> Vm:
        running.append(Vm(program or find_vmd(), here, name, arguments))
        return running[-1]

    yield launch_one
    for vm in running:
        vm.__exit__(None, None, None)
