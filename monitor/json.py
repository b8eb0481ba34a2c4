"""QEMU's JSON dialect: bytes in, documents or errors out, at any split of the bytes.

Lexer, balancer and parser follow one another as in QEMU (qobject/json-streamer.c, json-parser.c),
but the parser is driven token by token, so that nothing is kept of a document but its value and
nothing recurses. The common message, complete and plain, takes a shortcut through the interpreter's
own C scanner: importing it (with the first message) costs 3 ms and 100 kB where msgspec costs 15 ms
and 1.7 MB, and it tells where a document ends, which a stream without frames needs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from functools import cache
from math import inf
from typing import Any

from monitor.json_encoder import encode
from monitor.json_lexer import (
    FLOAT,
    INTEGER,
    KEYWORD,
    MAX_TOKEN_SIZE,
    OVERSIZE,
    STRAY,
    STRING,
    JsonError,
    Lexer,
    integer_value,
    keyword_value,
    parse_error,
    stray_text,
    string_value,
)

__all__ = ["INCOMPLETE", "JsonDecoder", "JsonError", "encode"]

MAX_NESTING = 1024  # open braces and brackets together
MAX_TOKEN_COUNT = 2 << 20
INCOMPLETE: Any = object()  # what JsonDecoder.next() answers while it waits for more bytes


class Expect(Enum):
    """What the parser waits for."""

    DOCUMENT = 0
    FIRST_ELEMENT = 1
    ELEMENT = 2
    LIST_COMMA = 3
    FIRST_KEY = 4
    KEY = 5
    COLON = 6
    MEMBER = 7
    DICT_COMMA = 8


_VALUE = dict.fromkeys((STRING, INTEGER, FLOAT, KEYWORD, "[", "{"), "value")
# For each state the tokens that it takes: a value (or its beginning), an end of the innermost
# container, or a sign that leads to the next state. Any other token is the document's error.
_TABLE: dict[Expect, dict[str, str | Expect]] = {
    Expect.DOCUMENT: {**_VALUE},
    Expect.FIRST_ELEMENT: {**_VALUE, "]": "close"},
    Expect.ELEMENT: {**_VALUE},
    Expect.LIST_COMMA: {",": Expect.ELEMENT, "]": "close"},
    Expect.FIRST_KEY: {**_VALUE, "}": "close"},
    Expect.KEY: {**_VALUE},
    Expect.COLON: {":": Expect.MEMBER},
    Expect.MEMBER: {**_VALUE},
    Expect.DICT_COMMA: {",": Expect.KEY, "}": "close"},
}
_ERRORS = {
    Expect.COLON: "missing : in object pair",
    Expect.DICT_COMMA: "expected separator in dict",
    Expect.LIST_COMMA: "expected separator in list",
}
_SCALARS: dict[str, Callable[[bytes], object]] = {
    STRING: string_value,
    INTEGER: integer_value,
    FLOAT: float,
    KEYWORD: keyword_value,
}


class _Parser:
    """Builds the value of one document from its tokens; remembers the first error instead.

    A key is parsed as any value is and judged afterwards, as json-parser.c does.
    """

    __slots__ = ("_container", "_expect", "_keys", "_stack", "result")

    def __init__(self) -> None:
        self._expect = Expect.DOCUMENT
        self._container: Any = None  # the innermost open list or dict
        self._stack: list[tuple[Any, Expect]] = []  # those around it, and what it is for them
        self._keys: list[str] = []  # one for each dict that waits for its member's value
        self.result: object = INCOMPLETE  # in the end the value or a JsonError

    def token(self, kind: str, text: bytes) -> None:
        if isinstance(self.result, JsonError):
            return
        action = _TABLE[self._expect].get(kind)
        try:
            if action is None:
                raise parse_error(_ERRORS.get(self._expect, "expecting value"))
            if isinstance(action, Expect):
                self._expect = action
            elif action == "close":
                value = self._container
                self._container, self._expect = self._stack.pop()
                self._complete(value)
            elif kind == "{":
                self._open({}, Expect.FIRST_KEY)
            elif kind == "[":
                self._open([], Expect.FIRST_ELEMENT)
            else:
                self._complete(_SCALARS[kind](text))
        except JsonError as error:
            self.result = error.with_traceback(None)
            self._container, self._stack, self._keys = None, [], []

    def _open(self, container: object, expect: Expect) -> None:
        self._stack.append((self._container, self._expect))
        self._container, self._expect = container, expect

    def _complete(self, value: object) -> None:
        """A value is finished: put it where it belongs."""
        expect = self._expect
        if expect is Expect.DOCUMENT:
            self.result = value
        elif expect is Expect.MEMBER:
            key = self._keys.pop()
            if key in self._container:
                raise parse_error("duplicate key")
            self._container[key] = value
            self._expect = Expect.DICT_COMMA
        elif expect is Expect.KEY or expect is Expect.FIRST_KEY:
            if not isinstance(value, str):
                raise parse_error("key is not a string in object")
            self._keys.append(value)
            self._expect = Expect.COLON
        else:
            self._container.append(value)
            self._expect = Expect.LIST_COMMA


class JsonDecoder:
    """A stream of documents.

    feed() bytes, then call next() until it answers INCOMPLETE. Bytes behind the document that
    next() gave are not looked at before the next call; `pending` counts them.

    With `patience` so many tokens are read the long way at a stretch: then next() answers
    INCOMPLETE although bytes are left, `tired` is true, and rest() lets it go on.
    """

    __slots__ = (
        "_braces",
        "_brackets",
        "_data",
        "_lexer",
        "_parser",
        "_patience",
        "_plain",
        "_pos",
        "_size",
        "_text",
        "_tokens",
        "_tokens_left",
    )

    def __init__(self, patience: float = inf) -> None:
        self._lexer = Lexer()
        self._patience = patience
        self.reset()

    def reset(self) -> None:
        """Forget everything that was fed."""
        self._data = b""
        self._pos = 0
        self._text: str | None = None  # the same data as text, for the shortcut
        self._plain = False  # whether the shortcut is worth a try in this data
        self._lexer.reset()
        self.rest()
        self._start_document()

    @property
    def tired(self) -> bool:
        """Whether bytes are left only because it was enough at a stretch."""
        return self._tokens_left <= 0 and self.pending > 0

    def rest(self) -> None:
        """Others had their turn: go on."""
        self._tokens_left = self._patience

    def _start_document(self) -> None:
        self._braces = 0
        self._brackets = 0
        self._tokens = 0
        self._size = 0  # bytes of all the tokens' text
        self._parser = _Parser()

    @property
    def pending(self) -> int:
        """How many bytes were fed and not yet looked at."""
        return len(self._data) - self._pos

    def feed(self, data: bytes) -> None:
        self._data = self._data[self._pos :] + data if self.pending else data
        self._pos = 0
        self._text = None
        self._plain = True

    def next(self) -> object:
        """The next document's value, a JsonError *object* in its place, or INCOMPLETE."""
        if self._plain and not self._tokens and self._lexer.idle:
            document = self._scan()
            if document is not INCOMPLETE:
                return document
        while self._tokens_left > 0:
            kind, text, self._pos = self._lexer.next(self._data, self._pos)
            if kind is None:
                return INCOMPLETE
            self._tokens_left -= 1
            document = self._token(kind, text)
            if document is not INCOMPLETE:
                return document
        return INCOMPLETE

    def end(self) -> object:
        """No more bytes will come: a last value, a JsonError object, or INCOMPLETE for nothing."""
        begun = self._lexer.begun
        if begun[:1] in (b'"', b"'"):
            return parse_error(f"stray '{stray_text(begun)}'")
        self.feed(b"\n")  # ends a number or a keyword
        document = self.next()
        if document is not INCOMPLETE or not self._tokens:
            return document
        result = self._parser.result
        return result if isinstance(result, JsonError) else parse_error("premature EOI")

    def _token(self, kind: str, text: bytes) -> object:
        """Count brackets and tokens; the parser's result once they balance or cannot any more."""
        if kind == "{":
            self._braces += 1
        elif kind == "}":
            self._braces -= 1
        elif kind == "[":
            self._brackets += 1
        elif kind == "]":
            self._brackets -= 1
        elif kind == STRAY:
            self._start_document()
            return parse_error(f"stray '{stray_text(text)}'")
        limit = self._exceeded(kind, text)
        if limit:
            self._start_document()
            return JsonError(f"JSON {limit} limit exceeded")
        self._tokens += 1
        self._size += len(text)
        self._parser.token(kind, text)
        if min(self._braces, self._brackets) >= 0 and max(self._braces, self._brackets) > 0:
            return INCOMPLETE
        result = self._parser.result
        self._start_document()
        return result

    def _exceeded(self, kind: str, text: bytes) -> str:
        if kind == OVERSIZE or self._size + len(text) + 1 > MAX_TOKEN_SIZE:
            return "token size"
        if self._tokens + 1 > MAX_TOKEN_COUNT:
            return "token count"
        if self._braces + self._brackets > MAX_NESTING:
            return "nesting depth"
        return ""

    def _scan(self) -> object:
        """The shortcut: a complete object that both languages read alike, else INCOMPLETE.

        Left to the long way: whatever the scanner refuses, anything but ASCII, every \\u escape,
        and sizes near a limit. The hooks below refuse what only JSON proper allows.
        """
        if self._text is None:
            self._text = self._data.decode("latin-1")
        text = self._text
        pos = self._pos
        if not text.startswith("{", pos):
            pos = self._pos = _BLANKS.match(text, pos).end()  # type: ignore[union-attr]
            if not text.startswith("{", pos):
                return INCOMPLETE
        try:
            document, end = _scanner()(text, pos)
        except (ValueError, StopIteration, RecursionError):
            # Scanning is not tried again before new bytes come, or a line of garbage would cost
            # the square of its length.
            self._plain = False
            return INCOMPLETE
        source = text[pos:end]
        if end - pos > _SCAN_LIMIT or not source.isascii() or "\\u" in source:
            return INCOMPLETE
        self._pos = end
        return document


