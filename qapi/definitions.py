"""Definitions: expressions with the right keys, right names and fitting doc comments.

The first half of the compiler: it looks at each expression by itself, and decides which of them
count at all (`if`). What the definitions say about one another is `compiler.py`'s business.
"""

from __future__ import annotations

import re

from qapi.parser import Array, Doc, Node, Object, QapiSyntaxError, Source, Word
from qapi.schema import BUILTINS

# The one enum that is there without being defined: the shapes of JSON values.
BUILTIN_ENUMS = {"QType": ("none", "qnull", "qnum", "qstring", "qdict", "qlist", "qbool")}

FLAGS = {  # flag → whether a command has it when it does not say so
    "boxed": False,
    "gen": True,
    "success-response": True,
    "allow-oob": False,
    "allow-preconfig": False,
    "coroutine": False,
}

_KEYS: dict[str, tuple[set[str], set[str]]] = {  # keyword → (needed keys, further keys)
    "enum": ({"data"}, {"if", "features", "prefix"}),
    "struct": ({"data"}, {"base", "if", "features"}),
    "union": ({"data", "base", "discriminator"}, {"if", "features"}),
    "alternate": ({"data"}, {"if", "features"}),
    "command": (set(), {"data", "returns", "if", "features", *FLAGS}),
    "event": (set(), {"data", "boxed", "if", "features"}),
}
_NAME = re.compile(r"(__[a-z0-9.-]+_)?[A-Za-z][A-Za-z0-9_-]*")
_ENUM_VALUE = re.compile(r"(__[a-z0-9.-]+_)?[A-Za-z0-9][A-Za-z0-9_-]*")

Features = tuple[str, ...]


class Definition:
    """What one expression defines; `name` knows where it stands."""

    __slots__ = ("doc", "kind", "name", "value")

    def __init__(self, kind: str, name: Word, value: Object, doc: Doc | None) -> None:
        self.kind = kind
        self.name = name
        self.value = value
        self.doc = doc


