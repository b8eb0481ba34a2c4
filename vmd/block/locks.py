"""Who may use an image at the same time: locks on its file that other processes see.

A byte of the file stands for each thing that somebody does with it, and another for each that he
lets nobody else do. Locks are those of open files (fcntl's OFD), as real QEMU's; where both meet,
each keeps out the other. Observed from block/file-posix.c, block.c and hw/block/block.c.
"""

from __future__ import annotations

import fcntl
import struct
from typing import TYPE_CHECKING, cast

from qapi.error import QmpError
from vmd.block.node import Node

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmd.block.permissions import Drive

READ, WRITE, RESIZE = 1, 2, 8  # as bits
_NAMES = {0: "consistent read", 1: "write", 3: "resize"}
_USED_FROM, _KEPT_FROM = 100, 200  # the first byte of each kind
_FLOCK = "hhqqi4x"  # kind, whence, start, length, process

Wish = tuple[int, int]
"""What is done, and what nobody else may do."""


def update(node: Node) -> None:
    """Lock and unlock files, as the users of a node wish it by now.

    QmpError if another process is in the way; then the file in question is as it was before.
    """
    if node.driver == "file":
        _lock(node, _wish(node) if node.active else (0, 0))
    for child in (node.file, node.backing):
        if child is not None:
            update(child)


def _wish(node: Node) -> Wish:
    used = kept = 0
    for user in node.parents:
        one = _of_node(node, user) if isinstance(user, Node) else _of_drive(node, user)
        used, kept = used | one[0], kept | one[1]
    return used, kept


def _of_node(node: Node, user: Node) -> Wish:
    if user.backing is node:
        # A base serves those who look at what is based on it.
        used, kept = _wish(user)
        return used & READ, WRITE | RESIZE if kept & WRITE else 0
    if user.driver == "raw":
        return _wish(user)
    return READ | (0 if user.read_only else WRITE | RESIZE), WRITE | RESIZE


def _of_drive(node: Node, user: object) -> Wish:
    drive = cast("Drive", user)
    if not drive.works:
        return READ, 0
    writes = 0 if node.read_only or drive.removable else WRITE
    kept = 0 if drive.shares_writes else WRITE
    return READ | writes, kept | (RESIZE if drive.keeps_size else 0)


def _lock(node: Node, wish: Wish) -> None:
    if node.fileno() < 0 or node.options.get("locking") == "off":
        return
    had = node.locked
    wanted, old = set(_bytes(wish)), set(_bytes(had))
    try:
        for at in sorted(wanted - old):
            _set(node, fcntl.F_RDLCK, at)
        _look_for_others(node, (wish[0] & ~had[0], wish[1] & ~had[1]))
    except QmpError:
        for at in wanted - old:
            _set(node, fcntl.F_UNLCK, at)
        raise
    for at in old - wanted:
        _set(node, fcntl.F_UNLCK, at)
    node.locked = wish


def _look_for_others(node: Node, more: Wish) -> None:
    for bits, first, text in ((more[0], _KEPT_FROM, ""), (more[1], _USED_FROM, "shared ")):
        for bit in _bits(bits):
            if _is_locked(node, first + bit):
                hint = f"Is another process using the image [{node.filename}]?"
                raise QmpError(f'Failed to get {text}"{_NAMES[bit]}" lock', hint=hint)


def _bits(mask: int) -> Iterator[int]:
    return (bit for bit in _NAMES if mask >> bit & 1)


def _bytes(wish: Wish) -> Iterator[int]:
    for mask, first in zip(wish, (_USED_FROM, _KEPT_FROM), strict=True):
        yield from (first + bit for bit in _bits(mask))


def _set(node: Node, kind: int, at: int) -> None:
    request = struct.pack(_FLOCK, kind, 0, at, 1, 0)
    try:
        fcntl.fcntl(node.fileno(), fcntl.F_OFD_SETLK, request)
    except OSError:
        if kind != fcntl.F_UNLCK:
            raise QmpError(f"Failed to lock byte {at}") from None


def _is_locked(node: Node, at: int) -> bool:
    request = struct.pack(_FLOCK, fcntl.F_WRLCK, 0, at, 1, 0)
    answer = fcntl.fcntl(node.fileno(), fcntl.F_OFD_GETLK, request)
    return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)
