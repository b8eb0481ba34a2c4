"""The human monitor's commands: the table, `help`, and how one line is executed.

Nothing here knows a terminal: hmp_session.py brings the lines and takes the text. Observed from
monitor/hmp.c of QEMU 10.0.
"""

from __future__ import annotations

from types import CoroutineType
from typing import TYPE_CHECKING, Any, Protocol

from monitor.dispatcher import report_exception
from monitor.hmp_args import Line, Parameter, Surroundings, parse_args_type
from monitor.scanner import (
    BLANKS,
    ArgumentError,
    Scanner,
    from_bytewise,
    split_words,
    to_bytewise,
)
from qapi.error import QmpError

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Coroutine, Iterable, Mapping, Sequence

    from monitor.trace import Trace

    Handler = Callable[..., Any]
    Completer = Callable[[Any, str], Iterable[str]]
    Hints = Mapping[str, Mapping[int, Callable[[Any, Sequence[str]], Iterable[str]]]]
    Register = Callable[[Any, int | None, str], int | None]


class HmpCommand:
    """One entry of the table.

    `name` holds the aliases too ("quit|q"). `args_type` is QEMU's (see hmp_args), `params` and
    `help` are what `help` shows. `handler(machine, hmp, **arguments)` prints with `hmp.print` and
    may be async; None for a command that this build lacks. `preconfig`: usable before the machine
    exists. `complete` maps a word's place behind the name (1, 2, …) to what it may be:
    `completer(machine, prefix)` gives names, of which those that fit are offered.
    """

    __slots__ = (
        "_parameters",
        "args_type",
        "complete",
        "handler",
        "help",
        "name",
        "names",
        "params",
        "preconfig",
        "subcommands",
    )

    def __init__(
        self,
        name: str,
        args_type: str = "",
        params: str = "",
        help: str = "",
        handler: Handler | None = None,
        preconfig: bool = False,
        subcommands: Sequence[HmpCommand] | None = None,
        complete: Mapping[int, Completer] | None = None,
    ) -> None:
        self.name = name
        self.names = name.split("|")
        self.args_type = args_type
        self.params = params
        self.help = help
        self.handler = handler
        self.preconfig = preconfig
        self.subcommands = None if subcommands is None else CommandTable(subcommands)
        self.complete = complete or {}
        self._parameters: tuple[Parameter, ...] | None = None

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        if self._parameters is None:
            self._parameters = parse_args_type(self.args_type)
        return self._parameters


class CommandTable:
    """Commands in the order in which `help` shows them, found by any of their names."""

    __slots__ = ("_by_name", "commands")

    def __init__(self, commands: Sequence[HmpCommand]) -> None:
        self.commands = sorted(commands, key=lambda command: command.name)
        self._by_name = {name: command for command in commands for name in command.names}
        if len(self._by_name) != sum(len(command.names) for command in commands):
            raise ValueError("two commands of the same name")

    def find(self, name: str) -> HmpCommand | None:
        return self._by_name.get(name)


class Terminal(Protocol):
    """Who types: what a handler may do to a monitor that has a prompt."""

    @property
    def history(self) -> Sequence[str]: ...
    def suspend(self) -> None: ...
    def resume(self) -> None: ...
    @property
    def watched(self) -> bool: ...
    def hold(
        self, work: Coroutine[Any, Any, None], interrupt: Callable[[], None] | None = None
    ) -> None: ...
    def status(self, text: str) -> None: ...
    def read_password(self, receive: Callable[[str], None]) -> None: ...


