"""Commands of transaction.json: several things that are done together, or not at all.

Observed from blockdev.c and block/monitor/bitmap-qmp-cmds.c.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from qapi.error import QmpError
from vmd.qmp import block_core

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vmd.machine import Machine


def _nothing() -> None:
    pass


class Done(NamedTuple):
    """What was done so far: how to take it back, and what is left to do if all went well."""

    undo: Callable[[], object]
    finish: Callable[[], object] = _nothing


def _abort(machine: Machine) -> Done:
    raise QmpError("Transaction aborted using Abort action")


def _add(machine: Machine, node: str, name: str, **more: Any) -> Done:
    block_core.block_dirty_bitmap_add(machine, node, name, **more)

    def undo() -> None:
        with suppress(QmpError):
            block_core.block_dirty_bitmap_remove(machine, node, name)

    return Done(undo)


def _remove(machine: Machine, node: str, name: str) -> Done:
    """It goes when all has gone well; until then nobody else can work with it."""
    from vmd.block import bitmaps

    found = block_core.node_with_bitmaps(machine, node)
    bitmap = bitmaps.withdraw(found, name)
    bitmap.busy = bitmap.skip_store = True

    def undo() -> None:
        bitmap.busy = bitmap.skip_store = False

    return Done(undo, lambda: found.bitmaps.remove(bitmap))


def _clear(machine: Machine, node: str, name: str) -> Done:
    bitmap = block_core.bitmap_of(machine, node, name)
    before = bitmap.bits.copy()
    block_core.block_dirty_bitmap_clear(machine, node, name)
    return Done(lambda: setattr(bitmap, "bits", before))


def _switch(machine: Machine, node: str, name: str, *, enabled: bool) -> Done:
    bitmap = block_core.bitmap_of(machine, node, name)
    before = bitmap.enabled
    block_core.switch_bitmap(machine, node, name, enabled=enabled)
    return Done(lambda: setattr(bitmap, "enabled", before))


def _enable(machine: Machine, node: str, name: str) -> Done:
    return _switch(machine, node, name, enabled=True)


def _disable(machine: Machine, node: str, name: str) -> Done:
    return _switch(machine, node, name, enabled=False)


def _merge(machine: Machine, node: str, target: str, bitmaps: list[Any]) -> Done:
    bitmap = block_core.bitmap_of(machine, node, target)
    before = bitmap.bits.copy()
    block_core.block_dirty_bitmap_merge(machine, node, target, bitmaps)
    return Done(lambda: setattr(bitmap, "bits", before))


ACTIONS: dict[str, Callable[..., Done]] = {
    "abort": _abort,
    "block-dirty-bitmap-add": _add,
    "block-dirty-bitmap-remove": _remove,
    "block-dirty-bitmap-clear": _clear,
    "block-dirty-bitmap-enable": _enable,
    "block-dirty-bitmap-disable": _disable,
    "block-dirty-bitmap-merge": _merge,
}


def transaction(
    machine: Machine,
    actions: Sequence[Mapping[str, Any]],
    properties: Mapping[str, str] | None = None,
) -> None:
    mode = (properties or {}).get("completion-mode", "individual")
    if mode != "individual" and actions:
        raise QmpError(
            f"Action '{actions[0]['type']}' does not support transaction property"
            f" completion-mode = {mode}"
        )
    done: list[Done] = []
    try:
        for action in actions:
            done.append(ACTIONS[action["type"]](machine, **action["data"]))
    except BaseException:
        for one in reversed(done):
            one.undo()
        raise
    for one in reversed(done):
        one.finish()


HANDLERS = {"transaction": transaction}
