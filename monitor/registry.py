"""QMP's commands: schema entry and handler joined under one name.

A handler is called as `handler(machine, **arguments)`, one that needs the asking monitor as
`handler(machine, monitor, **arguments)`. Arguments bear the schema's names with '_' for '-' (and a
'_' appended to a Python keyword); optional ones that were not given are not passed. Of a command
whose arguments the schema does not describe ('gen': false) the names stay as they came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from keyword import iskeyword
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from monitor.json_encoder import Encoded
    from qapi.schema import Command, Event

Handler = Callable[..., Any]
PROTOCOLS_OWN = "qmp_capabilities"


class Schema(Protocol):
    """What a registry asks of qapi.Schema."""

    @property
    def commands(self) -> Mapping[str, Command]: ...
    @property
    def events(self) -> Mapping[str, Event]: ...
    @property
    def types(self) -> Mapping[str, Any]: ...
    def check_arguments(self, command: str, args: dict[str, object]) -> dict[str, object]: ...
    def check_return(self, command: str, value: object) -> None: ...
    def check_event(self, name: str, data: dict[str, object] | None) -> None: ...


class QmpCommand:
    """One command as it is dispatched."""

    __slots__ = (
        "_handler",
        "_keywords",
        "_schema",
        "_takes_monitor",
        "allow_oob",
        "allow_preconfig",
        "check_returns",
        "name",
        "schema_entry",
    )

    def __init__(
        self, schema: Schema, name: str, handler: Handler, takes_monitor: bool, check_returns: bool
    ) -> None:
        entry = schema.commands[name]
        self.name = name
        self.schema_entry = entry
        self.allow_oob: bool = entry.allow_oob
        self.allow_preconfig: bool = entry.allow_preconfig
        self.check_returns = check_returns
        self._schema = schema
        self._handler = handler
        self._takes_monitor = takes_monitor
        self._keywords: dict[str, str] = {}  # schema name → keyword, of the arguments seen so far

    def call(self, machine: object, monitor: object, arguments: dict[str, object]) -> Any:
        """The handler's result, which may be a coroutine. QmpError if the arguments do not fit."""
        return self.run(machine, monitor, self.check(arguments))

    def check(self, arguments: dict[str, object]) -> dict[str, object]:
        """The arguments as `run` takes them, or QmpError if they do not fit."""
        checked = self._schema.check_arguments(self.name, arguments)
        if checked and self.schema_entry.gen:
            keywords = self._keywords
            for key in checked.keys() - keywords.keys():
                keywords[key] = as_keyword(key)
            checked = {keywords[key]: value for key, value in checked.items()}
        return checked

    def run(self, machine: object, monitor: object, checked: dict[str, object]) -> Any:
        if self._takes_monitor:
            return self._handler(machine, monitor, **checked)
        return self._handler(machine, **checked)

    def check_return(self, value: object) -> None:
        self._schema.check_return(self.name, value)


def as_keyword(name: str) -> str:
    """The schema's name as the name of a Python argument."""
    name = name.replace("-", "_")
    return name + "_" if iskeyword(name) else name


class QmpRegistry:
    """All commands. The two mappings may bring a handler in when it is first asked for.

    `qmp_capabilities` is the protocol's own: it has its handler here and must not be given one.
    With `check_returns` every result and event is compared with the schema (for tests).
    """

    __slots__ = (
        "_check_returns",
        "_commands",
        "_handlers",
        "_introspection",
        "_monitor_handlers",
        "schema",
    )

    def __init__(
        self,
        schema: Schema,
        handlers: Mapping[str, Handler],
        session_handlers: Mapping[str, Handler],
        *,
        check_returns: bool = False,
    ) -> None:
        self.schema = schema
        self._check_returns = check_returns
        self._handlers = handlers
        self._monitor_handlers = session_handlers
        self._commands: dict[str, QmpCommand] = {}
        self._introspection: Encoded | None = None

    def find(self, name: str) -> QmpCommand | None:
        command = self._commands.get(name)
        if command is None and name in self.schema.commands:
            handler, takes_monitor = self._handler(name)
            command = QmpCommand(self.schema, name, handler, takes_monitor, self._check_returns)
            self._commands[name] = command
        return command

    def _handler(self, name: str) -> tuple[Handler, bool]:
        """A command's handler, and whether it takes the asking monitor."""
        if name == PROTOCOLS_OWN:
            return _qmp_capabilities, True
        if name in self._monitor_handlers:
            return self._monitor_handlers[name], True
        return self._handlers[name], False

    def demand_same_names(self) -> None:
        """ValueError if the schema and the handlers do not name the same commands (for tests)."""
        own = (PROTOCOLS_OWN,)
        _demand_same_names(self.schema.commands, self._handlers, self._monitor_handlers, own)

    def introspection(self) -> Encoded:
        """The schema as query-qmp-schema tells it, written once and kept: every client asks."""
        if self._introspection is None:
            from monitor.json_encoder import Encoded, encode
            from qapi.introspect import introspect

            entries = introspect(self.schema)  # type: ignore[arg-type]
            if self._check_returns:
                self.schema.check_return("query-qmp-schema", entries)
            self._introspection = Encoded(encode(entries))
        return self._introspection

    def signature_problems(self) -> list[str]:
        """Handlers that cannot take what the schema allows, a sentence each (for tests)."""
        from inspect import signature

        problems = []
        for name, entry in self.schema.commands.items():
            handler, takes_monitor = self._handler(name)
            for members in _argument_sets(self.schema, entry):
                given = {as_keyword(member): None for member in members}
                try:
                    signature(handler).bind(*[None] * (1 + takes_monitor), **given)
                except TypeError as error:
                    problems.append(f"{name}: {error} ({sorted(given)} given)")
        return problems

    def check_event(self, name: str, data: dict[str, object] | None) -> None:
        if self._check_returns:
            self.schema.check_event(name, data)


def _argument_sets(schema: Schema, entry: Command) -> Iterator[list[str]]:
    """For each shape of a command's arguments: all members, and the required ones alone."""
    if not entry.gen:
        return
    declared = schema.types[entry.data] if entry.data else None
    branches = getattr(declared, "variants", {}).values() or [None]
    for branch in branches:
        members = [*getattr(declared, "members", ())]
        members += schema.types[branch].members if branch else ()
        yield [member.name for member in members]
        yield [member.name for member in members if not member.optional]


def _demand_same_names(schema: Mapping[str, object], *tables: Iterable[str]) -> None:
    named: set[str] = set()
    for table in map(set, tables):
        if named & table:
            raise ValueError(f"commands with two handlers: {sorted(named & table)}")
        named |= table
    if named != schema.keys():
        raise ValueError(
            f"commands without a handler: {sorted(schema.keys() - named)}; "
            f"handlers without a command: {sorted(named - schema.keys())}"
        )


def _qmp_capabilities(machine: object, monitor: Any, enable: list[str] | None = None) -> None:
    monitor.session.negotiate(enable or [])
