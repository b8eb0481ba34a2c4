"""A command line being read from left to right, as the human monitor's parser sees it.

The line is text in which every character stands for one byte (latin-1): QEMU counts and cuts bytes.
`to_bytewise` and `from_bytewise` convert; bytes that are no UTF-8 survive both ways.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Container

BLANKS = " \t\n\v\f\r"  # C's isspace()
WORD_BYTES = 1023  # a longer word loses its end
ESCAPES = {"n": "\n", "r": "\r", "\\": "\\", "'": "'", '"': '"'}


class ArgumentError(Exception):
    """The line does not fit the command; the message is QEMU's, bytewise, without its newline."""


class WordError(Exception):
    """There is no word here, or its quotes are wrong."""


def to_bytewise(text: str) -> str:
    if text.isascii():
        return text
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def from_bytewise(text: str) -> str:
    if text.isascii():
        return text
    return text.encode("latin-1").decode("utf-8", "surrogateescape")


class Scanner:
    """`text` and how far it has been read; `console` receives what QEMU says on its own stdout."""

    __slots__ = ("_console", "position", "text")

    def __init__(self, text: str, console: Callable[[str], None]) -> None:
        self.text = text
        self.position = 0
        self._console = console

    def peek(self, ahead: int = 0) -> str:
        """The character there, empty behind the end."""
        return self.text[self.position + ahead : self.position + ahead + 1]

    def advance(self, count: int = 1) -> None:
        self.position = min(self.position + count, len(self.text))

    def at_end(self) -> bool:
        return self.position >= len(self.text)

    def skip_blanks(self) -> None:
        self.take_while(BLANKS)

    def take_while(self, members: Container[str]) -> str:
        """The characters from here on that are members, and read them."""
        text, start = self.text, self.position
        end = start
        while end < len(text) and text[end] in members:
            end += 1
        self.position = end
        return text[start:end]

    def take_until(self, members: Container[str]) -> str:
        """The characters from here on that are not members, and read them."""
        text, start = self.text, self.position
        end = start
        while end < len(text) and text[end] not in members:
            end += 1
        self.position = end
        return text[start:end]

    def rest(self) -> str:
        """All that is left, and read it."""
        start, self.position = self.position, len(self.text)
        return self.text[start:]

    def word(self) -> str:
        """One word, bare or in double quotes. WordError, and a complaint on the console."""
        self.skip_blanks()
        if self.at_end():
            raise WordError
        if self.peek() != '"':
            return self.take_until(BLANKS)[:WORD_BYTES]
        self.advance()
        return self._quoted()[:WORD_BYTES]

    def _quoted(self) -> str:
        pieces = []
        while True:
            pieces.append(self.take_until('"\\'))
            if self.at_end():
                self._console("unterminated string\n")
                raise WordError
            if self.peek() == '"':
                self.advance()
                return "".join(pieces)
            escaped = self.peek(1)
            self.advance(2)
            if escaped not in ESCAPES:
                # QEMU prints the NUL that ends the line as well
                self._console(f"unsupported escape code: '\\{escaped or chr(0)}'\n")
                raise WordError
            pieces.append(ESCAPES[escaped])


def split_words(line: str, console: Callable[[str], None], limit: int = 16) -> list[str] | None:
    """All words of a line; None if they are more than `limit` or the quotes are wrong."""
    scanner = Scanner(line, console)
    words: list[str] = []
    while True:
        scanner.skip_blanks()
        if scanner.at_end():
            return words
        if len(words) == limit:
            return None
        try:
            words.append(scanner.word())
        except WordError:
            return None
