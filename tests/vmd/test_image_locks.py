"""An image that another process has: what vmd does where real QEMU leaves its machine stranded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.differential.scenes import capabilities, images, leave, load, save
from tests.differential.stage import find_vmd, stage

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = (
    "-machine pc -nodefaults -m 16"
    " -blockdev driver=qcow2,node-name=d,file.driver=file,file.filename=b.qcow2"
    " -device virtio-blk-pci,drive=d"
)


def test_a_machine_whose_image_was_taken_meanwhile_waits_until_it_is_free(tmp_path: Path) -> None:
    with stage(find_vmd(), tmp_path) as scene:
        images(scene)
        source = scene.start(IMAGE)
        capabilities(source, "events")
        save(source, "file:vm.state")
        holder = scene.start(f"{IMAGE} -S")
        target = scene.start(f"{IMAGE} -incoming defer")
        capabilities(target, "events")
        load(target, "file:vm.state")
        # QEMU stays in the state inmigrate, from which nothing leads any more.
        assert target.qmp.execute("query-status")["status"] == "paused"
        assert target.qmp.execute("cont")["desc"] == 'Failed to get "write" lock'
        leave(holder)
        assert target.qmp.execute("cont") == {}
        assert target.qmp.execute("query-status")["status"] == "running"
        for machine in (target, source):
            leave(machine)


def test_a_source_that_fails_has_its_image_back(tmp_path: Path) -> None:
    with stage(find_vmd(), tmp_path) as scene:
        images(scene)
        source = scene.start(IMAGE)
        capabilities(source, "events")
        source.qmp.execute("migrate", {"uri": "file:/dev/full"})
        source.qmp.wait("MIGRATION", status="failed")
        # It may have been stopped for the rest already, or not yet.
        assert source.qmp.execute("query-status")["status"] == "running"
        assert source.qmp.execute("query-block")[0]["inserted"]["active"] is True
        scene.refused(IMAGE)
        assert 'Failed to get "write" lock' in scene.transcript[-3]
        leave(source)
