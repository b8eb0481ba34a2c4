"""Whether a node's users let another one write or resize it.

Observed from block.c and hw/block/block.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from qapi.error import QmpError
from vmd.block.node import Node

if TYPE_CHECKING:
    from collections.abc import Iterator


class Drive(Protocol):
    """A device that uses a node; one that does not work yet only looks at it."""

    @property
    def qdev(self) -> str: ...
    @property
    def shares_writes(self) -> bool: ...
    @property
    def keeps_size(self) -> bool: ...
    @property
    def removable(self) -> bool: ...
    @property
    def works(self) -> bool: ...


def demand_write(node: Node) -> None:
    """QmpError if the node cannot be written, or if one of its users minds."""
    if node.read_only:
        raise QmpError("Block node is read-only")
    for who, kept in _refusals(node):
        raise _conflict(node, kept, who)


def demand_resize(node: Node) -> None:
    """QmpError if the node cannot have another size, or if one of its users minds."""
    for user in node.parents:
        if isinstance(user, Node) and user.backing is node:
            text = f"node is used as backing hd of '{user.name}'"
            raise QmpError(f"Node '{node.name}' is busy: {text}")
    for user in node.parents:
        if _keeps_size(user):
            if isinstance(user, Node):
                who = f"node '{user.name}' (uses node '{node.name}' as 'file' child)"
            else:
                who = f"block device '{user.qdev}' (uses node '{node.name}' as 'root' child)"
            raise _conflict(node, "resize", who)
    if node.read_only:
        raise QmpError("Image is read-only")


def _keeps_size(user: Node | Drive) -> bool:
    """Whether somebody who uses a node wants it as large as it is."""
    if not isinstance(user, Node):
        return user.keeps_size
    if user.driver != "raw":
        return True
    # A raw node passes on what its own users say; an image minds its base when it is used itself.
    return any(
        bool(each.parents) if isinstance(each, Node) and each.backing is user else _keeps_size(each)
        for each in user.parents
    )


def _conflict(node: Node, kept: str, who: str) -> QmpError:
    asked = f"an unnamed block device (uses node '{node.name}' as 'root' child)"
    return QmpError(
        f"Permission conflict on node '{node.name}': permissions '{kept}' are both required "
        f"by {asked} and unshared by {who}."
    )


def _refusals(node: Node) -> Iterator[tuple[str, str]]:
    """Users that share it with no other writer: who it is, and what they keep to themselves."""
    for user in node.parents:
        if not isinstance(user, Node):
            drive = cast("Drive", user)
            if not drive.shares_writes:
                yield (
                    f"block device '{drive.qdev}' (uses node '{node.name}' as 'root' child)",
                    "write",
                )
        elif user.file is node:
            kept = "write, resize" if user.driver == "qcow2" else _passed_on(user)
            if kept:
                yield f"node '{user.name}' (uses node '{node.name}' as 'file' child)", kept


def _passed_on(filter_node: Node) -> str:
    """A raw node minds what its own users mind."""
    return next((kept for _, kept in _refusals(filter_node)), "")
