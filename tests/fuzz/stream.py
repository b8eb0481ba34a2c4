"""The incoming stream under coverage-guided fuzzing: `python -m tests.fuzz.stream` (needs atheris).

It begins with real state files and with the streams that real QEMU has judged, and runs for a
minute; more arguments are libFuzzer's, which also watches over time and memory. What it finds stays
in `build/fuzz-stream/`; `python -m tests.fuzz.stream --keep` writes that into the corpus.
"""

from __future__ import annotations

import functools
import json
import lzma
import os
import sys
from collections.abc import Iterator
from hashlib import sha1
from importlib.util import find_spec
from pathlib import Path

CORPUS = Path(__file__).with_name("streams.xz")
FOUND = Path("build/fuzz-stream")
LONGEST = 24 << 10
RAM_SIZE = 4 * 4096
MOST_BLOCK = 1 << 20
FEW_BYTES = 1500


def check(data: bytes) -> None:
    """What holds of any bytes: refused or loaded, and the same however they are split."""
    for carry in (False, True):
        whole = outcome([data], carry=carry)
        if len(data) <= FEW_BYTES:
            assert outcome([data[i : i + 1] for i in range(len(data))], carry=carry) == whole
        pieces = [data[i : i + 997] for i in range(0, len(data), 997)]
        assert outcome(pieces, carry=carry) == whole
    survey_of(data)


def outcome(pieces: list[bytes], *, carry: bool) -> tuple[list[str], str, str]:
    """What a receiver tells of the stream, how it ends, and a digest of its RAM and its bitmaps."""
    from vmd.block.node import Node
    from vmd.ctl.survey import RUN_STATES, identity_of
    from vmd.memory import RamBlock, page_align
    from vmd.migration.dirty_bitmaps_load import BitmapsLoader
    from vmd.migration.ram_load import RamLoader
    from vmd.migration.reader import Device, StreamReader
    from vmd.migration.sections import TIMER, globalstate_section
    from vmd.migration.source import LoadError
    from vmd.migration.stream import Record

    def unknown(name: str, length: int) -> RamBlock | None:
        few = len(ram.blocks) < 8 and length <= MOST_BLOCK
        return RamBlock.anonymous(name, page_align(length)) if carry and few else None

    # The receiver is like the source, but its RAM is not in a file.
    local = identity_of(b"".join(pieces))
    caps = tuple(name for name in local.capabilities if name == "x-ignore-shared")
    local = local._replace(capabilities=caps)
    block = RamBlock.anonymous("ram", RAM_SIZE)
    ram = RamLoader([block], ignore_shared=bool(caps), unknown=unknown)
    devices = [
        Device("timer", 0, TIMER),
        Device("globalstate", 0, globalstate_section(RUN_STATES)),
    ]
    node = Node("null-co", "n", {})
    node.virtual_size = MOST_BLOCK
    bitmaps = BitmapsLoader({"n": node}.get)
    accept = (lambda head: True) if carry else None
    reader = StreamReader(local, ram, devices, accept, spans=True, bitmaps=bitmaps, x_colo=carry)
    records: list[Record] = []
    end = "loaded"
    try:
        for piece in pieces:
            buffer = bytearray(piece)
            records += reader.feed(buffer)
            buffer[:] = bytes(len(buffer))
        records += reader.end()
    except LoadError as error:
        records += reader.told()
        end = f"{error.lines} {error.errno} {reader.place}"
    told = repr([(each.describe(), each.sha256()) for each in node.bitmaps]).encode()
    digest = sha1(b"".join((told, *(bytes(b.view[: b.size]) for b in ram.blocks)))).hexdigest()
    for each in ram.blocks:
        each.close()
    return [repr(record) for record in records], end, digest


