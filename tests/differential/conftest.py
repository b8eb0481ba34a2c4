"""Both programs on stages in one directory, so that each finds what the other has left there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.differential.stage import find_vmd, stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.differential.stage import Program, Stage


@pytest.fixture
def vmd(tmp_path: Path) -> Iterator[Stage]:
    with stage(find_vmd(), tmp_path) as scene:
        yield scene


@pytest.fixture
def real(qemu: Program, tmp_path: Path) -> Iterator[Stage]:
    with stage(qemu, tmp_path) as scene:
        yield scene
