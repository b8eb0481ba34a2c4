"""The line editor of a terminal: whatever is typed, it stays one, and says what was typed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.hmp import Hmp
from monitor.readline import LINE_BYTES, History
from monitor.terminal_line import RichEditor
from tests.monitor.demo import Machine, registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COLUMNS, ROWS = 80, 24
KEYS = st.sampled_from(
    [bytes([b]) for b in range(32)]
    + [
        b"\x1b[A",
        b"\x1b[B",
        b"\x1b[C",
        b"\x1b[D",
        b"\x1b[3~",
        b"\x9b",
        b"\x7f",
        b"\x1bO",
        b"\x1bOQ",
    ]
    + [b"\x1b[200~", b"\x1b[201~", b"\x1b[1;5D", b"\x1b[5~", b"\x1b[24;80R", b"\x1b[M   "]
    + [bytes((0x1B, byte)) for byte in range(32, 127)]
    + [
        b"info ",
        b"eject ",
        b"help ",
        b'"',
        b"/",
        b"(",
        b"-",
        b"1",
        b"$",
        "漢é".encode(),
        b"x" * 200,
    ]
)
TYPED = st.lists(st.one_of(KEYS, st.binary(max_size=6)), max_size=60).map(b"".join)


class Table:
    """An editor, the screen that it draws on, and the lines that came of it."""

    def __init__(self, columns: int = COLUMNS, rows: int = ROWS) -> None:
        self.toggled = 0
        hmp = Hmp(registry(), Machine(), lambda text: None)
        self.editor = RichEditor(hmp, History(), lambda: (columns, rows), self._toggle)
        self.editor.prompt = b"(qemu) "
        self.lines: list[bytes] = []
        self._screen = pyte.Screen(columns, rows)
        self._screen.set_mode(pyte.modes.LNM)
        self._stream = pyte.ByteStream(self._screen)
        self._prompt()

    def _toggle(self) -> None:
        self.toggled += 1

    def _prompt(self) -> None:
        self.editor.restart()
        self.editor.show_prompt()

    def type(self, typed: bytes) -> None:
        for byte in typed:
            line = self.editor.feed(byte)
            if line is not None:
                self.lines.append(line)
                self._prompt()
        self.editor.settle()

    def shown(self) -> list[str]:
        self._stream.feed(bytes(self.editor.output))
        self.editor.output.clear()
        lines = [line.rstrip() for line in self._screen.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines


@pytest.fixture(scope="module")
def at() -> Iterator[Callable[[bytes], Table]]:
    """Type something at a prompt: at one editor for all, for making one takes its time."""
    with asyncio.Runner(debug=True) as runner:
        table: list[Table] = []

        async def type_(typed: bytes) -> Table:
            if not table:
                table.append(Table())
            table[0].lines.clear()
            table[0].type(typed)
            return table[0]

        yield lambda typed: runner.run(type_(typed))


@given(typed=TYPED)
def test_any_bytes_leave_an_editor_that_edits(at: Callable[[bytes], Table], typed: bytes) -> None:
    at(typed)
    # Out of whatever was begun: a paste, a quoted key, a search, a selection, a number.
    at(b"\x1b[201~  \x07\x07\n\x07\n\x07")
    table = at(b"\x05\x15\x15\nanswer\n")
    table.shown()
    assert table.lines[-1] == b"answer", table.lines[-3:]
    assert all(len(line) <= LINE_BYTES for line in table.editor.history.lines)


@given(text=st.text(st.characters(exclude_categories=["C"]), max_size=100))
def test_text_comes_out_as_it_was_typed(at: Callable[[bytes], Table], text: str) -> None:
    assert at(text.encode() + b"\n").lines == [text.encode()]


def test_bytes_that_are_no_characters_come_out_as_they_were_typed(
    at: Callable[[bytes], Table],
) -> None:
    assert at(b"\xc3\xa9\xff\xc3(\n").lines == [b"\xc3\xa9\xff\xc3("]


async def test_a_line_longer_than_the_screen_is_wide_is_shown_whole() -> None:
    table = Table()
    table.type(b"z" * 200)
    assert "".join(table.shown()) == "(qemu) " + "z" * 200
    table.type(b"\x01a\x05b\n")
    assert table.lines == [b"a" + b"z" * 200 + b"b"]


@pytest.mark.parametrize("typed", [b"info \x1bOQsta", b"info sta\x1bOQ"])
async def test_a_key_for_events_leaves_the_line_alone(typed: bytes) -> None:
    table = Table()
    table.type(typed + b"tus\n")
    assert table.toggled == 1
    assert table.lines == [b"info status"]


@pytest.mark.parametrize(("columns", "rows"), [(1, 1), (3, 2), (10, 3), (12, 5), (500, 1)])
async def test_the_smallest_terminal_takes_lines(columns: int, rows: int) -> None:
    table = Table(columns, rows)
    table.type(b"info status and more\x01X\x05Y")
    assert not any("small" in line for line in table.shown())
    table.type(b"\x12sta\x07\n")
    assert table.lines == [b"Xinfo status and moreY"]
    table.shown()
