"""Bytes to tokens, in QEMU's JSON dialect (imitates qobject/json-lexer.c, util/unicode.c).

Two halves: `Lexer` cuts a byte stream into tokens, at any split of the bytes, and the functions
below it turn the text of one token into a Python value.
"""

from __future__ import annotations

import re
from enum import IntEnum
from functools import cache

MAX_TOKEN_SIZE = 64 << 20  # bytes of text, of one token or of all tokens of a document


class JsonError(Exception):
    """Input that is no JSON document; `desc` is the whole text that QEMU reports."""

    def __init__(self, desc: str) -> None:
        super().__init__(desc)
        self.desc = desc


def parse_error(what: str) -> JsonError:
    return JsonError(f"JSON parse error, {what}")


# Kinds of token. Punctuation is its own kind.
STRING = "string"
INTEGER = "integer"
FLOAT = "float"
KEYWORD = "keyword"
STRAY = "stray"  # the text of an unfinished token and the byte that it could not take
OVERSIZE = "oversize"  # the beginning of a token that grew beyond MAX_TOKEN_SIZE


class State(IntEnum):
    """Where the lexer is: after START, inside a token of some kind; the last ones end a token."""

    START = 0
    RECOVERY = 1
    DQ_STRING = 2
    DQ_ESCAPE = 3
    SQ_STRING = 4
    SQ_ESCAPE = 5
    SIGN = 6
    ZERO = 7
    DIGITS = 8
    POINT = 9
    FRACTION = 10
    EXP = 11
    EXP_SIGN = 12
    EXP_DIGITS = 13
    WORD = 14
    # The byte belongs to the token, which is complete:
    END_PUNCTUATION = 15
    END_STRING = 16
    END_STRAY = 17
    # The byte ends the token and is looked at again in START:
    END_INTEGER = 18
    END_FLOAT = 19
    END_WORD = 20
    RESTART = 21


def _table() -> tuple[bytes, ...]:
    """The lexer as a table: next state = table[state][byte].

    A byte that no rule of its state names is a stray one. It is swallowed, and after it bytes are
    skipped up to one from which a fresh start is likely: punctuation, a control byte but tab, or
    0xFE/0xFF, with which clients flush the parser. Numbers and words end at any byte that does not
    continue them. (That ZERO knows no exponent is QEMU's own peculiarity.)
    """
    s = State
    every = range(256)
    digits, nonzero, letters = b"0123456789", b"123456789", range(ord("a"), ord("z") + 1)
    text = range(0x20, 0xFE)
    fresh = [*b"[]{}:,", *(set(range(0x20)) - {0x09}), 0xFE, 0xFF]
    rules: dict[State, list[tuple[object, State]]] = {
        s.START: [
            (b" \t\r\n", s.START),
            (b"{}[]:,", s.END_PUNCTUATION),
            (b'"', s.DQ_STRING),
            (b"'", s.SQ_STRING),
            (b"-", s.SIGN),
            (b"0", s.ZERO),
            (nonzero, s.DIGITS),
            (letters, s.WORD),
        ],
        s.RECOVERY: [(every, s.RECOVERY), (fresh, s.RESTART)],
        s.DQ_STRING: [(text, s.DQ_STRING), (b"\\", s.DQ_ESCAPE), (b'"', s.END_STRING)],
        s.DQ_ESCAPE: [(text, s.DQ_STRING)],
        s.SQ_STRING: [(text, s.SQ_STRING), (b"\\", s.SQ_ESCAPE), (b"'", s.END_STRING)],
        s.SQ_ESCAPE: [(text, s.SQ_STRING)],
        s.SIGN: [(b"0", s.ZERO), (nonzero, s.DIGITS)],
        s.ZERO: [(every, s.END_INTEGER), (digits, s.END_STRAY), (b".", s.POINT)],
        s.DIGITS: [
            (every, s.END_INTEGER),
            (digits, s.DIGITS),
            (b"eE", s.EXP),
            (b".", s.POINT),
        ],
        s.POINT: [(digits, s.FRACTION)],
        s.FRACTION: [(every, s.END_FLOAT), (digits, s.FRACTION), (b"eE", s.EXP)],
        s.EXP: [(b"+-", s.EXP_SIGN), (digits, s.EXP_DIGITS)],
        s.EXP_SIGN: [(digits, s.EXP_DIGITS)],
        s.EXP_DIGITS: [(every, s.END_FLOAT), (digits, s.EXP_DIGITS)],
        s.WORD: [(every, s.END_WORD), (letters, s.WORD)],
    }
    rows = []
    for state in range(State.END_PUNCTUATION):
        row = bytearray([s.END_STRAY]) * 256
        for members, following in rules[State(state)]:
            for byte in members:  # type: ignore[attr-defined]
                row[byte] = following
        rows.append(bytes(row))
    return tuple(rows)


