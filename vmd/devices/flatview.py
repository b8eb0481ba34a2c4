"""Address spaces as the guest sees them: of overlapping regions the strongest, piece by piece.

Made from the regions of mtree.py. Observed from system/memory.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vmd.devices import mtree
from vmd.devices.mtree import ALIAS, FIRST, INNER, KIND, LAST, NAME, PRIORITY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmd.devices.mtree import Group, Region
    from vmd.machine import Machine

# Regions that only hold others; all else answers by itself.
_CONTAINERS = (
    *("system", "memory", "smram", "pci", "pci_bridge_pci", "pci_bridge_io", "virtio-pci"),
    *("bus master container", "cirrus-lowmem-container", "device-memory"),
)
NOBODY = "(none)"


class Piece(NamedTuple):
    """Guest addresses `first` to `last` are `offset` and what follows in a region."""

    first: int
    last: int
    priority: int
    kind: str
    name: str
    offset: int

    def __str__(self) -> str:
        behind = f" @{self.offset:016x}" if self.offset else ""
        about = f"(prio {self.priority}, {self.kind}): {self.name}{behind}"
        return f"  {self.first:016x}-{self.last:016x} {about}"


def text(machine: Machine) -> str:
    """What `info mtree -f` prints."""
    groups = mtree.groups(machine)
    views: list[tuple[str, list[Piece], list[str]]] = []
    nothing: list[str] = []
    for group in groups:
        if group["kind"] != "address-space" or not group["regions"]:
            continue
        root = group["regions"][0]
        pieces = render(group, groups)
        spaces = [f' AS "{name}", root: {root[NAME]}' for name in group["names"]]
        if pieces:
            views.append((_root(root), pieces, spaces))
        else:  # all that have nothing share one view
            nothing += spaces
    if nothing:
        views.append((NOBODY, [], nothing))
    rows: list[str] = []
    for number, (root_name, pieces, spaces) in enumerate(views):
        rows += [f"FlatView #{number}", *spaces, f" Root memory region: {root_name}"]
        rows += [_row(piece, machine) for piece in pieces] or ["  No rendered FlatView"]
        rows.append("")
    return "".join(f"{row}\n" for row in rows)


def _row(piece: Piece, machine: Machine) -> str:
    """A piece; the accelerator is named behind memory that it knows of."""
    known = machine.kvm is not None and piece.kind in ("ram", "rom")
    return f"{piece} KVM" if known else str(piece)


def _root(root: Region) -> str:
    """The region that a view is made of: where there is only one in another, the inner one."""
    if root[NAME] in _CONTAINERS and len(root[INNER]) == 1:
        return str(root[INNER][0][NAME])
    return str(root[NAME])


def find(machine: Machine, address: int) -> Piece | None:
    """What is at an address of the memory that CPUs see."""
    groups = mtree.groups(machine)
    for group in groups:
        if "memory" in group["names"]:
            pieces = render(group, groups)
            return next((p for p in pieces if p.first <= address <= p.last), None)
    return None


def render(group: Group, groups: list[Group]) -> list[Piece]:
    """The pieces of an address space, ascending."""
    named: dict[str, Region] = {}
    for other in groups:
        for region in _all(other["regions"]):
            if region[ALIAS] is None and region[NAME]:
                named.setdefault(region[NAME], region)
    found: list[Piece] = []
    for root in group["regions"]:
        _render(root, 0, 0, (1 << 64) - 1, named, found)
    return _joined(sorted(found))


def _all(regions: list[Region]) -> Iterator[Region]:
    for region in regions:
        yield region
        yield from _all(region[INNER])


def _render(
    region: Region, move: int, first: int, last: int, named: dict[str, Region], found: list[Piece]
) -> None:
    """Add what `region`, moved by so much, shows between two addresses where nothing is yet."""
    first, last = max(first, region[FIRST] + move), min(last, region[LAST] + move)
    if first > last or not region[NAME]:
        return
    alias = region[ALIAS]
    if alias is not None:
        target = named.get(alias[0])
        if target is not None and (alias[1], alias[2]) != (0, 0):
            to = region[FIRST] + move - (target[FIRST] + alias[1])
            _render(target, to, first, last, named, found)
        return
    for inner in sorted(region[INNER], key=lambda each: -int(each[PRIORITY])):
        _render(inner, move, first, last, named, found)
    if region[NAME] not in _CONTAINERS:
        for start, end in _gaps(first, last, found):
            offset = start - region[FIRST] - move
            found.append(Piece(start, end, region[PRIORITY], region[KIND], region[NAME], offset))


def _gaps(first: int, last: int, found: list[Piece]) -> list[tuple[int, int]]:
    """What is free between two addresses."""
    free = []
    for piece in sorted(found):
        if piece.last < first or piece.first > last:
            continue
        if piece.first > first:
            free.append((first, piece.first - 1))
        first = piece.last + 1
    return [*free, (first, last)] if first <= last else free


def _joined(pieces: list[Piece]) -> list[Piece]:
    """Pieces of one region that follow each other become one."""
    found: list[Piece] = []
    for piece in pieces:
        if found:
            before = found[-1]
            follows = before.last + 1 == piece.first
            if (
                follows
                and before.name == piece.name
                and before.offset + before.last - before.first + 1 == piece.offset
            ):
                found[-1] = before._replace(last=piece.last)
                continue
        found.append(piece)
    return found
