"""A host of its own with a running libvirtd, and domains on it."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

GROUND = Path(__file__).with_name("ground.py")
PATIENCE = 60
_LOOKS = 2000  # by virsh, some tens of milliseconds each


class Missing(Exception):
    """There can be no such host here; the text says why."""


class VirshError(Exception):
    """virsh refused; the text is what it said."""


class Host:
    """libvirtd in namespaces of its own. What is in `directory` is under its usual paths there.

    With `kvm` it sees the host's, and domains are of that type unless they say otherwise.
    """

    def __init__(self, directory: Path, *, kvm: bool = False) -> None:
        self.virt_type = "kvm" if kvm else "qemu"
        for program in ("libvirtd", "virsh", "unshare"):
            if shutil.which(program) is None:
                raise Missing(f"{program} is not installed")
        if os.geteuid() != 0:
            raise Missing("libvirtd runs only for root")
        self.directory = directory
        self.log = directory / "log" / "libvirtd.log"
        apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        self._errors = (directory / "ground.log").open("w+b")
        self._process = subprocess.Popen(
            [*apart, sys.executable, str(GROUND), str(directory), *["kvm"] * kvm],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        try:
            if self._process.stdout.readline() != b"ready\n":
                raise Missing(f"libvirtd does not run here: {self._said()}")
            self.virsh("version")
        except (VirshError, subprocess.TimeoutExpired) as error:
            self.close()
            raise Missing(f"libvirtd does not run here: {error}; {self._said()}") from None

    def _said(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode().strip()

    @property
    def uri(self) -> str:
        """Where its libvirtd is reached."""
        return f"qemu+unix:///system?socket={self.directory / 'run' / 'libvirt-sock'}"

    def virsh(self, *words: str) -> str:
        """What virsh prints; VirshError if it fails."""
        command = ["virsh", "--connect", self.uri, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode:
            raise VirshError(done.stderr.strip())
        return done.stdout.strip()

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something that libvirt finds out: it writes its view of a domain anew then."""
        with Changes(self.directory / "run" / "qemu") as changes:
            while not condition():
                assert changes.wait(PATIENCE), f"in vain: {what}"

    def restart_libvirtd(self) -> None:
        """Kill libvirtd; the ground starts it again, and who calls meanwhile waits for it."""
        old = os.pidfd_open(outer_pid(f"{self.directory}/etc/libvirtd.conf"))
        try:
            signal.pidfd_send_signal(old, signal.SIGKILL)
            assert select.select([old], [], [], PATIENCE)[0], "libvirtd does not die"
        finally:
            os.close(old)
        self.virsh("version")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()


class Changes:
    """Tells when a file of a directory is written, replaced or removed (inotify)."""

    _WRITTEN_MOVED_DELETED = 0x8 | 0x80 | 0x200

    def __init__(self, directory: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        path = os.fsencode(directory)
        if libc.inotify_add_watch(self._fd, path, self._WRITTEN_MOVED_DELETED) < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch", str(directory))

    def wait(self, seconds: int) -> bool:
        """Until there was a change since the last wait; whether there was one."""
        if not select.select([self._fd], [], [], seconds)[0]:
            return False
        os.read(self._fd, 1 << 16)
        return True

    def __enter__(self) -> Changes:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._fd)


def python_with_libvirt() -> str:
    """A Python that has libvirt-python: this one, or the system's."""
    for python in (sys.executable, "/usr/bin/python3"):
        if Path(python).exists():
            command = [python, "-c", "import libvirt"]
            if subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0:
                return python
    raise Missing("libvirt-python is not installed")


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
    """One domain of a host. `name` is unique on this computer.

    `devices` is XML, `elements` too: what stands beside them. `vcpus` is a number, or two: those at
    the start, and the most. `arguments` are the emulator's own; `virt_type` is the host's if empty.
    """

    def __init__(
        self,
        host: Host,
        name: str,
        emulator: str,
        devices: str = "",
        *,
        elements: str = "",
        vcpus: tuple[int, int] = (2, 2),
        arguments: Sequence[str] = (),
        virt_type: str = "",
    ) -> None:
        self.host = host
        self.virt_type = virt_type or host.virt_type
        self.name = name
        self.number_of_cpus = vcpus
        self.emulator = emulator
        self.devices = devices
        self.define(elements, arguments)

    def define(self, elements: str = "", arguments: Sequence[str] = ()) -> None:
        """Tell libvirt of the domain, or tell it anew."""
        now, most = self.number_of_cpus
        own = "".join(f"<qemu:arg value='{argument}'/>" for argument in arguments)
        xml = (
            f"<domain type='{self.virt_type}' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
            f"<name>{self.name}</name><uuid>{uuid.uuid5(uuid.NAMESPACE_OID, self.name)}</uuid>"
            f"<memory unit='MiB'>64</memory><vcpu current='{now}'>{most}</vcpu>"
            "<os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features>"
            f"{elements}<devices><emulator>{self.emulator}</emulator>{self.devices}</devices>"
            f"<qemu:commandline>{own}</qemu:commandline></domain>"
        )
        path = self.host.directory / f"{self.name}.xml"
        path.write_text(xml)
        self.host.virsh("define", str(path))

    def does(self, command: str, *words: str) -> str:
        return self.host.virsh(command, self.name, *words)

    @property
    def state(self) -> str:
        """State and reason, as `domstate --reason` tells them."""
        return self.does("domstate", "--reason")

    def becomes(self, state: str) -> None:
        """Wait until that is the domain's state."""
        self.host.until(lambda: self.state == state, f"{self.name} is to be {state}")

    def types(self, line: str) -> str:
        """What the human monitor answers to a line."""
        return self.does("qemu-monitor-command", "--hmp", line)

    def ends_by(self, line: str) -> None:
        """Type a line after which libvirt may end the emulator before it can answer."""
        with contextlib.suppress(VirshError):
            self.types(line)

    def asks(self, command: str, **arguments: object) -> Any:
        """What QMP returns."""
        request = {"execute": command, "arguments": arguments}
        return json.loads(self.does("qemu-monitor-command", json.dumps(request)))["return"]

    def has_booted(self) -> None:
        """Wait for firmware: it places the ports of power management."""
        for _ in range(_LOOKS):
            if "0xffff" not in self.types("i /h 0x604"):
                return
        raise TimeoutError(f"{self.name}: its firmware has not come so far")

    def kill(self) -> None:
        """Kill the emulator, as the host's memory manager would."""
        os.kill(outer_pid(f"guest={self.name},"), signal.SIGKILL)

    def forget(self) -> None:
        if not self.state.startswith("shut off"):
            self.does("destroy")
        self.does("undefine", "--managed-save")
