"""Expressions → checked, plain data that `marshal` can keep.

Every rule of the language that goes beyond syntax is checked here, once, when the schema's files
have changed; whoever reads the result need not check again. The result is (commands, events,
types, order): three dicts with a row for each name, and the names of all commands and events in the
order of the files. The rows, which `schema.py` turns into entities when they are first asked for:

- command: (argument type | None, return type | None, flags, features, module); flags are those of
  FLAGS that are on, the module is the name of the file that defines it
- event: (argument type | None, features)
- enum: ("enum", ((member, features), …), features)
- object: ("object", members, tag | None, ((case, type), …), features); members are
  (name, type, optional, features), those of the base first; every value of the tag has its case
- alternate: ("alternate", ((branch, type), …), features)

A type is named as a builtin, as a key of `types`, or "[T]" for an array of T.
"""

from __future__ import annotations

import os

from qapi.definitions import BUILTIN_ENUMS, FLAGS, Definition, Definitions, Features, error
from qapi.parser import Array, Node, Object, Source, Truth, Word
from qapi.schema import BUILTINS, NOTHING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

Row = tuple[object, ...]
MemberRow = tuple[str, str, bool, Features]
Data = tuple[dict[str, Row], dict[str, Row], dict[str, Row], tuple[str, ...]]


def compile_source(source: Source, defined: Iterable[str] = ()) -> Data:
    """The plain data for a schema, or QapiSyntaxError at the place that is wrong.

    `defined` are the configuration symbols that hold; what stands under another `if` is left out.
    """
    return _Compiler(source, frozenset(defined)).compile()


