"""What domains are furnished with: disks on real images, discs, and the rest of a room."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from tests.clients.libvirt.conftest import CONSOLE
from tests.differential.scenes import MIB, qcow2

if TYPE_CHECKING:
    from pathlib import Path

    from tests.clients.libvirt.host import Host

IMAGES = itertools.count(1)
NETWORK = "<interface type='user'><mac address='{mac}'/><model type='virtio'/></interface>"
MAC = "52:54:00:00:00:01"


def disk(path: Path, target: str, kind: str = "raw") -> str:
    return (
        f"<disk type='file' device='disk'><driver name='qemu' type='{kind}'/>"
        f"<source file='{path}'/><target dev='{target}' bus='virtio'/></disk>"
    )


def blank(host: Host, size: int, end: str = "img") -> Path:
    """A file of zeros."""
    path = host.directory / f"image{next(IMAGES)}.{end}"
    with path.open("wb") as image:
        image.truncate(size)
    return path


def raw_disk(host: Host, size: int = 8 * MIB) -> str:
    return disk(blank(host, size), "vda")


def qcow2_disk(host: Host, size: int = 16 * MIB) -> str:
    path = host.directory / f"image{next(IMAGES)}.qcow2"
    qcow2(path, size)
    return disk(path, "vdb", "qcow2")


def furnished(host: Host) -> str:
    """Two disks, an empty CD drive, a network, a serial console, and what libvirt adds itself."""
    return (
        f"{raw_disk(host)}{qcow2_disk(host)}"
        "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>"
        f"{NETWORK.format(mac=MAC)}"
        f"{CONSOLE}<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/>"
        "</channel><input type='tablet' bus='usb'/><video><model type='vga'/></video>"
        "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"
    )
