"""Clients above libvirt: what they do to a domain on real QEMU they do to one on vmd."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.clients.libvirt.conftest import NUMBERS, missing
from tests.clients.libvirt.host import Missing, python_with_libvirt
from tests.differential.stage import find_vmd

if TYPE_CHECKING:
    from tests.clients.libvirt.conftest import MakeDomain
    from tests.clients.libvirt.host import Host

DRIVER = Path(__file__).with_name("driver.py")
PATIENCE = 120

# Numbers are libvirt's: states with their reasons, and details of events.
SAVED = ["suspended 0", "shutdown 2", "stopped 4"]
RESTORED = ["started 2", "resumed 2"]
LIFE = [
    *("defined 0", "resumed 0", "started 0", "suspended 0", "resumed 0"),
    *(*SAVED, *RESTORED, "reboot", *SAVED, *RESTORED),
]


@pytest.fixture
def python() -> str:
    try:
        return python_with_libvirt()
    except Missing as reason:
        missing(str(reason))
        raise


@pytest.fixture
def virt_install(host: Host, tmp_path: Path) -> list[str]:
    """The program and what all calls have in common."""
    if shutil.which("virt-install") is None:
        missing("virt-install is not installed")
    disk = tmp_path / "disk.img"
    with disk.open("wb") as image:
        image.truncate(16 << 20)
    return [
        *("virt-install", "--connect", host.uri, "--memory", "64"),
        *("--virt-type", host.virt_type),
        *("--vcpus", "1", "--import", "--disk", f"path={disk},format=raw", "--network", "user"),
        *("--osinfo", "detect=off,require=off", "--noautoconsole"),
    ]


def _run(command: list[str], home: Path) -> str:
    environment = {**os.environ, "HOME": str(home)}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_client_in_python_takes_a_domain_through_its_life(
    host: Host, emulator: str, python: str
) -> None:
    name = f"py{os.getpid()}"
    on_vmd = emulator == find_vmd().argv[0]
    guest = "answers" if on_vmd else "silent"
    command = [python, str(DRIVER), host.uri, emulator, name, str(host.directory), guest]
    told = json.loads(_run(command, host.directory))
    ending = ["balloon 32768", "shutdown 1", "stopped 0"] if on_vmd else ["stopped 1"]
    heard, life = told["heard"], LIFE
    if not on_vmd:
        # Firmware that was restored in the middle of its work begins anew, at a moment of its own.
        heard[:] = [word for word in heard if word != "reboot"]
        life = [word for word in LIFE if word != "reboot"]
        if heard[-3] == "shutdown 2":
            del heard[-3]  # of one that is destroyed libvirt hears that only if it is quick
    assert told == {
        "info": [1, 65536, 65536, 1],
        "paused": [3, 1],
        "saved": [5, 5],
        "restored": [1, 3],
        "kept": 1,
        "stats": 1,
        "heard": [*life, *ending, "undefined 0"],
    }


@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_virt_install_creates_a_domain(
    host: Host, emulator: str, virt_install: list[str], machine: str
) -> None:
    name = f"vi{os.getpid()}-{next(NUMBERS)}"
    more = ["--name", name, "--machine", machine, "--boot", f"emulator={emulator}"]
    _run([*virt_install, *more, "--graphics", "none"], host.directory)
    assert host.virsh("domstate", "--reason", name) == "running (booted)"
    assert "user" in host.virsh("domiflist", name)
    host.virsh("destroy", name)
    host.virsh("undefine", name)


def test_virt_install_describes_the_same_domain_for_both(
    host: Host, virt_install: list[str], qemu: object
) -> None:
    descriptions = []
    for emulator in (find_vmd().argv[0], shutil.which("qemu-system-x86_64")):
        more = ["--name", "described", "--boot", f"emulator={emulator}", "--print-xml"]
        text = _run([*virt_install, *more], host.directory)
        unique = ("<uuid>", "<emulator>", "<mac ", "random")
        kept = [line for line in text.splitlines() if not any(word in line for word in unique)]
        descriptions.append(kept)
    assert descriptions[0] == descriptions[1]


def test_its_screen_is_shown_by_vnc(host: Host, domain: MakeDomain) -> None:
    subject = domain("<graphics type='vnc' autoport='yes'/><video><model type='vga'/></video>")
    subject.does("start")
    display = subject.does("vncdisplay")
    name, _, number = display.partition(":")
    with socket.create_connection((name, 5900 + int(number)), timeout=PATIENCE) as viewer:
        assert viewer.recv(12) == b"RFB 003.008\n"
    assert subject.does("domdisplay") == f"vnc://{display}"
    picture = host.directory / f"{subject.name}.png"
    subject.does("screenshot", str(picture))
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_virt_install_gives_a_domain_a_screen(host: Host, virt_install: list[str]) -> None:
    name = f"vi{os.getpid()}-{next(NUMBERS)}"
    more = ["--name", name, "--boot", f"emulator={find_vmd().argv[0]}", "--graphics", "vnc"]
    _run([*virt_install, *more], host.directory)
    assert host.virsh("domdisplay", name).startswith("vnc://")
    host.virsh("destroy", name)
    host.virsh("undefine", name)
