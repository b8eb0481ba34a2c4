"""The schema in use: entities that come to life when somebody asks for them.

A `Schema` is made from the compiler's plain data (see `compiler.py` for its rows), which the
compiler has checked. Nothing is built beforehand: a start that needs three commands pays for three.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from qapi.error import COMMAND_NOT_FOUND, QmpError
from qapi.validate import Flavour, Plans, Root, Unfit, fit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TypeVar

    T = TypeVar("T")
    Rows = Mapping[str, tuple[Any, ...]]
    Data = tuple[Rows, Rows, Rows, tuple[str, ...]]  # see compiler.py


# Each builtin type with its JSON type.
BUILTINS = {
    "str": "string",
    "number": "number",
    "int": "int",
    "int8": "int",
    "int16": "int",
    "int32": "int",
    "int64": "int",
    "uint8": "int",
    "uint16": "int",
    "uint32": "int",
    "uint64": "int",
    "size": "int",
    "bool": "boolean",
    "null": "null",
    "any": "value",
}
NOTHING = "q_empty"  # the type of what has no members


class Command:
    """A QMP command. `data` and `returns` are type names, None if there is nothing; `module` is the
    file of the schema that it stands in."""

    __slots__ = (
        "allow_oob",
        "allow_preconfig",
        "boxed",
        "coroutine",
        "data",
        "features",
        "gen",
        "module",
        "name",
        "returns",
        "success_response",
    )

    def __init__(self, name: str, row: tuple[Any, ...]) -> None:
        self.name = name
        self.data: str | None
        self.returns: str | None
        self.features: tuple[str, ...]
        self.module: str
        self.data, self.returns, flags, self.features, self.module = row
        self.boxed = "boxed" in flags
        self.gen = "gen" in flags
        self.success_response = "success-response" in flags
        self.allow_oob = "allow-oob" in flags
        self.allow_preconfig = "allow-preconfig" in flags
        self.coroutine = "coroutine" in flags


class Event:
    """A QMP event; `data` is the type of its data, None if it has none."""

    __slots__ = ("data", "features", "name")

    def __init__(self, name: str, row: tuple[Any, ...]) -> None:
        self.name = name
        self.data: str | None
        self.features: tuple[str, ...]
        self.data, self.features = row


class Member:
    """A member of a struct or union."""

    __slots__ = ("features", "name", "optional", "type")

    def __init__(self, row: tuple[str, str, bool, tuple[str, ...]]) -> None:
        self.name, self.type, self.optional, self.features = row


class Enum:
    """An enumeration: `values` in order, and the features of those that have some."""

    __slots__ = ("features", "name", "value_features", "values")

    def __init__(self, name: str, row: tuple[Any, ...]) -> None:
        self.name = name
        self.values: tuple[str, ...] = tuple(value for value, _ in row[1])
        self.value_features: dict[str, tuple[str, ...]] = {v: f for v, f in row[1] if f}
        self.features: tuple[str, ...] = row[2]


class Struct:
    """An object with the same members whatever they hold; those of its base come first."""

    __slots__ = ("features", "members", "name")

    def __init__(self, name: str, row: tuple[Any, ...]) -> None:
        self.name = name
        self.members = tuple(Member(member) for member in row[1])
        self.features: tuple[str, ...] = row[4]


class Union:
    """An object whose member `tag` decides what further members it has: those of the type
    `variants[value]`, every value of the tag having one."""

    __slots__ = ("features", "members", "name", "tag", "variants")

    def __init__(self, name: str, row: tuple[Any, ...]) -> None:
        self.name = name
        self.members = tuple(Member(member) for member in row[1])
        self.tag: str = row[2]
        self.variants: dict[str, str] = dict(row[3])
        self.features: tuple[str, ...] = row[4]


class Alternate:
    """A value of one of several types, told apart by how they look in JSON."""

    __slots__ = ("branches", "features", "name")

    def __init__(self, name: str, row: tuple[Any, ...]) -> None:
        self.name = name
        self.branches: dict[str, str] = dict(row[1])
        self.features: tuple[str, ...] = row[2]


Type = Enum | Struct | Union | Alternate


class _Lazy(Mapping[str, "T"]):
    """Rows by name that look like what `make` makes of them."""

    __slots__ = ("_made", "_make", "_rows")

    def __init__(self, rows: Rows, make: Callable[[str, tuple[Any, ...]], T]) -> None:
        self._rows = rows
        self._make = make
        self._made: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        made = self._made.get(name)
        if made is None:
            made = self._made[name] = self._make(name, self._rows[name])
        return made

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, name: object) -> bool:
        return name in self._rows


def _make_type(name: str, row: tuple[Any, ...]) -> Type:
    if row[0] == "enum":
        return Enum(name, row)
    if row[0] == "alternate":
        return Alternate(name, row)
    return Struct(name, row) if row[2] is None else Union(name, row)


class Schema:
    """All commands, events and types, and the checks of values against them.

    `commands`, `events` and `types` are mappings in the order of the schema's files, `order` names
    commands and events as they come there.
    """

    __slots__ = ("_arguments", "_plans", "_rows", "commands", "events", "order", "types")

    def __init__(self, data: Data) -> None:
        commands, events, types, self.order = data
        self.commands = _Lazy(commands, Command)
        self.events = _Lazy(events, Event)
        self.types = _Lazy(types, _make_type)
        self._rows = types
        self._plans: dict[str, Plans] = {}
        self._arguments: dict[str, Root | None] = {}  # None: the command takes anything

    def enum(self, name: str) -> tuple[str, ...]:
        """The values of an enum, in order."""
        found = self.types[name]
        if not isinstance(found, Enum):
            raise KeyError(name)
        return found.values

    def check_arguments(self, command: str, args: dict[str, object]) -> dict[str, object]:
        """The arguments as the command's handler wants them, or QmpError with QEMU's words.

        Members come in the schema's order; negative numbers for unsigned 64-bit members have
        wrapped. A command that the schema does not know is CommandNotFound.
        """
        try:
            root = self._arguments[command]
        except KeyError:
            root = self._argument_root(command)
        if root is None:
            return args
        if not args and not root.needs:
            return {}
        return fit(root, args)  # type: ignore[return-value]

    def check(self, type_name: str, value: object) -> object:
        """A JSON value as one of the type, or QmpError with QEMU's words."""
        return fit(self._root("json", type_name), value)

    def check_keyval(self, type_name: str, value: dict[str, object]) -> object:
        """The same for what `keyval.parse` makes of `key=value,…`: all scalars are strings."""
        return fit(self._root("keyval", type_name), value)

    def check_options(self, type_name: str, pairs: Iterable[tuple[str, str | None]]) -> object:
        """The same for old-style options (QEMU's `-object`), which are flat and may repeat a key.

        A repeated key is a list where the type has one, else the last one counts. A value of None
        is a flag without a value. Only objects whose members are scalars and lists of them can be
        given so (KeyError for others).
        """
        repeated: dict[str, list[str | None]] = {}
        for name, text in pairs:
            repeated.setdefault(name, []).append(text)
        return fit(self._root("options", type_name), repeated)

    def check_return(self, command: str, value: object) -> None:
        """Does a handler's value fit its command? Raises Unfit, an AssertionError, if not."""
        returns = self.commands[command].returns
        fit(self._root("result", returns or NOTHING), value)

    def check_event(self, name: str, data: dict[str, object] | None) -> None:
        """Do an event's data fit? Raises Unfit, an AssertionError, if not."""
        declared = self.events[name].data
        fit(self._root("result", declared or NOTHING), {} if data is None else data)

    def _argument_root(self, command: str) -> Root | None:
        if command not in self.commands:
            raise QmpError(f"The command {command} has not been found", COMMAND_NOT_FOUND)
        entity = self.commands[command]
        root = self._root("json", entity.data or NOTHING) if entity.gen else None
        self._arguments[command] = root
        return root

    def _root(self, flavour: str, type_name: str) -> Root:
        plans = self._plans.get(flavour)
        if plans is None:
            plans = self._plans[flavour] = Plans(self._rows, _flavour(flavour))
        return plans.root(type_name)


def _flavour(name: str) -> Flavour:
    """The four ways in which values arrive."""
    from qapi import scalars

    if name == "json":
        return Flavour(scalars.json_table())
    if name == "keyval":
        return Flavour(scalars.keyval_table(), index=".{}")
    if name == "options":
        return Flavour(scalars.options_table(), leftover=("Invalid parameter '", "'"), flat=True)
    return Flavour(scalars.result_table(), error=Unfit)