class Hmp:
    """A monitor as its commands see it.

    `cpu_index` is its default CPU, None until one was chosen. `preconfig()` tells whether the
    machine does not exist yet. `terminal` is None where nobody types (human-monitor-command).
    `fds` are the descriptors that it was given, by name; `take_fd` hands over the last one sent.
    """

    __slots__ = (
        *("_write", "cpu_index", "fds", "machine", "preconfig"),
        *("registry", "take_fd", "terminal"),
    )

    def __init__(
        self,
        registry: HmpRegistry,
        machine: object,
        write: Callable[[str], None],
        *,
        terminal: Terminal | None = None,
        preconfig: Callable[[], bool] | None = None,
        cpu_index: int | None = None,
    ) -> None:
        self.registry = registry
        self.machine = machine
        self.terminal = terminal
        self.preconfig = preconfig or bool
        self.cpu_index = cpu_index
        self.fds: dict[str, int] = {}
        self.take_fd: Callable[[], int | None] = _nothing
        self._write = write

    @property
    def interactive(self) -> bool:
        return self.terminal is not None

    @property
    def history(self) -> Sequence[str]:
        """The lines typed here, oldest first, the running one included."""
        return () if self.terminal is None else self.terminal.history

    def print(self, text: str) -> None:
        """Print text; its lines end in newlines."""
        self._write(text)

    def error(self, error: QmpError) -> None:
        """Print a failure as QEMU does."""
        self.print(f"Error: {error.desc}\n" + (f"{error.hint}\n" if error.hint else ""))

    def suspend(self) -> None:
        """Read no further line and show no prompt until as many `resume` have come.

        Other monitors go on meanwhile. Without a terminal there is nothing to suspend.
        """
        if self.terminal is not None:
            self.terminal.suspend()

    def resume(self) -> None:
        if self.terminal is not None:
            self.terminal.resume()

    def hold(
        self, work: Coroutine[Any, Any, None], interrupt: Callable[[], None] | None = None
    ) -> None:
        """Run `work` beside all commands and keep the prompt back until it ends.

        Only for a handler that has seen `interactive`. `interrupt` is what Ctrl-C does meanwhile on
        the user's own terminal.
        """
        assert self.terminal is not None
        self.terminal.hold(work, interrupt)

    @property
    def watched(self) -> bool:
        """Whether a person looks on, at the terminal that the program was started on."""
        return self.terminal is not None and self.terminal.watched

    def status(self, text: str) -> None:
        """While the prompt is held: show in one line how it goes, in place of the line before."""
        if self.terminal is not None:
            self.terminal.status(text)

    def read_password(self, receive: Callable[[str], None]) -> None:
        """Ask for a password once the handler is done; `receive` gets it, and may print."""
        if self.terminal is None:
            self.print("terminal does not support password prompting\n")
        else:
            self.terminal.read_password(receive)


def _nothing() -> None:
    return None


def discard(text: str) -> None:
    """The console that nobody reads."""


