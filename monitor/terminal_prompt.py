"""One line typed at a terminal, through prompt_toolkit. Imported only when a terminal is there.

QEMU's keys, and the rest of the Emacs ones; TAB lists candidates in columns below the line as QEMU
does. Nothing is asked of the terminal that it would have to answer.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, cast

from prompt_toolkit import PromptSession
from prompt_toolkit.data_structures import Size
from prompt_toolkit.document import Document
from prompt_toolkit.history import DummyHistory
from prompt_toolkit.history import History as ToolkitHistory
from prompt_toolkit.input import create_input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.output.vt100 import Vt100_Output

from monitor.completion import complete

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable
    from typing import TextIO

    from monitor.hmp import Hmp
    from monitor.readline import History


class Prompt:
    """Asks for lines. `write` shows text on the screen, `interrupt` is what Ctrl-C does."""

    def __init__(
        self,
        hmp: Hmp,
        history: History,
        write: Callable[[str], None],
        interrupt: Callable[[], None],
    ) -> None:
        self._hmp = hmp
        self._history = history
        self._pen = Pen(write)
        self._output = PlainOutput(self._pen)
        self._input = create_input(sys.stdin)
        self._interrupt = interrupt
        self._lines = self._session(Recall(history), False)
        self._secrets = self._session(DummyHistory(), True)
        self._asking: PromptSession[str] | None = None

    def _session(self, history: ToolkitHistory, secret: bool) -> PromptSession[str]:
        return PromptSession(
            input=self._input,
            output=self._output,
            history=history,
            key_bindings=self._keys(secret),
            is_password=secret,
            complete_while_typing=False,
            enable_suspend=True,
            reserve_space_for_menu=0,
            include_default_pygments_style=False,
            color_depth=ColorDepth.DEPTH_1_BIT,
        )

    async def read(self, text: str, secret: bool) -> str | None:
        """One line behind the prompt `text`; None at the end of the input."""
        self._asking = self._secrets if secret else self._lines
        try:
            return await self._asking.prompt_async(
                text, set_exception_handler=False, handle_sigint=False
            )
        except EOFError:
            return None
        finally:
            self._asking = None

    @property
    def is_shown(self) -> bool:
        return self._asking is not None

    def print_above(self, text: str) -> None:
        """Show text where the prompt stands, and the prompt below it."""
        assert self._asking is not None
        app = self._asking.app
        app.renderer.erase()
        self._pen.write(text if text.endswith("\n") else f"{text}\n")
        app.invalidate()

    def fall_silent(self) -> None:
        """Leave the screen as it is from now on."""
        self._pen.silent = True

    def _complete(self, event: KeyPressEvent) -> None:
        """What QEMU's line editor does: list below the line, prompt again, type the common part."""
        buffer = event.current_buffer
        found = complete(self._hmp, buffer.document.text_before_cursor)
        if len(found.candidates) > 1:
            # At once and not in a task, for keys behind the TAB may be here already.
            event.app.renderer.render(event.app, event.app.layout, is_done=True)
            self._pen.write(found.columns().decode("utf-8", "surrogateescape"))
        buffer.insert_text(found.insertion().decode("utf-8", "surrogateescape"))

    def _recall(self, event: KeyPressEvent, line: bytes | None) -> None:
        """Show a line of the history; prompt_toolkit loads its own too late for keys in a row."""
        if line is not None:
            text = line.decode("utf-8", "surrogateescape")
            event.current_buffer.document = Document(text, len(text))

    def _keys(self, secret: bool) -> KeyBindings:
        """Where QEMU's keys differ from prompt_toolkit's."""
        keys = KeyBindings()

        @keys.add("tab")
        def tab(event: KeyPressEvent) -> None:
            if not secret:
                self._complete(event)

        @keys.add("c-p")
        @keys.add("up")
        def previous(event: KeyPressEvent) -> None:
            if not secret:
                self._recall(event, self._history.previous())

        @keys.add("c-n")
        @keys.add("down")
        def next_(event: KeyPressEvent) -> None:
            if not secret:
                self._recall(event, self._history.next())

        @keys.add("c-d")
        def delete(event: KeyPressEvent) -> None:
            event.current_buffer.delete()  # on an empty line it is no end of input

        @keys.add("c-c")
        def stop(event: KeyPressEvent) -> None:
            self._interrupt()

        @keys.add("c-\\")
        def abort(event: KeyPressEvent) -> None:
            os.kill(os.getpid(), signal.SIGQUIT)

        return keys


class Recall(ToolkitHistory):
    """The monitor's history for prompt_toolkit's search; it stores nothing itself."""

    def __init__(self, history: History) -> None:
        super().__init__()
        self._history = history

    async def load(self) -> AsyncGenerator[str, None]:
        for line in self.load_history_strings():
            yield line

    def load_history_strings(self) -> Iterable[str]:
        """Newest first."""
        return [line.decode("utf-8", "surrogateescape") for line in self._history.lines[::-1]]

    def get_strings(self) -> list[str]:
        return list(self.load_history_strings())[::-1]

    def append_string(self, string: str) -> None:
        pass

    def store_string(self, string: str) -> None:
        pass


class Pen:
    """The part of a text file that prompt_toolkit writes to."""

    encoding = "utf-8"

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self.silent = False

    def write(self, text: str) -> None:
        if not self.silent:
            self._write(text)

    def flush(self) -> None:
        """Nothing is held back."""


class PlainOutput(Vt100_Output):
    """A terminal that is asked nothing, and put in no mode that a sudden end would leave on."""

    def __init__(self, pen: Pen) -> None:
        super().__init__(cast("TextIO", pen), _size, term=os.environ.get("TERM"), enable_cpr=False)

    def enable_bracketed_paste(self) -> None:
        """Pasted lines are run one by one, as if typed."""

    def disable_bracketed_paste(self) -> None:
        pass

    def set_title(self, title: str) -> None:
        pass


def _size() -> Size:
    try:
        columns, rows = os.get_terminal_size(sys.stdout.fileno())
    except OSError:
        columns, rows = 0, 0
    return Size(rows=rows or 24, columns=columns or 80)
