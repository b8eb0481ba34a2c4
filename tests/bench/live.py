"""What live migration costs: from one program to another of the same kind, over a unix socket."""

from __future__ import annotations

import os
import random
import statistics
from time import perf_counter
from typing import TYPE_CHECKING, Any

from tests.bench.subject import Session, warm_memory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1 << 20
GIB = 1 << 30
PRIVATE = "-machine none,memory-backend=ram0 -nodefaults -m {0} -object memory-backend-ram"
SPARSE = 64
SEED = 7


def random_state(argv: list[str], place: Path, name: str, size: int, touched: int) -> Path:
    """A state file of so much RAM, of which so many random MiB are spread over it.

    Made once by whoever is asked first; both programs then load it.
    """
    state = place / f"{name}.state"
    if state.exists():
        return state
    ram = place / f"{name}.ram"
    with ram.open("wb") as file:
        file.truncate(size)
        for slot in random.Random(SEED).sample(range(size // MIB), touched):
            file.seek(slot * MIB)
            file.write(os.urandom(MIB))
    backend = f"-object memory-backend-file,id=ram0,size={size},mem-path={ram},reserve=off"
    arguments = f"-machine none,memory-backend=ram0 -nodefaults -m {size >> 20} {backend} -S"
    machine = Session(argv, arguments)
    machine.capabilities("events")
    machine.execute("migrate-set-parameters", max_bandwidth=0)
    machine.execute("migrate", uri=f"file:{state}")
    machine.until_completed()
    machine.end()
    ram.unlink()
    return state


class Pair:
    """A source that has its RAM and runs, and a destination that listens."""

    def __init__(self, argv: list[str], place: Path, state: Path, size: str) -> None:
        # Without a reservation there may be more of it than the host has.
        backend = f"{PRIVATE.format(size)},id=ram0,size={size},reserve=off -incoming defer"
        self._socket = place / "in"
        self.source, self.target = Session(argv, backend), Session(argv, backend)
        self.source.capabilities("events")
        self.source.execute("migrate-incoming", uri=f"file:{state}")
        self.source.until_completed()
        self.source.execute("cont")
        for machine in (self.source, self.target):
            machine.capabilities("events")
            machine.execute("migrate-set-parameters", max_bandwidth=0)
        warm_memory(2 * GIB)
        self.target.execute("migrate-incoming", uri=f"unix:{self._socket}")

    def start(self) -> None:
        self.source.execute("migrate", uri=f"unix:{self._socket}")

    def seconds(self) -> float:
        """Migrate; the time until both sides say that it is done."""
        began = perf_counter()
        self.start()
        self.source.until_completed()
        self.target.until_completed()
        return perf_counter() - began

    def end(self) -> None:
        for machine in (self.source, self.target):
            machine.rest()
            machine.end()


def precopy(argv: list[str], place: Path) -> Iterator[float]:
    """Throughput of 1 GiB of random RAM, in MiB a second."""
    state = random_state(argv, place, "full", GIB, GIB // MIB)
    pair = Pair(argv, place, state, "1G")
    yield GIB / MIB / pair.seconds()
    pair.end()


def sparse(argv: list[str], place: Path) -> Iterator[float]:
    """The time of 64 GiB of which a hundredth was ever touched, in ms."""
    size = SPARSE * GIB
    state = random_state(argv, place, "sparse", size, size // MIB // 100)
    pair = Pair(argv, place, state, f"{SPARSE}G")
    yield pair.seconds() * 1e3
    pair.end()


def downtime(argv: list[str], place: Path) -> Iterator[float]:
    """From the guest's stop here to its start there, by the events' own stamps, in ms."""
    state = random_state(argv, place, "full", GIB, GIB // MIB)
    pair = Pair(argv, place, state, "1G")
    pair.start()
    stopped = _moment(pair.source.until("STOP"))
    started = _moment(pair.target.until("RESUME"))
    yield (started - stopped) * 1e3
    pair.end()


def _moment(event: dict[str, Any]) -> float:
    stamp = event["timestamp"]
    return float(stamp["seconds"]) + float(stamp["microseconds"]) / 1e6


def answers_meanwhile(argv: list[str], place: Path) -> Iterator[float]:
    """A query-status during a migration, as a multiple of what it takes in peace."""
    state = random_state(argv, place, "full", GIB, GIB // MIB)
    pair = Pair(argv, place, state, "1G")
    idle = statistics.median(_round_trips(pair.source, 300))
    pair.start()
    busy = []
    while not busy or pair.source.execute("query-migrate")["status"] != "completed":
        busy += _round_trips(pair.source, 20)
    yield statistics.median(busy) / idle
    pair.end()


def _round_trips(machine: Session, count: int) -> list[float]:
    took = []
    for _ in range(count):
        began = perf_counter()
        machine.execute("query-status")
        took.append(perf_counter() - began)
    return took
