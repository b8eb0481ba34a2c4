"""The object model: typed objects with properties, in a tree, found by paths.

The tree is a view: composition.py makes it of a machine whenever somebody asks, so it can never
tell another thing than the machine does. Observed from qom/object.c and qom/qom-qmp-cmds.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from qapi.error import DEVICE_NOT_FOUND, QmpError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Property(NamedTuple):
    """A property of an object. `set` judges a value and makes it so; None if it is read-only."""

    type: str
    get: Callable[[], object]
    set: Callable[[object], None] | None = None


class Object:
    """An object at its place: own properties, children, and links to objects elsewhere.

    `more` gives further properties when somebody asks for all of them, and `one` a single one: a
    CPU has hundreds, and clients ask for one after the other.
    """

    __slots__ = ("children", "links", "more", "one", "path", "properties", "type")

    def __init__(
        self, type_: str, path: str, properties: dict[str, Property] | None = None
    ) -> None:
        self.type = type_
        self.path = path
        self.properties = {"type": Property("string", lambda: type_)} | (properties or {})
        self.children: dict[str, Object] = {}
        self.links: dict[str, Object] = {}
        self.more: Callable[[], dict[str, Property]] | None = None
        self.one: Callable[[str], Property | None] | None = None

    def add(self, name: str, type_: str, properties: dict[str, Property] | None = None) -> Object:
        """Make a child."""
        child = Object(type_, f"{self.path.rstrip('/')}/{name}", properties)
        self.children[name] = child
        return child

    def link(self, name: str, kind: str, target: Object | None) -> None:
        """A property that leads to another object of that type, or to none."""
        path = target.path if target is not None else ""
        self.properties[name] = Property(f"link<{kind}>", lambda: path)
        if target is not None:
            self.links[name] = target

    def listed(self) -> Iterator[tuple[str, str]]:
        """Names and types of all properties; children are properties too."""
        for name, property_ in self._all().items():
            yield name, property_.type
        names = list(self.children)
        if self.type == "container":
            from qapi.order import table_order

            names = table_order(names)[::-1]
        for name in names:
            yield name, f"child<{self.children[name].type}>"

    def get(self, name: str) -> object:
        if name in self.children:
            return self.children[name].path
        return self._property(name).get()

    def set(self, name: str, value: object) -> None:
        setter = None if name in self.children else self._property(name).set
        if setter is None:
            raise QmpError(f"Property '{self.type}.{name}' is not writable")
        setter(value)

    def _property(self, name: str) -> Property:
        found = self.properties.get(name)
        if found is None:
            found = self.one(name) if self.one is not None else self._all().get(name)
        if found is None:
            raise QmpError(f"Property '{self.type}.{name}' not found")
        return found

    def _all(self) -> dict[str, Property]:
        if self.more is not None:
            self.properties |= self.more()
            self.more = None
        return self.properties


class Ambiguous(Exception):
    """A partial path fits in more than one place."""


def resolve(root: Object, path: str) -> Object | None:
    """The object at an absolute path, or the only one that a partial path leads to from anywhere.

    Raises Ambiguous if there are several.
    """
    parts = [part for part in path.split("/") if part]
    return _walk(root, parts) if path.startswith("/") else _search(root, parts)


def find(root: Object, path: str) -> Object:
    """The object at a path; QmpError if there is none, or more than one."""
    try:
        found = resolve(root, path)
    except Ambiguous:
        found = None
    if found is None:
        raise QmpError(f"Device '{path}' not found", DEVICE_NOT_FOUND)
    return found


def _walk(start: Object, parts: list[str]) -> Object | None:
    found: Object | None = start
    for part in parts:
        if found is None:
            return None
        found = found.children.get(part) or found.links.get(part)
    return found


def _search(start: Object, parts: list[str]) -> Object | None:
    found = _walk(start, parts)
    for child in start.children.values():
        other = _search(child, parts)
        if other is not None:
            if found is not None:
                raise Ambiguous
            found = other
    return found


# What setters judge values with


def boolean(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise QmpError(f"Invalid parameter type for '{name}', expected: boolean")
    return value


def text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise QmpError(f"Invalid parameter type for '{name}', expected: string")
    return value


def choice(name: str, value: object, choices: tuple[str, ...]) -> str:
    word = text(name, value)
    if word not in choices:
        raise QmpError(f"Parameter '{name}' does not accept value '{word}'")
    return word


def integer(name: str, value: object) -> int:
    """A signed integer of 64 bits."""
    if not isinstance(value, int) or isinstance(value, bool) or not -1 << 63 <= value < 1 << 63:
        raise QmpError(f"Invalid parameter type for '{name}', expected: integer")
    return value


def unsigned32(name: str, value: object) -> int:
    """An unsigned integer of 32 bits; a negative one counts from the end of 64 bits."""
    wide = isinstance(value, int) and not isinstance(value, bool)
    if not wide or not -1 << 63 <= int(str(value)) < 1 << 64:
        raise QmpError(f"Parameter '{name}' expects uint64")
    number = int(str(value)) % (1 << 64)
    if number >= 1 << 32:
        raise QmpError(f"Parameter '{name}' expects uint32_t")
    return number
