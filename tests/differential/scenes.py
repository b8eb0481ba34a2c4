"""What many questions need: command lines, and the usual steps of a migration."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.differential.stage import Machine, Stage
    from tests.differential.wires import Wire

MIB = 1 << 20
CLUSTER = 1 << 16
NONE = "-machine none -m 16"
BACKEND = "-m 16 -object memory-backend-file,id=ram0,size=16M,mem-path=ram0"
PRIVATE = f"-machine none,memory-backend=ram0 -nodefaults {BACKEND}"
SHARED = f"{PRIVATE},share=on"
SEED = (
    "-machine none,memory-backend=ram0 -m 4G"
    " -object memory-backend-file,id=ram0,size=4G,mem-path=./ram0,share=on"
)
# Small enough that the a-b guest's pages are sent in one window of the default bandwidth.
Q35 = "-machine q35 -nodefaults -accel tcg -m 8"
Q35_SHARED = f"-machine q35,memory-backend=ram0 -nodefaults -accel tcg {BACKEND},share=on"
PC = "-machine pc -nodefaults -accel tcg -m 8"
PC_SHARED = f"-machine pc,memory-backend=ram0 -nodefaults -accel tcg {BACKEND},share=on"


def ram_in(name: str) -> str:
    """A command line whose RAM can be read in a file of the stage."""
    backend = f"-object memory-backend-file,id=ram0,size=16M,mem-path={name},share=on"
    return f"-machine none,memory-backend=ram0 -nodefaults -m 16 {backend}"


def capabilities(machine: Machine, *names: str) -> None:
    """Switch capabilities on, in one command."""
    states = [{"capability": name, "state": True} for name in names]
    machine.qmp.execute("migrate-set-capabilities", {"capabilities": states})


def save(machine: Machine, uri: str = "file:vm.state") -> None:
    """Migrate out, with the events capability on, up to the end."""
    machine.qmp.execute("migrate", {"uri": uri})
    settle(machine)


def settle(machine: Machine, status: str = "completed") -> None:
    """Wait for this end of a migration, and for what real QEMU does only a moment after it.

    The event comes before the run state changes, and that before the migration is cleared away.
    """
    machine.qmp.wait("MIGRATION", status=status)
    while machine.qmp.execute("query-status", quietly=True)["status"] == "finish-migrate":
        pass
    machine.qmp.execute("query-status", quietly=True)


def load(machine: Machine, uri: str = "file:vm.state") -> None:
    """Migrate in, with the events capability on, up to the end."""
    machine.qmp.execute("migrate-incoming", {"uri": uri})
    machine.qmp.wait("MIGRATION", status="completed")


def leave(machine: Machine) -> None:
    """Quit, up to the exit code."""
    machine.qmp.execute("quit")
    machine.qmp.end()
    machine.exited()


def typed(stage: Stage, arguments: str, *lines: str) -> None:
    """A person types these lines at the human monitor, and leaves."""
    machine = stage.start(arguments, qmp=False, human="pipe")
    for line in lines:
        machine.human.type(line)
    machine.human.leave()
    machine.exited()


def ask_qtest(stage: Stage, wire: Wire, *lines: str) -> None:
    """Requests of the qtest protocol, one after the other, each with its answer."""
    for line in lines:
        wire.write(f"{line}\n".encode())
        reply = b""
        while not reply.endswith(b"\n"):
            reply += wire.read("an answer")
        stage.note(f"-> {line}")
        stage.note(f"<- {reply.decode().rstrip()}")


def one_page_of_ram(stage: Stage) -> None:
    """A RAM file with one page in use, as a small guest leaves it: then all numbers are equal."""
    with stage.file("ram0").open("wb") as ram:
        ram.truncate(16 << 20)
        ram.write(b"guest")
    stage.exact = True


def ram_full_of_data(stage: Stage) -> None:
    """A RAM file without zero pages, so that there is something to send."""
    with stage.file("ram0").open("wb") as ram:
        ram.write(b"full of data " * (1 << 20))
        ram.truncate(16 << 20)


def qcow2(path: Path, size: int, backing: str = "", form: str = "raw") -> None:
    """An empty image; `form` is what it says of the one that it is based on."""
    extension = bytes(8)
    if backing and form:
        extension = struct.pack(">II8sII", 0xE2792ACA, len(form), form.encode(), 0, 0)
    name_at = 104 + len(extension) if backing else 0
    header = struct.pack(
        ">4sIQIIQIIQQIIQQQQII",
        *(b"QFI\xfb", 3, name_at, len(backing), 16, size, 0, 1, 3 * CLUSTER, CLUSTER),
        *(1, 0, 0, 0, 0, 0, 4, 104),
    )
    image = bytearray(4 * CLUSTER)
    head = header + extension + backing.encode()
    image[: len(head)] = head
    struct.pack_into(">Q", image, CLUSTER, 2 * CLUSTER)
    struct.pack_into(">4H", image, 2 * CLUSTER, 1, 1, 1, 1)
    path.write_bytes(image)


def add_snapshots(path: Path, tags: list[str]) -> None:
    """Give an empty image snapshots, of one day, with 850000 bytes of state each."""
    data = bytearray(path.read_bytes())
    table = bytearray()
    for number, tag in enumerate(tags, 1):
        name, identifier = tag.encode(), str(number).encode()
        clock_ns = 3723004000000
        table += struct.pack(
            ">QIHHIIQII",
            *(3 * CLUSTER, 1, len(identifier), len(name), 1700000000, 0, clock_ns, 0, 16),
        )
        table += struct.pack(">QQ", 850000, MIB) + identifier + name
        table += bytes(-len(table) % 8)
    place = len(data)
    struct.pack_into(">IQ", data, 60, len(tags), place)
    struct.pack_into(">5H", data, 2 * CLUSTER, 1, 1, 1, 1, 1)
    path.write_bytes(data + table + bytes(-len(table) % CLUSTER))


def images(stage: Stage) -> None:
    """A raw image, an empty qcow2 image, and one that is based on the first."""
    with stage.file("a.img").open("wb") as image:
        image.truncate(8 * MIB)
    qcow2(stage.file("b.qcow2"), 16 * MIB)
    qcow2(stage.file("c.qcow2"), 8 * MIB, "a.img")


FEWER_CHOICES = ("dump-guest-memory ", "netdev_add ", "info mtree ", "[,readonly=on|off]")
"""Commands that say what may be chosen, of which vmd has less than QEMU; the last is drive_add's
last row."""


def explained(rows: list[str]) -> list[str]:
    """Of a help screen what stands before each explanation, which is in a program's own words."""
    entries = [row.partition(" -- ")[0] for row in rows if " -- " in row]
    return [
        next((name for name in FEWER_CHOICES if entry.startswith(name)), entry) for entry in entries
    ]
