"""TLS between vmd and real QEMU, in both directions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.certificates import credentials
from tests.differential.scenes import NONE
from tests.differential.stage import find_vmd, stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.differential.stage import Machine, Program, Stage

CREDENTIALS = {
    "x509": "-object tls-creds-x509,dir=pki/both",
    "x509-1.2": "-object tls-creds-x509,dir=pki/both,priority=NORMAL:-VERS-TLS1.3",
    "anonymous": "-object tls-creds-anon,dir=pki/both",
}


TRIES = 5000  # how often a peer is asked before it is given up

# A guest speaks on its serial line, a human monitor at the other end echoes what it takes for keys.
SPEAKS = "-machine pc -nodefaults -accel tcg -m 8 -serial chardev:line"
HEARS = f"{NONE} -mon line"


@pytest.fixture(params=["vmd serves qemu", "qemu serves vmd"])
def pair(request: pytest.FixtureRequest, qemu: Program, tmp_path: Path) -> Iterator[list[Stage]]:
    """A stage for the server and one for the client, both with the same files."""
    credentials(tmp_path / "pki")
    programs = [find_vmd(), qemu]
    if request.param == "qemu serves vmd":
        programs.reverse()
    with stage(programs[0], tmp_path) as server, stage(programs[1], tmp_path) as client:
        yield [server, client]


def _serve(scene: Stage, does: str, creds: str, more: str = "") -> tuple[Machine, int]:
    device = f"socket,id=line,host=127.0.0.1,port=0,server=on,wait=off,tls-creds=creds{more}"
    options = f"{does} {creds},id=creds,endpoint=server -chardev {device},logfile=server.log"
    machine = scene.start(options, guest="ab" if does == SPEAKS else "none")
    return machine, int(re.findall(r"127\.0\.0\.1:(\d+)", _name(machine))[0])


def _dial(scene: Stage, does: str, creds: str, port: int) -> Machine:
    device = f"socket,id=line,host=localhost,port={port},ipv4=on,tls-creds=creds"
    options = f"{does} {creds},id=creds,endpoint=client -chardev {device},logfile=client.log"
    return scene.start(options, guest="ab" if does == SPEAKS else "none")


def _name(machine: Machine) -> str:
    """The line's filename."""
    found = machine.qmp.execute("query-chardev", quietly=True)
    return str(next(each["filename"] for each in found if each["label"] == "line"))


def _until(holds: Callable[[], bool]) -> None:
    assert any(holds() for _ in range(TRIES))


@pytest.mark.parametrize("creds", CREDENTIALS.values(), ids=CREDENTIALS)
def test_a_client_is_heard(pair: list[Stage], creds: str) -> None:
    server, client = pair
    serving, port = _serve(server, HEARS, creds)
    calling = _dial(client, SPEAKS, creds, port)
    _until(lambda: _name(serving).startswith("tcp:127.0.0.1:"))
    _until(lambda: _name(calling) != "" and b"B" in server.file("server.log").read_bytes())


@pytest.mark.parametrize("creds", CREDENTIALS.values(), ids=CREDENTIALS)
def test_a_server_is_heard(pair: list[Stage], creds: str) -> None:
    server, client = pair
    _serving, port = _serve(server, SPEAKS, creds)
    calling = _dial(client, HEARS, creds, port)
    _until(lambda: _name(calling) != "" and b"B" in client.file("client.log").read_bytes())


def test_who_is_not_allowed_is_sent_away(pair: list[Stage]) -> None:
    server, client = pair
    serving, port = _serve(server, HEARS, CREDENTIALS["x509"], ",tls-authz=nobody")
    calling = _dial(client, HEARS, CREDENTIALS["x509"], port)
    _until(lambda: _name(calling).startswith("disconnected:"))
    assert _name(serving).startswith("disconnected:")


def test_a_server_of_another_name_is_left(pair: list[Stage]) -> None:
    server, client = pair
    serving, port = _serve(server, HEARS, CREDENTIALS["x509"].replace("both", "another"))
    calling = _dial(client, HEARS, CREDENTIALS["x509"], port)
    _until(lambda: _name(calling).startswith("disconnected:"))
    _until(lambda: _name(serving).startswith("disconnected:"))
