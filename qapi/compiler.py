"""Expressions → checked, plain data that `marshal` can keep.

Every rule of the language that goes beyond syntax is checked here, once, when the schema's files
have changed; whoever reads the result need not check again. The result is
`{"commands": {name: row}, "events": {name: row}, "types": {name: row}}`, in the order of the files,
with these rows (`schema.py` turns them into entities when they are first asked for):

- command: (argument type | None, return type | None, flags, features); flags are those of FLAGS
  that are on
- event: (argument type | None, features)
- enum: ("enum", ((member, features), …), features)
- object: ("object", members, tag | None, ((case, type), …), features); members are
  (name, type, optional, features), those of the base first; every value of the tag has its case
- alternate: ("alternate", ((branch, type), …), features)

A type is named as a builtin, as a key of "types", or "[T]" for an array of T.
"""

from __future__ import annotations

import re

from qapi.parser import Array, Doc, Node, Object, QapiSyntaxError, Source, Truth, Word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Each builtin with its JSON type; the introspection and the validator know the same ones.
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
    "QType": "string",
}
QTYPE = ("none", "qnull", "qnum", "qstring", "qdict", "qlist", "qbool")
NOTHING = "q_empty"  # the object without members

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

Row = tuple[object, ...]
Features = tuple[str, ...]
MemberRow = tuple[str, str, bool, Features]


def compile_source(source: Source, defined: Iterable[str] = ()) -> dict[str, dict[str, Row]]:
    """The plain data for a schema, or QapiSyntaxError at the place that is wrong.

    `defined` are the configuration symbols that hold; what stands under another `if` is left out.
    """
    return _Compiler(source, frozenset(defined)).compile()


class _Definition:
    """A definition's parts, before they are put together."""

    __slots__ = ("doc", "kind", "name", "value")

    def __init__(self, kind: str, name: Word, value: Object, doc: Doc | None) -> None:
        self.kind = kind
        self.name = name
        self.value = value
        self.doc = doc


