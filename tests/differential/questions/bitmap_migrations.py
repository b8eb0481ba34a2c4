"""Dirty bitmaps that travel with a migration: what is set for them, what is sent, what arrives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.differential.bitmaps import bitmap, bitmap_hash, bitmaps
from tests.differential.scenes import (
    MIB,
    NONE,
    PRIVATE,
    capabilities,
    images,
    leave,
    load,
    ram_full_of_data,
    save,
    settle,
)

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage

PLAIN = "-machine none -nodefaults -m 16"
NULL = "-blockdev null-co,node-name=n,size=1048576"
OTHER = "-blockdev null-co,node-name=other,size=1048576"


def _map(*nodes: Any) -> list[dict[str, Any]]:
    """A mapping: (node, alias, (bitmap, alias[, transform])…) for each node."""
    return [
        {
            "node-name": name,
            "alias": alias,
            "bitmaps": [
                {"name": one[0], "alias": one[1]} | ({"transform": one[2]} if one[2:] else {})
                for one in bitmaps
            ],
        }
        for name, alias, *bitmaps in nodes
    ]


def _set_map(machine: Machine, *nodes: Any) -> None:
    machine.qmp.execute("migrate-set-parameters", {"block-bitmap-mapping": _map(*nodes)})


def mappings_that_the_parameter_takes(stage: Stage) -> None:
    machine = stage.start(NONE, human="pipe")
    view = {"view": lambda told: told.get("block-bitmap-mapping", "absent")}
    machine.qmp.execute("query-migrate-parameters", **view)
    for nodes in (
        [],
        [("n", "a")],
        [("n", "a", ("b", "c"), ("d", "e"))],
        [("n", "a"), ("n", "b")],
        [("n", "a"), ("m", "a")],
        [("n", "a", ("b", "c"), ("b", "e"))],
        [("n", "a", ("b", "c"), ("d", "c"))],
        [("n", "a", ("b", "c")), ("m", "b", ("b", "c"))],
        [("n", "1")],
        [("n", "")],
        [("n", "#a")],
        [("n", "a b")],
        [("", "a")],
        [("n" * 31, "a")],
        [("n" * 32, "a")],
        [("n", "a" * 255)],
        [("n", "a" * 256)],
        [("n", "a", ("b" * 1023, "c"))],
        [("n", "a", ("b" * 1024, "c"))],
        [("n", "a", ("b", "c" * 255))],
        [("n", "a", ("b", "c" * 256))],
        [("n", "a", ("", ""))],
        [("n", "a", ("b", "c", {}))],
        [("n", "a", ("b", "c", {"persistent": True}), ("d", "e", {"persistent": False}))],
        [("n", "a", ("b", "c", {"persist": True}))],
        [("n", "a", ("b", "c", 1))],
    ):
        _set_map(machine, *nodes)
        machine.qmp.execute("query-migrate-parameters", **view)
    for value in (None, "n", {}, [7], [{"node-name": "n"}], [{"node-name": "n", "alias": "a"}]):
        machine.qmp.execute("migrate-set-parameters", {"block-bitmap-mapping": value})
    machine.human.type("info migrate_parameters", optional=True)
    for words in ("", " x", " []"):
        machine.human.type(f"migrate_set_parameter block-bitmap-mapping{words}")
    _set_map(machine)
    machine.human.type("info migrate_parameters", optional=True)
    _set_map(machine, ("n", "a"))
    machine.human.type("info migrate_parameters", optional=True)
    machine.qmp.execute("migrate-set-parameters", {"max-cpu-throttle": 0, **_bad()})
    machine.qmp.execute("migrate-set-parameters", {"announce-step": 0, **_bad()})
    machine.qmp.execute("migrate-set-parameters", {"downtime-limit": 2000001, **_bad()})
    machine.qmp.execute("migrate-set-parameters", {"x-vcpu-dirty-limit-period": 0, **_bad()})
    leave(machine)


def _bad() -> dict[str, Any]:
    return {"block-bitmap-mapping": _map(("n", "1"))}


def what_goes_with_the_capability(stage: Stage) -> None:
    for name in ("xbzrle", "auto-converge", "return-path", "mapped-ram", "x-ignore-shared"):
        machine = stage.start(f"{PLAIN} {NULL}", human="pipe")
        capabilities(machine, "events", "dirty-bitmaps", name)
        bitmap(machine, "add")
        machine.human.type("info migrate_capabilities", optional=True)
        machine.qmp.execute("migrate", {"uri": "file:vm.state"})
        settle(machine, "failed" if name == "return-path" else "completed")
        machine.qmp.execute("query-migrate", view=lambda told: told.get("error-desc"))
        leave(machine)


def no_bitmaps_travel_with_cpr(stage: Stage) -> None:
    machine = stage.start(f"{PLAIN} {NULL}")
    machine.qmp.execute("migrate-set-parameters", {"mode": "cpr-reboot"})
    capabilities(machine, "events", "dirty-bitmaps")
    machine.qmp.execute("migrate", {"uri": "file:vm.state"})
    machine.qmp.execute("migrate", {"uri": "unix:/nonexistent/socket"})
    machine.qmp.execute("migrate", {"uri": "zz"})
    machine.qmp.execute("query-migrate")
    machine.qmp.execute("query-status")
    capabilities(machine, "mapped-ram")
    machine.qmp.execute("migrate", {"uri": "unix:/nonexistent/socket"})
    machine.qmp.execute("migrate", {"uri": "file:vm.state", "resume": True})
    leave(machine)
    target = stage.start(f"{PLAIN} {NULL} -incoming defer")
    target.qmp.execute("migrate-set-parameters", {"mode": "cpr-reboot"})
    capabilities(target, "events", "dirty-bitmaps")
    target.qmp.execute("migrate", {"uri": "file:vm.state"})
    target.qmp.execute("migrate-incoming", {"uri": "file:vm.state"})
    leave(target)


DISK = "-blockdev file,node-name=n,filename=disk"
LIKE_DISK = f"-blockdev null-co,node-name=n,size={20 * MIB}"
SECTION = 2  # its number


def _dirty(machine: Machine) -> None:
    """Have a job write to the node `n`, so that its bitmaps see something."""
    options = {"driver": "qcow2", "file": "n", "size": MIB}
    machine.qmp.execute("blockdev-create", {"job-id": "j", "options": options})
    machine.qmp.wait("JOB_STATUS_CHANGE", status="concluded")
    machine.qmp.execute("job-dismiss", {"id": "j"})


def _sections(stage: Stage, name: str = "vm.state") -> None:
    """Note what the stream says of bitmaps: its first section of each kind, the rest of it short.

    How many PART sections there are is a matter of time.
    """
    data = stage.file(name).read_bytes()
    number = SECTION.to_bytes(4, "big")
    for kind in (b"\1", b"\2", b"\3"):
        at = data.find(kind + number)
        end = data.find(b"\x7e" + number, at)
        told = data[at:end].hex() if at >= 0 else "none"
        stage.note(f"# section of kind {kind[0]}: {told[:200]} ({len(told)} digits)")
    stage.note(f"# advice: {data.find(bytes.fromhex('0800030000'))}")


def bitmaps_arrive_as_they_were(stage: Stage) -> None:
    stage.file("disk").write_bytes(bytes(20 * MIB))
    source = stage.start(f"{PLAIN} {DISK} {OTHER}")
    bitmap(source, "add")
    bitmap(source, "add", "fine", granularity=512)
    bitmap(source, "add", "coarse", granularity=8 * MIB)
    _dirty(source)
    bitmap(source, "add", "off", granularity=512, disabled=True)
    given = {"node": "n", "target": "off", "bitmaps": ["coarse"]}
    source.qmp.execute("block-dirty-bitmap-merge", given)
    bitmap(source, "add", node="other")
    capabilities(source, "events", "dirty-bitmaps")
    save(source)
    _sections(stage)
    target = stage.start(f"{PLAIN} {OTHER} {LIKE_DISK} -incoming defer")
    capabilities(target, "events", "dirty-bitmaps")
    load(target)
    target.qmp.execute("query-status")
    for machine in (source, target):
        bitmaps(machine)
        for name in ("b", "fine", "coarse", "off"):
            bitmap_hash(machine, name)
        leave(machine)


def bitmaps_of_a_machine_that_stands(stage: Stage) -> None:
    source = stage.start(f"{PLAIN} {NULL} -S")
    bitmap(source, "add")
    capabilities(source, "events", "dirty-bitmaps", "pause-before-switchover")
    source.qmp.execute("migrate", {"uri": "file:vm.state"})
    source.qmp.wait("MIGRATION", status="pre-switchover")
    bitmaps(source)
    bitmap(source, "clear")
    source.qmp.execute("migrate-continue", {"state": "pre-switchover"})
    settle(source)
    _sections(stage)
    bitmaps(source)
    bitmap(source, "disable")
    source.qmp.execute("cont")
    bitmaps(source)
    leave(source)
    # The destination need not have the capability, and may have more bitmaps.
    target = stage.start(f"{PLAIN} {NULL} -incoming defer")
    capabilities(target, "events")
    bitmap(target, "add", "own")
    load(target)
    bitmaps(target)
    target.qmp.execute("query-status")
    leave(target)


def who_had_no_bitmaps_once_never_sends_any(stage: Stage) -> None:
    machine = stage.start(f"{PLAIN} {NULL}")
    capabilities(machine, "events", "dirty-bitmaps")
    save(machine)
    _sections(stage)
    bitmap(machine, "add")
    machine.qmp.execute("cont")
    save(machine, "file:second")
    _sections(stage, "second")
    leave(machine)


def a_bitmap_without_bits(stage: Stage) -> None:
    # Real QEMU aborts when it receives what it has sent.
    source = stage.start(f"{PLAIN} -blockdev null-co,node-name=n,size=0")
    bitmap(source, "add")
    capabilities(source, "events", "dirty-bitmaps")
    save(source)
    _sections(stage)
    leave(source)


def bitmaps_are_busy_while_they_travel(stage: Stage) -> None:
    ram_full_of_data(stage)
    machine = stage.start(f"{PRIVATE} {NULL}")
    bitmap(machine, "add")
    capabilities(machine, "events", "dirty-bitmaps")
    machine.qmp.execute("migrate-set-parameters", {"max-bandwidth": 4096, "downtime-limit": 0})
    machine.qmp.execute("migrate", {"uri": "file:vm.state"})
    machine.qmp.wait("MIGRATION", status="active")
    bitmaps(machine)
    for command in ("remove", "clear", "enable", "disable"):
        bitmap(machine, command)
    bitmap(machine, "add", "c")
    for target, source in (("b", "c"), ("c", "b"), ("b", "b")):
        given = {"node": "n", "target": target, "bitmaps": [source]}
        machine.qmp.execute("block-dirty-bitmap-merge", given)
    bitmap_hash(machine)
    bitmap(machine, "remove", "c")
    machine.qmp.execute("blockdev-del", {"node-name": "n"})
    machine.qmp.execute("migrate_cancel")
    settle(machine, "cancelled")
    bitmaps(machine)
    machine.qmp.execute("blockdev-del", {"node-name": "n"})
    leave(machine)


def bitmaps_that_cannot_travel(stage: Stage) -> None:
    machine = stage.start(f"{PLAIN} {NULL}")
    capabilities(machine, "events", "dirty-bitmaps")
    bitmap(machine, "add")
    long = "x" * 256
    bitmap(machine, "add", long)
    _fail(machine)
    bitmap(machine, "remove", long)
    bitmap(machine, "add", "y" * 255)
    inner = {"driver": "null-co", "size": MIB}
    machine.qmp.execute("blockdev-add", {"driver": "raw", "node-name": "r", "file": inner})
    nodes = machine.qmp.execute("query-named-block-nodes", quietly=True)
    (unnamed,) = (name for node in nodes if (name := node["node-name"]).startswith("#"))
    bitmap(machine, "add", node=unnamed)
    _fail(machine)
    # With a mapping those that it does not name stay here, and a long name is no obstacle.
    bitmap(machine, "add", long)
    _set_map(machine, ("n", "a", (long, "short")))
    save(machine)
    _sections(stage)
    bitmaps(machine)
    leave(machine)


def _fail(machine: Machine) -> None:
    machine.qmp.execute("migrate", {"uri": "file:vm.state"})
    settle(machine, "failed")
    machine.qmp.execute("query-migrate", view=lambda told: told.get("error-desc"))
    machine.qmp.execute("query-status")
    bitmaps(machine)


def bitmaps_travel_under_other_names(stage: Stage) -> None:
    source = stage.start(f"{PLAIN} {NULL} {OTHER}")
    for node in ("n", "other"):
        for name in ("b", "c", "d"):
            bitmap(source, "add", name, node)
    capabilities(source, "events", "dirty-bitmaps")
    names = (("b", "second"), ("c", "first", {"persistent": False}))
    _set_map(source, ("n", "disk", *names), ("gone", "there", ("b", "b")))
    save(source)
    _sections(stage)
    leave(source)
    for nodes in (
        [("other", "disk", ("x", "first"), ("y", "second"), ("z", "third"))],
        [("n", "disk", ("x", "first"))],
        [("n", "disk", ("x", "second"))],
        [("n", "hard-disk", ("x", "first"))],
        [("gone", "disk", ("x", "first"), ("y", "second"))],
        [],
        None,
    ):
        target = stage.start(f"{PLAIN} {NULL} {OTHER} -incoming defer")
        capabilities(target, "events", "dirty-bitmaps")
        if nodes is not None:
            _set_map(target, *nodes)
        load(target)
        bitmaps(target)
        leave(target)


def bitmaps_travel_by_the_names_of_drives(stage: Stage) -> None:
    images(stage)
    drive = "-drive if=none,id=d,file=b.qcow2,format=qcow2,node-name=top"
    line = f"{PLAIN} {drive} {NULL}"
    source = stage.start(line)
    for node in ("n", "top"):
        bitmap(source, "add", node=node)
    capabilities(source, "events", "dirty-bitmaps")
    save(source)
    _sections(stage)
    source.qmp.execute("cont")
    _set_map(source, ("d", "x", ("b", "b")), ("top", "y", ("b", "c")))
    save(source, "file:mapped")
    _sections(stage, "mapped")
    leave(source)
    for state, others in (
        ("vm.state", drive),
        ("vm.state", f"-blockdev null-co,node-name=d,size={16 * MIB}"),
        ("vm.state", f"-blockdev null-co,node-name=top,size={16 * MIB}"),
        ("mapped", f"-blockdev null-co,node-name=y,size={16 * MIB}"),
    ):
        target = stage.start(f"{PLAIN} {others} {NULL} -incoming defer")
        capabilities(target, "events", "dirty-bitmaps")
        load(target, f"file:{state}")
        bitmaps(target)
        leave(target)


def what_keeps_bitmaps_from_arriving(stage: Stage) -> None:
    stage.file("disk").write_bytes(bytes(20 * MIB))
    source = stage.start(f"{PLAIN} {DISK}")
    bitmap(source, "add", granularity=512)
    bitmap(source, "add", "off", disabled=True)
    _dirty(source)
    capabilities(source, "events", "dirty-bitmaps")
    save(source)
    leave(source)
    for nodes in (
        "",
        f"-blockdev null-co,node-name=n,size={19 * MIB}",
        f"-blockdev null-co,node-name=n,size={21 * MIB}",
        f"{DISK},read-only=on",
    ):
        target = stage.start(f"{PLAIN} {nodes} -incoming defer")
        capabilities(target, "events", "dirty-bitmaps")
        target.qmp.execute("migrate-incoming", {"uri": "file:vm.state"})
        if "size=19" in nodes:  # nobody looks at the size, and real QEMU aborts
            target.process.kill()
            continue
        target.qmp.wait("MIGRATION", status="completed")
        target.qmp.execute("query-status")
        bitmaps(target)
        leave(target)
    for name in ("b", "off"):
        target = stage.start(f"{PLAIN} {LIKE_DISK} -incoming defer")
        capabilities(target, "events", "dirty-bitmaps")
        bitmap(target, "add", name)
        given = {"uri": "file:vm.state", "exit-on-error": False}
        target.qmp.execute("migrate-incoming", given)
        target.qmp.wait("MIGRATION", status="failed")
        target.qmp.execute("query-migrate", view=lambda told: told.get("error-desc"))
        bitmaps(target)
        bitmap(target, "remove", name)
        leave(target)


def a_stream_that_ends_before_its_bitmaps_are_whole(stage: Stage) -> None:
    source = stage.start(f"{PLAIN} {NULL}")
    bitmap(source, "add")
    bitmap(source, "add", "off", disabled=True)
    capabilities(source, "events", "dirty-bitmaps")
    save(source)
    leave(source)
    data = stage.file("vm.state").read_bytes()
    start = data.find(b"\1" + SECTION.to_bytes(4, "big"))
    end = data.find(b"\3" + SECTION.to_bytes(4, "big"))
    for at in (start + 30, end, end + 6, end + 9):
        stage.file("cut").write_bytes(data[:at])
        target = stage.start(f"{PLAIN} {NULL} -incoming defer")
        capabilities(target, "events", "dirty-bitmaps")
        given = {"uri": "file:cut", "exit-on-error": False}
        target.qmp.execute("migrate-incoming", given)
        target.qmp.wait("MIGRATION", status="failed")
        target.qmp.execute("query-migrate", view=lambda told: told.get("error-desc"))
        bitmaps(target)
        bitmap(target, "remove")
        bitmap(target, "clear", "off")
        leave(target)