_TABLE = _table()
_DIGITS = rb"[0-9]*"
_STRETCH: dict[int, bytes] = {
    State.START: rb"[ \t\r\n]*",
    State.RECOVERY: rb"[^\[\]{}:,\x00-\x08\x0a-\x1f\xfe\xff]*",
    State.DQ_STRING: rb'[^"\\\x00-\x1f\xfe\xff]*',
    State.SQ_STRING: rb"[^'\\\x00-\x1f\xfe\xff]*",
    **dict.fromkeys((State.DIGITS, State.FRACTION, State.EXP_DIGITS), _DIGITS),
    State.WORD: rb"[a-z]*",
}
# Stretches in which the state does not change, taken in one step.
_STRETCHES: tuple[re.Pattern[bytes] | None, ...] = tuple(
    None if (members := _STRETCH.get(state)) is None else re.compile(members)
    for state in range(State.END_PUNCTUATION)
)
_KINDS: dict[int, str] = {
    State.END_STRING: STRING,
    State.END_INTEGER: INTEGER,
    State.END_FLOAT: FLOAT,
    State.END_WORD: KEYWORD,
    State.END_STRAY: STRAY,
}
_NO_TOKEN = (None, b"")


class Lexer:
    """Cuts bytes into tokens. Between calls it keeps its state and the begun token's text."""

    __slots__ = ("_begun", "_limit", "_state")

    def __init__(self, max_token_size: int = MAX_TOKEN_SIZE) -> None:
        self._limit = max_token_size
        self.reset()

    def reset(self) -> None:
        self._state: int = State.START
        self._begun = bytearray()

    @property
    def idle(self) -> bool:
        """True if the next byte begins something new."""
        return self._state == State.START

    @property
    def begun(self) -> bytes:
        """The text of a token that has begun and not ended."""
        return bytes(self._begun)

    def next(self, data: bytes, pos: int) -> tuple[str | None, bytes, int]:
        """The next token of data[pos:] as (kind, text, position behind it).

        The kind is None if the bytes are used up first; what was begun is then remembered.
        """
        state, begin, size = self._state, pos, len(data)
        while pos < size:
            stretch = _STRETCHES[state]
            if stretch is not None:
                pos = stretch.match(data, pos).end()  # type: ignore[union-attr]
                if state <= State.RECOVERY:
                    begin = pos
                if pos == size:
                    break
            state = _TABLE[state][data[pos]]
            if state < State.END_INTEGER:
                pos += 1
            if state < State.END_PUNCTUATION:
                continue
            if state == State.RESTART:
                state = State.START
                continue
            return self._end(state, data, begin, pos)
        self._state = state
        if state <= State.RECOVERY:
            return (*_NO_TOKEN, pos)
        self._begun += data[begin:pos]
        if len(self._begun) > self._limit:
            return self._oversize(pos)
        return (*_NO_TOKEN, pos)

    def _end(self, state: int, data: bytes, begin: int, pos: int) -> tuple[str, bytes, int]:
        text = data[begin:pos]
        if self._begun:
            text = bytes(self._begun + text)
            # A byte that ends the token is looked at before the size is.
            if len(text) > self._limit + (state < State.END_INTEGER):
                self._begun = bytearray(text)
                return self._oversize(pos)
            self._begun = bytearray()
        self._state = State.RECOVERY if state == State.END_STRAY else State.START
        if state == State.END_PUNCTUATION:
            return chr(text[0]), text, pos
        return _KINDS[state], text, pos

    def _oversize(self, pos: int) -> tuple[str, bytes, int]:
        """Cut the token behind the first byte that is too much; its tail is lexed as new input."""
        excess = len(self._begun) - self._limit - 1
        self.reset()
        return OVERSIZE, b"", pos - excess


def stray_text(token: bytes) -> str:
    """The text of a STRAY token as QEMU shows it: a C string, so it ends at the first NUL."""
    return decode_leniently(token.split(b"\0", 1)[0])


