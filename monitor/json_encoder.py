"""Values to text as QEMU writes it: ASCII, its number format, its order of keys.

Imitates qobject/qjson.c.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, repeat
from typing import Any

from monitor.json_lexer import decode_leniently
from qapi.order import object_order


class Encoded(str):
    """A document's text in compact form, made by encode(), to be written as it is."""

    __slots__ = ()


_Layout = tuple[tuple[str, ...], tuple[str, ...], str]
# Replies repeat a few sets of keys: for each the order, the keys as written, and the text of the
# whole with a %s for each value. Sets that a client made up (in an id) must not fill the memory.
_layouts: dict[tuple[str, ...], _Layout] = {}
_MAX_LAYOUTS = 1000
_MAX_LAYOUT_KEYS = 64
_MAX_LAYOUT_CHARS = 2000


def _layout(keys: tuple[str, ...]) -> _Layout:
    known = _layouts.get(keys)
    if known is not None:
        return known
    order = object_order(keys)
    written = tuple(_string(key) + ": " for key in order)
    members = (key.replace("%", "%%") + "%s" for key in written)
    layout = (tuple(order), written, "{" + ", ".join(members) + "}")
    if (
        len(_layouts) < _MAX_LAYOUTS
        and len(keys) <= _MAX_LAYOUT_KEYS
        and sum(map(len, keys)) <= _MAX_LAYOUT_CHARS
    ):
        _layouts[keys] = layout
    return layout


_Frame = tuple[Iterator[tuple[str, Any]], str]  # (text before it, value) of each member; the end


def encode(value: object, pretty: bool = False) -> str:
    """One document as ASCII text, without a line end behind it.

    dict, list, tuple, str, int, float, bool, None and their subclasses; TypeError for the rest.
    Depth is bounded by memory only. `pretty` breaks lines (CR LF) and indents by four blanks.
    """
    return _stepwise(value, True) if pretty else _nested(value, 0)


# Beyond this depth (only an id gets there) no more functions are nested.
_DEEP = 64


def _nested(value: Any, depth: int) -> str:
    """The quick way to compact text."""
    scalar = _SCALARS.get(type(value))
    if scalar is not None:
        return scalar(value)
    if depth == _DEEP:
        return _stepwise(value, False)
    if type(value) is dict:
        keys = tuple(value)
        order, _, template = _layouts.get(keys) or _layout(keys)
        texts = []
        for key in order:
            item = value[key]
            scalar = _SCALARS.get(type(item))
            texts.append(scalar(item) if scalar is not None else _nested(item, depth + 1))
        return template % tuple(texts)
    if type(value) is list:
        return "[" + ", ".join([_nested(item, depth + 1) for item in value]) + "]"
    return _stepwise(value, False)


def _stepwise(value: object, pretty: bool) -> str:
    """The same of any depth and kind."""
    out: list[str] = []
    add = out.append
    frames: list[_Frame] = []
    members: Iterator[tuple[str, Any]] = iter((("", value),))
    closing = ""
    while True:
        for before, item in members:
            add(before)
            scalar = _SCALARS.get(type(item))
            if scalar is None:
                frames.append((members, closing))
                members, closing = _open(item, len(frames), pretty)
                break
            add(scalar(item))
        else:
            add(closing)
            if not frames:
                return "".join(out)
            members, closing = frames.pop()


def _open(item: object, depth: int, pretty: bool) -> _Frame:
    if isinstance(item, dict):
        if not item and not pretty:
            return iter(()), "{}"
        order, written, _ = _layout(tuple(item))
        values = [item[key] for key in order]
        if not pretty:
            starts = (f"{', ' if i else '{'}{key}" for i, key in enumerate(written))
            return zip(starts, values, strict=True), "}"
        return _break_lines("{", written, values, "}", depth)
    if isinstance(item, (list, tuple)):
        if pretty:
            return _break_lines("[", repeat(""), item, "]", depth)
        if not item:
            return iter(()), "[]"
        return zip(chain(("[",), repeat(", ")), item, strict=False), "]"
    for kind, scalar in _SCALARS.items():  # an enum member, say
        if isinstance(item, kind):
            return iter(()), scalar(item)
    if isinstance(item, Mapping):
        return _open(dict(item), depth, pretty)
    raise TypeError(f"{type(item).__name__} has no JSON form")


def _break_lines(
    opening: str, keys: Iterable[str], values: Iterable[object], closing: str, depth: int
) -> _Frame:
    line = "\r\n" + "    " * depth
    starts = chain((opening + line,), repeat("," + line))
    members = [
        (start + key, value) for start, key, value in zip(starts, keys, values, strict=False)
    ]
    last_line = "\r\n" + "    " * (depth - 1) + closing
    # An empty container still breaks the line.
    return iter(members), last_line if members else opening + last_line


_SPECIAL = re.compile(r"[^ !#-\[\]-~]")
_SHORT = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _string(text: str) -> str:
    if _SPECIAL.search(text) is None:
        return '"' + text + '"'
    if not text.isascii():
        text = decode_leniently(_raw(text))
    return '"' + _SPECIAL.sub(_escape, text) + '"'


def _raw(text: str) -> bytes:
    """The bytes that a string stands for: a file name may hold some that are no characters."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    if char in _SHORT:
        return _SHORT[char]
    code = ord(char)
    if code < 0x10000:
        return f"\\u{code:04X}"
    code -= 0x10000
    return f"\\u{0xD800 | code >> 10:04X}\\u{0xDC00 | code & 0x3FF:04X}"


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _null(value: None) -> str:
    return "null"


_SCALARS: dict[type, Callable[[Any], str]] = {
    bool: _bool,
    str: _string,
    int: int.__repr__,
    float: "%.17g".__mod__,
    type(None): _null,
    Encoded: str.__str__,
}
