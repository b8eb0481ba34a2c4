"""What the tests of state files share: kept files, a reader, a writer for what was read."""

from __future__ import annotations

import functools
import json
import lzma
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.vmd.record_streams import SOURCES
from vmd.memory import RamBlock, page_align
from vmd.migration import stream
from vmd.migration.carry import Head
from vmd.migration.ram import RamSaver
from vmd.migration.ram_load import RamLoader
from vmd.migration.reader import Device, StreamReader
from vmd.migration.sections import (
    GLOBALSTATE,
    TIMER,
    VALIDATED_CAPABILITIES,
    Configuration,
    globalstate_section,
)
from vmd.migration.source import LoadError
from vmd.migration.stream import (
    CarriedSection,
    Configured,
    DeviceLoaded,
    DeviceState,
    Notice,
    Record,
    SectionSeen,
)
from vmd.runstate import RunState

if TYPE_CHECKING:
    from collections.abc import Sequence

KEPT = Path(__file__).with_name("data") / "streams"
STATES = tuple(state.value for state in RunState)
MACHINES = {"q35": "pc-q35-10.0", "devices": "pc-q35-10.0", "virtio-mem": "pc-q35-10.0"}
MOST_RAM = 1 << 30
SPLITS = (1 << 30, 1)


@functools.cache
def kept(name: str) -> bytes:
    """A state file as QEMU wrote it."""
    return lzma.decompress((KEPT / f"{name}.xz").read_bytes())


@functools.cache
def judged() -> list[dict[str, Any]]:
    """What QEMU made of damaged and of made streams; see record_streams."""
    return [json.loads(line) for line in kept("judged.jsonl").splitlines()]


def local_of(name: str) -> Configuration:
    """What a receiver of a kept file must be."""
    caps = tuple(cap for cap in SOURCES[name].caps if cap in VALIDATED_CAPABILITIES)
    uuid = bytes.fromhex("00112233445566778899aabbccddeeff") if caps else None
    return Configuration(MACHINES.get(name, "none"), caps, uuid)


def new_block(name: str, length: int) -> RamBlock | None:
    return RamBlock.anonymous(name, page_align(length)) if length <= MOST_RAM else None


def accept_all(head: Head) -> bool:
    return True


class Read(NamedTuple):
    """A stream that was read to its end."""

    records: list[Record]
    blocks: list[RamBlock]

    def all(self, kind: type[Any]) -> list[Any]:
        return [record for record in self.records if isinstance(record, kind)]

    @property
    def commands(self) -> list[int]:
        return [command.number for command in self.all(stream.Command)]


def read(
    data: bytes,
    local: Configuration,
    blocks: list[RamBlock] | None = None,
    *,
    split: int = 1 << 30,
    cuts: Sequence[int] = (),
    carry: bool = True,
    x_colo: bool = False,
) -> Read:
    """Read a stream in pieces of `split` bytes, or cut at `cuts`, whose buffers are used again.

    With `carry` unknown blocks and devices are kept. A refusal tells what was noticed before it.
    """
    ram = RamLoader(
        blocks or [],
        ignore_shared="x-ignore-shared" in local.capabilities,
        unknown=new_block if carry else None,
    )
    devices = [
        Device("timer", 0, TIMER),
        Device("globalstate", 0, globalstate_section(STATES)),
    ]
    reader = StreamReader(local, ram, devices, accept_all if carry else None, x_colo=x_colo)
    records: list[Record] = []
    at = [0, *cuts, len(data)] if cuts else [*range(0, len(data), split), len(data)]
    try:
        for start, end in pairwise(at):
            piece = bytearray(data[start:end])
            records += reader.feed(piece)
            piece[:] = bytes(len(piece))
        return Read([*records, *reader.end()], ram.blocks)
    except LoadError as error:
        noticed = [one for one in (*records, *reader.told()) if isinstance(one, Notice)]
        error.lines[:0] = [one.line for one in noticed]
        raise


def _device(record: DeviceLoaded) -> DeviceState:
    state = {"timer": TIMER, "globalstate": GLOBALSTATE}[record.idstr]
    payload, description = state.describe(record.values)
    about = {"name": record.idstr, "instance_id": record.instance_id, **description}
    return DeviceState(
        record.section_id, record.idstr, record.instance_id, record.version, payload, about
    )


class Collected(bytearray):
    """A channel that keeps what is written."""

    def write(self, buffers: Sequence[bytes | bytearray | memoryview]) -> int:
        before = len(self)
        for buffer in buffers:
            self += buffer
        return len(self) - before


def rewritten(done: Read, local: Configuration, *, gpa: bool = False) -> bytes:
    """The stream that says what was read, in QEMU's order."""
    ram_id = next(seen.section_id for seen in done.all(SectionSeen) if seen.idstr == "ram")
    saver = RamSaver(done.blocks, ignore_shared=gpa, section_id=ram_id)
    carried = [
        (section.early, DeviceState(*section[:5], section.description or {}))
        for section in done.all(CarriedSection)
    ]
    known = [(False, _device(record)) for record in done.all(DeviceLoaded)]
    # QEMU's order of sections is the order of their descriptions, which ids follow but roughly.
    late = [device for early, device in [*carried, *known] if not early]
    order = {key: i for i, key in enumerate(described(done))}
    late.sort(key=lambda device: order[device.idstr, device.instance_id])
    early_ones = [device for early, device in carried if early]
    pieces = [stream.header(), stream.configuration(local), saver.setup()]
    pieces += [device.encode() for device in early_ones]
    saver.sync()
    while (part := saver.part(1 << 30)) is not None:
        pieces += [bytes(piece) for piece in part]
    end = Collected()
    saver.finish(end)
    pieces += [stream.command(stream.SWITCHOVER_START), bytes(end)]
    pieces += [device.encode() for device in late]
    pieces += [stream.eof(), stream.vmdescription(local, [*early_ones, *late])]
    saver.close()
    return b"".join(pieces)


def described(done: Read) -> list[tuple[str, int]]:
    (ended,) = done.all(stream.Ended)
    devices = json.loads(ended.description)["devices"]
    return [(device["name"], device["instance_id"]) for device in devices]


def configured(done: Read) -> Configuration:
    (record,) = done.all(Configured)
    assert isinstance(record, Configured)
    return record.configuration


def close_all(blocks: list[RamBlock]) -> None:
    for block in blocks:
        block.close()
