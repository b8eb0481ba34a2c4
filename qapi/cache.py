"""A compiled schema on disk, so that a start does not read the sources.

The file lies in `__pycache__` beside this module: a checksum, then `marshal` of (key, data), with
each row marshalled for itself: most are never asked for, and sleep as bytes. The key tells which
sources it was made of (name, time and size of each, the compiler among them) and for which Python.
Whatever is wrong with the file, it is made anew; if it cannot be written, it is not.
"""

from __future__ import annotations

import _imp
import marshal
import os
import sys
from collections.abc import Iterator, Mapping

CHECKSUM_SIZE = 8

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from qapi.schema import Data

    Asleep: TypeAlias = (
        "tuple[dict[str, bytes], dict[str, bytes], dict[str, bytes], tuple[str, ...]]"
    )

HERE = os.path.dirname(os.path.abspath(__file__))
MAIN = "qapi-schema.json"


class Rows(Mapping[str, "tuple[Any, ...]"]):
    """Rows by name, woken each time they are asked for."""

    __slots__ = ("_rows",)

    def __init__(self, rows: dict[str, bytes]) -> None:
        self._rows = rows

    def __getitem__(self, name: str) -> tuple[Any, ...]:
        row: tuple[Any, ...] = marshal.loads(self._rows[name])
        return row

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, name: object) -> bool:
        return name in self._rows


def load(
    sources: str = os.path.join(HERE, "schema"), directory: str = os.path.join(HERE, "__pycache__")
) -> Data:
    """The plain data of the schema in the directory `sources`, from the cache if that is fresh.

    Raises QapiSyntaxError or OSError if it is not and the sources cannot be compiled.
    """
    path = os.path.join(directory, f"schema.{sys.implementation.cache_tag}.marshal")
    key = _key(sources)
    asleep = _read(path, key)
    if asleep is None:
        from qapi.compiler import compile_source
        from qapi.parser import parse_file

        asleep = _put_to_sleep(compile_source(parse_file(os.path.join(sources, MAIN))))
        _write(path, key, asleep)
    commands, events, types, order = asleep
    return Rows(commands), Rows(events), Rows(types), order


def _put_to_sleep(data: Data) -> Asleep:
    commands, events, types = (
        {name: marshal.dumps(row) for name, row in rows.items()} for rows in data[:3]
    )
    return commands, events, types, data[3]


def _key(sources: str) -> tuple[Any, ...]:
    """What the compiled data depend on."""
    with os.scandir(sources) as entries:
        paths = [entry.path for entry in entries if entry.name.endswith(".json")]
    paths += [
        os.path.join(HERE, f"{name}.py") for name in ("parser", "definitions", "compiler", "cache")
    ]
    parts: list[object] = [sys.version]
    for path in sorted(paths):
        try:
            status = os.stat(path)
        except FileNotFoundError:  # the compiler may come without its source
            continue
        parts.append((path, status.st_mtime_ns, status.st_size))
    return tuple(parts)


def _read(path: str, key: tuple[Any, ...]) -> Asleep | None:
    try:
        with open(path, "rb") as stream:
            raw = stream.read()
    except OSError:
        return None
    raw, told = raw[CHECKSUM_SIZE:], raw[:CHECKSUM_SIZE]
    if checksum(raw) != told:  # marshal must not see what it did not write
        return None
    found, data = marshal.loads(raw)
    return data if found == key else None


def _write(path: str, key: tuple[Any, ...], data: Asleep) -> None:
    """Put a whole file in place, or nothing; many may do so at the same time."""
    draft = f"{path}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        raw = marshal.dumps((key, data))
        with open(draft, "wb") as stream:
            stream.write(checksum(raw) + raw)
        os.replace(draft, path)
    except OSError:
        try:
            os.unlink(draft)
        except OSError:
            return


def checksum(raw: bytes) -> bytes:
    """CHECKSUM_SIZE bytes."""
    # What Python itself has for its bytecode files; a library of checksums is 100 KiB more.
    return _imp.source_hash(0, raw)
