"""vmd beside real QEMU, measured in the same run: `python -m tests.bench.bench`.

Runs alternate (vmd, QEMU, vmd, …), the first of each is a warm-up, the table shows medians. Where
QEMU is not installed its columns stay empty.
"""

from __future__ import annotations

import contextlib
import os
import re
import statistics
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tests.bench import human, live, managed
from tests.bench.subject import Session, session, warm_memory
from tests.differential.stage import find_qemu, find_vmd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIB = 1 << 20
NONE = "-machine none -nodefaults"
Q35 = "-machine q35 -nodefaults -accel tcg -m 1G -S"
PRIVATE = "-machine none,memory-backend=ram0 -nodefaults -m 1G -object memory-backend-"
RUNS = 5


class Measure(NamedTuple):
    """One row: what is measured, in which unit, and how far vmd's may be from QEMU's.

    `limit` bounds vmd / QEMU: from above, or (`at_least`) from below; with `absolute` it bounds vmd
    alone. `take` measures one program once and may yield several values, or none where
    the host cannot offer what it needs. `turns` is how often it is asked, after once to warm up
    (none if it is asked only once).
    """

    name: str
    unit: str
    limit: float
    at_least: bool
    aim: str
    take: Callable[[list[str], Path], Iterator[float]]
    absolute: bool = False
    turns: int = RUNS


def start(argv: list[str], _: Path) -> Iterator[float]:
    """From starting the process to its QMP greeting, in ms."""
    with session(argv, NONE) as machine:
        yield machine.greeting_time * 1e3


def round_trip(argv: list[str], _: Path) -> Iterator[float]:
    """query-status and its answer, one after the other, in µs."""
    with session(argv, NONE) as machine:
        took = []
        for _ in range(500):
            began = perf_counter()
            machine.send(b'{"execute": "query-status"}\n')
            machine.read_lines(1)
            took.append(perf_counter() - began)
        yield statistics.median(took) * 1e6


def pipelined(argv: list[str], _: Path) -> Iterator[float]:
    """Commands a second, when all are sent before the first answer is read."""
    count = 3000
    with session(argv, NONE) as machine:
        began = perf_counter()
        machine.send(b'{"execute": "query-status"}\n' * count)
        machine.read_lines(count)
        yield count / (perf_counter() - began)


def schema_query(argv: list[str], _: Path) -> Iterator[float]:
    """query-qmp-schema and its answer, the median of a connection's first five, in ms."""
    with session(argv, NONE) as machine:
        took = []
        for _ in range(5):
            began = perf_counter()
            machine.send(b'{"execute": "query-qmp-schema"}\n')
            machine.read_lines(1)
            took.append(perf_counter() - began)
        yield statistics.median(took) * 1e3


def stop_event(argv: list[str], _: Path) -> Iterator[float]:
    """From sending `stop` to reading its event STOP, in µs."""
    with session(argv, NONE) as machine:
        took = []
        for _ in range(100):
            began = perf_counter()
            machine.send(b'{"execute": "stop"}\n')
            machine.read_lines(1)
            took.append(perf_counter() - began)
            machine.read_lines(1)
            machine.send(b'{"execute": "cont"}\n')
            machine.read_lines(2)
        yield statistics.median(took) * 1e6


def _loaded(argv: list[str], place: Path) -> tuple[Session, float]:
    machine = Session(argv, f"{PRIVATE}ram,id=ram0,size=1G -incoming defer")
    machine.capabilities("events")
    machine.execute("migrate-set-parameters", max_bandwidth=0)
    warm_memory(2 << 30)
    began = perf_counter()
    machine.execute("migrate-incoming", uri=f"file:{place / 'half.state'}")
    machine.until_completed()
    return machine, perf_counter() - began


def load(argv: list[str], place: Path) -> Iterator[float]:
    """migrate-incoming to completed, 1 GiB of which half is random, in ms."""
    machine, took = _loaded(argv, place)
    machine.end()
    yield took * 1e3


