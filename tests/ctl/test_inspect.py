"""`vmdctl inspect` on state files that real QEMU has written."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.ctl.looking import inspected, put, put_libvirt, vmdctl
from tests.vmd.bitmap_stream_cases import SOUND as WITH_BITMAPS
from tests.vmd.record_streams import SOURCES
from tests.vmd.streams import MACHINES, kept
from vmd.migration.carry import described_size

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

PAGE = 4096


def descriptions(data: bytes) -> list[dict[str, Any]]:
    """What QEMU itself says at the end of its stream."""
    devices: list[dict[str, Any]] = json.loads(data[data.index(b'{"configuration"') :])["devices"]
    return devices


def device(told: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(d for d in told["devices"] if d["name"] == name)
    return found


@pytest.mark.parametrize("name", SOURCES)
def test_every_file_of_qemu_is_told_whole(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = inspected(capsys, put(tmp_path, name))
    assert told["machine"] == MACHINES.get(name, "none")
    assert told["end"] == told["size"] == len(kept(name))
    assert told["error"] is None and told["notices"] == []


@pytest.mark.parametrize("name", SOURCES)
def test_its_device_sections_are_those_that_qemu_describes(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = inspected(capsys, put(tmp_path, name))
    described = [(d["name"], d["instance_id"], described_size(d)) for d in descriptions(kept(name))]
    framing = 1 + 4 + 1 + 4 + 4 + 5
    assert [
        (d["name"], d["instance-id"], d["length"] - framing - len(d["name"]))
        for d in told["devices"]
    ] == described
    for section in told["devices"]:
        start = section["offset"]
        assert kept(name)[start : start + 5] == b"\4" + section["section-id"].to_bytes(4, "big")


@pytest.mark.parametrize("name", ["q35", "devices", "virtio-mem"])
def test_the_fields_of_all_its_device_sections_are_told(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = inspected(capsys, put(tmp_path, name))
    assert all("fields" in section for section in told["devices"])


def test_a_cpu_that_never_ran_stands_where_a_pc_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = inspected(capsys, put(tmp_path, "devices"))
    cpus = [section["fields"] for section in told["devices"] if section["name"] == "cpu"]
    assert len(cpus) == 2
    for cpu in cpus:
        assert cpu["env.eip"] == 0xFFF0
        assert cpu["env.segs"][1]["base"] == 0xFFFF0000
        assert cpu["env.pat"] == 0x0007040600070406


def test_a_device_shows_its_vendor_in_its_configuration_space(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = inspected(capsys, put(tmp_path, "q35"))
    assert "8680c029" in json.dumps(device(told, "0000:00:00.0/mch")["fields"])  # 8086:29c0


def test_run_state_and_time_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = inspected(capsys, put(tmp_path, "base"))
    assert (told["runstate"], told["was-suspended"]) == ("running", False)
    assert told["guest-time-ns"] == device(told, "timer")["fields"]["cpu_clock_offset"] > 0
    assert inspected(capsys, put(tmp_path, "q35"))["runstate"] == "prelaunch"


def test_ram_is_counted_by_pages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = inspected(capsys, put(tmp_path, "base"))["ram"]["blocks"]
    assert block == {
        "name": "ram",
        "size": 4 * PAGE,
        "zero": 3,
        "normal": 1,
        "absent": 0,
        "sent": 4,
        "xbzrle": 0,
    }


def test_what_ignore_shared_left_out_is_absent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = inspected(capsys, put(tmp_path, "ignore-shared"))
    assert told["capabilities"] == ["x-ignore-shared"]
    assert told["uuid"] == "00112233-4455-6677-8899-aabbccddeeff"
    (block,) = told["ram"]["blocks"]
    assert (block["gpa"], block["absent"], block["sent"]) == (0, 4, 0)


def test_unplugged_memory_is_absent_and_its_section_is_early(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = inspected(capsys, put(tmp_path, "virtio-mem"))
    hot = next(block for block in told["ram"]["blocks"] if block["name"].endswith("/hot"))
    assert hot["absent"] * PAGE == hot["size"] == 128 << 20
    assert [section["early"] for section in told["devices"]].index(False) == 1


# How it may lie on disk.


@pytest.mark.parametrize(
    ("kind", "compress"), [("gzip", gzip.compress), ("bzip2", bz2.compress), ("xz", lzma.compress)]
)
def test_a_compressed_file_is_read_as_what_is_in_it(
    kind: str, compress: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = inspected(capsys, put(tmp_path, "q35"))
    packed = tmp_path / "packed"
    packed.write_bytes(compress(kept("q35")))
    told = inspected(capsys, packed)
    assert told["compression"] == kind
    for key in ("devices", "ram", "end"):
        assert told[key] == plain[key]


def test_a_damaged_compressed_file_is_said_to_be_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for compress in (gzip.compress, bz2.compress, lzma.compress):
        packed = tmp_path / "packed"
        data = compress(kept("q35"))
        for spoiled in (data[: len(data) // 2], data[:3000] + bytes(2000) + data[5000:]):
            packed.write_bytes(spoiled)
            said = vmdctl(capsys, "inspect", packed)
            assert (said.status, said.out) == (2, "")
            assert f"vmdctl: {packed}: damaged " in said.err


def test_a_stream_may_begin_at_an_offset(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = inspected(capsys, put(tmp_path, "q35"))
    shifted = tmp_path / "shifted"
    shifted.write_bytes(bytes(1024) + kept("q35"))
    told = inspected(capsys, "--offset", "1k", shifted)
    assert (told["offset"], told["end"]) == (1024, plain["end"] + 1024)
    assert told["ram"] == plain["ram"]
    assert told["devices"][0]["offset"] == plain["devices"][0]["offset"] + 1024


def test_dirty_bitmaps_that_travel_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    state.write_bytes(WITH_BITMAPS)
    told = inspected(capsys, state)["dirty-bitmaps"]
    common = {"node": "n", "persistent": False}
    assert told == [
        {**common, "name": "b", "granularity": 65536, "enabled": True}
        | {"dirty": 5 * 65536, "complete": True},
        {**common, "name": "c", "granularity": 512, "enabled": False}
        | {"dirty": 1024 * 512, "complete": False},
    ]
    said = vmdctl(capsys, "inspect", state)
    assert "  n/b: 327680 bytes dirty, granularity 65536\n" in said.out
    assert "  n/c: 524288 bytes dirty, granularity 512, disabled, not complete\n" in said.out
    assert vmdctl(capsys, "verify", state).status == 0


@pytest.mark.parametrize("kind", ["raw", "gzip", "bzip2", "xz", "sparse"])
def test_a_save_file_of_libvirt_is_opened(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = inspected(capsys, put_libvirt(tmp_path, kind))
    container = told["container"]
    assert (container["domain"], container["format"]) == ("saved", kind)
    assert container["was-running"] is False and container["complete"] is True
    assert container["xml"].startswith("<domain type='qemu'>")
    assert container["cookie"].startswith("<cookie>")
    assert told["machine"] == "pc-q35-10.0"
    ram = {block["name"]: block for block in told["ram"]["blocks"]}
    assert ram["pc.ram"]["zero"] * PAGE == ram["pc.ram"]["size"] == 8 << 20
    assert all("fields" in section for section in told["devices"])


def test_in_a_sparse_save_file_the_bitmaps_tell_the_pages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = put_libvirt(tmp_path, "sparse")
    told = inspected(capsys, path)
    assert told["ram"]["mapped"] and told["capabilities"] == ["mapped-ram"]
    data = path.read_bytes()
    for block in told["ram"]["blocks"]:
        pages = data[block["pages-offset"] :][: block["size"]]
        used = sum(any(pages[at : at + PAGE]) for at in range(0, len(pages), PAGE))
        assert (block["normal"], block["absent"]) == (used, 0)


def test_what_cannot_be_decompressed_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put_libvirt(tmp_path, "zstd")
    monkeypatch.setenv("PATH", str(tmp_path))
    said = vmdctl(capsys, "inspect", path)
    text = "compressed with zstd, and there is no program zstd to undo that"
    assert said == (2, "", f"vmdctl: {path}: {text}\n")


@pytest.fixture(params=["zstd", "lzop"])
def packer(request: pytest.FixtureRequest) -> str:
    """A program of the host that vmdctl asks to undo what it has made."""
    name: str = request.param
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    return name


def test_a_program_undoes_what_python_cannot(
    packer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = inspected(capsys, put_libvirt(tmp_path, packer))
    plain = inspected(capsys, put_libvirt(tmp_path, "raw"))
    assert told["ram"]["blocks"][0]["name"] == plain["ram"]["blocks"][0]["name"]
    assert [one["name"] for one in told["devices"]] == [one["name"] for one in plain["devices"]]
    assert vmdctl(capsys, "verify", put_libvirt(tmp_path, packer)).status == 0


@pytest.mark.parametrize("kept_bytes", [0.9, 0.99])
def test_what_a_program_does_not_like_is_damaged(
    kept_bytes: float, packer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = put_libvirt(tmp_path, packer)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept_bytes)])
    status, _, said = vmdctl(capsys, "inspect", path)
    assert status
    assert f"damaged {packer} data" in said


@pytest.mark.parametrize("cut", [10, 50, 200])
def test_a_container_that_is_cut_is_refused(
    cut: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = put_libvirt(tmp_path, "raw")
    path.write_bytes(path.read_bytes()[:cut])
    said = vmdctl(capsys, "inspect", path)
    assert said.status == (1 if cut < 16 else 2)
    assert "cut short" in said.err or "Not a migration stream" in said.err


# For people.


def test_people_read_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = vmdctl(capsys, "inspect", put(tmp_path, "base")).out.splitlines()
    assert lines[1:4] == [
        "migration stream at 0x0, up to 0x1486",
        "machine: none",
        "run state: running",
    ]
    assert lines[5:8] == [
        "RAM: 16 KiB, 3 sections",
        "  block    size  zero  normal  absent  sent",
        "  ram    16 KiB     3       1       0     4",
    ]
    assert lines[8:] == [
        "commands: SWITCHOVER_START",
        "devices:",
        "  offset  bytes  id  version  name",
        "  0x1093     48   0        2  timer",
        "  0x10c3    134   3        1  globalstate",
    ]


def test_fields_are_shown_for_the_sections_that_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = vmdctl(capsys, "inspect", "--fields", "global*", put(tmp_path, "base"))
    assert said.out.splitlines()[-6:] == [
        "globalstate (version 1):",
        "  size: 8",
        "  runstate: 'running'",
        "  has_vm_was_suspended: 1",
        "  vm_was_suspended: 0",
        "  unused: 66 bytes of zero",
    ]


def test_of_a_broken_file_everything_in_front_of_the_break_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cut"
    whole = inspected(capsys, put(tmp_path, "q35"))
    fourth = whole["devices"][4]["offset"]
    path.write_bytes(kept("q35")[: fourth + 40])
    said = vmdctl(capsys, "inspect", "--json", path)
    told = json.loads(said.out)
    assert said.status == 1
    assert told["ram"] == whole["ram"]
    assert [d["name"] for d in told["devices"]] == [d["name"] for d in whole["devices"][:4]]
    assert told["error"]["section"]["name"] == whole["devices"][4]["name"]


@pytest.mark.parametrize("words", [["--help"], ["inspect", "--help"], ["verify", "--help"]])
def test_there_is_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        vmdctl(capsys, *words)
    assert end.value.code == 0
    assert "usage: vmdctl" in capsys.readouterr().out


def test_what_is_not_there_is_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = vmdctl(capsys, "inspect", tmp_path / "nothing")
    assert said == (2, "", f"vmdctl: {tmp_path}/nothing: No such file or directory\n")
