"""QAPI schema text → expressions, each knowing where it was written.

The language is JSON cut down (objects, arrays, single-quoted strings, true and false) with `#`
comments, several expressions a file, and doc comments between two lines `##`. Two expressions are
obeyed here and not handed on: `include` (each file is read once, at its first mention) and
`pragma`. What an expression means is the compiler's business.
"""

from __future__ import annotations

import os
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PRAGMAS = {
    "doc-required": bool,  # every definition has a doc comment
    "command-name-exceptions": list,  # commands whose names may hold '_'
    "member-name-exceptions": list,  # types whose members' names may hold '_' or capitals
    "command-returns-exceptions": list,  # commands that may return something else than objects
}

MAX_DEPTH = 64

_TOKEN = re.compile(
    r"""(?P<space>[ \n]+)
      | (?P<doc>^\#\#(?=\n|\Z))
      | (?P<comment>\#[^\n]*)
      | (?P<punct>[][{}:,])
      | (?P<word>[a-z]+)
      | '(?P<text>[ !"$-&(-\[\]-~\#]*)'
    """,
    re.VERBOSE | re.MULTILINE,
)


class QapiSyntaxError(Exception):
    """The schema is wrong. `str()` is `file:line:column: message` (line and column from 1)."""

    def __init__(self, where: Position, message: str) -> None:
        super().__init__(f"{where.file}:{where.line}:{where.column}: {message}")
        self.file = where.file
        self.line = where.line
        self.column = where.column
        self.message = message


class Position:
    """A place in a schema file."""

    __slots__ = ("column", "file", "line")

    def __init__(self, file: str, line: int, column: int) -> None:
        self.file = file
        self.line = line
        self.column = column


class Word(str):
    """A string of the schema that remembers where it stood."""

    __slots__ = ("where",)
    where: Position


class Object(dict["Word", "Node"]):
    """An object of the schema: keys in the order they were written, none twice."""

    __slots__ = ("where",)
    where: Position


class Array(list["Node"]):
    """An array of the schema."""

    __slots__ = ("where",)
    where: Position


class Truth:
    """`true` or `false` in the schema."""

    __slots__ = ("value", "where")

    def __init__(self, value: bool, where: Position) -> None:
        self.value = value
        self.where = where


Node = Word | Object | Array | Truth


class Doc:
    """A doc comment: what it is about, its text, and the text of each member and feature."""

    __slots__ = ("body", "features", "members", "symbol", "where")

    def __init__(self, where: Position, symbol: Word) -> None:
        self.where = where
        self.symbol = symbol
        self.body: list[str] = []
        self.members: dict[Word, list[str]] = {}
        self.features: dict[Word, list[str]] = {}


class Expression:
    """One definition and the doc comment before it."""

    __slots__ = ("doc", "value", "where")

    def __init__(self, value: Object, doc: Doc | None) -> None:
        self.value = value
        self.where = value.where
        self.doc = doc


class Source:
    """All that a schema's files say: expressions in reading order, and the pragmas."""

    __slots__ = ("expressions", "files", "pragmas")

    def __init__(self) -> None:
        self.expressions: list[Expression] = []
        self.files: list[str] = []
        self.pragmas: dict[str, bool | set[str]] = {}

    def allowed(self, pragma: str, name: str) -> bool:
        """Is `name` excepted by the pragma that lists exceptions?"""
        names = self.pragmas.get(pragma)
        return isinstance(names, set) and name in names


def parse_file(path: str) -> Source:
    """Read `path` and everything it includes. Raises QapiSyntaxError, or OSError for `path`."""
    source = Source()
    path = os.path.normpath(path)
    with open(path, "rb") as stream:
        raw = stream.read()
    _File(source, path, raw).parse()
    return source


def parse_text(text: str, name: str = "<text>") -> Source:
    """The same for text in hand; includes are looked for beside `name`."""
    source = Source()
    _File(source, name, text.encode("utf-8", "surrogatepass")).parse()
    return source


