"""QEMU's line editor, without a terminal: bytes in, echoed bytes and finished lines out.

The echo never relies on what the other side shows: after every byte that changed the line the whole
line is drawn again from its first column. Columns are bytes, so a character of two bytes moves the
cursor by two, as QEMU's does. Observed from util/readline.c of QEMU 10.0 through a unix socket.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LINE_BYTES = 4095  # a longer line loses its end
HISTORY_LINES = 64
MAX_CANDIDATES = 256
SCREEN_COLUMNS = 80

BLANKS = b" \t\n\v\f\r"  # what C's isspace() accepts

LEFT = b"\033[D"
RIGHT = b"\033[C"
ERASE_TO_END = b"\033[K"
CLEAR_SCREEN = b"\033[2J\033[1;1H"
ERASE_BELOW = b"\033[J"


class History:
    """The last lines, oldest first; a repeated line moves to the end, it is not stored twice."""

    __slots__ = ("_recalled", "lines")

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self._recalled = -1  # the line being shown again, or -1 for a line of one's own

    def add(self, line: bytes) -> None:
        """Store a finished line. An empty one is not stored, and forgets nothing."""
        if not line:
            return
        if line in self.lines:
            self.lines.remove(line)
        elif len(self.lines) == HISTORY_LINES:
            del self.lines[0]
        self.lines.append(line)
        self._recalled = -1

    def previous(self) -> bytes | None:
        """The line before the recalled one; None when there is none and the shown line stays."""
        if self._recalled == 0 or not self.lines:
            return None
        self._recalled = (len(self.lines) if self._recalled == -1 else self._recalled) - 1
        return self.lines[self._recalled]

    def next(self) -> bytes | None:
        """The line after the recalled one, empty behind the newest; None when none is recalled."""
        if self._recalled == -1:
            return None
        self._recalled += 1
        if self._recalled < len(self.lines):
            return self.lines[self._recalled]
        self._recalled = -1
        return b""


class Completion:
    """What TAB found: candidates for the word of which `typed` bytes stand before the cursor."""

    __slots__ = ("candidates", "open_end", "typed")

    def __init__(
        self, typed: int = 0, candidates: Sequence[bytes] = (), open_end: bool = False
    ) -> None:
        self.typed = typed
        self.open_end = open_end  # the only candidate is not the end of its word
        self.candidates = list(dict.fromkeys(candidates))[:MAX_CANDIDATES]

    def insertion(self) -> bytes:
        """What TAB types: the rest of the only candidate and a blank, or of what all share."""
        if len(self.candidates) != 1:
            return common_prefix(self.candidates)[self.typed :]
        only = self.candidates[0]
        # a directory is not the end of a word
        goes_on = self.open_end or not only or only.endswith(b"/")
        return only[self.typed :] + (b"" if goes_on else b" ")

    def columns(self) -> bytes:
        """The sorted candidates in columns for a screen of 80, lines ended by CR LF."""
        widest = max(map(len, self.candidates))
        width = min(max(widest + 2, 10), SCREEN_COLUMNS)
        per_line = SCREEN_COLUMNS // width
        cells = [candidate.ljust(width) for candidate in sorted(self.candidates)]
        rows = (cells[i : i + per_line] for i in range(0, len(cells), per_line))
        return b"".join(b"".join(row) + b"\r\n" for row in rows)


def common_prefix(words: Sequence[bytes]) -> bytes:
    """The longest start that all words share."""
    if not words:
        return b""
    first, last = min(words), max(words)
    for i, byte in enumerate(first):
        if byte != last[i]:
            return first[:i]
    return first


class Keys(Enum):
    """Where in a key's bytes the reader is."""

    PLAIN = 0
    ESC = 1  # after ESC
    CSI = 2  # after ESC [ (or the single byte 9B), collecting a number
    SS3 = 3  # after ESC O


