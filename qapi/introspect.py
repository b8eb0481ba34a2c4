"""The schema as query-qmp-schema tells it.

Observed from QEMU's replies: commands and events first, in the order of the schema, then types in
the order in which they are met; types of the user's making lose their names to numbers, all
integers are `int`, an array is `[T]`, and a type that nobody reaches is not told.
"""

from __future__ import annotations

from qapi.schema import BUILTINS, NOTHING, Alternate, Enum, Schema, Union

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from qapi.schema import Command, Member

    Entry = dict[str, object]


def introspect(schema: Schema) -> list[dict[str, object]]:
    """SchemaInfo objects, new ones at each call."""
    told = _Told(schema)
    for name in schema.order:
        if name in schema.commands:
            told.add_command(schema.commands[name])
        else:
            event = schema.events[name]
            told.add(name, "event", event.features, {"arg-type": told.use(event.data or NOTHING)})
    told.add_types()
    return told.entries


class _Told:
    """What was told already, and the types still to tell."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.entries: list[Entry] = []
        self.used: dict[str, None] = {}  # in the order in which they were met
        self.numbers: dict[str, str] = {}

    def add(self, name: str, meta: str, features: Iterable[str], rest: Entry) -> None:
        entry: Entry = {"name": name, "meta-type": meta}
        listed = list(features)
        if listed:
            entry["features"] = listed
        self.entries.append(entry | rest)

    def add_command(self, command: Command) -> None:
        rest: Entry = {
            "arg-type": self.use(command.data or NOTHING),
            "ret-type": self.use(command.returns or NOTHING),
        }
        if command.allow_oob:
            rest["allow-oob"] = True
        self.add(command.name, "command", command.features, rest)

    def use(self, name: str) -> str:
        """Note that a type is needed, and return the name under which it is told."""
        element = name.strip("[]")
        if BUILTINS.get(element) == "int":
            name = name.replace(element, "int")
        self.used.setdefault(name)
        if name.startswith("["):
            return f"[{self.use(name[1:-1])}]"
        if name in BUILTINS:
            return name
        return self.numbers.setdefault(name, str(len(self.numbers)))

    def add_types(self) -> None:
        done = 0
        while done < len(self.used):  # telling one type may bring in others
            for name in list(self.used)[done:]:
                self.add_type(name)
                done += 1

    def add_type(self, name: str) -> None:
        told_name = self.use(name)
        if name.startswith("["):
            self.add(told_name, "array", (), {"element-type": self.use(name[1:-1])})
        elif name in BUILTINS:
            self.add(told_name, "builtin", (), {"json-type": BUILTINS[name]})
        else:
            entity = self.schema.types[name]
            if isinstance(entity, Enum):
                self.add(told_name, "enum", entity.features, _enum(entity))
            elif isinstance(entity, Alternate):
                kinds = [{"type": self.use(kind)} for kind in entity.branches.values()]
                self.add(told_name, "alternate", entity.features, {"members": kinds})
            else:
                rest: Entry = {"members": [self._member(member) for member in entity.members]}
                if isinstance(entity, Union):
                    rest["tag"] = entity.tag
                    rest["variants"] = [
                        {"case": case, "type": self.use(kind)}
                        for case, kind in entity.variants.items()
                    ]
                self.add(told_name, "object", entity.features, rest)

    def _member(self, member: Member) -> Entry:
        entry: Entry = {"name": member.name, "type": self.use(member.type)}
        if member.optional:
            entry["default"] = None
        if member.features:
            entry["features"] = list(member.features)
        return entry


def _enum(entity: Enum) -> Entry:
    members: list[Entry] = []
    for value in entity.values:
        member: Entry = {"name": value}
        if value in entity.value_features:
            member["features"] = list(entity.value_features[value])
        members.append(member)
    return {"members": members, "values": list(entity.values)}
