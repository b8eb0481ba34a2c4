"""A device section's bytes, told apart by the description that stands at the stream's end.

The description gives names, types and sizes. Where it does not fit the bytes (a type of its own, a
list whose elements differ) they are told as they are.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from vmd.migration.carry import described_size
from vmd.migration.vmstate import SUBSECTION

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    # A number, a truth value, bytes, or those by name and in lists.
    Value: TypeAlias = Any

_INTEGER = re.compile(r"(u?)int(8|16|32|64)\b")
MOST_DEPTH = 32
MOST_BYTES = 8 << 20  # of a section that is told apart


# What reading a description of any shape may end with
_ODD = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError)


class Misfit(ValueError):
    """The description is about other bytes than these."""


def decode(payload: bytes, description: Mapping[str, Any]) -> dict[str, Value]:
    """The fields of a section by name, subsections under their own; Misfit if it does not fit."""
    if "vmsd_name" not in description:
        return {"data": payload}  # old style: one buffer, known to the device alone
    if len(payload) > MOST_BYTES:
        raise Misfit("the section is too large")
    try:
        values, end = _struct(payload, 0, description, 0)
    except _ODD as error:
        raise Misfit(str(error)) from None
    if end != len(payload):
        raise Misfit(f"{len(payload) - end} bytes are not described")
    return values


def _struct(
    data: bytes, at: int, description: Mapping[str, Any], depth: int
) -> tuple[dict[str, Value], int]:
    """A struct's fields and subsections from `at` on, and where it ends."""
    if depth > MOST_DEPTH:
        raise Misfit("structs are nested too deep")
    values: dict[str, Value] = {}
    for field in description["fields"]:
        value, at = _field(data, at, field, depth)
        name = str(field["name"])
        if "index" in field:
            values.setdefault(name, []).append(value)
        elif isinstance(values.get(name), list) and "array_len" not in field:
            values[name].append(value)  # an array's last element can lack its index
        else:
            values[name] = value
    for sub in description.get("subsections", ()):
        name = sub["vmsd_name"]
        head = bytes((SUBSECTION, len(name.encode()))) + name.encode()
        if data[at : at + len(head)] != head:
            raise Misfit(f"subsection {name} is not where it should be")
        values[name], at = _struct(data, at + len(head) + 4, sub, depth + 1)
    return values, at


def _field(data: bytes, at: int, field: Mapping[str, Any], depth: int) -> tuple[Value, int]:
    """One entry of a description: an element, or an array of equal ones."""
    size, count = int(field["size"]), field.get("array_len")
    end = at + size * (1 if count is None else int(count))
    if size < 0 or not at <= end <= len(data):
        raise Misfit(f"field {field['name']} is larger than its section")
    if count is None:
        return _element(data[at:end], field, depth), end
    if size == 0:
        return [], end
    pieces = (data[start : start + size] for start in range(at, end, size))
    return [_element(piece, field, depth) for piece in pieces], end


def _element(data: bytes, field: Mapping[str, Any], depth: int) -> Value:
    kind = str(field["type"])
    integer = _INTEGER.match(kind)
    if integer and len(data) * 8 == int(integer[2]):
        return int.from_bytes(data, "big", signed=not integer[1])
    if kind == "bool" and len(data) == 1:
        return bool(data[0])
    if kind == "timer" and len(data) == 8:
        return int.from_bytes(data, "big", signed=True)
    if kind == "struct" and isinstance(field.get("struct"), dict):
        struct = field["struct"]
        # Elements that differ from the one that was measured are told as bytes.
        if described_size(struct) == len(data):
            values, end = _struct(data, 0, struct, depth + 1)
            if end == len(data):
                return values
    return data


def plain(value: Value) -> Value:
    """A value as JSON can tell it: bytes in hex."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value
