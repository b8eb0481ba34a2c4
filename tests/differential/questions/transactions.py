"""Several things done together, or none of them: dirty bitmaps, as backup tools handle them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.differential.bitmaps import bitmaps
from tests.differential.scenes import MIB, NONE, images, leave

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage

NULL = "-blockdev null-co,node-name=n,size=1048576"
IMAGE = "-blockdev file,node-name=f,filename=b.qcow2 -blockdev qcow2,node-name=q,file=f"
Action = tuple[str, dict[str, Any]]
ABORT: Action = ("abort", {})


def _do(machine: Machine, *actions: Action, **more: Any) -> None:
    given = {"actions": [{"type": kind, "data": data} for kind, data in actions]}
    machine.qmp.execute("transaction", given | more)


def _bitmap(command: str, name: str = "a", node: str = "n", **more: Any) -> Action:
    return f"block-dirty-bitmap-{command}", {"node": node, "name": name, **more}


def _merge(target: str, *sources: Any, node: str = "n") -> Action:
    data = {"node": node, "target": target, "bitmaps": list(sources)}
    return "block-dirty-bitmap-merge", data


def actions_of_a_checkpoint(stage: Stage) -> None:
    machine = stage.start(f"{NONE} {NULL} -blockdev null-co,node-name=m,size=1048576")
    _do(machine)
    _do(machine, _bitmap("add"), _bitmap("add", node="m", granularity=512, disabled=True))
    bitmaps(machine)
    _do(machine, _bitmap("disable"), _bitmap("add", "b"))
    bitmaps(machine)
    _do(
        machine,
        _bitmap("add", "c"),
        _merge("c", "a", "b", {"node": "m", "name": "a"}),
        _bitmap("remove"),
        _bitmap("remove", "b"),
    )
    bitmaps(machine)
    leave(machine)


def what_is_done_is_taken_back(stage: Stage) -> None:
    stage.file("new").write_bytes(bytes(2 * MIB))
    machine = stage.start(NONE)
    node = {"driver": "file", "node-name": "n", "filename": "new"}
    machine.qmp.execute("blockdev-add", node)
    _do(machine, _bitmap("add"), _bitmap("add", "b", granularity=512), _bitmap("add", "off"))
    options = {"driver": "qcow2", "file": "n", "size": MIB}
    machine.qmp.execute("blockdev-create", {"job-id": "j", "options": options})
    machine.qmp.wait("JOB_STATUS_CHANGE", status="concluded")
    machine.qmp.execute("job-dismiss", {"id": "j"})
    _do(machine, _bitmap("disable", "off"), _bitmap("clear", "off"))
    bitmaps(machine)
    for actions in (
        (_bitmap("add", "c"), ABORT),
        (_bitmap("remove"), ABORT),
        (_bitmap("clear"), ABORT),
        (_bitmap("disable"), ABORT),
        (_bitmap("enable", "off"), ABORT),
        (_merge("off", "a", "b"), ABORT),
        (_bitmap("remove"), _bitmap("add")),
        (_bitmap("remove"), _bitmap("clear")),
        (_bitmap("remove"), _bitmap("remove")),
        (_bitmap("remove"), _merge("off", "a")),
        (_bitmap("clear"), _merge("off", "a"), _bitmap("disable"), _bitmap("add", "off")),
        (_bitmap("add", "c"), _bitmap("remove", "c"), ABORT),
        (_bitmap("add", "c"), _bitmap("add", "c")),
        (_bitmap("add", node="zz"),),
        (_bitmap("clear", node="zz"),),
        (ABORT, _bitmap("remove")),
    ):
        _do(machine, *actions)
        bitmaps(machine)
    _do(machine, _bitmap("add", "c"), _merge("c", "a"), _bitmap("remove", "c"))
    bitmaps(machine)
    _do(machine, _bitmap("clear"), _bitmap("enable", "off"), _merge("a", "b"))
    bitmaps(machine)
    leave(machine)


def words_that_no_transaction_takes(stage: Stage) -> None:
    machine = stage.start(f"{NONE} {NULL}")
    for actions in (
        [{"type": "zz", "data": {}}],
        [{"type": "abort", "data": {"x": 1}}],
        [{"type": "abort"}],
        [{"data": {}}],
        [{"type": "block-dirty-bitmap-add", "data": {"node": "n"}}],
        [{"type": "block-dirty-bitmap-merge", "data": {"node": "n", "target": "a"}}],
        [7],
        7,
    ):
        machine.qmp.execute("transaction", {"actions": actions})
    machine.qmp.execute("transaction", {})
    for mode in ("individual", "grouped", "zz"):
        for actions in ((_bitmap("add", mode),), (ABORT,), (), (ABORT, _bitmap("add"))):
            _do(machine, *actions, properties={"completion-mode": mode})
    _do(machine, ABORT, properties={})
    bitmaps(machine)
    leave(machine)


def persistent_bitmaps_in_a_transaction(stage: Stage) -> None:
    images(stage)
    line = f"-machine none -nodefaults -m 16 {IMAGE}"
    for ending in ((), (ABORT,)):
        machine = stage.start(line)
        _do(machine, _bitmap("add", "a", "q", persistent=True), *ending)
        _do(machine, _bitmap("add", "b", "q", persistent=True))
        bitmaps(machine)
        leave(machine)
        machine = stage.start(line)
        bitmaps(machine)
        _do(machine, _bitmap("remove", "a", "q"), _bitmap("remove", "b", "q"), *ending)
        bitmaps(machine)
        leave(machine)
    machine = stage.start(line)
    bitmaps(machine)
    leave(machine)
