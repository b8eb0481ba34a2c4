"""One human session without I/O: typed bytes in, the screen's bytes out, one command at a time.

Theory of its states: the prompt stands there, and typed bytes are taken, exactly while nothing
holds the session back. There are four reasons to hold it (Hold); each comes and goes by itself, and
the prompt is printed at the moment the last one goes. Observed from monitor/hmp.c and
monitor/monitor.c of QEMU 10.0.
"""

from __future__ import annotations

from enum import Flag, auto
from typing import TYPE_CHECKING, Any, Protocol

from monitor.completion import complete
from monitor.hmp import Hmp
from monitor.readline import Completion, History, LineEditor

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from monitor.hmp import HmpRegistry

PROMPT = b"(qemu) "
PASSWORD_PROMPT = b"Password: "
CTRL_C = b"\x03"


class Hold(Flag):
    """Why a session takes no input."""

    NOBODY = auto()  # no client is connected
    COMMAND = auto()  # a line waits to be run, or runs
    SUSPENDED = auto()  # a handler wants it (foreground migration, quit)
    ELSEWHERE = auto()  # a multiplexed terminal's focus is on another user


FREE = Hold(0)


class Editor(Protocol):
    """What a session asks of a line editor; see readline.LineEditor, QEMU's own."""

    prompt: bytes
    secret: bool
    history: History
    output: bytearray

    @property
    def amid_key(self) -> bool: ...
    def restart(self) -> None: ...
    def show_prompt(self) -> None: ...
    def feed(self, byte: int) -> bytes | None: ...
    def settle(self) -> None: ...
    def print(self, data: bytes) -> None: ...
    def print_above(self, data: bytes) -> None: ...
    def leave(self) -> None: ...
    def typed(self) -> tuple[bytes, int]: ...


