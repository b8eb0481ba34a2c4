"""A host of its own with a running libvirtd, and domains on it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

GROUND = Path(__file__).with_name("ground.py")
PATIENCE = 60


class Missing(Exception):
    """There can be no such host here; the text says why."""


class VirshError(Exception):
    """virsh refused; the text is what it said."""


class Host:
    """libvirtd in namespaces of its own. What is in `directory` is under its usual paths there."""

    def __init__(self, directory: Path) -> None:
        for program in ("libvirtd", "virsh", "unshare"):
            if shutil.which(program) is None:
                raise Missing(f"{program} is not installed")
        if os.geteuid() != 0:
            raise Missing("libvirtd runs only for root")
        self.directory = directory
        self.log = directory / "log" / "libvirtd.log"
        apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        with (directory / "ground.log").open("wb") as output:
            self._process = subprocess.Popen(
                [*apart, sys.executable, str(GROUND), str(directory)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._until_it_answers()

    def _until_it_answers(self) -> None:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                self.virsh("version")
                return
            except VirshError as error:
                if self._process.poll() is not None or time.monotonic() > end:
                    self.close()
                    said = (self.directory / "ground.log").read_text().strip()
                    raise Missing(f"libvirtd does not run here: {said or error}") from None

    def virsh(self, *words: str) -> str:
        """What virsh prints; VirshError if it fails."""
        socket = self.directory / "run" / "libvirt-sock"
        command = ["virsh", "--connect", f"qemu+unix:///system?socket={socket}", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode:
            raise VirshError(done.stderr.strip())
        return done.stdout.strip()

    def restart_libvirtd(self) -> None:
        """Kill libvirtd; the ground starts it again."""
        pidfile = self.directory / "run" / "libvirtd.pid"
        before = pidfile.read_text()
        os.kill(outer_pid(f"{self.directory}/etc/libvirtd.conf"), signal.SIGKILL)
        end = time.monotonic() + PATIENCE
        while pidfile.read_text() in ("", before) and time.monotonic() < end:
            time.sleep(0.05)
        self._until_it_answers()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def outer_pid(words: str) -> int:
    """The process whose command line holds these words."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if words in line and "unshare" not in line and "ground.py" not in line:
                return int(entry.name)
    raise LookupError(words)


class Domain:
    """One domain of a host. `devices` is XML; `name` is unique on this computer."""

    def __init__(self, host: Host, name: str, emulator: str, devices: str = "") -> None:
        self.host = host
        self.name = name
        xml = (
            f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory><vcpu>2</vcpu>"
            "<os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features>"
            f"<devices><emulator>{emulator}</emulator>{devices}</devices></domain>"
        )
        path = host.directory / f"{name}.xml"
        path.write_text(xml)
        host.virsh("define", str(path))

    def does(self, command: str, *words: str) -> str:
        return self.host.virsh(command, self.name, *words)

    @property
    def state(self) -> str:
        """State and reason, as `domstate --reason` tells them."""
        return self.does("domstate", "--reason")

    def becomes(self, state: str) -> None:
        """Wait until that is the domain's state."""
        end = time.monotonic() + PATIENCE
        while self.state != state:
            assert time.monotonic() < end, f"{self.name} is {self.state}, not {state}"
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill the emulator, as the host's memory manager would."""
        os.kill(outer_pid(f"guest={self.name},"), signal.SIGKILL)

    def forget(self) -> None:
        if not self.state.startswith("shut off"):
            self.does("destroy")
        self.does("undefine", "--managed-save")
