"""The first process of a world of its own: libvirtd lives here, and nothing of it outside.

Run as `unshare --mount --pid --fork --kill-child PYTHON ground.py DIRECTORY [kvm]`. Mounts
directories of DIRECTORY over those that libvirt keeps its things in, hides /dev/kvm unless it is
wanted, starts libvirtd, and reaps whoever is left without a parent: libvirt takes a dead process
that nobody reaps for a living one.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

DEVICES = ("full", "null", "random", "tty", "urandom", "zero")
TREES = ("pts", "shm")
PLACES = {
    "etc": "/etc/libvirt",
    "lib": "/var/lib/libvirt",
    "cache": "/var/cache/libvirt",
    "log": "/var/log/libvirt",
    "run": "/run/libvirt",
}
QEMU_CONF = """
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
chardev_tls_x509_cert_dir = "/etc/libvirt/tls"
chardev_tls_x509_verify = 1
"""
LIBVIRTD_CONF = """
auth_unix_rw = "none"
log_filters="1:qemu.qemu_monitor 1:qemu.qemu_process 1:qemu.qemu_capabilities 1:util.command"
log_outputs="1:file:/var/log/libvirt/libvirtd.log"
"""


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def furnish(directory: Path, more: list[str]) -> None:
    """Put our directories where libvirt looks; `more` are devices beside the usual ones."""
    mount("--make-rprivate", "/")
    mount("-t", "proc", "proc", "/proc")
    for name, place in PLACES.items():
        (directory / name).mkdir()
        Path(place).mkdir(parents=True, exist_ok=True)
        mount("--bind", str(directory / name), place)
    Path("/etc/libvirt/tls").mkdir()
    Path("/etc/libvirt/qemu.conf").write_text(QEMU_CONF)
    Path("/etc/libvirt/libvirtd.conf").write_text(LIBVIRTD_CONF)
    dev = directory / "dev"
    dev.mkdir()
    for name in (*DEVICES, *more):
        (dev / name).touch()
        mount("--bind", f"/dev/{name}", str(dev / name))
    (dev / "ptmx").symlink_to("pts/ptmx")
    for name in TREES:
        (dev / name).mkdir()
        mount("--rbind", f"/dev/{name}", str(dev / name))
    mount("--rbind", str(dev), "/dev")


def listen() -> socket.socket:
    """The socket of libvirtd: it is ours, and who calls meanwhile waits for the next."""
    server = socket.socket(socket.AF_UNIX)
    server.bind("/run/libvirt/libvirt-sock")
    server.listen(64)
    return server


def live(directory: Path, server: socket.socket) -> None:
    """Keep libvirtd running: it is started again whenever it ends."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/root"}
    environment |= {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "libvirtd.socket"}
    options = ["-f", str(directory / "etc" / "libvirtd.conf"), "-p", "/run/libvirt/libvirtd.pid"]
    # Handed over as systemd does it: as descriptor 3, to the process with this number.
    script = f'LISTEN_PID=$$ exec libvirtd "$@" 3<&{server.fileno()}'
    while True:
        daemon = subprocess.Popen(
            ["bash", "-c", script, "bash", *options],
            env=environment,
            pass_fds=[server.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        gone = 0
        while gone != daemon.pid:
            gone = os.wait()[0]


if __name__ == "__main__":
    furnish(Path(sys.argv[1]), sys.argv[2:])
    with listen() as door:
        print("ready", flush=True)
        live(Path(sys.argv[1]), door)
