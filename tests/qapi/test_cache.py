"""The compiled schema on disk: it saves time, and is never in the way."""

from __future__ import annotations

import marshal
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import qapi
from qapi import cache
from qapi.parser import QapiSyntaxError

MAIN = "{ 'include': 'more.json' } { 'command': 'one' }"
MORE = "{ 'command': 'two' }"


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    directory = tmp_path / "schema"
    directory.mkdir()
    (directory / "qapi-schema.json").write_text(MAIN)
    (directory / "more.json").write_text(MORE)
    return directory


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "kept"


def commands(sources: Path, kept: Path) -> list[str]:
    return list(cache.load(str(sources), str(kept))[0])


def no_reading(*_: object) -> None:
    raise AssertionError("the sources were compiled again")


def test_a_second_load_does_not_compile(
    sources: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert commands(sources, kept) == ["two", "one"]
    monkeypatch.setattr("qapi.compiler.compile_source", no_reading)
    assert commands(sources, kept) == ["two", "one"]


def test_a_change_in_any_source_is_seen(sources: Path, kept: Path) -> None:
    commands(sources, kept)
    (sources / "more.json").write_text("{ 'command': 'six' }")
    os.utime(sources / "more.json", ns=(1, 1))
    assert commands(sources, kept) == ["six", "one"]


def test_a_new_source_is_seen(sources: Path, kept: Path) -> None:
    commands(sources, kept)
    (sources / "third.json").write_text("{ 'command': 'three' }")
    (sources / "more.json").write_text("{ 'include': 'third.json' }" + " " * 40)
    assert commands(sources, kept) == ["three", "one"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: b"",
        lambda raw: raw[:3],
        lambda raw: raw[:-1],
        lambda raw: raw[:4] + bytes(len(raw) - 4),
        lambda raw: raw[:20] + bytes([raw[20] ^ 1]) + raw[21:],
        lambda raw: b"\xff" * 4096,
        lambda raw: raw * 2,
    ],
)
def test_a_damaged_file_is_made_anew(sources: Path, kept: Path, damage: object) -> None:
    commands(sources, kept)
    (path,) = kept.iterdir()
    whole = path.read_bytes()
    assert callable(damage)
    path.write_bytes(damage(whole))
    assert commands(sources, kept) == ["two", "one"]
    assert path.read_bytes() == whole


def test_a_file_of_another_schema_is_not_taken(sources: Path, kept: Path) -> None:
    commands(sources, kept)
    (path,) = kept.iterdir()
    raw = marshal.dumps((("other",), ({"evil": ()}, {}, {}, ())))
    path.write_bytes(cache.checksum(raw) + raw)
    assert commands(sources, kept) == ["two", "one"]


def test_where_nothing_can_be_written_it_works_all_the_same(sources: Path, kept: Path) -> None:
    kept.write_text("a file where the directory should be")
    assert commands(sources, kept) == ["two", "one"]
    assert kept.read_text() == "a file where the directory should be"


def test_a_failed_write_leaves_nothing_behind(
    sources: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr("os.replace", refuse)
    assert commands(sources, kept) == ["two", "one"]
    assert list(kept.iterdir()) == []


def test_a_broken_source_is_an_error_also_when_an_older_one_was_kept(
    sources: Path, kept: Path
) -> None:
    commands(sources, kept)
    (sources / "more.json").write_text("{ 'command': }" + " " * 40)
    with pytest.raises(QapiSyntaxError, match=r"more\.json:1:14: expected a string"):
        commands(sources, kept)


def test_the_kept_file_is_readable_as_other_files_are(sources: Path, kept: Path) -> None:
    commands(sources, kept)
    (path,) = kept.iterdir()
    (kept / "plain").write_bytes(b"")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((kept / "plain").stat().st_mode)


def test_loading_imports_neither_the_compiler_nor_anything_heavy() -> None:
    qapi.load()  # the cache is warm now, if it can be
    script = (
        "import sys; before = set(sys.modules); import qapi; qapi.load(); "
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(qapi.__file__).parent.parent,
    )
    loaded = set(eval(done.stdout))
    assert {"qapi.schema", "qapi.cache"} <= loaded
    heavy = {"re", "typing", "dataclasses", "json", "pathlib", "inspect", "enum"}
    assert not loaded & heavy
    assert not loaded & {"qapi.parser", "qapi.compiler", "qapi.scalars", "qapi.introspect"}