class LineEditor:
    """One line being typed at a prompt.

    `feed(byte)` returns a finished line (without its end) or None; what the terminal is to show
    collects in `output`, a bytearray that its owner empties. `dumb`: the terminal knows no escape
    sequences, so the line is drawn with carriage returns and blanks.
    """

    __slots__ = (
        "_complete",
        "_dumb",
        "_index",
        "_keys",
        "_line",
        "_number",
        "_shown",
        "_shown_index",
        "history",
        "output",
        "prompt",
        "secret",
    )

    def __init__(
        self,
        prompt: bytes,
        complete: Callable[[bytes], Completion],
        history: History,
        dumb: bool = False,
    ) -> None:
        self.prompt = prompt
        self.secret = False  # a password: shown as stars, kept out of the history
        self.history = history
        self.output = bytearray()
        self._complete = complete
        self._dumb = dumb
        self._keys = Keys.PLAIN
        self._number = 0
        self.restart()

    def restart(self) -> None:
        """Drop the half-typed line."""
        self._line = bytearray()
        self._index = 0
        self._forget_shown()

    def show_prompt(self) -> None:
        """Print the prompt; the line typed so far is drawn behind it with the next change."""
        self.output += self.prompt
        self._forget_shown()
        self._keys = Keys.PLAIN

    @property
    def amid_key(self) -> bool:
        """Whether a key of several bytes has only begun."""
        return self._keys is not Keys.PLAIN

    def settle(self) -> None:
        """The typed bytes end here for now; all of them have been drawn already."""

    def print(self, data: bytes) -> None:
        """Show what is no part of the line, wherever the cursor is."""
        self.output += data

    def print_above(self, data: bytes) -> None:
        """Show whole lines where the line being typed stands, and that below them."""
        self._blank_out()
        self.output += data
        self.show_prompt()
        self._draw()

    def leave(self) -> None:
        """The line is given up, and the cursor goes below it."""
        self.output += b"\r\n"

    def typed(self) -> tuple[bytes, int]:
        """The line, and where in it the cursor is."""
        return bytes(self._line), self._index

    def _blank_out(self) -> None:
        if self._dumb:
            self.output += b"\r" + b" " * (len(self.prompt) + len(self._shown)) + b"\r"
        else:
            self.output += b"\r" + ERASE_BELOW

    def feed(self, byte: int) -> bytes | None:
        """Take one byte from the terminal; return the line if this byte ended one."""
        action = ACTIONS.get((self._keys, byte))
        if action is not None:
            line = action(self)
            if line is not None:
                return line
        elif self._keys is Keys.PLAIN:
            if byte >= 0x20:
                self._insert(bytes((byte,)))
        elif self._keys is Keys.CSI and 0x30 <= byte <= 0x39:
            self._number = (self._number * 10 + byte - 0x30) & 0xFFFFFFFF
        else:
            self._keys = Keys.PLAIN  # an unknown key ends at its first unknown byte
        self._draw()
        return None

    def _forget_shown(self) -> None:
        self._shown = b""
        self._shown_index = 0

    def _draw(self) -> None:
        """Bring the terminal's line from what was shown last to what it is now."""
        if self._dumb:
            self._draw_dumbly()
            return
        if self._line != self._shown:
            self._shown = bytes(self._line)
            self.output += LEFT * self._shown_index
            self.output += b"*" * len(self._shown) if self.secret else self._shown
            self.output += ERASE_TO_END
            self._shown_index = len(self._shown)
        step = self._index - self._shown_index
        if step:
            self.output += RIGHT * step if step > 0 else LEFT * -step
            self._shown_index = self._index

    def _draw_dumbly(self) -> None:
        """What was typed behind the end is shown as it is; all else draws the line anew."""
        line = b"*" * len(self._line) if self.secret else bytes(self._line)
        if not (self._shown_index == len(self._shown) and line.startswith(self._shown)):
            rest = b" " * (len(self._shown) - len(line))
            self.output += b"\r" + self.prompt + line + rest
            back = len(line) + len(rest)
        elif line != self._shown:
            self.output += line[len(self._shown) :]
            back = len(line)
        else:
            back = self._shown_index
        self._shown, self._shown_index = line, self._index
        if back != self._index:
            self.output += b"\r" + self.prompt + line[: self._index]

    # What keys do. Each is called with the state still that of the key's last byte.

    def _insert(self, text: bytes) -> None:
        text = text[: LINE_BYTES - len(self._line)]
        self._line[self._index : self._index] = text
        self._index += len(text)

    def _enter(self) -> bytes:
        line = bytes(self._line)
        if not self.secret:
            self.history.add(line)
        self.output += b"\r\n"
        self.restart()
        return line

    def _escape(self) -> None:
        self._keys = Keys.ESC

    def _csi(self) -> None:
        self._keys = Keys.CSI
        self._number = 0

    def _csi_one_byte(self) -> None:
        self._keys = Keys.CSI  # the number of the key before is kept, as in QEMU

    def _ss3(self) -> None:
        self._keys = Keys.SS3

    def _start(self) -> None:
        self._keys = Keys.PLAIN
        self._index = 0

    def _end(self) -> None:
        self._keys = Keys.PLAIN
        self._index = len(self._line)

    def _left(self) -> None:
        self._keys = Keys.PLAIN
        self._index = max(self._index - 1, 0)

    def _right(self) -> None:
        self._keys = Keys.PLAIN
        self._index = min(self._index + 1, len(self._line))

    def _delete(self) -> None:
        self._keys = Keys.PLAIN
        del self._line[self._index : self._index + 1]

    def _backspace(self) -> None:
        if self._index:
            self._index -= 1
            del self._line[self._index]

    def _kill_word(self) -> None:
        """Delete the word before the cursor and the blanks behind it; the first word takes all."""
        start = self._index - 1
        while start > 0 and self._line[start] in BLANKS:
            start -= 1
        while start > 0 and self._line[start] not in BLANKS:
            start -= 1
        if start > 0:
            start += 1
        start = max(start, 0)
        del self._line[start : self._index]
        self._index = start

    def _kill_to_start(self) -> None:
        del self._line[: self._index]
        self._index = 0

    def _tilde(self) -> None:
        self._keys = Keys.PLAIN
        action = NUMBERED_KEYS.get(self._number)
        if action is not None:
            action(self)

    def _previous(self) -> None:
        self._keys = Keys.PLAIN
        self._recall(self.history.previous())

    def _next(self) -> None:
        self._keys = Keys.PLAIN
        self._recall(self.history.next())

    def _recall(self, line: bytes | None) -> None:
        if line is not None:
            self._line = bytearray(line)
            self._index = len(line)

    def _clear_screen(self) -> None:
        self.output += b"\r\n" if self._dumb else CLEAR_SCREEN
        self.show_prompt()

    def _tab(self) -> None:
        found = self._complete(bytes(self._line[: self._index]))
        if len(found.candidates) > 1:
            self.output += b"\r\n"
            self.output += found.columns()
            self.show_prompt()
        self._insert(found.insertion())


