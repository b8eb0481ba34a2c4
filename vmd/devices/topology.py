"""How a machine's CPUs are nested, and which place each of them has."""

from __future__ import annotations

from typing import NamedTuple


class Topology(NamedTuple):
    """How many CPUs, and how they are nested. Levels the machine does not have are 1."""

    cpus: int = 1
    maxcpus: int = 1
    drawers: int = 1
    books: int = 1
    sockets: int = 1
    dies: int = 1
    clusters: int = 1
    modules: int = 1
    cores: int = 1
    threads: int = 1

    def place(self, index: int) -> dict[str, int]:
        """Socket, die, module, core and thread of a CPU, by its index; all of them."""
        rest, thread = divmod(index, self.threads)
        rest, core = divmod(rest, self.cores)
        rest, module = divmod(rest, self.modules)
        socket, die = divmod(rest, self.dies)
        return {
            "socket-id": socket,
            "die-id": die,
            "module-id": module,
            "core-id": core,
            "thread-id": thread,
        }

    def told(self, index: int) -> dict[str, int]:
        """The place as queries tell it: without the levels that the machine does not have.

        Observed from hw/i386/x86-common.c.
        """
        place = self.place(index)
        if self.dies == 1:
            del place["die-id"]
        if self.modules == 1:
            del place["module-id"]
        return place

    def apic_id(self, index: int) -> int:
        """The id of a CPU's interrupt controller: its place, each level in bits of its own."""
        place = self.place(index)
        number = place["socket-id"]
        for level, size in (
            ("die-id", self.dies),
            ("module-id", self.modules),
            ("core-id", self.cores),
            ("thread-id", self.threads),
        ):
            number = number << (size - 1).bit_length() | place[level]
        return number

    @property
    def threads_per_socket(self) -> int:
        return self.dies * self.modules * self.cores * self.threads