def save(argv: list[str], place: Path, *capabilities: str) -> Iterator[float]:
    """migrate to completed, the same gigabyte, into a file that exists, in ms."""
    machine, _ = _loaded(argv, place)
    if capabilities:
        machine.capabilities(*capabilities)
    target = place / "out.state"
    for turn in range(3):
        began = perf_counter()
        machine.execute("migrate", uri=f"file:{target}")
        machine.until_completed()
        took = perf_counter() - began
        machine.rest()
        machine.execute("cont")
        if turn:
            yield took * 1e3
    machine.end()
    target.unlink()


def mapped_ram(argv: list[str], place: Path) -> Iterator[float]:
    """The same with mapped-ram, in MiB of data a second."""
    for took in save(argv, place, "mapped-ram"):
        yield 512 / took * 1e3


def update(argv: list[str], place: Path) -> Iterator[float]:
    """cpr-reboot of 4 GiB of shared RAM: migrate to completed, in ms."""
    ram = place / "shared"
    backend = f"-object memory-backend-file,id=ram0,size=4G,mem-path={ram},share=on"
    arguments = f"-machine none,memory-backend=ram0 -nodefaults -m 4G {backend}"
    with session(argv, arguments) as machine:
        machine.capabilities("events", "x-ignore-shared")
        machine.execute("migrate-set-parameters", mode="cpr-reboot")
        for turn in range(6):
            began = perf_counter()
            machine.execute("migrate", uri=f"file:{place / 'update.state'}")
            machine.until_completed()
            took = perf_counter() - began
            machine.rest()
            machine.execute("cont")
            if turn:
                yield took * 1e3
    ram.unlink()


def memory_of(arguments: str) -> Callable[[list[str], Path], Iterator[float]]:
    """Resident memory once the monitor answers, in MiB."""

    def take(argv: list[str], _: Path) -> Iterator[float]:
        with session(argv, arguments) as machine:
            machine.execute("query-status")
            yield machine.resident() / MIB

    return take


MEASURES = (
    Measure("process start → QMP greeting", "ms", 4, False, "2", start),
    Measure("query-status round trip", "µs", 0.5, False, "", round_trip),
    Measure("pipelined commands", "1/s", 10, True, "", pipelined),
    Measure("query-qmp-schema", "ms", 0.2, False, "", schema_query),
    Measure("from stop to its event", "µs", 0.7, False, "", stop_event),
    Measure("migrate file:, 1 GiB, half random", "ms", 1.3, False, "1", save),
    Measure("incoming of the same", "ms", 1.3, False, "", load),
    Measure("mapped-ram, the same", "MiB/s", 1.2, True, "", mapped_ram),
    Measure("info status at the human monitor", "µs", 1, False, "", human.round_trip),
    Measure("tty: process start → prompt", "ms", 250, False, "", human.first_prompt, absolute=True),
    Measure("resident, -machine none", "MiB", 0.5, False, "", memory_of(NONE)),
    Measure("resident, q35 -m 1G", "MiB", 0.5, False, "", memory_of(Q35)),
    Measure("live update, 4 GiB shared RAM", "ms", 2, False, "", update),
    Measure("precopy over unix, 1 GiB random", "MiB/s", 0.8, True, "1.2", live.precopy),
    Measure("precopy, 64 GiB, 1 % touched", "ms", 0.2, False, "", live.sparse),
    Measure("from STOP here to RESUME there", "ms", 1, False, "", live.downtime),
    Measure("answers during precopy / in peace", "×", 2, False, "", live.answers_meanwhile),
    Measure("virsh start → running", "ms", 1.2, False, "1", managed.start),
    Measure("fifty domains started", "s", 1.2, False, "1", managed.fifty, turns=1),
    Measure("memory of each of fifty", "MiB", 0.45, False, "0.33", managed.memory, turns=1),
)


def half_random(argv: list[str], place: Path) -> None:
    """A state file of 1 GiB: the first half random, the second never touched."""
    ram = place / "half.ram"
    with ram.open("wb") as file:
        for _ in range(512):
            file.write(os.urandom(MIB))
        file.truncate(1 << 30)
    with session(argv, f"{PRIVATE}file,id=ram0,size=1G,mem-path={ram} -S") as machine:
        machine.capabilities("events")
        machine.execute("migrate-set-parameters", max_bandwidth=0)
        machine.execute("migrate", uri=f"file:{place / 'half.state'}")
        machine.until_completed()
        machine.rest()
    ram.unlink()


