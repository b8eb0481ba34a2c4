"""The examples for libvirt run as they are, and do what their words say."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.clients.libvirt.conftest import missing
from tests.clients.libvirt.host import Missing, outer_pid, python_with_libvirt
from tests.differential.stage import find_vmd

if TYPE_CHECKING:
    from tests.clients.libvirt.host import Host

EXAMPLES = Path(__file__).parents[3] / "examples" / "libvirt"
PATIENCE = 240


def _run(host: Host, *command: str) -> str:
    environment = {**os.environ, "LIBVIRT_DEFAULT_URI": host.uri, "VMD": find_vmd().argv[0]}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_newcomer_comes_to_a_running_domain(host: Host) -> None:
    said = _run(host, "sh", str(EXAMPLES / "first.sh"))
    assert "The domain is running (booted)." in said
    assert "Its guest says: count" in said
    host.virsh("destroy", "first")
    host.virsh("undefine", "first")


def test_a_host_update_is_rehearsed_on_ten_domains(host: Host, tmp_path: Path) -> None:
    try:
        python = python_with_libvirt()
    except Missing as reason:
        missing(str(reason))
        raise
    new = tmp_path / "vmd-new"
    new.symlink_to(find_vmd().argv[0])
    libvirtd = outer_pid(f"{host.directory}/etc/libvirtd.conf")
    words = ["--old", find_vmd().argv[0], "--new", str(new), "--restart", f"kill {libvirtd}"]
    said = _run(host, python, str(EXAMPLES / "rehearsal.py"), *words)
    assert said.splitlines()[-1] == "10 domains: all went on where they had stopped."
    assert host.virsh("list", "--all", "--name") == ""