_BLANKS = re.compile("[ \t\r\n]*")
# No document of this many bytes nests deeper than MAX_NESTING, or has too many tokens.
_SCAN_LIMIT = 2 * MAX_NESTING


def _pairs_hook(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("duplicate key")
    return value


def _float_hook(text: str) -> float:
    if text.lstrip("-")[:2] in ("0e", "0E"):
        raise ValueError("an exponent behind a bare zero")
    return float(text)


def _integer_hook(text: str) -> int | float:
    return int(text) if len(text) < 19 else integer_value(text.encode())


def _constant_hook(text: str) -> object:
    raise ValueError(f"{text} is not JSON")


class _ScannerOptions:
    """The scanner's options, which it takes as the attributes of some object."""

    strict = True
    object_hook = None
    object_pairs_hook = staticmethod(_pairs_hook)
    parse_float = staticmethod(_float_hook)
    parse_int = staticmethod(_integer_hook)
    parse_constant = staticmethod(_constant_hook)
    memo: dict[str, str] = {}  # noqa: RUF012 - the C scanner keeps its own


@cache
def _scanner() -> Callable[[str, int], tuple[object, int]]:
    """The scanner of json.JSONDecoder, without the decoder's own demands on what follows."""
    from json.scanner import make_scanner

    options: Any = _ScannerOptions
    return make_scanner(options)