class HmpSession:
    """A human monitor's memory of its client.

    `written` is called after something has been printed, so that the owner takes it from
    `take_output`. `spawn` runs a coroutine beside the commands. History, default CPU and
    suspensions outlive a connection; a half-typed line does not.
    """

    def __init__(
        self,
        registry: HmpRegistry,
        machine: object,
        *,
        written: Callable[[], None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        preconfig: Callable[[], bool] | None = None,
        version: str,
        columns: Callable[[], int] | None = None,
        dumb: bool = False,
    ) -> None:
        self.hmp = Hmp(registry, machine, self._print, terminal=self, preconfig=preconfig)
        self._registry = registry
        self._written = written
        self._spawn = spawn
        self._banner = f"QEMU {version} monitor - type 'help' for more information\n"
        self._columns = columns
        self._editor: Editor = LineEditor(PROMPT, self._complete, History(), dumb)
        self._successor: Editor | None = None
        self._take_over: Callable[[bytes, int], None] = lambda line, index: None
        self._holds = Hold.NOBODY
        self._greeted = False
        self._suspensions = 0
        self._typed = bytearray()  # bytes that wait behind a running command
        self._line: bytes | None = None
        self._parting = b""  # what was printed before the focus went elsewhere
        self._receive_password: Callable[[str], None] | None = None
        self._interrupt: Callable[[], None] | None = None
        self._status = b""  # the line that tells how the command goes that holds the prompt
        self.remember: Callable[[bytes], None] | None = None  # hears of every line for the history

    # What the character device tells

    def opened(self) -> None:
        """A client has come: greet it, and show the prompt if nothing else holds it."""
        self._editor.output.clear()
        self._greeted = True
        self._print(self._banner)
        self._release(Hold.NOBODY)

    def closed(self) -> None:
        self._holds |= Hold.NOBODY
        self._greeted = False
        self._typed.clear()
        self._parting = b""
        self._editor.output.clear()

    def focus(self, has_it: bool) -> None:
        """A multiplexer gives its terminal to this session or takes it away."""
        if has_it:
            self._release(Hold.ELSEWHERE)
        else:
            if self._holds is FREE:
                self._editor.leave()
            self.status("")
            self._parting = self.take_output()
            self._holds |= Hold.ELSEWHERE

    def received(self, data: bytes) -> None:
        """Bytes from the client. They may complete a line: see `waiting`."""
        if self.interruptible and CTRL_C in data:
            data = data.replace(CTRL_C, b"")
            self.interrupt()
        self._typed += data
        self._edit()

    @property
    def held(self) -> bool:
        """Whether input would only pile up now."""
        return bool(self._holds & (Hold.COMMAND | Hold.SUSPENDED))

    @property
    def interruptible(self) -> bool:
        """Whether Ctrl-C means the command that holds the prompt."""
        return self._interrupt is not None and Hold.ELSEWHERE not in self._holds

    def interrupt(self) -> None:
        assert self._interrupt is not None
        self._interrupt()

    @property
    def behind(self) -> bool:
        """Whether something typed has not been run, and might yet be."""
        return bool(self._typed) or Hold.COMMAND in self._holds

    # What the dispatcher does

    @property
    def waiting(self) -> bool:
        """Whether a line waits to be run."""
        return self._line is not None

    def run(self) -> Coroutine[Any, Any, None] | None:
        """Run the waiting line; what does not end at once is returned and holds the session."""
        assert self._line is not None
        line, self._line = self._line, None
        text = line.decode("utf-8", "surrogateescape")
        if self._receive_password is not None:
            receive, self._receive_password = self._receive_password, None
            self._editor.secret = False
            self._editor.prompt = PROMPT
            work = self._registry.call(self.hmp, "a password", lambda: receive(text))
        else:
            work = self._registry.execute(self.hmp, text)
        if work is not None:
            return self._finish(work)
        self._release(Hold.COMMAND)
        return None

    async def _finish(self, work: Coroutine[Any, Any, None]) -> None:
        await work
        self._release(Hold.COMMAND)

    # What handlers do, through Hmp

    @property
    def history(self) -> Sequence[str]:
        return [line.decode("utf-8", "surrogateescape") for line in self._editor.history.lines]

    def suspend(self) -> None:
        self._suspensions += 1
        self._holds |= Hold.SUSPENDED

    def resume(self) -> None:
        self._suspensions -= 1
        if not self._suspensions:
            self._release(Hold.SUSPENDED)

    def hold(
        self, work: Coroutine[Any, Any, None], interrupt: Callable[[], None] | None = None
    ) -> None:
        self.suspend()
        if self._columns is not None:
            self._interrupt = interrupt
        self._spawn(self._held_by(work))

    async def _held_by(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        finally:
            self._interrupt = None
            self.status("")
            self.resume()

    @property
    def watched(self) -> bool:
        return self._columns is not None

    def status(self, text: str) -> None:
        if self._columns is None or not self._greeted or Hold.ELSEWHERE in self._holds:
            return
        output = self._editor.output
        if self._status:
            output += b"\r" + b" " * len(self._status) + b"\r"
        self._status = text.encode("utf-8", "replace")[: max(self._columns() - 1, 0)]
        output += self._status
        self._written()

    def read_password(self, receive: Callable[[str], None]) -> None:
        self._receive_password = receive
        self._editor.secret = True
        self._editor.prompt = PASSWORD_PROMPT

    # What is shown

    @property
    def output_size(self) -> int:
        return len(self._editor.output)

    def take_output(self) -> bytes:
        """What the client is to see since the last call. While the focus is elsewhere it waits."""
        taken, self._parting = self._parting, b""
        if Hold.ELSEWHERE not in self._holds:
            taken += self._editor.output
            self._editor.output.clear()
        return taken

    @property
    def on_screen(self) -> bool:
        """Whether what is printed is seen now."""
        return self._greeted and not self._holds & (Hold.NOBODY | Hold.ELSEWHERE)

    def beside(self, text: str) -> None:
        """Show whole lines that no command prints, without breaking the line being typed."""
        if not self.on_screen:
            return
        if self._holds is FREE:
            self._editor.print_above(_lines(text))
            self._written()
        else:
            self._print(text)

    def _print(self, text: str) -> None:
        if not self._greeted:
            return  # nobody is there to read it
        status = self._status.decode(errors="replace")
        if status:
            self.status("")
        self._editor.print(_lines(text))
        if status:
            self.status(status)
        self._written()

    def _release(self, hold: Hold) -> None:
        """A reason is gone; if it was the last one the prompt comes back and input is read."""
        if hold not in self._holds:
            return
        self._holds &= ~hold
        if self._holds is not FREE:
            return
        self._editor.restart()
        self._editor.show_prompt()
        self._written()
        self._edit()

    def _edit(self) -> None:
        """Feed typed bytes to the editor up to the end of a line."""
        typed, editor = self._typed, self._editor
        if self._holds is not FREE or not typed:
            return
        for used, byte in enumerate(typed, start=1):
            line = editor.feed(byte)
            if line is not None:
                self._line = line
                self._holds |= Hold.COMMAND
                del typed[:used]
                if self.remember is not None and not editor.secret:
                    self.remember(line)
                break
        else:
            typed.clear()
            editor.settle()
            self._change_editor()
        self._written()

    @property
    def editor(self) -> Editor:
        return self._editor

    def go_on_with(self, editor: Editor, take_over: Callable[[bytes, int], None]) -> None:
        """Edit with another editor from now on; `take_over` gives it the half-typed line."""
        self._successor, self._take_over = editor, take_over
        self._change_editor()
        self._written()

    def _change_editor(self) -> None:
        old, new = self._editor, self._successor
        if new is None or old.amid_key:
            return
        self._editor, self._successor = new, None
        new.prompt, new.secret = old.prompt, old.secret
        new.output[:0] = old.output
        if self._holds is FREE:
            self._take_over(*old.typed())

    def _complete(self, before_cursor: bytes) -> Completion:
        return complete(self.hmp, before_cursor.decode("utf-8", "surrogateescape"))


def _lines(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape").replace(b"\n", b"\r\n")