def measure(
    measures: tuple[Measure, ...], programs: dict[str, list[str]], place: Path
) -> dict[tuple[str, str], float]:
    """(measure, program) → median; programs take turns, the first turn is not counted."""
    medians = {}
    with Progress(transient=True) as progress:
        task = progress.add_task("measuring", total=sum(_rounds(one) for one in measures))
        for one in measures:
            values: dict[str, list[float]] = {name: [] for name in programs}
            for turn in range(_rounds(one)):
                for name, argv in programs.items():
                    try:
                        taken = list(one.take(argv, place))
                    except (OSError, RuntimeError) as error:
                        raise SystemExit(f"{name}: {one.name}: {error!r}") from error
                    values[name] += taken if turn or one.turns == 1 else []
                progress.advance(task)
            for name, found in values.items():
                if found:
                    medians[one.name, name] = statistics.median(found)
    return medians


def _rounds(one: Measure) -> int:
    return one.turns + 1 if one.turns > 1 else 1


def table(
    measures: tuple[Measure, ...], medians: dict[tuple[str, str], float], names: list[str]
) -> Table:
    """The one table."""
    shown = Table(title="vmd beside real QEMU (medians)")
    for heading in ("", "vmd", "QEMU", "unit", "vmd / QEMU", "limit", "aim", ""):
        shown.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for one in measures:
        found = [medians.get((one.name, name)) for name in ("vmd", "qemu")]
        cells = ["–" if value is None else f"{value:,.1f}" for value in found]
        ratio, verdict = "–", ""
        judged = found[0] if one.absolute else None
        if all(names) and found[0] and found[1]:
            quotient = found[0] / found[1]
            ratio = f"{quotient:.2f}"
            judged = judged or quotient
        if judged:
            good = judged >= one.limit if one.at_least else judged <= one.limit
            verdict = "[green]kept[/]" if good else "[red]missed[/]"
        unit = f" {one.unit}" if one.absolute else ""
        limit = f"{'≥' if one.at_least else '≤'} {one.limit:g}{unit}"
        shown.add_row(one.name, *cells, one.unit, ratio, limit, one.aim, verdict)
    return shown


def imports_of_a_start(count: int = 6) -> str:
    """What a starting vmd spends on imports: by whose module it is, and the slowest ones."""
    running = Session([sys.executable, "-X", "importtime", "-m", "vmd"], NONE)
    lines = re.findall(r"import time: +(\d+) \| +\d+ \| +(\S+)", running.end())
    found = sorted(((int(us), name) for us, name in lines), reverse=True)
    shares: dict[str, int] = {}
    for us, name in found:
        root = name.partition(".")[0]
        owner = root if root in ("vmd", "monitor", "qapi", "asyncio") else "the rest"
        shares[owner] = shares.get(owner, 0) + us
    whose = ", ".join(f"{owner} {us / 1e3:.0f}" for owner, us in shares.items())
    slowest = ", ".join(f"{name} {us / 1e3:.1f}" for us, name in found[:count])
    return f"ms on {len(found)} imports (traced, so slower): {whose}\nslowest: {slowest}"


def main(words: list[str]) -> None:
    """Measure what the words select (all without words), and print."""
    console = Console(width=110)
    programs = {"vmd": list(find_vmd().argv)}
    qemu = find_qemu()
    if qemu is None:
        console.print("real QEMU is not installed: vmd is measured alone")
    else:
        programs["qemu"] = list(qemu.argv)
    measures = tuple(one for one in MEASURES if not words or any(w in one.name for w in words))
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as place:
        if any(one.take in (load, save, mapped_ram) for one in measures):
            half_random(programs.get("qemu", programs["vmd"]), Path(place))
        medians = measure(measures, programs, Path(place))
    console.print(table(measures, medians, list(programs)))
    with contextlib.suppress(RuntimeError):
        console.print(imports_of_a_start(), highlight=False)


if __name__ == "__main__":
    main(sys.argv[1:])