class _File:
    """One file being read: a position in its text, and the recursive descent over it."""

    def __init__(self, source: Source, path: str, raw: bytes) -> None:
        self.source = source
        self.path = path
        self.line_starts = [0]
        self.offset = 0
        self.text = self._decode(raw)
        self.line_starts += [m.end() for m in re.finditer("\n", self.text)]
        self.tokens = self._tokens()
        self.kind = ""
        self.token = ""
        self.at = 0
        source.files.append(path)

    def _decode(self, raw: bytes) -> str:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            column = error.start - raw.rfind(b"\n", 0, error.start)
            raise QapiSyntaxError(Position(self.path, line, column), "not UTF-8") from None

    def _position(self, offset: int) -> Position:
        low, high = 0, len(self.line_starts)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.line_starts[middle] <= offset else (low, middle)
        return Position(self.path, low + 1, offset - self.line_starts[low] + 1)

    def _error(self, message: str, offset: int | None = None) -> QapiSyntaxError:
        return QapiSyntaxError(self._position(self.at if offset is None else offset), message)

    def _tokens(self) -> Iterator[tuple[str, str, int]]:
        while self.offset < len(self.text):
            start = self.offset
            match = _TOKEN.match(self.text, start)
            if match is None:
                self.at = start
                raise self._error(self._complaint(start))
            kind = match.lastgroup or ""
            self.offset = match.end()
            if kind not in ("space", "comment"):
                yield kind, match[kind], start
        yield "end", "", len(self.text)

    def _complaint(self, start: int) -> str:
        if self.text[start] != "'":
            return f"stray {self.text[start]!a}"
        stop = re.compile(r"['\n]").search(self.text, start + 1)
        if stop is None or stop[0] == "\n":
            return "string without an end"
        return "a string holds printable ASCII only, and no backslash"

    def _advance(self) -> None:
        self.kind, self.token, self.at = next(self.tokens)

    def parse(self) -> None:
        self._advance()
        doc: Doc | None = None
        while self.kind != "end":
            if self.kind == "doc":
                if doc is not None:
                    raise QapiSyntaxError(doc.where, "doc comment without a definition")
                doc = self._doc()
                self._advance()
                continue
            if self.token != "{":
                raise self._error("expected '{'")
            value = self._value(0)
            assert isinstance(value, Object)
            if "include" in value or "pragma" in value:
                if doc is not None:
                    raise QapiSyntaxError(doc.where, "doc comment without a definition")
                self._directive(value)
            else:
                self.source.expressions.append(Expression(value, doc))
            doc = None
        if doc is not None:
            raise QapiSyntaxError(doc.where, "doc comment without a definition")

    def _value(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self._error("nested too deep")
        where = self._position(self.at)
        if self.kind == "text":
            word = Word(self.token)
            word.where = where
            self._advance()
            return word
        if self.kind == "word" and self.token in ("true", "false"):
            truth = Truth(self.token == "true", where)
            self._advance()
            return truth
        if self.token == "{":
            return self._object(where, depth)
        if self.token == "[":
            return self._array(where, depth)
        raise self._error("expected a string, an object, an array, true or false")

    def _object(self, where: Position, depth: int) -> Object:
        result = Object()
        result.where = where
        self._advance()
        if self._skip("}"):
            return result
        while True:
            if self.kind != "text":
                raise self._error("expected a key")
            key = Word(self.token)
            key.where = self._position(self.at)
            self._advance()
            if not self._skip(":"):
                raise self._error("expected ':'")
            if key in result:
                raise QapiSyntaxError(key.where, f"key '{key}' twice")
            result[key] = self._value(depth + 1)
            if self._skip("}"):
                return result
            if not self._skip(","):
                raise self._error("expected ',' or '}'")

    def _array(self, where: Position, depth: int) -> Array:
        result = Array()
        result.where = where
        self._advance()
        if self._skip("]"):
            return result
        while True:
            result.append(self._value(depth + 1))
            if self._skip("]"):
                return result
            if not self._skip(","):
                raise self._error("expected ',' or ']'")

    def _skip(self, punctuation: str) -> bool:
        if self.kind == "punct" and self.token == punctuation:
            self._advance()
            return True
        return False

    def _directive(self, value: Object) -> None:
        if len(value) != 1:
            raise QapiSyntaxError(value.where, "a directive stands alone")
        ((key, argument),) = value.items()
        if key == "include":
            self._include(argument, key)
        else:
            self._pragma(argument, key)

    def _include(self, name: Node, key: Word) -> None:
        if not isinstance(name, Word):
            raise QapiSyntaxError(key.where, "'include' takes a file name")
        path = os.path.normpath(os.path.join(os.path.dirname(self.path), name))
        if path in self.source.files:
            return
        try:
            with open(path, "rb") as stream:
                raw = stream.read()
        except (OSError, ValueError):
            raise QapiSyntaxError(name.where, f"cannot read '{name}'") from None
        _File(self.source, path, raw).parse()

    def _pragma(self, pragmas: Node, key: Word) -> None:
        if not isinstance(pragmas, Object):
            raise QapiSyntaxError(key.where, "'pragma' takes an object")
        for name, value in pragmas.items():
            if name not in PRAGMAS:
                raise QapiSyntaxError(name.where, f"unknown pragma '{name}'")
            if PRAGMAS[name] is bool and isinstance(value, Truth):
                self.source.pragmas[str(name)] = value.value
            elif PRAGMAS[name] is list and isinstance(value, Array):
                words = {str(word) for word in value if isinstance(word, Word)}
                if len(words) != len(value):
                    raise QapiSyntaxError(value.where, f"pragma '{name}' takes different names")
                known = self.source.pragmas.setdefault(str(name), set())
                assert isinstance(known, set)
                known |= words
            else:
                raise QapiSyntaxError(name.where, f"pragma '{name}' of a wrong type")

    def _doc(self) -> Doc:
        """Read on to the closing `##`; the opening one is the current token."""
        where = self._position(self.at)
        row = where.line  # index of the line after the opening one
        doc: Doc | None = None
        text: list[str] = []
        section = "members"
        while row < len(self.line_starts) and self.line_starts[row] < len(self.text):
            start = self.line_starts[row]
            end = self.text.find("\n", start)
            line = self.text[start : len(self.text) if end < 0 else end]
            row += 1
            if line == "##":
                if doc is None:
                    raise QapiSyntaxError(where, "empty doc comment")
                self.offset = start + 2
                return doc
            if line != "#" and not line.startswith("# "):
                raise self._error("expected '# ' or the closing '##'", start)
            line = line[2:]
            tag = re.match(r"@([^\s:@]+):(?: |$)", line)
            if doc is None:
                if tag is None:
                    raise self._error("a doc comment begins with '# @NAME:'", start)
                doc = Doc(where, self._doc_word(tag[1], start + 3))
                text = doc.body
                line = line[tag.end() :]
            elif line == "Features:":
                section, text = "features", []
                line = ""
            elif tag is not None:
                described = doc.features if section == "features" else doc.members
                word = self._doc_word(tag[1], start + 3)
                if word in described:
                    raise QapiSyntaxError(word.where, f"'@{word}' twice")
                text = described[word] = []
                line = line[tag.end() :]
            elif re.match(r"(Returns|Since|Errors|Notes?|Example|Todo):", line):
                text = doc.body
            text.append(line.strip())
        raise QapiSyntaxError(where, "doc comment without an end")

    def _doc_word(self, text: str, offset: int) -> Word:
        word = Word(text)
        word.where = self._position(offset)
        return word
