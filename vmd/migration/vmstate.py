"""Device sections, declared once as fields: bytes, values and the description come from that.

A `VMState` is what QEMU calls by the same name (migration/vmstate.c, include/migration/vmstate.h):
a list of fields in wire order and optional subsections. A value is a plain dict by field name.

    COUNTER = VMState("counter", 2, (Field("ticks", UINT64), Field("", unused(8))))
    COUNTER.encode({"ticks": 5})
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from vmd.migration.source import LoadError, invalid, io_error, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmd.migration.source import Parse, Source

SUBSECTION = 0x05

Values = dict[str, Any]
Description = dict[str, Any]


class Type(NamedTuple):
    """A type on the wire: its name in descriptions, its size in bytes, what it is to Python."""

    name: str
    size: int
    kind: str  # "int", "signed", "bool", "bytes", "unused" or "string" (a length byte and text)

    def encode(self, value: Any) -> bytes:
        if self.kind == "string":
            data = str(value).encode("utf-8", "surrogateescape")
            return bytes((len(data),)) + data
        if self.kind == "unused":
            return bytes(self.size)
        if self.kind == "bytes":
            return bytes(value).ljust(self.size, b"\0")
        return int(value).to_bytes(self.size, "big", signed=self.kind == "signed")

    def decode(self, data: bytes) -> Any:
        if self.kind in ("bytes", "unused"):
            return data
        value = int.from_bytes(data, "big", signed=self.kind == "signed")
        return bool(value) if self.kind == "bool" else value


UINT8 = Type("uint8", 1, "int")
UINT16 = Type("uint16", 2, "int")
UINT32 = Type("uint32", 4, "int")
UINT64 = Type("uint64", 8, "int")
INT8 = Type("int8", 1, "signed")
INT16 = Type("int16", 2, "signed")
INT32 = Type("int32", 4, "signed")
INT64 = Type("int64", 8, "signed")
BOOL = Type("bool", 1, "bool")


def string(name: str) -> Type:
    """A length byte and that much text."""
    return Type(name, 0, "string")


def buffer(size: int) -> Type:
    """Raw bytes; a shorter value is padded with NUL."""
    return Type("buffer", size, "bytes")


def unused(size: int) -> Type:
    """Bytes that once meant something: written as zero, read and dropped."""
    return Type("unused_buffer", size, "unused")


class Field(NamedTuple):
    """One field.

    An array has a `length`, or `count_from` names the earlier field that holds it. `size_from`
    names an earlier field that holds the length of a buffer; only the first MAX_KEPT bytes of it
    are kept. `since` is the version from which the field exists. `check` sees every element that
    is read and may raise LoadError.
    """

    name: str
    type: Type | VMState
    length: int | None = None
    since: int = 0
    size_from: str = ""
    count_from: str = ""
    check: Callable[[Any], None] | None = None


MAX_KEPT = 1 << 12  # bytes of a buffer, or elements of an array, whose length the stream tells


class VMState(NamedTuple):
    """A section or a struct. `needed` is asked for a subsection: is it written for these values."""

    name: str
    version: int
    fields: tuple[Field, ...]
    subsections: tuple[VMState, ...] = ()
    minimum_version: int = 1
    needed: Callable[[Mapping[str, Any]], bool] | None = None
    # Called with the values of a subsection or section just read; raises LoadError.
    post_load: Callable[[Values], None] | None = None

    def encode(self, values: Mapping[str, Any]) -> bytes:
        """The payload for `values`. A subsection's values are nested under its name."""
        return self.describe(values)[0]

    def describe(self, values: Mapping[str, Any]) -> tuple[bytes, Description]:
        """The payload and its description, as the stream's trailing JSON tells it."""
        data = bytearray()
        described = []
        for field in self.fields:
            piece, description = _encode_field(field, values)
            data += piece
            described.append(description)
        result: Description = {
            "vmsd_name": self.name,
            "version": self.version,
            "fields": described,
        }
        nested = []
        for sub in self.subsections:
            if sub.needed is None or sub.needed(values):
                payload, description = sub.describe(values.get(sub.name, {}))
                name = sub.name.encode()
                data += bytes((SUBSECTION, len(name))) + name + sub.version.to_bytes(4, "big")
                data += payload
                nested.append(description)
        if nested:
            result["subsections"] = nested
        return bytes(data), result

    def decode(self, source: Source, version: int) -> Parse[Values]:
        """Read a payload of `version`; LoadError with QEMU's lines (without the section's own)."""
        self._check_version(version)
        values: Values = {}
        for field in self.fields:
            if field.since <= version:
                try:
                    values[field.name] = yield from _decode_field(field, source, values)
                except LoadError as error:
                    error.lines.append(f"Failed to load {self.name}:{field.name}")
                    raise
        while (yield from self._decode_subsection(source, values)):
            pass
        if self.post_load is not None:
            self.post_load(values)
        return values

    def _check_version(self, version: int) -> None:
        if version > self.version:
            raise invalid(
                f"{self.name}: incoming version_id {version} is too new for local version_id"
                f" {self.version}"
            )
        if version < self.minimum_version:
            raise invalid(
                f"{self.name}: incoming version_id {version} is too old for local minimum"
                f" version_id  {self.minimum_version}"
            )

    def _decode_subsection(self, source: Source, values: Values) -> Parse[bool]:
        """Read one subsection if one of ours follows; another's is left to whoever is around."""
        if (yield from source.peek(1)) != bytes((SUBSECTION,)):
            return False
        length = (yield from source.peek(2))[-1]
        if source.failed or length < len(self.name) + 1:
            return False
        name = text((yield from source.peek(2 + length))[2:])
        if source.failed or not name.startswith(self.name):
            return False
        sub = next((s for s in self.subsections if s.name == name), None)
        if sub is None:
            raise LoadError(errno.ENOENT)
        yield from source.skip(2 + length)
        version = yield from source.be32()
        values[sub.name] = yield from sub.decode(source, version)
        return True


def _decode_field(field: Field, source: Source, values: Values) -> Parse[Any]:
    single = field.length is None and not field.count_from
    count = values[field.count_from] if field.count_from else field.length
    items: list[Any] = []
    for _ in range(1 if count is None else count):
        item = yield from _decode_item(field, source, values)
        if field.check is not None:
            field.check(item)
        if source.failed:
            raise io_error()
        if len(items) == MAX_KEPT:
            raise invalid()
        items.append(item)
    return items[0] if single else items


def _decode_item(field: Field, source: Source, values: Values) -> Parse[Any]:
    kind = field.type
    if isinstance(kind, VMState):
        return (yield from kind.decode(source, kind.version))
    if field.size_from:
        return (yield from source.skip(values[field.size_from], keep=MAX_KEPT))
    if kind.kind == "string":
        return text((yield from source.string()))
    return kind.decode((yield from source.take(kind.size)))


def _encode_field(field: Field, values: Mapping[str, Any]) -> tuple[bytes, Description]:
    """A field's bytes and description; a struct or an array shows its first element's size."""
    kind = field.type
    given = values.get(field.name, 0)
    single = field.length is None and not field.count_from
    items = [given] if single else list(given)
    described: Description = {"name": field.name}
    if len(items) != 1:
        described["array_len"] = len(items)
    if isinstance(kind, VMState):
        structs = [kind.describe(item) for item in items]
        pieces = [data for data, _ in structs]
        described |= {"type": "struct", "struct": structs[0][1] if structs else {}}
    else:
        pieces = [bytes(item) if field.size_from else kind.encode(item) for item in items]
        described["type"] = kind.name
    described["size"] = len(pieces[0]) if pieces else 0
    return b"".join(pieces), described
