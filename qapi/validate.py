"""Does a value fit a type? QEMU's order of looking, and its words when it does not.

Observed from qobject-input-visitor.c and opts-visitor.c. Members are looked at in the schema's
order, a nested object is finished before its next sibling, and what is left over is reported when
its object ends. Some messages name the whole path (`channels[0].addr.port`), some only the last
name, and that is `null` for an element of an array: each misfit says which.

A type becomes a plan when it is first needed: for a scalar a function that returns the value or
raises Misfit, else an ObjectPlan, ListPlan or AlternatePlan. `fit` walks a value with a stack of
its own, so that neither a deep value nor a recursive type meets Python's limit.

A flavour is a way in which values arrive: as JSON, as dotted keys and strings, as flat options, or
as a handler's result.
"""

from __future__ import annotations

from qapi.error import QmpError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    Scalar = Callable[[Any], object]
    Node = tuple[Scalar | None, Any]  # a scalar's check, or None and a plan
    MemberPlan = tuple[str | int | None, bool, Scalar | None, Any]
    Opened = tuple[dict[Any, Any], Iterator[MemberPlan]]

# How a message names the member that does not fit:
PATH = 0  # with all that it is in
LEAF = 1  # alone; "null" for an element of an array
ELEMENT = 2  # as an element of it


class Misfit(Exception):
    """A value does not fit. The text is `before` + the member as `naming` says + `after`."""

    def __init__(self, before: str, naming: int, after: str) -> None:
        super().__init__(before, after)
        self.before = before
        self.naming = naming
        self.after = after


class Unfit(AssertionError):
    """A handler returned, or an event carries, what the schema does not allow."""


def wrong_type(expected: str) -> Misfit:
    return Misfit("Invalid parameter type for '", PATH, f"', expected: {expected}")


class Flavour:
    """How values of one kind are told and named."""

    __slots__ = ("error", "flat", "index", "leftover", "scalars")

    def __init__(
        self,
        scalars: Mapping[str, Scalar],
        *,
        index: str = "[{}]",
        leftover: tuple[str, str] = ("Parameter '", "' is unexpected"),
        error: Callable[[str], Exception] = QmpError,
        flat: bool = False,
    ) -> None:
        self.scalars = scalars  # checks by type name; that of "str" serves enums too
        self.index = index  # how a path names an element of an array
        self.leftover = leftover  # before and after the name
        self.error = error
        self.flat = flat  # no objects and arrays in it: there are checks for "[T]"

    def first_left(self, members: dict[str, object], known: dict[str, object]) -> str:
        """Of the members that are not known, the one that QEMU complains about."""
        from qapi import order

        if self.flat:  # an option list, where "id" is kept apart and comes last
            return order.first_left(sorted(members, key="id".__eq__), known)
        return order.first_left(order.object_order(members), known)


class ObjectPlan:
    """Members as (name, optional, scalar check | None, plan | None), then the tag's branch."""

    __slots__ = ("branch", "members", "needs", "tag")

    def __init__(self) -> None:
        self.members: list[MemberPlan] = []
        self.needs = False  # is any member mandatory?
        self.tag: str | None = None
        self.branch: Callable[[str], Any]  # the tag's value → the ObjectPlan to go on with

    def open(self, value: Any) -> Opened:
        """The value's members by name, and what to expect of them."""
        if type(value) is not dict:
            raise wrong_type("object")
        return value, iter(self.members)


class ListPlan:
    """An array's elements; they are walked as members with numbers for names."""

    __slots__ = ("element",)

    def __init__(self, element: Node) -> None:
        self.element = element

    def open(self, value: Any) -> Opened:
        if type(value) is not list:
            raise wrong_type("array")
        return dict(enumerate(value)), iter(
            [(index, False, *self.element) for index in range(len(value))]
        )


