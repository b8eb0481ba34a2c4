"""Background jobs: images being made, and what may be asked of a job where it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.differential.scenes import NONE, leave

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage

MIB = 1 << 20
PC = "-machine pc -nodefaults -accel tcg -S"
STEPS = ("pause", "resume", "complete", "finalize", "cancel")


def _create(machine: Machine, **options: Any) -> None:
    """Up to the end of the job, whatever that is."""
    machine.qmp.execute("blockdev-create", {"job-id": "j", "options": options})
    machine.qmp.wait("JOB_STATUS_CHANGE", status="concluded")
    machine.qmp.execute("query-jobs")
    machine.qmp.execute("job-dismiss", {"id": "j"})


def _create_qcow2(machine: Machine, **options: Any) -> None:
    named = {name.replace("_", "-"): value for name, value in options.items()}
    _create(machine, driver="qcow2", **named)


def _note_file(stage: Stage, name: str) -> None:
    """Its length, and where it is not empty."""
    data = stage.file(name).read_bytes()
    stage.note(f"# {name}: {len(data)} bytes")
    for at in range(0, len(data), 32):
        if row := data[at : at + 32].rstrip(b"\0"):
            stage.note(f"# {at:06x} {row.hex()}")


def files(stage: Stage) -> None:
    machine = stage.start(NONE)
    stage.file("old").write_bytes(b"what was there before" * 100)
    _create(machine, driver="file", filename="old", size=1000)
    _note_file(stage, "old")
    for size, preallocation in ((5000, "falloc"), (6000, "full"), (0, "falloc"), (0, "full")):
        _create(machine, driver="file", filename="new", size=size, preallocation=preallocation)
        _note_file(stage, "new")
    _create(machine, driver="file", filename="file:colon", size=3)
    _note_file(stage, "file:colon")
    leave(machine)


def files_that_cannot_be(stage: Stage) -> None:
    machine = stage.start(NONE)
    for filename in ("", ".", "nowhere/x", "/dev/zero", "/dev/fdset/1"):
        _create(machine, driver="file", filename=filename, size=0)
    for size in (-1, -512, 1 << 62):
        for preallocation in ("off", "metadata", "falloc"):
            _create(machine, driver="file", filename="x", size=size, preallocation=preallocation)
    _create(machine, driver="file", filename="x", size=-1, preallocation="full")
    leave(machine)


def a_file_on_a_full_disk(stage: Stage) -> None:
    machine = stage.start(NONE, file_limit=1 * MIB)
    for preallocation in ("off", "falloc", "full"):
        _create(machine, driver="file", filename="x", size=2 * MIB, preallocation=preallocation)
    leave(machine)


def blank_images(stage: Stage) -> None:
    machine = stage.start(NONE)
    for options in (
        {"size": 0},
        {"size": 10 * MIB},
        {"size": 10 * MIB, "version": "v2"},
        {"size": 10 * MIB, "version": "v2", "backing_file": "base.img", "backing_fmt": "raw"},
        {"size": 10 * MIB, "backing_file": "base.img", "backing_fmt": "qcow2"},
        {"size": 10 * MIB, "backing_file": "base.img"},
        {"size": 10 * MIB, "cluster_size": 512},
        {"size": 1 * MIB, "cluster_size": 2048, "backing_file": "x" * 1023},
        {"size": 10 * MIB, "cluster_size": 2 * MIB, "refcount_bits": 1},
        {"size": 10 * MIB, "refcount_bits": 4},
        {"size": 10 * MIB, "refcount_bits": 64},
        {"size": 100 << 40},
        {"size": 10 * MIB, "lazy_refcounts": True, "extended_l2": True},
        {"size": 10 * MIB, "compression_type": "zstd", "backing_file": ""},
    ):
        stage.file("image").write_bytes(b"")
        file = {"driver": "file", "filename": "image"}
        _create_qcow2(machine, file=file, **options)
        _note_file(stage, "image")
        qcow2 = {"driver": "qcow2", "node-name": "q", "file": file, "backing": None}
        machine.qmp.execute("blockdev-add", qcow2)
        machine.qmp.execute("query-named-block-nodes", view=lambda nodes: nodes[0]["image"])
        machine.qmp.execute("blockdev-del", {"node-name": "q"})
    leave(machine)


def images_that_cannot_be(stage: Stage) -> None:
    machine = stage.start(NONE)
    stage.file("image").write_bytes(b"")
    node = {"driver": "file", "filename": "image", "node-name": "f"}
    machine.qmp.execute("blockdev-add", node)
    for options in (
        {"size": 1},
        {"size": -1},
        {"size": -512},
        {"size": 1 << 52},
        {"size": 512, "cluster_size": 100},
        {"size": 512, "cluster_size": 256},
        {"size": 512, "cluster_size": 4 * MIB},
        {"size": 512, "extended_l2": True, "cluster_size": 4096},
        {"size": 512, "extended_l2": True, "version": "v2", "cluster_size": 1},
        {"size": 512, "refcount_bits": 3, "backing_fmt": "raw"},
        {"size": 512, "refcount_bits": 0},
        {"size": 512, "refcount_bits": 128},
        {"size": 512, "version": "v2", "refcount_bits": 8, "compression_type": "zstd"},
        {"size": 512, "version": "v2", "refcount_bits": 3, "lazy_refcounts": True},
        {"size": 512, "version": "v2", "compression_type": "zstd"},
        {"size": 512, "backing_file": "x" * 1024},
        {"size": 512, "backing_file": "x" * 400, "cluster_size": 512, "backing_fmt": "raw"},
    ):
        _create_qcow2(machine, file="f", **options)
    leave(machine)


def images_on_nodes(stage: Stage) -> None:
    machine = stage.start(PC)
    for name in ("a", "b", "c"):
        stage.file(name).write_bytes(b"full" * 100_000)
        node = {"driver": "file", "filename": name, "node-name": name, "read-only": name == "c"}
        machine.qmp.execute("blockdev-add", node)
    _create_qcow2(machine, file="nobody", size=MIB)
    _create_qcow2(machine, file="c", size=MIB)
    file = {"driver": "file", "filename": "nowhere"}
    _create_qcow2(machine, file=file, size=MIB)
    _create_qcow2(machine, file={**file, "filename": "c", "read-only": True}, size=MIB)
    _create_qcow2(machine, file={**file, "filename": "c", "node-name": "a"}, size=MIB)
    machine.qmp.execute("blockdev-add", {"driver": "null-co", "node-name": "n"})
    _create_qcow2(machine, file="n", size=MIB)
    # Where a part of a file is one: between what is there already.
    raw = {"driver": "raw", "node-name": "r", "file": "a", "offset": 1024, "size": 307200}
    machine.qmp.execute("blockdev-add", raw)
    _create_qcow2(machine, file="r", size=MIB)
    machine.qmp.execute("blockdev-add", {"driver": "qcow2", "node-name": "q", "file": "r"})
    _create_qcow2(machine, file="r", size=MIB)
    _create_qcow2(machine, file="a", size=MIB)
    machine.qmp.execute("device_add", {"driver": "virtio-blk-pci", "id": "d", "drive": "b"})
    _create_qcow2(machine, file="b", size=MIB)
    leave(machine)


def wishes(stage: Stage) -> None:
    """What is said to a job that runs, to one that is over, and to none."""
    machine = stage.start(NONE)
    options: dict[str, Any] = {"driver": "file", "filename": "x", "size": 256 * MIB}
    create = {"job-id": "j", "options": {**options, "preallocation": "full"}}
    for wish in (*STEPS, "dismiss"):
        machine.qmp.execute(f"job-{wish}", {"id": "j"})
    for steps in (("pause", "pause", "resume", "resume", "pause"), ("pause", *STEPS, "resume")):
        machine.qmp.execute("blockdev-create", create)
        machine.qmp.execute("query-jobs")
        for wish in ("dismiss", "finalize", *steps):
            machine.qmp.execute(f"job-{wish}", {"id": "j"})
        machine.qmp.execute("blockdev-create", create)
        machine.qmp.wait("JOB_STATUS_CHANGE", status="concluded")
        machine.qmp.execute("query-jobs")
        machine.qmp.execute("blockdev-create", create)
        for wish in (*STEPS, "dismiss"):
            machine.qmp.execute(f"job-{wish}", {"id": "j"})
        machine.qmp.execute("query-jobs")
    leave(machine)


def names_and_drivers(stage: Stage) -> None:
    machine = stage.start(NONE)
    options = {"driver": "file", "filename": "x", "size": 1}
    for name in ("", "1", "a b", "#a", "a/b", "é", "-a"):
        machine.qmp.execute("blockdev-create", {"job-id": name, "options": options})
    for driver in ("raw", "null-co", "null-aio", "nothing"):
        arguments = {"job-id": "1", "options": {"driver": driver}}
        machine.qmp.execute("blockdev-create", arguments)
    for name in ("z", "a", "m.1_-"):
        machine.qmp.execute("blockdev-create", {"job-id": name, "options": options})
        machine.qmp.wait("JOB_STATUS_CHANGE", status="concluded")
    machine.qmp.execute("query-jobs")
    leave(machine)


def the_end_with_a_job(stage: Stage) -> None:
    machine = stage.start(NONE)
    options = {"driver": "file", "filename": "x", "size": 256 * MIB, "preallocation": "full"}
    machine.qmp.execute("blockdev-create", {"job-id": "j", "options": options})
    leave(machine)


def before_the_machine_is_made(stage: Stage) -> None:
    machine = stage.start(f"{NONE} -preconfig")
    _create(machine, driver="file", filename="x", size=1)
    machine.qmp.execute("job-pause", {"id": "j"})
    leave(machine)