class _Compiler:
    """The definitions by name, and the rows made so far."""

    def __init__(self, source: Source, defined: frozenset[str]) -> None:
        self.source = source
        self.defined = defined
        self.definitions: dict[str, _Definition] = {}
        self.types: dict[str, Row] = {NOTHING: ("object", (), None, (), ())}
        self.busy: list[str] = []  # objects whose bases and branches are being followed

    def compile(self) -> dict[str, dict[str, Row]]:
        for expression in self.source.expressions:
            self._define(expression.value, expression.doc)
        commands: dict[str, Row] = {}
        events: dict[str, Row] = {}
        for definition in self.definitions.values():
            name = str(definition.name)
            if definition.kind == "command":
                commands[name] = self._command(definition)
            elif definition.kind == "event":
                events[name] = self._event(definition)
            else:
                self._type_row(name)
            self._check_doc(definition)
        return {"commands": commands, "events": events, "types": self.types}

    # -- definitions and their keys

    def _define(self, value: Object, doc: Doc | None) -> None:
        kinds = [key for key in value if key in _KEYS]
        if len(kinds) != 1:
            raise _error(value, f"a definition has one of the keys {', '.join(_KEYS)}")
        kind = kinds[0]
        name = value[kind]
        if not isinstance(name, Word):
            raise _error(kind, f"'{kind}' takes a name")
        needed, further = _KEYS[kind]
        for key in value:
            if key != kind and key not in needed and key not in further:
                raise _error(key, f"{kind} '{name}' has no key '{key}'")
        for missing in sorted(needed - set(value)):
            raise _error(name, f"{kind} '{name}' lacks the key '{missing}'")
        self._check_definition_name(kind, name)
        if name in self.definitions or name in BUILTINS:
            raise _error(name, f"'{name}' is already defined")
        if doc is not None and doc.symbol != name:
            raise _error(doc.symbol, f"doc comment of '{doc.symbol}' before '{name}'")
        if doc is None and self.source.pragmas.get("doc-required"):
            raise _error(name, f"'{name}' has no doc comment")
        if self._holds(value.get(Word("if"))):
            self.definitions[str(name)] = _Definition(str(kind), name, value, doc)

    def _check_definition_name(self, kind: str, name: Word) -> None:
        if not _NAME.fullmatch(name) or name.startswith("q_") or name.endswith("List"):
            raise _error(name, f"'{name}' is no name for a definition")
        if kind == "event":
            good = name.upper() == name and "-" not in name
        elif kind == "command":
            good = name.lower() == name and (
                "_" not in name or self.source.allowed("command-name-exceptions", name)
            )
        else:
            good = name[:1].isupper() and "_" not in name and "-" not in name
        if not good:
            raise _error(name, f"'{name}' is not written as {kind} names are")

    def _holds(self, condition: Node | None) -> bool:
        if condition is None:
            return True
        if isinstance(condition, Word):
            return condition in self.defined
        if isinstance(condition, Object) and len(condition) == 1:
            ((operator, operand),) = condition.items()
            if operator == "not":
                return not self._holds(operand)
            if operator in ("all", "any") and isinstance(operand, Array) and operand:
                values = [self._holds(part) for part in operand]
                return all(values) if operator == "all" else any(values)
            raise _error(operator, "an 'if' is made of 'all', 'any' and 'not'")
        raise _error(condition, "an 'if' is a symbol or an object with one key")

    def _features(self, value: Object) -> Features:
        node = value.get(Word("features"))
        if node is None:
            return ()
        return tuple(str(name) for name, _ in self._names(node, "features", {"name", "if"}))

    def _names(self, node: Node, what: str, keys: set[str]) -> list[tuple[Word, Object | None]]:
        """Entries that are 'name' or {'name': 'name', …}; those under a false `if` are left out."""
        if not isinstance(node, Array):
            raise _error(node, f"'{what}' takes an array")
        seen: set[str] = set()
        result: list[tuple[Word, Object | None]] = []
        for entry in node:
            name: Node | None = entry
            if isinstance(entry, Object):
                for key in entry:
                    if key not in keys:
                        raise _error(key, f"an entry of '{what}' has no key '{key}'")
                name = entry.get(Word("name"))
            if not isinstance(name, Word) or not _ENUM_VALUE.fullmatch(name):
                raise _error(entry if name is None else name, f"'{what}' takes names")
            if name in seen:
                raise _error(name, f"'{name}' twice in '{what}'")
            seen.add(name)
            if not isinstance(entry, Object) or self._holds(entry.get(Word("if"))):
                result.append((name, entry if isinstance(entry, Object) else None))
        return result

    # -- types

    def _type_row(self, name: str) -> Row:
        if name in self.types:
            return self.types[name]
        definition = self.definitions[name]
        value = definition.value
        if definition.kind == "enum":
            row: Row = self._enum(value)
        elif definition.kind == "alternate":
            row = self._alternate(definition)
        else:
            if name in self.busy:
                raise _error(definition.name, f"'{name}' contains itself")
            self.busy.append(name)
            row = self._struct(definition) if definition.kind == "struct" else self._union(value)
            self.busy.pop()
        self.types[name] = row
        return row

    def _enum(self, value: Object) -> Row:
        entries = self._names(value[Word("data")], "data", {"name", "if", "features"})
        members = tuple(
            (str(name), () if entry is None else self._features(entry)) for name, entry in entries
        )
        return "enum", members, self._features(value)

    def _struct(self, definition: _Definition) -> Row:
        value = definition.value
        owner = definition.name
        members: list[MemberRow] = []
        base = value.get(Word("base"))
        if base is not None:
            members += self._base(base)
        members += self._members(value[Word("data")], owner)
        self._check_twice(members, owner)
        return "object", tuple(members), None, (), self._features(value)

    def _base(self, node: Node) -> tuple[MemberRow, ...]:
        if not isinstance(node, Word):
            raise _error(node, "'base' takes a struct")
        definition = self.definitions.get(node)
        if definition is None or definition.kind != "struct":
            raise _error(node, f"base '{node}' is no struct")
        members = self._type_row(node)[1]
        assert isinstance(members, tuple)
        return members

    def _members(self, node: Node, owner: Word) -> list[MemberRow]:
        if not isinstance(node, Object):
            raise _error(node, f"members of '{owner}' must be an object")
        result: list[MemberRow] = []
        names: set[str] = set()
        for key, entry in node.items():
            name = str(key)[1:] if key.startswith("*") else str(key)
            self._check_member_name(key, name, owner)
            if name in names:
                raise _error(key, f"member '{name}' of '{owner}' twice")
            names.add(name)
            kind, features = self._member_type(entry)
            if kind is not None:
                result.append((name, kind, key.startswith("*"), features))
        return result

    def _check_member_name(self, key: Word, name: str, owner: Word) -> None:
        if not _NAME.fullmatch(name) or name.startswith(("q_", "has-", "has_")) or name == "u":
            raise _error(key, f"'{name}' is no name for a member")
        plain = name.startswith("__") or (name.lower() == name and "_" not in name)
        if not plain and not self.source.allowed("member-name-exceptions", owner):
            raise _error(key, f"'{name}' is not written as members' names are")

    def _member_type(self, entry: Node) -> tuple[str | None, Features]:
        """'T', ['T'] or {'type': …, 'if': …, 'features': …}; None if it is left out."""
        if not isinstance(entry, Object):
            return self._type_name(entry), ()
        for key in entry:
            if key not in ("type", "if", "features"):
                raise _error(key, f"a member has no key '{key}'")
        if "type" not in entry:
            raise _error(entry, "a member lacks the key 'type'")
        name = self._type_name(entry[Word("type")])
        features = self._features(entry)
        return (name if self._holds(entry.get(Word("if"))) else None), features

    def _type_name(self, node: Node) -> str:
        if isinstance(node, Array):
            if len(node) != 1 or not isinstance(node[0], Word):
                raise _error(node, "an array type has one element, the name of a type")
            return f"[{self._type_name(node[0])}]"
        if not isinstance(node, Word):
            raise _error(node, "a type is a name or an array of one name")
        if node in BUILTINS:
            return str(node)
        definition = self.definitions.get(node)
        if definition is None or definition.kind in ("command", "event"):
            raise _error(node, f"unknown type '{node}'")
        return str(node)

    def _check_twice(self, members: list[MemberRow], owner: Word) -> None:
        seen: set[str] = set()
        for name, *_ in members:
            if name in seen:
                raise _error(owner, f"'{owner}' has member '{name}' twice")
            seen.add(name)

    def _union(self, value: Object) -> Row:
        owner = value[Word("union")]
        base = value[Word("base")]
        assert isinstance(owner, Word)
        members = (
            tuple(self._members(base, owner)) if isinstance(base, Object) else self._base(base)
        )
        tag = value[Word("discriminator")]
        cases = self._tag_values(tag, members)
        branches: dict[str, str] = {}
        data = value[Word("data")]
        if not isinstance(data, Object) or not data:
            raise _error(data, f"branches of '{owner}' must be an object that is not empty")
        for case, entry in data.items():
            name, _ = self._member_type(entry)
            if case not in cases:
                raise _error(case, f"'{case}' is no value of discriminator '{tag}'")
            if name is None:
                continue
            branch = self.definitions.get(name)
            if branch is None or branch.kind not in ("struct", "union"):
                raise _error(case, f"branch '{case}' is of type '{name}', which is no object")
            clash = self._all_members(name) & {member[0] for member in members}
            if clash:
                raise _error(case, f"branch '{case}' has member '{min(clash)}' of the base again")
            branches[str(case)] = name
        rest = [(case, NOTHING) for case in cases if case not in branches]
        variants = (*branches.items(), *rest)
        return "object", members, str(tag), variants, self._features(value)

    def _tag_values(self, tag: Node, members: Iterable[MemberRow]) -> tuple[str, ...]:
        if not isinstance(tag, Word):
            raise _error(tag, "'discriminator' takes a name")
        for name, kind, optional, _ in members:
            if name == tag:
                definition = self.definitions.get(kind)
                if definition is None or definition.kind != "enum":
                    raise _error(tag, f"discriminator '{tag}' is no enum")
                if optional:
                    raise _error(tag, f"discriminator '{tag}' is optional")
                values = self._type_row(kind)[1]
                assert isinstance(values, tuple)
                return tuple(value for value, _ in values)
        raise _error(tag, f"discriminator '{tag}' is no member of the base")

    def _all_members(self, name: str) -> set[str]:
        """All member names an object of this type may have, those of its branches too."""
        row = self._type_row(name)
        members, variants = row[1], row[3]
        assert isinstance(members, tuple) and isinstance(variants, tuple)
        names = {str(member[0]) for member in members}
        for _, branch in variants:
            names |= self._all_members(branch)
        return names

    def _alternate(self, definition: _Definition) -> Row:
        data = definition.value[Word("data")]
        if not isinstance(data, Object) or not data:
            raise _error(data, "branches of an alternate must be an object that is not empty")
        taken: dict[str, str] = {}
        branches: list[tuple[str, str]] = []
        for branch, entry in data.items():
            name, _ = self._member_type(entry)
            if name is None:
                continue
            shape = self._json_shape(name)
            if shape is None:
                raise _error(branch, f"branch '{branch}' cannot be told by its JSON type")
            if shape in taken:
                raise _error(branch, f"branches '{taken[shape]}' and '{branch}' look the same")
            taken[shape] = branch
            branches.append((str(branch), name))
        return "alternate", tuple(branches), self._features(definition.value)

    def _json_shape(self, name: str) -> str | None:
        if name.startswith("["):
            return "array"
        if name in BUILTINS:
            shape = BUILTINS[name]
            return {"int": "number", "value": None}.get(shape, shape)
        kind = self.definitions[name].kind
        return {"enum": "string", "alternate": None}.get(kind, "object")

    # -- commands and events

    def _arguments(self, definition: _Definition, *, boxed: bool) -> str | None:
        node = definition.value.get(Word("data"))
        if node is None:
            if boxed:
                raise _error(definition.name, "'boxed' needs 'data'")
            return None
        if isinstance(node, Object) and not boxed:
            members = tuple(self._members(node, definition.name))
            name = f"q_obj_{definition.name}-arg"
            self.types[name] = ("object", members, None, (), ())
            return name
        kinds = ("struct", "union", "alternate") if boxed else ("struct",)
        target = self.definitions.get(node) if isinstance(node, Word) else None
        if target is None or target.kind not in kinds:
            raise _error(node, f"'data' of '{definition.name}' takes {' or '.join(kinds)}")
        return str(target.name)

    def _flag(self, value: Object, flag: str) -> bool:
        node = value.get(Word(flag))
        if node is None:
            return FLAGS[flag]
        if not isinstance(node, Truth) or node.value is FLAGS[flag]:
            raise _error(node, f"'{flag}' is written only to say {str(not FLAGS[flag]).lower()}")
        return not FLAGS[flag]

    def _command(self, definition: _Definition) -> Row:
        value = definition.value
        flags = tuple(flag for flag in FLAGS if self._flag(value, flag))
        if "allow-oob" in flags and "coroutine" in flags:
            raise _error(definition.name, "'allow-oob' and 'coroutine' do not go together")
        data = self._arguments(definition, boxed="boxed" in flags)
        node = value.get(Word("returns"))
        returns = None
        if node is not None:
            returns = self._type_name(node)
            inner = self.definitions.get(returns.strip("[]"))
            if (inner is None or inner.kind not in ("struct", "union")) and (
                not self.source.allowed("command-returns-exceptions", definition.name)
            ):
                raise _error(node, f"'{definition.name}' returns no object")
        return data, returns, flags, self._features(value)

    def _event(self, definition: _Definition) -> Row:
        boxed = self._flag(definition.value, "boxed")
        return self._arguments(definition, boxed=boxed), self._features(definition.value)

    # -- doc comments

    def _check_doc(self, definition: _Definition) -> None:
        """What a doc comment describes must be there."""
        if definition.doc is None:
            return
        data = definition.value.get(Word("data"))
        known: set[str] = set()
        if isinstance(data, Object):
            known = {key.removeprefix("*") for key in data}
        elif isinstance(data, Array):
            known = {str(name) for name, _ in self._names(data, "data", {"name", "if", "features"})}
        base = definition.value.get(Word("base"))
        if isinstance(base, Object):
            known |= {key.removeprefix("*") for key in base}
        for word in definition.doc.members:
            if word not in known:
                raise _error(word, f"'{definition.name}' has no '{word}' to describe")
        text = _all_features(definition.value)
        for word in definition.doc.features:
            if word not in text:
                raise _error(word, f"'{definition.name}' has no feature '{word}' to describe")


def _all_features(node: Node | Mapping[str, Node]) -> set[str]:
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


def _error(node: Node, message: str) -> QapiSyntaxError:
    return QapiSyntaxError(node.where, message)