class _Compiler:
    """The definitions by name, and the rows made so far."""

    def __init__(self, source: Source, defined: frozenset[str]) -> None:
        self.source = source
        self.definitions = Definitions(source, defined)
        self.types: dict[str, Row] = {
            NOTHING: ("object", (), None, (), ()),
        }
        for name, values in BUILTIN_ENUMS.items():
            self.types[name] = ("enum", tuple((value, ()) for value in values), ())
        self.busy: list[str] = []  # objects whose bases and branches are being followed

    def compile(self) -> Data:
        commands: dict[str, Row] = {}
        events: dict[str, Row] = {}
        for name, definition in self.definitions.by_name.items():
            if definition.kind == "command":
                commands[name] = self._command(definition)
            elif definition.kind == "event":
                events[name] = self._event(definition)
            else:
                self._type_row(name)
        order = tuple(name for name in self.definitions.by_name if name in commands | events)
        return commands, events, self.types, order

    # -- types

    def _type_row(self, name: str) -> Row:
        if name in self.types:
            return self.types[name]
        definition = self.definitions.by_name[name]
        value = definition.value
        if definition.kind == "enum":
            row: Row = self._enum(value)
        elif definition.kind == "alternate":
            row = self._alternate(definition)
        else:
            if name in self.busy:
                raise error(definition.name, f"'{name}' contains itself")
            self.busy.append(name)
            row = self._struct(definition) if definition.kind == "struct" else self._union(value)
            self.busy.pop()
        self.types[name] = row
        return row

    def _enum(self, value: Object) -> Row:
        entries = self.definitions.names(value[Word("data")], "data", {"name", "if", "features"})
        members = tuple(
            (str(name), () if entry is None else self.definitions.features(entry))
            for name, entry in entries
        )
        return "enum", members, self.definitions.features(value)

    def _struct(self, definition: Definition) -> Row:
        value = definition.value
        owner = definition.name
        members: list[MemberRow] = []
        base = value.get(Word("base"))
        if base is not None:
            members += self._base(base)
        members += self._members(value[Word("data")], owner)
        self._check_twice(members, owner)
        return "object", tuple(members), None, (), self.definitions.features(value)

    def _base(self, node: Node) -> tuple[MemberRow, ...]:
        if not isinstance(node, Word):
            raise error(node, "'base' takes a struct")
        definition = self.definitions.get(node)
        if definition is None or definition.kind != "struct":
            raise error(node, f"base '{node}' is no struct")
        members = self._type_row(node)[1]
        assert isinstance(members, tuple)
        return members

    def _members(self, node: Node, owner: Word) -> list[MemberRow]:
        if not isinstance(node, Object):
            raise error(node, f"members of '{owner}' must be an object")
        result: list[MemberRow] = []
        names: set[str] = set()
        for key, entry in node.items():
            name = str(key)[1:] if key.startswith("*") else str(key)
            self.definitions.check_member_name(key, name, owner)
            if name in names:
                raise error(key, f"member '{name}' of '{owner}' twice")
            names.add(name)
            kind, features = self._member_type(entry)
            if kind is not None:
                result.append((name, kind, key.startswith("*"), features))
        return result

    def _member_type(self, entry: Node) -> tuple[str | None, Features]:
        """'T', ['T'] or {'type': …, 'if': …, 'features': …}; None if it is left out."""
        if not isinstance(entry, Object):
            return self._type_name(entry), ()
        for key in entry:
            if key not in ("type", "if", "features"):
                raise error(key, f"a member has no key '{key}'")
        if "type" not in entry:
            raise error(entry, "a member lacks the key 'type'")
        name = self._type_name(entry[Word("type")])
        features = self.definitions.features(entry)
        return (name if self.definitions.holds(entry.get(Word("if"))) else None), features

    def _type_name(self, node: Node) -> str:
        if isinstance(node, Array):
            if len(node) != 1 or not isinstance(node[0], Word):
                raise error(node, "an array type has one element, the name of a type")
            return f"[{self._type_name(node[0])}]"
        if not isinstance(node, Word):
            raise error(node, "a type is a name or an array of one name")
        if node in BUILTINS or node in BUILTIN_ENUMS:
            return str(node)
        definition = self.definitions.get(node)
        if definition is None or definition.kind in ("command", "event"):
            raise error(node, f"unknown type '{node}'")
        return str(node)

    def _check_twice(self, members: list[MemberRow], owner: Word) -> None:
        seen: set[str] = set()
        for name, *_ in members:
            if name in seen:
                raise error(owner, f"'{owner}' has member '{name}' twice")
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
            raise error(data, f"branches of '{owner}' must be an object that is not empty")
        for case, entry in data.items():
            name, _ = self._member_type(entry)
            if case not in cases:
                raise error(case, f"'{case}' is no value of discriminator '{tag}'")
            if name is None:
                continue
            branch = self.definitions.get(name)
            if branch is None or branch.kind not in ("struct", "union"):
                raise error(case, f"branch '{case}' is of type '{name}', which is no object")
            clash = self._all_members(name) & {member[0] for member in members}
            if clash:
                raise error(case, f"branch '{case}' has member '{min(clash)}' of the base again")
            branches[str(case)] = name
        rest = [(case, NOTHING) for case in cases if case not in branches]
        variants = (*branches.items(), *rest)
        return "object", members, str(tag), variants, self.definitions.features(value)

    def _tag_values(self, tag: Node, members: Iterable[MemberRow]) -> tuple[str, ...]:
        if not isinstance(tag, Word):
            raise error(tag, "'discriminator' takes a name")
        for name, kind, optional, _ in members:
            if name == tag:
                definition = self.definitions.get(kind)
                if definition is None or definition.kind != "enum":
                    raise error(tag, f"discriminator '{tag}' is no enum")
                if optional:
                    raise error(tag, f"discriminator '{tag}' is optional")
                values = self._type_row(kind)[1]
                assert isinstance(values, tuple)
                return tuple(value for value, _ in values)
        raise error(tag, f"discriminator '{tag}' is no member of the base")

    def _all_members(self, name: str) -> set[str]:
        """All member names an object of this type may have, those of its branches too."""
        row = self._type_row(name)
        members, variants = row[1], row[3]
        assert isinstance(members, tuple) and isinstance(variants, tuple)
        names = {str(member[0]) for member in members}
        for _, branch in variants:
            names |= self._all_members(branch)
        return names

    def _alternate(self, definition: Definition) -> Row:
        data = definition.value[Word("data")]
        if not isinstance(data, Object) or not data:
            raise error(data, "branches of an alternate must be an object that is not empty")
        taken: dict[str, str] = {}
        branches: list[tuple[str, str]] = []
        for branch, entry in data.items():
            name, _ = self._member_type(entry)
            if name is None:
                continue
            shape = self._json_shape(name)
            if shape is None:
                raise error(branch, f"branch '{branch}' cannot be told by its JSON type")
            if shape in taken:
                raise error(branch, f"branches '{taken[shape]}' and '{branch}' look the same")
            taken[shape] = branch
            branches.append((str(branch), name))
        return "alternate", tuple(branches), self.definitions.features(definition.value)

    def _json_shape(self, name: str) -> str | None:
        if name.startswith("["):
            return "array"
        if name in BUILTIN_ENUMS:
            return "string"
        if name in BUILTINS:
            shape = BUILTINS[name]
            return {"int": "number", "value": None}.get(shape, shape)
        kind = self.definitions.by_name[name].kind
        return {"enum": "string", "alternate": None}.get(kind, "object")

    # -- commands and events

    def _arguments(self, definition: Definition, *, boxed: bool) -> str | None:
        node = definition.value.get(Word("data"))
        if node is None:
            if boxed:
                raise error(definition.name, "'boxed' needs 'data'")
            return None
        if isinstance(node, Object) and not boxed:
            members = tuple(self._members(node, definition.name))
            name = f"q_obj_{definition.name}-arg"
            self.types[name] = ("object", members, None, (), ())
            return name
        kinds = ("struct", "union", "alternate") if boxed else ("struct",)
        target = self.definitions.get(node)
        if target is None or target.kind not in kinds:
            raise error(node, f"'data' of '{definition.name}' takes {' or '.join(kinds)}")
        return str(target.name)

    def _flag(self, value: Object, flag: str) -> bool:
        node = value.get(Word(flag))
        if node is None:
            return FLAGS[flag]
        if not isinstance(node, Truth) or node.value is FLAGS[flag]:
            raise error(node, f"'{flag}' is written only to say {str(not FLAGS[flag]).lower()}")
        return not FLAGS[flag]

    def _command(self, definition: Definition) -> Row:
        value = definition.value
        flags = tuple(flag for flag in FLAGS if self._flag(value, flag))
        if "allow-oob" in flags and "coroutine" in flags:
            raise error(definition.name, "'allow-oob' and 'coroutine' do not go together")
        data = self._arguments(definition, boxed="boxed" in flags)
        node = value.get(Word("returns"))
        returns = None
        if node is not None:
            returns = self._type_name(node)
            inner = self.definitions.get(returns.strip("[]"))
            if (inner is None or inner.kind not in ("struct", "union")) and (
                not self.source.allowed("command-returns-exceptions", definition.name)
            ):
                raise error(node, f"'{definition.name}' returns no object")
        return data, returns, flags, self.definitions.features(value), _module(definition)

    def _event(self, definition: Definition) -> Row:
        boxed = self._flag(definition.value, "boxed")
        return self._arguments(definition, boxed=boxed), self.definitions.features(definition.value)


def _module(definition: Definition) -> str:
    """The name of its file, as QEMU calls the modules of its schema: without what ends it."""
    return os.path.splitext(os.path.basename(definition.name.where.file))[0]
