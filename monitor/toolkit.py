"""What prompt_toolkit asks of its surroundings, as terminal_line.py gives it."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, cast

from prompt_toolkit.application import Application
from prompt_toolkit.data_structures import Size
from prompt_toolkit.history import History as ToolkitHistory
from prompt_toolkit.output.vt100 import Vt100_Output

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
    from typing import TextIO

    from monitor.readline import History


class Editing(Application[None]):
    """What prompt_toolkit starts beside an application is done at once: nothing here waits."""

    def create_background_task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            coroutine.send(None)
        except StopIteration:
            done.set_result(None)
        else:
            coroutine.close()
            done.cancel()
        return cast("asyncio.Task[None]", done)


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
        return [to_text(line) for line in self._history.lines[::-1]]

    def get_strings(self) -> list[str]:
        return list(self.load_history_strings())[::-1]

    def append_string(self, string: str) -> None:
        pass

    def store_string(self, string: str) -> None:
        pass


class Pen:
    """The part of a text file that prompt_toolkit writes to: the editor's output."""

    encoding = "utf-8"

    def __init__(self, paper: bytearray) -> None:
        self._paper = paper
        self._down = False

    def write(self, text: str) -> None:
        if not self._down:
            self._paper += to_bytes(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def put_down(self) -> Pen:
        """For a `with`: what is drawn meanwhile does not reach the screen."""
        return self

    def __enter__(self) -> None:
        self._down = True

    def __exit__(self, *_: object) -> None:
        self._down = False


class PlainOutput(Vt100_Output):
    """A terminal that is asked nothing, and put in no mode that a sudden end would leave on."""

    def __init__(self, pen: Pen, size: Callable[[], tuple[int, int]]) -> None:
        def measured() -> Size:
            columns, rows = size()
            return Size(rows=rows, columns=columns)

        term = os.environ.get("TERM")
        super().__init__(cast("TextIO", pen), measured, term=term, enable_cpr=False)

    def enable_bracketed_paste(self) -> None:
        """Pasted lines are run one by one, as if typed."""

    def disable_bracketed_paste(self) -> None:
        pass

    def set_title(self, title: str) -> None:
        pass


def to_text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
