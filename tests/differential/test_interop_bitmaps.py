"""Dirty bitmaps go both ways: what real QEMU writes and counts arrives in vmd, and goes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.differential.scenes import MIB, capabilities, leave, save

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage

SIZE = 40 * MIB
LINE = (
    "-machine none -nodefaults -m 16 -blockdev file,node-name=f,filename=disk"
    " -blockdev raw,node-name=n,file=f -drive if=none,id=d,file=other,format=raw"
)
WRITES = ("0 64k", "65k 512", "3M 1M", "8000k 9M", "39M 1M")
NAMES = ("coarse", "fine", "off", "empty")


def disks(stage: Stage) -> None:
    for name in ("disk", "other"):
        with stage.file(name).open("wb") as file:
            file.truncate(SIZE)


def with_bitmaps(machine: Machine) -> None:
    """Bitmaps of all kinds, with bits: real QEMU writes to its disks."""
    for node in ("n", "d"):
        for name, granularity in zip(NAMES, (65536, 512, 4096, 1 << 20), strict=True):
            add(machine, node, name, granularity)
        for place in WRITES if node == "n" else WRITES[:3]:
            line = f'qemu-io {node} "write {place}"'
            machine.qmp.execute("human-monitor-command", {"command-line": line}, quietly=True)
        machine.qmp.execute("block-dirty-bitmap-disable", {"node": node, "name": "off"})
        machine.qmp.execute("block-dirty-bitmap-clear", {"node": node, "name": "empty"})


def add(machine: Machine, node: str, name: str, granularity: int) -> None:
    given = {"node": node, "name": name, "granularity": granularity}
    assert machine.qmp.execute("block-dirty-bitmap-add", given) == {}


def told(machine: Machine, nodes: tuple[str, ...] = ("n", "d")) -> list[Any]:
    """Everything about the bitmaps of each node, with a hash of their bits."""
    found = []
    for node in nodes:
        of_node = [each for each in listed(machine, node) if each["name"] in NAMES]
        for each in sorted(of_node, key=lambda one: str(one["name"])):
            asked = {"node": node, "name": each["name"]}
            found.append(each | machine.qmp.execute("x-debug-block-dirty-bitmap-sha256", asked))
    return found


def listed(machine: Machine, name: str) -> list[dict[str, Any]]:
    for drive in machine.qmp.execute("query-block", quietly=True):
        if drive["device"] == name:
            return list(drive["inserted"].get("dirty-bitmaps", []))
    for node in machine.qmp.execute("query-named-block-nodes", quietly=True):
        if node["node-name"] == name:
            return list(node.get("dirty-bitmaps", []))
    return []


def moved(source: Machine, target: Machine, uri: str, *more: str) -> None:
    """Migrate; over a socket the destination listens first."""
    for machine in (source, target):
        capabilities(machine, "events", "dirty-bitmaps", *more)
    if uri.startswith("file:"):
        save(source, uri)
        target.qmp.execute("migrate-incoming", {"uri": uri})
    else:
        target.qmp.execute("migrate-incoming", {"uri": uri})
        save(source, uri)
    target.qmp.wait("MIGRATION", status="completed")


@pytest.mark.parametrize("uri", ["file:vm.state", "unix:socket"])
def test_bitmaps_go_from_qemu_to_vmd_and_back_with_all_their_bits(
    vmd: Stage, real: Stage, uri: str
) -> None:
    disks(real)
    source = real.start(LINE, guest="none")
    with_bitmaps(source)
    before = told(source)
    assert len(before) == 8
    assert [each["count"] > 0 for each in before] == [True, False, True, True] * 2
    between = vmd.start(f"{LINE} -incoming defer", guest="none")
    moved(source, between, uri)
    leave(source)
    assert told(between) == before
    target = real.start(f"{LINE} -incoming defer", guest="none")
    moved(between, target, uri)
    leave(between)
    assert told(target) == before
    leave(target)


@pytest.mark.parametrize("more", [(), ("mapped-ram",), ("x-ignore-shared",)])
def test_bitmaps_travel_with_either_form_of_ram(
    vmd: Stage, real: Stage, more: tuple[str, ...]
) -> None:
    disks(real)
    source = real.start(LINE, guest="none")
    with_bitmaps(source)
    before = told(source)
    target = vmd.start(f"{LINE} -incoming defer", guest="none")
    moved(source, target, "file:vm.state", *more)
    leave(source)
    assert told(target) == before
    again = real.start(f"{LINE} -incoming defer", guest="none")
    moved(target, again, "file:second", *more)
    assert told(again) == before
    leave(target)
    leave(again)


def test_bitmaps_of_a_live_guest_on_a_pc_travel_to_qemu(vmd: Stage, real: Stage) -> None:
    disks(vmd)
    pc = LINE.replace("-machine none", "-machine pc -accel tcg")
    first = real.start(pc, guest="none")
    with_bitmaps(first)
    before = told(first)
    middle = vmd.start(f"{pc} -incoming defer", guest="idle")
    moved(first, middle, "unix:socket", "return-path")
    leave(first)
    assert told(middle) == before
    last = real.start(f"{pc} -incoming defer", guest="none")
    moved(middle, last, "unix:socket", "return-path")
    leave(middle)
    assert told(last) == before
    leave(last)


def test_a_mapping_renames_between_qemu_and_vmd(vmd: Stage, real: Stage) -> None:
    disks(real)
    source = real.start(LINE, guest="none")
    with_bitmaps(source)
    before = {str(each["name"]): each for each in told(source, ("n",))}
    target = vmd.start(f"{LINE} -incoming defer", guest="none")
    names = [{"name": name, "alias": f"{name}-1"} for name in ("coarse", "off")]
    out = [{"node-name": "n", "alias": "disk", "bitmaps": names}]
    back = [{"name": "fine", "alias": "coarse-1"}, {"name": "empty", "alias": "off-1"}]
    incoming = [{"node-name": "f", "alias": "disk", "bitmaps": back}]
    source.qmp.execute("migrate-set-parameters", {"block-bitmap-mapping": out})
    target.qmp.execute("migrate-set-parameters", {"block-bitmap-mapping": incoming})
    moved(source, target, "file:vm.state")
    leave(source)
    after = {str(each["name"]): each for each in told(target, ("f",))}
    assert after == {
        "fine": before["coarse"] | {"name": "fine"},
        "empty": before["off"] | {"name": "empty"},
    }
    again = real.start(f"{LINE} -incoming defer", guest="none")
    target.qmp.execute("migrate-set-parameters", {"block-bitmap-mapping": incoming})
    again.qmp.execute("migrate-set-parameters", {"block-bitmap-mapping": out})
    moved(target, again, "file:second")
    leave(target)
    assert {str(each["name"]): each for each in told(again, ("n",))} == {
        name: before[name] for name in ("coarse", "off")
    }
    leave(again)


IMAGE = "-machine none -nodefaults -m 16 -blockdev file,node-name=f,filename=image"
IMAGE += " -blockdev qcow2,node-name=n,file=f"


def an_image(machine: Machine, **options: Any) -> None:
    """Have the machine make an image with these options of blockdev-create."""
    for made in (
        {"driver": "file", "filename": "image", "size": 0},
        {"driver": "qcow2", "file": {"driver": "file", "filename": "image"}, "size": SIZE}
        | {name.replace("_", "-"): value for name, value in options.items()},
    ):
        machine.qmp.execute("blockdev-create", {"job-id": "j", "options": made})
        machine.qmp.wait("JOB_STATUS_CHANGE", status="concluded")
        machine.qmp.execute("job-dismiss", {"id": "j"})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cluster_size": 512},
        {"cluster_size": 2 << 20, "refcount_bits": 1},
        {"cluster_size": 4096, "refcount_bits": 64},
        {"extended_l2": True},
    ],
    ids=str,
)
def test_each_program_keeps_the_bitmaps_that_the_other_has_put_into_an_image(
    vmd: Stage, real: Stage, options: dict[str, Any]
) -> None:
    maker = vmd.start("-machine none -nodefaults -m 16", guest="none")
    an_image(maker, **options)
    leave(maker)
    kept: list[Any] = []
    for turn in range(3):
        for program in (real, vmd):
            machine = program.start(IMAGE, guest="none")
            assert told(machine, ("n",)) == kept
            if program is real:
                if not turn:
                    for name in NAMES[:3]:
                        given = {"node": "n", "name": name, "persistent": True}
                        machine.qmp.execute("block-dirty-bitmap-add", given)
                for place in WRITES:
                    line = f'qemu-io n "write {place}"'
                    given = {"command-line": line}
                    machine.qmp.execute("human-monitor-command", given, quietly=True)
            else:
                given = {"node": "n", "name": NAMES[3], "persistent": True, "granularity": 512}
                machine.qmp.execute("block-dirty-bitmap-remove", {"node": "n", "name": NAMES[3]})
                machine.qmp.execute("block-dirty-bitmap-add", given)
                given = {"node": "n", "target": NAMES[3], "bitmaps": [NAMES[turn % 3]]}
                machine.qmp.execute("block-dirty-bitmap-merge", given)
                clear = {"node": "n", "name": NAMES[turn % 3]}
                machine.qmp.execute("block-dirty-bitmap-clear", clear)
                switch = ("enable", "disable")[turn % 2]
                machine.qmp.execute(f"block-dirty-bitmap-{switch}", clear)
            kept = told(machine, ("n",))
            leave(machine)
    assert len(kept) == 4


def test_an_image_that_vmd_held_when_it_was_killed_is_inconsistent_for_qemu(
    vmd: Stage, real: Stage
) -> None:
    machine = vmd.start("-machine none -nodefaults -m 16", guest="none")
    an_image(machine)
    leave(machine)
    for _ in range(2):
        machine = vmd.start(IMAGE, guest="none")
        given = {"node": "n", "name": "coarse", "persistent": True}
        machine.qmp.execute("block-dirty-bitmap-add", given)
        if not _:
            leave(machine)
    machine.process.kill()
    machine.process.wait()
    other = real.start(IMAGE, guest="none")
    (found,) = listed(other, "n")
    assert found["inconsistent"] is True
    leave(other)