def survey_of(data: bytes) -> None:
    """vmdctl makes something of anything, or says why not."""
    from vmd.ctl.files import StateFile, Unreadable
    from vmd.ctl.show import document, explain, fields, report
    from vmd.ctl.survey import survey

    for strict in (False, True):
        fd = os.memfd_create("state")
        try:
            os.write(fd, data)
            file = StateFile(f"/proc/self/fd/{fd}")
            try:
                found = survey(file, strict=strict)
                told = json.loads(json.dumps(document("state", file, found)))
                assert list(report(told))
                assert list(fields(told, "*")) or not told["devices"]
                if found.broken is not None:
                    assert list(explain("state", found.broken))
            finally:
                file.close()
        except Unreadable as refusal:
            assert str(refusal)
        finally:
            os.close(fd)


def small(data: bytes) -> bytes:
    """A stream of a PC with only those devices whose sections are small."""
    from vmd.ctl.files import StateFile
    from vmd.ctl.survey import survey
    from vmd.migration import stream

    fd = os.memfd_create("state")
    os.write(fd, data)
    file = StateFile(f"/proc/self/fd/{fd}")
    found = survey(file)
    file.close()
    os.close(fd)
    document = json.loads(found.description or b"{}")
    kept = [device for device in found.devices if device.length < 320 and not device.early]
    names = {(device.idstr, device.instance_id) for device in kept}
    listed = [d for d in document["devices"] if (d["name"], d["instance_id"]) in names]
    text = json.dumps({**document, "devices": listed}).encode()
    assert found.configuration is not None
    ram = stream.section_header(stream.SECTION_START, 2, "ram", 0, 4)
    pieces = [stream.header(), stream.configuration(found.configuration)]
    pieces += [ram, stream.be64(4), stream.be64(0x10), stream.footer(2)]
    pieces += [stream.section_again(3, 2), stream.be64(0x10), stream.footer(2)]
    pieces += [data[device.offset : device.offset + device.length] for device in kept]
    return b"".join(pieces) + b"\0\6" + stream.be32(len(text)) + text


@functools.cache
def recorded() -> tuple[bytes, ...]:
    """Streams that real QEMU has written or judged."""
    from tests.vmd.bitmap_stream_cases import cases
    from tests.vmd.streams import judged, kept

    names = ("base", "plain", "empty", "ignore-shared")
    made = [bytes.fromhex(line["stream"]) for line in judged() if "stream" in line]
    made += cases().values()
    # Without the inside of a page there is room for more that is odd.
    return (*(kept(name) for name in names), small(kept("q35")), small(kept("devices")), *made)


def corpus() -> list[bytes]:
    """What fuzzing has found beyond them."""
    if not CORPUS.exists():
        return []
    return [bytes.fromhex(line) for line in lzma.decompress(CORPUS.read_bytes()).decode().split()]


def seeds() -> Iterator[bytes]:
    """All that fuzzing begins with."""
    yield from (data for data in (*recorded(), *corpus()) if len(data) <= LONGEST)


def keep() -> None:
    """Take over what the last runs have found."""
    found = {file.read_bytes() for file in FOUND.iterdir()} | set(corpus())
    new = sorted(found - set(recorded()), key=lambda data: (len(data), data))
    CORPUS.write_bytes(lzma.compress("".join(f"{data.hex()}\n" for data in new).encode(), preset=9))


def fuzz(options: list[str]) -> None:
    import atheris

    FOUND.mkdir(parents=True, exist_ok=True)
    for data in seeds():
        (FOUND / sha1(data).hexdigest()).write_bytes(data)
    for name in [name for name in sys.modules if name.startswith("vmd")]:
        del sys.modules[name]  # they are wanted with their instruments
    with atheris.instrument_imports(include=["vmd"]):
        import vmd.ctl.show
        import vmd.ctl.survey  # noqa: F401
    limits = ["-timeout=30", "-rss_limit_mb=1024", f"-max_len={LONGEST}", "-max_total_time=60"]
    fixed = [*limits, "-artifact_prefix=build/", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *fixed, *options, str(FOUND)], lambda data: check(bytes(data)))
    atheris.Fuzz()


def main(words: list[str]) -> None:
    if words == ["--keep"]:
        keep()
    elif find_spec("atheris") is None:
        print("the incoming stream is not fuzzed: atheris is not installed")
    else:
        fuzz(words)


if __name__ == "__main__":
    main(sys.argv[1:])