class HmpRegistry:
    """All commands of the human monitor, and what they ask of their surroundings.

    `commands` may be a function, which is called when they are first looked at.
    `topics` are words that `help` explains though they are no commands. `register(machine,
    cpu_index, name)` is the value of a CPU's register, None if there is none such. `block_names`
    gives the names of block backends, `option_ids(machine, group)` the ids that the group's options
    have. `hints` gives what is offered beyond QEMU's completion on a
    person's terminal: by a command's first name and a word's place behind it (without flags), from
    the machine and those words. `console` prints on the process's stdout, `report` a message on its
    stderr. `trace` is the log that hears of every line.
    """

    __slots__ = (
        "_commands",
        "_option_ids",
        "_register",
        "_table",
        "block_names",
        "hints",
        "surroundings",
        "topics",
        "trace",
    )

    def __init__(
        self,
        commands: Sequence[HmpCommand] | Callable[[], Sequence[HmpCommand]],
        *,
        topics: Mapping[str, Callable[[], str]] | None = None,
        register: Register | None = None,
        block_names: Callable[[Any], Iterable[str]] | None = None,
        option_ids: Callable[[Any, str], Container[str]] | None = None,
        hints: Callable[[], Hints] | None = None,
        console: Callable[[str], None] = discard,
        report: Callable[[str], None] = discard,
        trace: Trace | None = None,
    ) -> None:
        self.trace = trace
        self._commands = commands
        self._table: CommandTable | None = None if callable(commands) else CommandTable(commands)
        self.topics = topics or {}
        self.hints: Callable[[], Hints] = hints or dict
        self.block_names = block_names or (lambda machine: ())
        self.surroundings = Surroundings(console, report)
        self._register = register or (lambda machine, cpu_index, name: None)
        self._option_ids = option_ids or (lambda machine, group: ())

    @property
    def table(self) -> CommandTable:
        if self._table is None:
            assert callable(self._commands)
            self._table = CommandTable(self._commands())
        return self._table

    def run_line(
        self, machine: object, line: str, *, cpu_index: int | None = None
    ) -> str | Coroutine[Any, Any, str]:
        """Execute a line that nobody typed; its output with CR LF line ends, awaitable if need be.

        The whole text is one line, newlines in it are blanks.
        """
        pieces: list[str] = []
        hmp = Hmp(self, machine, pieces.append, cpu_index=cpu_index)
        work = self.execute(hmp, line)
        return _crlf(pieces) if work is None else _run_line(work, pieces)

    def execute(self, hmp: Hmp, line: str) -> Coroutine[Any, Any, None] | None:
        """Parse a line and call its handler; what the handler leaves to wait for is returned.

        Never raises: what goes wrong is printed.
        """
        if self.trace is not None and self.trace.active:
            from monitor import trace

            trace.typed(self.trace, hmp, line)
        scanner = Scanner(to_bytewise(line), self.surroundings.console)
        command = self._find_command(hmp, scanner)
        if command is None:
            return None
        typed = scanner.text[: scanner.position]
        if command.handler is None:
            hmp.print(f'Command "{from_bytewise(typed)}" is not available.\n')
            return None
        reader = Line(
            scanner,
            command.name,
            self.surroundings,
            lambda name: self._register(hmp.machine, hmp.cpu_index, name),
            lambda group: self._option_ids(hmp.machine, group),
        )
        try:
            arguments = reader.arguments(command.parameters)
        except ArgumentError as error:
            hmp.print(from_bytewise(str(error)))
            typed = from_bytewise(typed.rstrip(BLANKS))
            hmp.print(f'Try "help {typed}" for more information\n')
            return None
        handler = command.handler
        return self.call(
            hmp, f"the human command {command.name}", lambda: handler(hmp.machine, hmp, **arguments)
        )

    def call(self, hmp: Hmp, what: str, do: Callable[[], Any]) -> Coroutine[Any, Any, None] | None:
        """Do something for a command; what it leaves to wait for is returned.

        A QmpError is printed as QEMU does; any other exception is a bug, and shown on stderr too.
        """
        try:
            result = do()
        except Exception as error:
            _show_failure(hmp, what, error)
            return None
        return _wait(hmp, what, result) if type(result) is CoroutineType else None

    def _find_command(self, hmp: Hmp, scanner: Scanner) -> HmpCommand | None:
        """Read the command's name, and of its sub-command; None after saying why."""
        scanner.skip_blanks()
        if scanner.at_end():
            return None
        table = self.table
        while True:
            command = table.find(scanner.take_until(BLANKS + "/"))
            typed = from_bytewise(scanner.text[: scanner.position])
            if command is None:
                hmp.print(f"unknown command: '{typed}'\n")
                return None
            if hmp.preconfig() and not command.preconfig:
                hmp.print(
                    f"Command '{typed}' not available until machine initialization has completed.\n"
                )
                return None
            scanner.skip_blanks()
            if command.subcommands is None or scanner.at_end():
                return command
            table = command.subcommands

    def help(self, topic: str, preconfig: bool) -> str:
        """What `help TOPIC` prints; all commands for an empty topic."""
        if topic in self.topics:
            return self.topics[topic]()
        words = split_words(to_bytewise(topic), self.surroundings.console)
        if words is None:
            return ""
        table, path = self.table, ""
        for word in map(from_bytewise, words):
            command = table.find(word)
            if command is None or (preconfig and not command.preconfig):
                return f"unknown command: '{path}{word}'\n"
            if command.subcommands is None:
                return path + _entry(command)
            table, path = command.subcommands, f"{path}{word} "
        return "".join(
            path + _entry(command)
            for command in table.commands
            if command.preconfig or not preconfig
        )


def _entry(command: HmpCommand) -> str:
    return f"{command.name} {command.params} -- {command.help}\n"


async def _wait(hmp: Hmp, what: str, work: Any) -> None:
    try:
        await work
    except Exception as error:
        _show_failure(hmp, what, error)


def _show_failure(hmp: Hmp, what: str, error: Exception) -> None:
    if not isinstance(error, QmpError):
        report_exception(what)
        error = QmpError(f"Internal error: {type(error).__name__}: {error}".rstrip())
    hmp.error(error)


async def _run_line(work: Coroutine[Any, Any, None], pieces: list[str]) -> str:
    await work
    return _crlf(pieces)


def _crlf(pieces: list[str]) -> str:
    text = "".join(pieces).replace("\n", "\r\n")
    if text.isascii():
        return text
    # Bytes that are no UTF-8 cannot live in a JSON string.
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


# Handlers of the commands that are the monitor's own.


def hmp_help(machine: object, hmp: Hmp, name: str = "") -> None:
    hmp.print(hmp.registry.help(name, hmp.preconfig()))


def hmp_info_help(machine: object, hmp: Hmp, item: str = "") -> None:
    """`info` without a sub-command."""
    hmp.print(hmp.registry.help("info", hmp.preconfig()))


def hmp_info_history(machine: object, hmp: Hmp) -> None:
    for number, line in enumerate(hmp.history):
        hmp.print(f"{number}: '{line}'\n")
