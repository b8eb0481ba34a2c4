"""The human monitor on the user's own terminal: QEMU's session, with prompt_toolkit's editing.

Banner and first prompt are there at once, with QEMU's own line editor; prompt_toolkit is loaded
behind them in a thread, and takes over the line at the place where it then is.
"""

from __future__ import annotations

import _thread
import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from monitor.hmp_server import HmpMonitor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from monitor.dispatcher import Dispatcher
    from monitor.hmp import HmpRegistry
    from monitor.server import CharBackend
    from monitor.terminal_line import RichEditor

DUMB = ("", "dumb", "unknown")  # of $TERM
EVENTS = {True: "events are shown (F2: no more)\n", False: "events are not shown any more\n"}


class TerminalMonitor:
    """A human monitor on the terminal behind `backend`, whose descriptor for its size is `screen`.

    `shows_events`: whether `event` shows anything; F2 changes it. `bar`: a line below the prompt
    explains the command being typed. `lines` are the history of earlier sessions, oldest first;
    `remember` hears of each new line. `term` is the terminal's kind ($TERM); a dumb one gets a
    plain prompt. `rich`: with prompt_toolkit; otherwise the line is edited as on a socket.
    """

    def __init__(
        self,
        backend: CharBackend,
        registry: HmpRegistry,
        machine: object,
        dispatcher: Dispatcher,
        *,
        screen: int = 1,
        term: str = "",
        rich: bool = True,
        version: str = "10.0.2",
        shows_events: bool = False,
        bar: bool = True,
        lines: Iterable[bytes] = (),
        remember: Callable[[bytes], None] | None = None,
    ) -> None:
        self.shows_events = shows_events
        self._screen = screen
        self._bar = bar
        self._rich: RichEditor | None = None
        self._closed = False
        self._part = b""
        dumb = rich and term in DUMB
        self._monitor = HmpMonitor(
            backend,
            registry,
            machine,
            dispatcher,
            version=version,
            columns=lambda: self._size()[0],
            dumb=dumb,
        )
        self._session = self._monitor.session
        for line in lines:
            self._session.editor.history.add(line)
        self._session.remember = remember
        self._monitor.screen_changed = self._screen_changed
        self._monitor.beside = self._beside
        if rich and not dumb:
            loop = asyncio.get_running_loop()
            if dispatcher.held:
                dispatcher.at_release(lambda: self._load(loop))  # behind the first prompt
            else:
                self._load(loop)

    def event(self, text: str) -> None:
        """Something has happened: show it, if events are shown."""
        if self.shows_events:
            self._session.beside(f"{text}\n")

    def message(self, text: str) -> bool:
        """Show text (whole lines) above the prompt; False if the monitor is not on the screen."""
        if self._closed or not self._session.on_screen:
            return False
        self._session.beside(text)
        return True

    def close(self) -> None:
        """The program ends: leave the screen as it is."""
        self._closed = True
        if self._rich is not None:
            self._rich.fall_silent()
            self._monitor.flush()

    def _load(self, loop: asyncio.AbstractEventLoop) -> None:
        def load() -> None:
            # In a thread: it takes long enough for other monitors to notice. The commands first,
            # for they may be wanted before the editing.
            _ = self._session.hmp.registry.table
            from monitor.terminal_line import RichEditor

            with suppress(RuntimeError):  # the program has ended meanwhile
                loop.call_soon_threadsafe(self._loaded, RichEditor)

        _thread.start_new_thread(load, ())

    def _loaded(self, make: type[RichEditor]) -> None:
        if self._closed:
            return
        history = self._session.editor.history
        self._rich = make(self._session.hmp, history, self._size, self._toggle_events, self._bar)
        self._session.go_on_with(self._rich, self._rich.take_over)

    def _size(self) -> tuple[int, int]:
        try:
            columns, rows = os.get_terminal_size(self._screen)
        except OSError:
            columns, rows = 0, 0
        return columns or 80, rows or 24

    def _toggle_events(self) -> None:
        self.shows_events = not self.shows_events
        self._session.beside(EVENTS[self.shows_events])

    def _screen_changed(self) -> None:
        if self._rich is not None and self._session.editor is self._rich:
            self._rich.screen_changed()
            self._monitor.flush()

    def _beside(self, data: bytes) -> None:
        """Another user of the terminal has said something: whole lines go above the prompt.

        Empty data: the terminal is given to another user, so what waits for its end has it now.
        """
        if not data and self._part:
            data = b"\n"
        text, end, self._part = (self._part + data).rpartition(b"\n")
        if end:
            self._session.beside(_shown(text + end))


def _shown(data: bytes) -> str:
    return data.replace(b"\r", b"").decode("utf-8", "surrogateescape")


def describe_event(name: str, data: Any, seconds: int, microseconds: int) -> str:
    """An event in one line, as the terminal shows it; the time is since the epoch."""
    from datetime import datetime

    from monitor.json_encoder import encode

    moment = datetime.fromtimestamp(seconds).strftime("%H:%M:%S")
    rest = f" {encode(data)}" if data else ""
    return f"[{moment}.{microseconds // 1000:03d}] {name}{rest}"
