"""`vmdctl` on state files that real QEMU writes in this very run, of machines known in advance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.ctl.looking import inspected, vmdctl
from tests.differential.scenes import capabilities, leave, save
from tests.differential.stage import stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from tests.differential.stage import Machine, Program, Stage

PAGE = 4096
SIZE = 16 << 20
USED = (0, 3, 0x40, 0x41, SIZE // PAGE - 1)
NONE = (
    "-machine none,memory-backend=ram0 -nodefaults -m 16"
    " -object memory-backend-file,id=ram0,size=16M,mem-path=ram0,share=on"
)
PC = "-machine pc -nodefaults -accel tcg -m 16 -S"
Q35 = "-machine q35{} -nodefaults -accel tcg -m 16"


@pytest.fixture
def real(qemu: Program, tmp_path: Path) -> Iterator[Stage]:
    with stage(qemu, tmp_path) as scene:
        with scene.file("ram0").open("wb") as ram:
            ram.truncate(SIZE)
            for page in USED:
                ram.seek(page * PAGE)
                ram.write(b"used")
        yield scene


def saved(real: Stage, arguments: str, *names: str, uri: str = "file:vm.state") -> Path:
    """A state file of a machine with this command line and these capabilities."""
    machine = real.start(arguments, guest="none")
    capabilities(machine, "events", *names)
    save(machine, uri)
    leave(machine)
    return real.file("vm.state")


def pages(told: dict[str, Any], name: str) -> tuple[int, int, int]:
    block = next(block for block in told["ram"]["blocks"] if block["name"] == name)
    return block["zero"], block["normal"], block["absent"]


@pytest.mark.parametrize("mapped", [False, True], ids=["records", "mapped-ram"])
@pytest.mark.parametrize("offset", [0, 0x10D6B])
def test_the_pages_in_use_are_counted(
    mapped: bool, offset: int, real: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(real, NONE, *["mapped-ram"] * mapped, uri=f"file:vm.state,offset={offset}")
    told = inspected(capsys, "--offset", offset, path)
    assert pages(told, "ram0") == (SIZE // PAGE - len(USED), len(USED), 0)
    assert told["ram"]["mapped"] == mapped
    assert told["end"] == told["size"]
    assert vmdctl(capsys, "verify", "--offset", offset, path).status == 0


def test_a_pc_is_told_by_its_devices(real: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    told = inspected(capsys, saved(real, PC))
    assert told["machine"] == "pc-i440fx-10.0"
    assert told["runstate"] == "prelaunch"
    assert all("fields" in section for section in told["devices"])
    names = {section["name"] for section in told["devices"]}
    assert {"cpu", "fdc", "0000:00:01.3/piix4_pm", "0000:00:00.0/I440FX"} <= names
    assert sum(pages(told, "pc.ram")) * PAGE == SIZE


def test_what_icount_adds_to_the_timer_is_told(
    real: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    told = inspected(capsys, saved(real, f"{PC} -icount 3"))
    timer = next(section for section in told["devices"] if section["name"] == "timer")
    assert timer["fields"]["timer/icount"]["qemu_icount_bias"] == 0


def test_without_a_description_sections_are_split_all_the_same(
    real: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = inspected(capsys, saved(real, f"{Q35.format('')} -S"))
    bare = inspected(capsys, saved(real, f"{Q35.format(',suppress-vmdesc=on')} -S"))
    assert bare["description-size"] == 0
    names = [(d["name"], d["instance-id"], d["length"]) for d in whole["devices"]]
    assert [(d["name"], d["instance-id"], d["length"]) for d in bare["devices"]] == names
    assert {d["name"] for d in bare["devices"] if "fields" in d} == {"timer", "globalstate"}


def test_a_stream_through_gzip_is_read(real: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    told = inspected(capsys, saved(real, NONE, uri="exec:gzip -c > vm.state"))
    assert told["compression"] == "gzip"
    assert pages(told, "ram0")[1] == len(USED)


def statistics(machine: Machine) -> dict[str, Any]:
    info = machine.qmp.execute("query-migrate")
    return {**info["ram"], "xbzrle": info.get("xbzrle-cache", {}).get("pages", 0)}


@pytest.mark.parametrize("xbzrle", [False, True])
def test_a_live_migration_sent_what_qemu_counted(
    xbzrle: bool, real: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = real.start(Q35.format(""), guest="ab", serial=True)
    while b"B" not in machine.serial.read("the guest"):
        pass
    capabilities(machine, "events", *["xbzrle"] * xbzrle)
    slow = {"max-bandwidth": 10 << 20, "downtime-limit": 1}
    machine.qmp.execute("migrate-set-parameters", slow)
    machine.qmp.execute("migrate", {"uri": "file:vm.state"})
    for _ in range(3):
        machine.qmp.wait("MIGRATION_PASS")
    machine.qmp.execute("stop")
    machine.qmp.wait("MIGRATION", status="completed")
    counted = statistics(machine)
    told = inspected(capsys, real.file("vm.state"))
    blocks = told["ram"]["blocks"]
    encoded = sum(block["xbzrle"] for block in blocks)
    assert encoded <= counted["xbzrle"]  # it counts pages, too, that turn out to be unchanged
    assert (encoded > 0) == xbzrle
    sent = counted["normal"] + counted["duplicate"] + encoded
    assert sum(block["sent"] for block in blocks) == sent
    assert all(block["absent"] == 0 for block in blocks)
    assert vmdctl(capsys, "verify", real.file("vm.state")).status == 0
    leave(machine)


def test_what_qemu_writes_but_cannot_load_is_not_taken(
    real: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    both = ("x-ignore-shared", "mapped-ram")
    arguments = "-machine none -nodefaults -m 16"
    path = saved(real, arguments, *both)
    assert inspected(capsys, path)["ram"]["blocks"][0]["gpa"] == 0
    said = vmdctl(capsys, "verify", path)
    target = real.start(f"{arguments} -incoming defer", guest="none")
    capabilities(target, "events", *both)
    target.qmp.execute("migrate-incoming", {"uri": "file:vm.state"})
    target.qmp.end()
    target.exited()
    reasons = [line for line in real.transcript if line.startswith("stderr: ")]
    assert "region has bad alignment" in reasons[0]
    assert reasons[0].partition("x86_64: ")[2] in said.out
