"""The objects that a user may create, listed from the schema that describes them."""

from __future__ import annotations


def object_help(kind: str | None) -> str | None:
    """The kinds of object, or the properties of one; None if there is no such kind."""
    import qapi
    from qapi.schema import Struct, Union

    schema = qapi.load()
    options = schema.types["ObjectOptions"]
    assert isinstance(options, Union)
    if kind is None:
        names = sorted(schema.enum("ObjectType"))
        return "List of user creatable objects:\n" + "".join(f"  {name}\n" for name in names)
    if kind not in schema.enum("ObjectType"):
        return None
    lines = [f"{kind} options:\n"]
    branch = options.variants.get(kind)
    members = schema.types[branch] if branch else None
    if isinstance(members, Struct):
        for member in sorted(members.members, key=lambda each: each.name):
            lines.append(f"  {member.name}=<{member.type}>\n")
    return "".join(lines)
