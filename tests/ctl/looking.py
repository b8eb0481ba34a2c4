"""What the tests of vmdctl share: kept state files on disk, and a call of the command."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.vmd.streams import kept
from vmd.ctl.files import StateFile
from vmd.ctl.main import run
from vmd.ctl.survey import survey

if TYPE_CHECKING:
    import pytest

    from vmd.ctl.survey import Survey

KEPT = Path(__file__).with_name("data")


class Said(NamedTuple):
    """What a call of vmdctl ended with and said."""

    status: int
    out: str
    err: str


def vmdctl(capsys: pytest.CaptureFixture[str], *words: object) -> Said:
    status = run([str(word) for word in words])
    return Said(status, *capsys.readouterr())


def inspected(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    """What `vmdctl inspect --json` tells of a state file that is whole."""
    said = vmdctl(capsys, "inspect", "--json", *words)
    assert said.status == 0, said
    told: dict[str, Any] = json.loads(said.out)
    return told


def looked_at(path: Path, *, strict: bool = False, machine: str | None = None) -> Survey:
    file = StateFile(str(path))
    try:
        return survey(file, strict=strict, machine=machine)
    finally:
        file.close()


def put(directory: Path, name: str) -> Path:
    """A state file that real QEMU wrote."""
    path = directory / name
    path.write_bytes(kept(name))
    return path


def put_libvirt(directory: Path, kind: str) -> Path:
    """A save file that libvirt wrote, with a stream of real QEMU's in it."""
    path = directory / kind
    path.write_bytes(lzma.decompress((KEPT / f"libvirt-{kind}.xz").read_bytes()))
    return path
