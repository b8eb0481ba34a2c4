"""The human monitor on the user's own terminal.

It reads and looks as QEMU's session on `-monitor stdio`, with prompt_toolkit's editing. Banner and
first prompt are there at once; prompt_toolkit is loaded behind them, keys wait in the terminal.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from monitor.hmp import Hmp
from monitor.readline import History

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from monitor.dispatcher import Dispatcher, Work
    from monitor.hmp import HmpRegistry
    from monitor.terminal_prompt import Prompt

PROMPT = "(qemu) "
PASSWORD_PROMPT = "Password: "


class TerminalMonitor:
    """A human monitor on a terminal; `run` is its life.

    `on_interrupt` is called for Ctrl-C, which must end the program. With `history_file` the lines
    of earlier sessions are remembered. `close` ends `run`; the end of the input does not.
    """

    def __init__(
        self,
        registry: HmpRegistry,
        machine: object,
        dispatcher: Dispatcher,
        *,
        on_interrupt: Callable[[], None],
        version: str = "10.0.2",
        history_file: str | None = None,
    ) -> None:
        self._registry = registry
        self._dispatcher = dispatcher
        self._hmp = Hmp(
            registry,
            machine,
            self.message,
            terminal=self,
            preconfig=lambda: dispatcher.preconfig,
        )
        self._on_interrupt = on_interrupt
        self._banner = f"QEMU {version} monitor - type 'help' for more information\n"
        self._history = History()
        self._history_file = history_file
        self._prompt: Prompt | None = None
        self._screen = Screen()
        self._line: str | None = None  # waits for the dispatcher
        self._receive_password: Callable[[str], None] | None = None
        self._free = asyncio.Event()  # no command runs and no handler has suspended
        self._running = False
        self._suspensions = 0
        self._task: asyncio.Task[Any] | None = None
        self._closed = False

    async def run(self) -> None:
        """Read and run lines until `close`."""
        if self._closed:
            return
        self._task = asyncio.current_task()
        keyboard = Keyboard()
        try:
            self._screen.write(self._banner + PROMPT)
            self._load_history()
            await self._read_lines(await self._load_prompt())
        except asyncio.CancelledError:
            if not self._closed:
                raise
        finally:
            self._task = None
            keyboard.restore()
            self._screen.close()

    def close(self) -> None:
        """The program ends: leave the screen as it is and give the terminal back."""
        self._closed = True
        if self._prompt is not None:
            self._prompt.fall_silent()
        if self._task is not None:
            self._task.cancel()

    def message(self, text: str) -> None:
        """Show text; above the prompt, if there is one."""
        if self._prompt is not None and self._prompt.is_shown:
            self._prompt.print_above(text)
        else:
            self._screen.write(text)

    async def _load_prompt(self) -> Prompt:
        loop = asyncio.get_running_loop()
        # In a thread: it takes long enough for other monitors to notice.
        prompt_class = await loop.run_in_executor(None, _import_prompt)
        self._prompt = prompt_class(self._hmp, self._history, self._screen.write, self._interrupt)
        return self._prompt

    async def _read_lines(self, prompt: Prompt) -> None:
        while True:
            await self._screen.drained()
            secret = self._receive_password is not None
            text = PASSWORD_PROMPT if secret else PROMPT
            # prompt_toolkit draws over it, but who greps the output for a prompt finds one.
            self._screen.write(f"\r{text}\r")
            line = await prompt.read(text, secret)
            if line is None:  # the end of the input
                await asyncio.get_running_loop().create_future()
            else:
                if not secret:
                    self._remember(line)
                await self._run_line(line)

    async def _run_line(self, line: str) -> None:
        self._line = line
        self._running = True
        self._free.clear()
        self._dispatcher.wake(self)
        await self._free.wait()

    def _interrupt(self) -> None:
        assert self._prompt is not None
        self._prompt.fall_silent()
        self._on_interrupt()

    # What the dispatcher calls

    def ready(self) -> bool:
        return self._line is not None

    def step(self) -> Work | None:
        assert self._line is not None
        line, self._line = self._line, None
        if self._receive_password is not None:
            receive, self._receive_password = self._receive_password, None
            work = self._registry.call(self._hmp, "a password", lambda: receive(line))
        else:
            work = self._registry.execute(self._hmp, line)
        if work is not None:
            return self._finish(work)
        self._done()
        return None

    def flush(self) -> None:
        """Nothing is held back."""

    async def _finish(self, work: Work) -> None:
        await work
        self._done()

    def _done(self) -> None:
        self._running = False
        self._free_if_idle()

    def _free_if_idle(self) -> None:
        if not self._running and not self._suspensions:
            self._free.set()

    # What handlers do, through Hmp

    @property
    def history(self) -> Sequence[str]:
        return [line.decode("utf-8", "surrogateescape") for line in self._history.lines]

    def suspend(self) -> None:
        self._suspensions += 1
        self._free.clear()

    def resume(self) -> None:
        self._suspensions -= 1
        self._free_if_idle()

    def hold(self, work: Coroutine[Any, Any, None]) -> None:
        self.suspend()
        self._dispatcher.spawn(self._held_by(work))

    async def _held_by(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        finally:
            self.resume()

    def read_password(self, receive: Callable[[str], None]) -> None:
        self._receive_password = receive

    # What was typed

    def _load_history(self) -> None:
        if self._history_file is None:
            return
        with suppress(OSError), open(self._history_file, "rb") as file:
            for line in file.read().splitlines():
                self._history.add(line)

    def _remember(self, line: str) -> None:
        encoded = line.encode("utf-8", "surrogateescape")
        self._history.add(encoded)
        if self._history_file is None or not encoded:
            return
        try:
            with open(self._history_file, "ab") as file:
                file.write(encoded + b"\n")
        except OSError:
            self._history_file = None


def _import_prompt() -> type[Prompt]:
    from monitor.terminal_prompt import Prompt

    return Prompt


class Keyboard:
    """The terminal's input made raw, but for keys that send signals, as char-stdio.c does it."""

    def __init__(self) -> None:
        import termios

        self._fd = sys.stdin.fileno()
        self._mode = termios.tcgetattr(self._fd)
        atexit.register(self.restore)
        mode = termios.tcgetattr(self._fd)
        mode[0] &= ~(termios.BRKINT | termios.ICRNL | termios.INLCR | termios.IGNCR | termios.IXON)
        mode[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.IEXTEN)
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self._fd, termios.TCSANOW, mode)

    def restore(self) -> None:
        """Put the terminal back as it was found."""
        import termios

        atexit.unregister(self.restore)
        with suppress(termios.error, OSError):  # it may be gone
            termios.tcsetattr(self._fd, termios.TCSANOW, self._mode)


class Screen:
    """Output to the terminal that never makes the program wait.

    The terminal is opened anew, for non-blocking is a property of the open file and the shell
    shares ours.
    """

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._empty = asyncio.Event()
        self._empty.set()
        try:
            name = os.ttyname(sys.stdout.fileno())
            self._fd = os.open(name, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError:
            self._fd = os.dup(sys.stdout.fileno())

    def write(self, text: str) -> None:
        if self._fd < 0:
            return
        self._waiting += text.encode("utf-8", "surrogateescape")
        if self._empty.is_set():
            self._write_some()

    async def drained(self) -> None:
        """All has been taken by the terminal."""
        await self._empty.wait()

    def close(self) -> None:
        if self._fd >= 0:
            asyncio.get_running_loop().remove_writer(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _write_some(self) -> None:
        try:
            written = os.write(self._fd, self._waiting)
        except BlockingIOError:
            written = 0
        except OSError:
            written = len(self._waiting)  # the terminal is gone, nobody looks
        del self._waiting[:written]
        loop = asyncio.get_running_loop()
        if self._waiting:
            self._empty.clear()
            loop.add_writer(self._fd, self._write_some)
        elif not self._empty.is_set():
            loop.remove_writer(self._fd)
            self._empty.set()