_KEYWORDS = {b"true": True, b"false": False, b"null": None}


def keyword_value(token: bytes) -> bool | None:
    try:
        return _KEYWORDS[token]
    except KeyError:
        raise parse_error(f"invalid keyword '{token.decode()}'") from None


def integer_value(token: bytes) -> int | float:
    """An int if int64 or uint64 holds it, else a double."""
    if len(token) <= 20:  # 2^64 has 20 digits, -2^63 has 19 and a sign
        value = int(token)
        if -(1 << 63) <= value < 1 << 64:
            return value
    return float(token)


_ESCAPES = {
    ord(escape): char for escape, char in zip("\"'\\/bfnrt", "\"'\\/\b\f\n\r\t", strict=True)
}


_NUL = b"\xc0\x80".decode(errors="surrogateescape")


def string_value(token: bytes) -> str:
    """The string that a STRING token (with its quotes) stands for, or the leftmost JsonError.

    U+0000 is two bytes, as for QEMU, which are no character: no name of the host holds a zero.
    """
    if b"\\" not in token and token.isascii():
        return token[1:-1].decode()
    parts = []
    pos, end = 1, len(token) - 1
    while pos < end:
        if token[pos] != 0x5C:
            stop = token.find(b"\\", pos, end)
            stop = end if stop < 0 else stop
            text = _decode(token[pos:stop])
            if text is None:
                raise parse_error("invalid UTF-8 sequence in string")
            pos = stop
        elif token[pos + 1] == 0x75:
            text, pos = _unicode_escape(token, pos)
        else:
            text = _ESCAPES.get(token[pos + 1], "")
            if not text:
                raise parse_error("invalid escape sequence in string")
            pos += 2
        parts.append(text)
    return "".join(parts).replace("\0", _NUL)


def _unicode_escape(token: bytes, pos: int) -> tuple[str, int]:
    """The \\u escape, or pair of them, that begins at pos: its character and what follows it."""
    first = _hex4().match(token, pos + 2)
    code = int(first[0], 16) if first else -1
    end = pos + 6
    if 0xD800 <= code < 0xDC00 and token.startswith(b"\\u", end):
        second = _hex4().match(token, end + 2)
        low = int(second[0], 16) if second else -1
        if 0xDC00 <= low < 0xE000:
            code = 0x10000 + ((code & 0x3FF) << 10 | low & 0x3FF)
            end += 6
    if code < 0 or 0xD800 <= code < 0xE000 or _noncharacter().match(chr(code)):
        shown = decode_leniently(token[pos:end])
        raise parse_error(f"{shown} is not a valid Unicode character")
    return chr(code), end


# The patterns of rare input are compiled when it comes.
@cache
def _noncharacter() -> re.Pattern[str]:
    ends = (chr(plane << 16 | end) for plane in range(17) for end in (0xFFFE, 0xFFFF))
    return re.compile("[\ufdd0-\ufdef" + "".join(ends) + "]")


@cache
def _sequence() -> re.Pattern[bytes]:
    """A lead byte and the continuation bytes that it may have; or any other single byte."""
    return re.compile(
        rb"[\xc0-\xdf][\x80-\xbf]?|[\xe0-\xef][\x80-\xbf]{0,2}|[\xf0-\xf7][\x80-\xbf]{0,3}"
        rb"|[\xf8-\xfb][\x80-\xbf]{0,4}|[\xfc\xfd][\x80-\xbf]{0,5}|[\x80-\xff]"
    )


@cache
def _hex4() -> re.Pattern[bytes]:
    return re.compile(rb"[0-9a-fA-F]{4}")


def _decode(data: bytes) -> str | None:
    """Modified UTF-8 (C0 80 is U+0000) without noncharacters; None if it is anything else."""
    try:
        text = data.replace(b"\xc0\x80", b"\0").decode()
    except UnicodeDecodeError:
        return None
    return None if not text.isascii() and _noncharacter().search(text) else text


def decode_leniently(data: bytes) -> str:
    """As _decode, but each bad sequence becomes one U+FFFD."""
    text = _decode(data)
    if text is not None:
        return text
    return _sequence().sub(_replace_bad, data).replace(b"\xc0\x80", b"\0").decode()


def _replace_bad(match: re.Match[bytes]) -> bytes:
    return match[0] if _decode(match[0]) is not None else "\ufffd".encode()
