"""What domains cost under libvirt: one from `virsh start` to running, and fifty of them."""

from __future__ import annotations

import atexit
import itertools
import re
import shutil
import tempfile
from functools import cache as once
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from tests.clients.libvirt.host import Host, Missing, outer_pid

if TYPE_CHECKING:
    from collections.abc import Iterator

KIB_PER_MIB = 1024
FIFTY = 50
BATCH = 10  # for one virsh
# What virt-install describes when it is asked for no more than a disk and a network.
XML = """<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features>
<devices><emulator>{emulator}</emulator>
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{disk}'/>
<target dev='vda' bus='virtio'/><shareable/></disk>
<interface type='user'><model type='virtio'/></interface><console type='pty'/>
<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
<input type='tablet' bus='usb'/><graphics type='vnc' autoport='yes'/>
<video><model type='vga'/></video>
<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
</devices></domain>"""
NUMBERS = itertools.count(1)


@once
def ground() -> Host | None:
    """A libvirtd of our own, until the end; None where there can be none."""
    directory = Path(tempfile.mkdtemp(prefix="bench-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    try:
        host = Host(directory)
    except Missing:
        return None
    atexit.register(host.close)
    with (directory / "disk.img").open("wb") as disk:
        disk.truncate(8 << 20)
    return host


def _define(host: Host, emulator: str) -> str:
    name = f"bench{next(NUMBERS)}"
    path = host.directory / f"{name}.xml"
    path.write_text(XML.format(name=name, emulator=emulator, disk=host.directory / "disk.img"))
    host.virsh("define", str(path))
    return name


def start(argv: list[str], _: Path) -> Iterator[float]:
    """`virsh start`, which returns when the domain runs, in ms."""
    host = ground()
    if host is None:
        return
    name = _define(host, argv[0])
    began = perf_counter()
    host.virsh("start", name)
    took = perf_counter() - began
    host.virsh(f"destroy {name}; undefine {name}")
    yield took * 1e3


def fifty(argv: list[str], _: Path) -> Iterator[float]:
    """Fifty domains, started one after the other, in s."""
    yield from (took for took, _ in _fifty(argv[0]))


def memory(argv: list[str], _: Path) -> Iterator[float]:
    """What one of the fifty takes, what they share divided among them (PSS), in MiB."""
    yield from (memory for _, memory in _fifty(argv[0]))


@once
def _fifty(emulator: str) -> list[tuple[float, float]]:
    """(time in s, memory of one in MiB), measured once; empty where there is no libvirtd."""
    host = ground()
    if host is None:
        return []
    names = [_define(host, emulator) for _ in range(FIFTY)]
    batches = [names[at : at + BATCH] for at in range(0, FIFTY, BATCH)]
    began = perf_counter()
    for batch in batches:
        host.virsh("; ".join(f"start {name}" for name in batch))
    took = perf_counter() - began
    memory = sum(_proportional(outer_pid(f"guest={name},")) for name in names) / FIFTY
    for batch in batches:
        host.virsh("; ".join(f"destroy {name}; undefine {name}" for name in batch))
    return [(took, memory)]


def _proportional(pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss: +(\d+) kB$", text, re.MULTILINE)
    assert found is not None
    return int(found[1]) / KIB_PER_MIB