class Definitions:
    """All definitions that count, by name, in the order of the files."""

    def __init__(self, source: Source, defined: frozenset[str]) -> None:
        self.source = source
        self.defined = defined
        self.by_name: dict[str, Definition] = {}
        for expression in source.expressions:
            self._define(expression.value, expression.doc)
        for definition in self.by_name.values():
            self._check_doc(definition)

    def get(self, name: Node | str) -> Definition | None:
        """The definition of that name, if it is a name and there is one."""
        return self.by_name.get(name) if isinstance(name, str) else None

    def _define(self, value: Object, doc: Doc | None) -> None:
        kinds = [key for key in value if key in _KEYS]
        if len(kinds) != 1:
            raise error(value, f"a definition has one of the keys {', '.join(_KEYS)}")
        kind = kinds[0]
        name = value[kind]
        if not isinstance(name, Word):
            raise error(kind, f"'{kind}' takes a name")
        needed, further = _KEYS[kind]
        for key in value:
            if key != kind and key not in needed and key not in further:
                raise error(key, f"{kind} '{name}' has no key '{key}'")
        for missing in sorted(needed - set(value)):
            raise error(name, f"{kind} '{name}' lacks the key '{missing}'")
        self._check_definition_name(kind, name)
        if name in self.by_name or name in BUILTINS or name in BUILTIN_ENUMS:
            raise error(name, f"'{name}' is already defined")
        if doc is not None and doc.symbol != name:
            raise error(doc.symbol, f"doc comment of '{doc.symbol}' before '{name}'")
        if doc is None and self.source.pragmas.get("doc-required"):
            raise error(name, f"'{name}' has no doc comment")
        if self.holds(value.get(Word("if"))):
            self.by_name[str(name)] = Definition(str(kind), name, value, doc)

    def _check_definition_name(self, kind: str, name: Word) -> None:
        if not _NAME.fullmatch(name) or name.startswith("q_") or name.endswith("List"):
            raise error(name, f"'{name}' is no name for a definition")
        if kind == "event":
            good = name.upper() == name and "-" not in name
        elif kind == "command":
            good = name.lower() == name and (
                "_" not in name or self.source.allowed("command-name-exceptions", name)
            )
        else:
            good = name[:1].isupper() and "_" not in name and "-" not in name
        if not good:
            raise error(name, f"'{name}' is not written as {kind} names are")

    def check_member_name(self, key: Word, name: str, owner: Word) -> None:
        """Raise what is wrong with a member's name, which is `key` without its '*'."""
        if not _NAME.fullmatch(name) or name.startswith(("q_", "has-", "has_")) or name == "u":
            raise error(key, f"'{name}' is no name for a member")
        plain = name.startswith("__") or (name.lower() == name and "_" not in name)
        if not plain and not self.source.allowed("member-name-exceptions", owner):
            raise error(key, f"'{name}' is not written as members' names are")

    def holds(self, condition: Node | None) -> bool:
        """Is an `if` true?"""
        if condition is None:
            return True
        if isinstance(condition, Word):
            return condition in self.defined
        if isinstance(condition, Object) and len(condition) == 1:
            ((operator, operand),) = condition.items()
            if operator == "not":
                return not self.holds(operand)
            if operator in ("all", "any") and isinstance(operand, Array) and operand:
                values = [self.holds(part) for part in operand]
                return all(values) if operator == "all" else any(values)
            raise error(operator, "an 'if' is made of 'all', 'any' and 'not'")
        raise error(condition, "an 'if' is a symbol or an object with one key")

    def features(self, value: Object) -> Features:
        """The features that a definition, a member or an enum's member lists."""
        node = value.get(Word("features"))
        if node is None:
            return ()
        return tuple(str(name) for name, _ in self.names(node, "features", {"name", "if"}))

    def names(self, node: Node, what: str, keys: set[str]) -> list[tuple[Word, Object | None]]:
        """Entries that are 'name' or {'name': 'name', …}; those under a false `if` are left out."""
        if not isinstance(node, Array):
            raise error(node, f"'{what}' takes an array")
        seen: set[str] = set()
        result: list[tuple[Word, Object | None]] = []
        for entry in node:
            name: Node | None = entry
            if isinstance(entry, Object):
                for key in entry:
                    if key not in keys:
                        raise error(key, f"an entry of '{what}' has no key '{key}'")
                name = entry.get(Word("name"))
            if not isinstance(name, Word) or not _ENUM_VALUE.fullmatch(name):
                raise error(entry if name is None else name, f"'{what}' takes names")
            if name in seen:
                raise error(name, f"'{name}' twice in '{what}'")
            seen.add(name)
            if not isinstance(entry, Object) or self.holds(entry.get(Word("if"))):
                result.append((name, entry if isinstance(entry, Object) else None))
        return result

    def _check_doc(self, definition: Definition) -> None:
        """What a doc comment describes must be there."""
        if definition.doc is None:
            return
        data = definition.value.get(Word("data"))
        known: set[str] = set()
        if isinstance(data, Object):
            known = {key.removeprefix("*") for key in data}
        elif isinstance(data, Array):
            known = {str(name) for name, _ in self.names(data, "data", {"name", "if", "features"})}
        base = definition.value.get(Word("base"))
        if isinstance(base, Object):
            known |= {key.removeprefix("*") for key in base}
        for word in definition.doc.members:
            if word not in known:
                raise error(word, f"'{definition.name}' has no '{word}' to describe")
        text = _all_features(definition.value)
        for word in definition.doc.features:
            if word not in text:
                raise error(word, f"'{definition.name}' has no feature '{word}' to describe")


def _all_features(node: Node) -> set[str]:
    """The names of all features written anywhere in a definition."""
    found: set[str] = set()
    if isinstance(node, Object):
        for key, value in node.items():
            if key == "features" and isinstance(value, Array):
                for entry in value:
                    name = entry.get(Word("name")) if isinstance(entry, Object) else entry
                    found |= {str(name)}
            else:
                found |= _all_features(value)
    elif isinstance(node, Array):
        for value in node:
            found |= _all_features(value)
    return found


def error(node: Node, message: str) -> QapiSyntaxError:
    """To be raised: something is wrong with the node."""
    return QapiSyntaxError(node.where, message)