NUMBERED_KEYS: dict[int, Callable[[LineEditor], None]] = {
    1: LineEditor._start,
    3: LineEditor._delete,
    4: LineEditor._end,
}

# Which byte, in which place of a key, does what. What is not here is text in PLAIN (from blank on)
# and is swallowed elsewhere; every key ends in PLAIN again.
ACTIONS: dict[tuple[Keys, int], Callable[[LineEditor], bytes | None]] = {
    (Keys.PLAIN, 0x01): LineEditor._start,
    (Keys.PLAIN, 0x04): LineEditor._delete,
    (Keys.PLAIN, 0x05): LineEditor._end,
    (Keys.PLAIN, 0x08): LineEditor._backspace,
    (Keys.PLAIN, 0x09): LineEditor._tab,
    (Keys.PLAIN, 0x0A): LineEditor._enter,
    (Keys.PLAIN, 0x0C): LineEditor._clear_screen,
    (Keys.PLAIN, 0x0D): LineEditor._enter,
    (Keys.PLAIN, 0x0E): LineEditor._next,
    (Keys.PLAIN, 0x10): LineEditor._previous,
    (Keys.PLAIN, 0x15): LineEditor._kill_to_start,
    (Keys.PLAIN, 0x17): LineEditor._kill_word,
    (Keys.PLAIN, 0x1B): LineEditor._escape,
    (Keys.PLAIN, 0x7F): LineEditor._backspace,
    (Keys.PLAIN, 0x9B): LineEditor._csi_one_byte,
    (Keys.ESC, 0x5B): LineEditor._csi,
    (Keys.ESC, 0x4F): LineEditor._ss3,
    (Keys.CSI, 0x41): LineEditor._previous,
    (Keys.CSI, 0x42): LineEditor._next,
    (Keys.CSI, 0x43): LineEditor._right,
    (Keys.CSI, 0x44): LineEditor._left,
    (Keys.CSI, 0x45): LineEditor._next,
    (Keys.CSI, 0x46): LineEditor._previous,
    (Keys.CSI, 0x7E): LineEditor._tilde,
    (Keys.SS3, 0x46): LineEditor._end,
    (Keys.SS3, 0x48): LineEditor._start,
}