class AlternatePlan:
    """Branches by the Python type of the value."""

    __slots__ = ("branches", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.branches: dict[type, Node] = {}

    def choose(self, value: object) -> Node:
        try:
            return self.branches[type(value)]
        except KeyError:
            text = f"', expected: {self.name}"
            raise Misfit("Invalid parameter type for '", LEAF, text) from None


class Plans:
    """The plans of one flavour, made from the compiler's rows when they are first needed."""

    __slots__ = ("_flavour", "_nodes", "_roots", "_rows", "_scalars")

    def __init__(self, rows: Mapping[str, tuple[Any, ...]], flavour: Flavour) -> None:
        self._rows = rows
        self._flavour = flavour
        self._scalars = flavour.scalars
        self._nodes: dict[str, Node] = {}
        self._roots: dict[str, Root] = {}

    def root(self, name: str) -> Root:
        """What `fit` needs for a value of the type."""
        found = self._roots.get(name)
        if found is None:
            found = self._roots[name] = Root(self._node(name), self._flavour)
        return found

    def _node(self, name: str) -> Node:
        if name in self._scalars:
            return self._scalars[name], None
        if name in self._nodes:
            return self._nodes[name]
        if name[0] == "[":
            return None, ListPlan(self._node(name[1:-1]))
        row = self._rows[name]
        if row[0] == "enum":
            node: Node = self._enum(tuple(value for value, _ in row[1])), None
            self._nodes[name] = node
        elif row[0] == "alternate":
            node = self._alternate(name, row)
        else:
            node = self._object(name, row)
        return node

    def _enum(self, values: tuple[str, ...]) -> Scalar:
        known = {value: value for value in values}
        as_text = self._scalars["str"]

        def check(value: Any) -> object:
            text = as_text(value)
            try:
                return known[text]  # type: ignore[index]
            except KeyError:
                raise Misfit("Parameter '", LEAF, f"' does not accept value '{text}'") from None

        return check

    def _object(self, name: str, row: tuple[Any, ...]) -> Node:
        plan = ObjectPlan()
        self._nodes[name] = None, plan  # before its members, one may be of this very type
        for member, kind, optional, _ in row[1]:
            check, inner = self._node(kind)
            if inner is not None and self._flavour.flat:
                if not optional:
                    raise KeyError(kind)
                continue  # cannot be written there: what tries to is left over
            plan.members.append((member, optional, check, inner))
            plan.needs = plan.needs or not optional
        if row[2] is not None:
            plan.tag = row[2]
            cases = dict(row[3])
            plan.branch = lambda value: self._node(cases[value])[1]
        return None, plan

    def _alternate(self, name: str, row: tuple[Any, ...]) -> Node:
        plan = AlternatePlan(name)
        self._nodes[name] = None, plan
        for _, kind in row[1]:
            node = self._node(kind)
            for shape in _shapes(kind, node):
                plan.branches[shape] = node
        return None, plan


def _shapes(kind: str, node: Node) -> tuple[type, ...]:
    """The Python types in which a value of a type may come."""
    if isinstance(node[1], ObjectPlan):
        return (dict,)
    if isinstance(node[1], ListPlan):
        return (list,)
    if kind == "bool":
        return (bool,)
    if kind == "null":
        return (type(None),)
    if kind in ("number", "size") or kind.lstrip("u").startswith("int"):
        return (int, float)
    return (str,)


class Root:
    """A type with the flavour in which its value comes: what `fit` starts from."""

    __slots__ = ("flavour", "needs", "plan", "value_plan")

    def __init__(self, node: Node, flavour: Flavour) -> None:
        check, self.plan = node
        self.flavour = flavour
        self.needs = not isinstance(self.plan, ObjectPlan) or self.plan.needs
        # An object whose only member, without a name, is the value.
        self.value_plan = ObjectPlan()
        self.value_plan.members.append((None, False, check, self.plan))


_ABSENT = object()


def fit(root: Root, value: object) -> object:
    """The value as one of the root's type, canonical, or the flavour's error."""
    flavour = root.flavour
    whole = type(root.plan) is ObjectPlan and type(value) is dict
    plan: Any = root.plan if whole else root.value_plan
    source: dict[Any, Any] = value if whole else {None: value}  # type: ignore[assignment]
    target: dict[Any, Any] = {}
    members = iter(plan.members)
    stack: list[tuple[Any, dict[Any, Any], dict[Any, Any], Any, Any]] = []
    while True:
        for name, optional, check, inner in members:
            item = source.get(name, _ABSENT)
            if item is _ABSENT:
                if optional:
                    continue
                raise flavour.error(f"Parameter '{_path(stack, name, flavour)}' is missing")
            try:
                if inner is not None and type(inner) is AlternatePlan:
                    check, inner = inner.choose(item)
                if check is not None:
                    target[name] = check(item)
                    continue
                opened = inner.open(item)
            except Misfit as misfit:
                named = name if misfit.naming == LEAF and isinstance(name, str) else "null"
                if misfit.naming == PATH:
                    named = _path(stack, name, flavour)
                raise flavour.error(f"{misfit.before}{named}{misfit.after}") from None
            target[name] = None  # keeps the member's place
            stack.append((plan, source, target, members, name))
            plan = inner
            source, members = opened
            target = {}
            break
        else:
            result: Any = target
            if type(plan) is ListPlan:
                result = list(target.values())
            elif plan.tag is not None:
                plan = plan.branch(target[plan.tag])
                members = iter(plan.members)
                continue
            elif len(target) != len(source):
                before, after = flavour.leftover
                left = _path(stack, flavour.first_left(source, target), flavour)
                raise flavour.error(f"{before}{left}{after}")
            if not stack:
                return result if whole else result[None]
            plan, source, target, members, name = stack.pop()
            target[name] = result


def _path(stack: list[Any], name: str | int | None, flavour: Flavour) -> str:
    """A member's name after the names of all that it is in."""
    path = ""
    for part in (*(frame[4] for frame in stack), name):
        if isinstance(part, int):
            path += flavour.index.format(part)
        elif part is not None:
            path += f".{part}"
    return path[1:] if path.startswith(".") else path or "<anonymous>"
