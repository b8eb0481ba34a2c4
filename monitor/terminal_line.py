"""A line typed at a terminal, with prompt_toolkit's editing and drawing. Imported only for a tty.

QEMU's keys, and the rest of the Emacs ones; TAB lists candidates in columns below the line as QEMU
does. prompt_toolkit's application is never run: bytes are given to its parser and key processor,
and its renderer is called when they have all been taken. So this is a line editor as readline.py's
is, in the same session. The prompt is written as often as QEMU writes it, because programs at a
pseudo terminal count prompts. The terminal is asked nothing that it would have to answer.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, cast

from prompt_toolkit.application.current import set_app
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition, is_searching
from prompt_toolkit.input.base import DummyInput
from prompt_toolkit.input.vt100_parser import Vt100Parser
from prompt_toolkit.key_binding import KeyBindings, KeyPress
from prompt_toolkit.layout import ConditionalContainer, HSplit, Layout, Window
from prompt_toolkit.layout.controls import (
    BufferControl,
    FormattedTextControl,
    SearchBufferControl,
)
from prompt_toolkit.layout.processors import (
    BeforeInput,
    ConditionalProcessor,
    HighlightIncrementalSearchProcessor,
    HighlightSelectionProcessor,
    PasswordProcessor,
    ReverseSearchProcessor,
)
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.search import accept_search, stop_search

from monitor.completion import complete, usage
from monitor.readline import LINE_BYTES
from monitor.toolkit import Editing, Pen, PlainOutput, Recall, to_bytes, to_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from prompt_toolkit.key_binding.key_processor import KeyPressEvent as Event

    from monitor.hmp import Hmp
    from monitor.readline import History


ROWS_FOR_BAR = 4  # on a lower terminal the line needs all that there is


class RichEditor:
    """A hmp_session.Editor on a terminal of `size()` columns and rows.

    `toggle_events` is what F2 does. With `bar` a line below the prompt explains the command that is
    being typed.
    """

    def __init__(
        self,
        hmp: Hmp,
        history: History,
        size: Callable[[], tuple[int, int]],
        toggle_events: Callable[[], None],
        bar: bool = True,
    ) -> None:
        self.prompt = b""
        self.secret = False
        self.history = history
        self.output = bytearray()
        self._hmp = hmp
        self._toggle_events = toggle_events
        self._bar = bar
        self._shown = False  # the prompt is on the screen
        self._broken = False  # what was printed last did not end its line
        self._finished: bytes | None = None
        self._decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
        self._parser = Vt100Parser(self._press)
        self._pen = Pen(self.output)
        self._buffer = Buffer(history=Recall(history), multiline=False, accept_handler=self._accept)
        self._app = Editing(
            layout=self._layout(),
            key_bindings=self._keys(),
            input=DummyInput(),
            output=PlainOutput(self._pen, size),
            include_default_pygments_style=False,
            color_depth=ColorDepth.DEPTH_1_BIT,
        )
        # A key of several bytes may take its time (None is documented, if not annotated).
        self._app.timeoutlen = cast("float", None)

    def _layout(self) -> Layout:
        search = SearchBufferControl(Buffer(), input_processors=[ReverseSearchProcessor()])
        line = BufferControl(
            self._buffer,
            search_buffer_control=search,
            include_default_input_processors=False,
            preview_search=True,
            input_processors=[
                HighlightIncrementalSearchProcessor(),
                HighlightSelectionProcessor(),
                ConditionalProcessor(PasswordProcessor(), Condition(lambda: self.secret)),
                BeforeInput(lambda: self.prompt.decode()),
            ],
        )
        searching = Condition(lambda: self._app.layout.current_control is search)
        bar = Window(
            FormattedTextControl(self._bar_text, style="class:bottom-toolbar.text"),
            style="class:bottom-toolbar",
            height=1,
        )
        return Layout(
            HSplit(
                [
                    ConditionalContainer(
                        Window(line, wrap_lines=True, dont_extend_height=True), ~searching
                    ),
                    ConditionalContainer(
                        Window(search, wrap_lines=True, dont_extend_height=True), searching
                    ),
                    ConditionalContainer(bar, Condition(self._explains)),
                ]
            ),
            focused_element=line,
        )

    def _explains(self) -> bool:
        has_room = self._app.output.get_size().rows >= ROWS_FOR_BAR
        return self._bar and has_room and not self.secret and bool(self._bar_text())

    def _bar_text(self) -> str:
        return usage(self._hmp, self._buffer.text)

    # What the session calls

    @property
    def amid_key(self) -> bool:
        return bool(self._app.key_processor.key_buffer)

    def restart(self) -> None:
        """Drop the half-typed line."""
        self._shown = False
        with set_app(self._app):
            stop_search()
            self._app.key_processor.reset()
            self._buffer.reset()
            self._buffer.load_history_if_not_yet_loaded()

    def show_prompt(self) -> None:
        if self._broken:
            self.output += b"\r\n"
            self._broken = False
        self._shown = True
        if self._buffer.text:
            self._draw()
            return
        self._believe_drawn()
        self.output += self.prompt

    def feed(self, byte: int) -> bytes | None:
        """Take one byte from the terminal; return the line if this byte ended one."""
        with set_app(self._app):
            self._parser.feed(self._decode(bytes((byte,))))
            if len(self._buffer.text) > LINE_BYTES:  # a repeated key can type a million at once
                self._buffer.text = self._buffer.text[:LINE_BYTES]
        line, self._finished = self._finished, None
        return line

    def settle(self) -> None:
        """All that has been typed is taken: bring it to the screen."""
        if self._shown:
            self._draw()

    def print(self, data: bytes) -> None:
        if self._shown:
            self.print_above(data)
        elif data:
            self.output += data
            self._broken = not data.endswith(b"\n")

    def print_above(self, data: bytes) -> None:
        self._erase()
        self.output += data if data.endswith(b"\n") else data + b"\r\n"
        self._draw()

    def leave(self) -> None:
        if self._shown:
            self._end_line()

    def typed(self) -> tuple[bytes, int]:
        before = self._buffer.document.text_before_cursor
        return to_bytes(self._buffer.text), len(to_bytes(before))

    # What the terminal calls

    def take_over(self, line: bytes, index: int) -> None:
        """Go on with a line that another editor has drawn."""
        before = to_text(line[:index])
        self._buffer.document = Document(before + to_text(line[index:]), len(before))
        self._shown = True
        self._believe_drawn()
        self._draw()

    def screen_changed(self) -> None:
        """The terminal has another size, or others have drawn on it."""
        if self._shown:
            self._erase()
            self._draw()

    def fall_silent(self) -> None:
        """Leave the screen as it is from now on, without the bar."""
        if self._shown and self._explains():
            self._bar = False
            self._draw()
        self._shown = False

    # The rest is its own

    def _draw(self) -> None:
        app = self._app
        app.render_counter += 1  # what is cached is that of another drawing
        with set_app(app):
            app.renderer.render(app, app.layout)
            app.layout.update_parents_relations()

    def _believe_drawn(self) -> None:
        """Prompt and line are on the screen: only what changes is to be drawn."""
        bar, self._bar = self._bar, False
        with self._pen.put_down():
            self._draw()
        self._bar = bar

    def _erase(self) -> None:
        with set_app(self._app):
            self._app.renderer.erase()

    def _end_line(self) -> None:
        """Put the cursor below the line, which stays, and the bar away."""
        bar, self._bar = self._bar, False
        place, self._buffer.cursor_position = self._buffer.cursor_position, len(self._buffer.text)
        self._draw()
        self._buffer.cursor_position = place
        self._bar = bar
        with set_app(self._app):
            self._app.renderer.reset()
        self.output += b"\r\n"
        self._shown = False

    def _press(self, key: KeyPress) -> None:
        self._app.key_processor.feed(key)
        self._app.key_processor.process_keys()

    def _accept(self, buffer: Buffer) -> bool:
        line = to_bytes(buffer.text)[:LINE_BYTES]
        self._end_line()
        if not self.secret:
            self.history.add(line)
        self._finished = line
        return False

    def _complete(self) -> None:
        """What QEMU's line editor does: list below the line, prompt again, type the common part."""
        found = complete(self._hmp, self._buffer.document.text_before_cursor, helpful=True)
        if len(found.candidates) > 1:
            self._end_line()
            self.output += found.columns()
            self._shown = True
        self._buffer.insert_text(to_text(found.insertion()))

    def _recall(self, line: bytes | None) -> None:
        if line is not None and not self.secret:
            text = to_text(line)
            self._buffer.document = Document(text, len(text))

    def _keys(self) -> KeyBindings:
        """Where QEMU's keys differ from prompt_toolkit's."""
        keys = KeyBindings()
        typing = ~is_searching

        @keys.add("tab", filter=typing)
        def tab(event: Event) -> None:
            if not self.secret:
                self._complete()

        @keys.add("c-p", filter=typing)
        @keys.add("up", filter=typing)
        def previous(event: Event) -> None:
            self._recall(self.history.previous())

        @keys.add("c-n", filter=typing)
        @keys.add("down", filter=typing)
        def next_(event: Event) -> None:
            self._recall(self.history.next())

        @keys.add("c-d", filter=typing)
        def delete(event: Event) -> None:
            self._buffer.delete()  # on an empty line it is no end of input

        @keys.add("c-m")
        @keys.add("c-j")
        def enter(event: Event) -> None:
            if is_searching():
                accept_search()
            self._buffer.validate_and_handle()

        @keys.add("f2")
        def events(event: Event) -> None:
            self._toggle_events()

        @keys.add("c-o")
        @keys.add("c-z")
        @keys.add("c-c", filter=typing)
        def nothing(event: Event) -> None:
            """On the user's terminal they are signals; behind a mux QEMU lets them pass."""

        return keys
