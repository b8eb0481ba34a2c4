"""Files that a client names and that never end, or whose other end never comes: nobody waits."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from tests.certificates import credentials
from tests.differential.scenes import qcow2
from vmd.devices.objects import Secret, create_object

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage

PC = "-machine pc -nodefaults -m 4 -device VGA -S -qmp unix:other,server=on,wait=off"
ALONE = "No such device or address"


@pytest.fixture
def machine(vmd: Stage) -> Machine:
    os.mkfifo(vmd.file("fifo"))
    return vmd.start(PC, guest="none")


def refusal(machine: Machine, command: str, **arguments: object) -> str:
    """Why it is refused; the machine answers on."""
    names = {name.replace("_", "-"): value for name, value in arguments.items()}
    reply = machine.qmp.execute(command, names)
    assert machine.qmp.execute("query-status")["status"] == "prelaunch"
    return str(reply["desc"])


def test_a_fifo_that_nobody_reads_takes_no_memory(machine: Machine) -> None:
    for command in ("pmemsave", "memsave"):
        told = refusal(machine, command, val=0, size=1, filename="fifo")
        assert told == f"Could not open 'fifo': {ALONE}"


def test_a_fifo_that_nobody_reads_takes_no_picture_and_no_dump(machine: Machine) -> None:
    told = refusal(machine, "screendump", filename="fifo")
    assert told == f"failed to open file 'fifo': {ALONE}"
    told = refusal(machine, "dump-guest-memory", paging=False, protocol="file:fifo")
    assert told.endswith(f"Could not create 'fifo': {ALONE}")


def test_a_fifo_that_nobody_reads_takes_no_log(machine: Machine) -> None:
    line = {"command-line": "logfile fifo"}
    told = machine.qmp.execute("human-monitor-command", line)
    assert told == f"Error opening logfile fifo: {ALONE}\r\n"
    backend = {"type": "null", "data": {"logfile": "fifo"}}
    told = refusal(machine, "chardev-add", id="c", backend=backend)
    assert told.endswith(f"Could not create 'fifo': {ALONE}")


def test_a_fifo_that_nobody_writes_is_no_image(machine: Machine) -> None:
    told = refusal(
        machine, "blockdev-add", driver="file", node_name="n", filename="fifo", read_only=True
    )
    assert told == "'file' driver requires 'fifo' to be a regular file"


@pytest.mark.parametrize("readonly", [False, True])
def test_a_fifo_is_no_memory(machine: Machine, readonly: bool) -> None:
    backend = {"qom_type": "memory-backend-file", "id": "m", "size": 4096, "mem_path": "fifo"}
    told = refusal(machine, "object-add", **backend, readonly=readonly, rom="off")
    assert "No such device" in told


def test_an_image_that_is_based_on_itself_is_refused(vmd: Stage, machine: Machine) -> None:
    qcow2(vmd.file("image"), 1 << 20, "image", "qcow2")
    file = {"driver": "file", "filename": "image"}
    told = refusal(machine, "blockdev-add", driver="qcow2", node_name="n", file=file)
    assert told.endswith("Could not open backing file: there are too many")
    assert machine.qmp.execute("query-named-block-nodes") == []


def test_a_secret_comes_soon_and_is_short(machine: Machine) -> None:
    for file, why in (("fifo", "Connection timed out"), ("/dev/zero", "File too large")):
        told = refusal(machine, "object-add", qom_type="secret", id="s", file=file)
        assert told == f"Unable to read {file}: Failed to open file “{file}”: {why}"


def test_a_secret_may_come_through_a_pipe() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"open sesame")
    os.close(writer)
    options = {"qom-type": "secret", "id": "s", "file": f"/dev/fd/{reader}"}
    secret = create_object(options, {})
    assert isinstance(secret, Secret)
    assert secret.content == b"open sesame"
    os.close(reader)


def test_what_waits_for_a_reader_keeps_nobody_else_waiting(vmd: Stage, machine: Machine) -> None:
    backend = {"type": "file", "data": {"out": "fifo"}}
    command = {"execute": "chardev-add", "arguments": {"id": "c", "backend": backend}}
    machine.qmp.send(json.dumps(command))
    other = vmd.connect("other")
    assert b"QMP" in other.read("a greeting")
    other.close()
    reader = os.open(vmd.file("fifo"), os.O_RDONLY)
    assert machine.qmp.answer() == {}
    os.close(reader)


@pytest.mark.parametrize("name", ["ca-cert", "ca-crl", "server-cert", "server-key", "dh-params"])
def test_a_fifo_is_no_certificate(vmd: Stage, machine: Machine, name: str) -> None:
    credentials(vmd.directory)
    vmd.file(f"both/{name}.pem").unlink(missing_ok=True)
    os.mkfifo(vmd.file(f"both/{name}.pem"))
    told = refusal(
        machine, "object-add", qom_type="tls-creds-x509", id="t", dir="both", endpoint="server"
    )
    assert f"both/{name}.pem" in told
