"""Sections of dirty bitmaps made by hand, byte by byte, and the judge who is asked about them.

Run by hand (`python -m tests.vmd.bitmap_stream_cases`, some minutes) where real QEMU is installed;
the tests only read what is kept in `data/streams/bitmaps.jsonl.xz`: one line a stream, with its hex
and what a machine made of it that has a node `n` of 1 MiB with a bitmap `own`. Status "crash": QEMU
did not survive it.

Nothing of vmd's own format is used here, so that a writer's mistake cannot hide behind a reader's.
"""

from __future__ import annotations

import contextlib
import json
import lzma
import os
import tempfile
from pathlib import Path
from typing import Any

from tests.vmd.stream_cases import (
    DESCRIBED,
    HEADER,
    START,
    be,
    command,
    config,
    cstr,
    footer,
    globalstate,
    section,
)

KEPT = Path(__file__).with_name("data") / "streams" / "bitmaps.jsonl.xz"
SIZE = 1 << 20
SECTORS = SIZE // 512

EOS, ZEROES, BITMAP, NODE, NEW, DONE, BITS, MORE = (1 << n for n in range(8))
BOTH = NODE | BITMAP
NAMES = cstr("n") + cstr("b")
WORD = bytes((0x34, 0x12, 0, 0, 0, 0, 0, 0))


def chunk(flags: int, *rest: bytes) -> bytes:
    return bytes((flags,)) + b"".join(rest)


def new(name: str = "b", kind: int = 1, granularity: int = 65536, node: str = "n") -> bytes:
    return chunk(BOTH | NEW, cstr(node), cstr(name), be(4, granularity), bytes((kind,)))


def bits(
    data: bytes = WORD.ljust(32, b"\0"),
    first: int = 0,
    count: int = SECTORS,
    name: str = "b",
    length: int | None = None,
) -> bytes:
    size = len(data) if length is None else length
    head = chunk(BOTH | BITS, cstr("n"), cstr(name))
    return head + be(8, first) + be(4, count) + be(8, size) + data


def zeroes(first: int = 0, count: int = SECTORS) -> bytes:
    return chunk(BOTH | BITS | ZEROES, NAMES) + be(8, first) + be(4, count)


def done(name: str = "b") -> bytes:
    return chunk(BOTH | DONE, cstr("n"), cstr(name))


def whole(*chunks: bytes, version: int = 1) -> bytes:
    """A stream with all chunks in the first section."""
    made = section(b"".join(chunks) + b"\1", 2, "dirty-bitmap", 0, version)
    return START + made + globalstate() + DESCRIBED


def advised(*commands: bytes) -> bytes:
    """A stream with commands in front of its sections, and one sound bitmap."""
    sections = whole(new(), bits(), done()).removeprefix(HEADER + config())
    return HEADER + config() + b"".join(commands) + sections


def in_two(start: bytes, end: bytes) -> bytes:
    """A stream as QEMU sends it: what is new first, the bits last."""
    first = section(start + b"\1", 2, "dirty-bitmap", 0, 1)
    last = b"\3" + be(4, 2) + end + b"\1" + footer(2)
    return START + first + last + globalstate() + DESCRIBED


SOUND = in_two(new() + new("c", 0, 512), bits() + bits(bytes(range(256)), name="c") + done())
"""One bitmap that arrives, and one that is never whole."""


def cases() -> dict[str, bytes]:
    """All streams, by a name that says what is special in them."""
    made = {
        "sound": SOUND,
        "whole at once": whole(new(), bits(), done()),
        "disabled": whole(new(kind=0), bits(), done()),
        "of an old QEMU, with autoload": whole(new(kind=5), done()),
        "never whole": whole(new(), bits()),
        "whole twice": whole(new(), done(), done()),
        "bits behind the end of it": whole(new(), done(), bits()),
        "new twice": whole(new(), new()),
        "new, but it is there": whole(new("own")),
        "new, but for its name": whole(chunk(NODE | NEW, cstr("n"), be(4, 65536), b"\1")),
        "new after a new one without its name": whole(new(), chunk(NEW, be(4, 65536), b"\1")),
        "unknown kind": whole(new(kind=8)),
        "unknown kind, all": whole(new(kind=0xF9)),
        "of a node that is not there": whole(new(node="m"), bits(), done()),
        "of a node that is not there, and broken later": whole(new(node="m"), chunk(BOTH, b"\0")),
        "of a node, then of one that is not there": whole(new(), bits(), new("c", node="m")),
        "whole, then one of a node that is not there": whole(new(), done(), new("c", node="m")),
        "bits of one that is not there": whole(bits()),
        "bits of nobody": whole(chunk(BITS, be(8, 0), be(4, 0), be(8, 0))),
        "bits of a node only": whole(chunk(NODE | BITS, cstr("n"), be(8, 0), be(4, 0), be(8, 0))),
        "bits of the one before": whole(
            new(), chunk(BITS, be(8, 0), be(4, SECTORS), be(8, 32), WORD, bytes(24)), done()
        ),
        "end of nobody": whole(chunk(DONE)),
        "end of one that is not there": whole(done()),
        "bits of one that was there before": whole(bits(name="own")),
        "end of one that was there before": whole(done("own")),
        "zeroes": whole(new(), bits(), zeroes(), done()),
        "zeroes of no sectors": whole(new(), bits(), zeroes(0, 0), done()),
        "zeroes far away": whole(new(), zeroes(1 << 40), done()),
        "zeroes beyond the end": whole(new(), zeroes(0, 2 * SECTORS), done()),
        "no names, no kind, and no end": whole(chunk(ZEROES)),
        "names only": whole(chunk(BOTH, NAMES)),
        "names only, of one that is there": whole(chunk(BOTH, cstr("n"), cstr("own"))),
        "empty node name": whole(chunk(NODE, cstr(""))),
        "empty bitmap name": whole(chunk(BOTH, cstr("n"), cstr(""))),
        "flags in two bytes": whole(chunk(MORE, bytes((BOTH | NEW,)), NAMES, be(4, 65536), b"\1")),
        "flags in four bytes": whole(chunk(MORE, b"\x80\0\1")),
        "flags in four bytes, more": whole(
            chunk(MORE, b"\x80\0", bytes((BOTH | NEW,)), NAMES, be(4, 65536), b"\1")
        ),
        "too little data": whole(new(granularity=512), bits(bytes(224)), done()),
        "too little data for a word": whole(new(), bits(b""), done()),
        "exactly the words": whole(new(), bits(WORD), done()),
        "as much as is rounded up to": whole(new(), bits(WORD.ljust(32, b"\xff")), done()),
        "more than is rounded up to": whole(new(), bits(WORD.ljust(33, b"\0")), done()),
        "a large buffer": whole(new(), bits(bytes(10240)), done()),
        "a buffer that is too large": whole(new(), bits(bytes(10241)), done()),
        "a huge buffer": whole(new(), bits(b"", length=1 << 63), done()),
        "a huge buffer, of nobody": whole(bits(b"", length=1 << 40)),
        "a wrong buffer of nobody": whole(bits(bytes(10000))),
        "bits beyond the last one": whole(new(), bits(b"\xff" * 32), done()),
        "no sectors": whole(new(), bits(b"", count=0), done()),
        "a piece in the middle": whole(new(granularity=512), bits(b"\xff" * 32, 1024, 256), done()),
        "a piece that ends in a word": whole(new(granularity=512), bits(bytes(8), 0, 50), done()),
        "a piece that begins in a word": whole(new(granularity=512), bits(bytes(8), 5, 64), done()),
        "a name as long as can be": whole(new("x" * 255), done("x" * 255)),
        "a NUL in a name": whole(new("x\0y"), done("x")),
        "a name that is no UTF-8": whole(
            chunk(BOTH | NEW, cstr("n"), b"\1\xff", be(4, 65536), b"\1")
        ),
        "an older version": whole(new(), version=0),
        "a newer version": whole(new(), version=2),
        "no section at all": HEADER + config(),
        "advice": advised(command(3)),
        "advice twice": advised(command(3), command(3)),
        "advice of RAM": advised(command(3, bytes(16))),
        "advice of RAM behind the other": advised(command(3), command(3, bytes(16))),
        "advice of a wrong length": advised(command(3), command(3, bytes(1))),
        "running without listening": advised(command(3), command(5)),
    }
    for granularity in (0, 1, 256, 511, 512, 513, 3 << 9, 1 << 31, 0xFFFFFFFF):
        made[f"granularity {granularity}"] = whole(new(granularity=granularity), done())
    return made


def damaged() -> dict[str, bytes]:
    """The sound stream with a byte changed, or cut, inside its sections of bitmaps."""
    made = {}
    start = SOUND.index(b"\1" + be(4, 2))
    end = SOUND.rindex(footer(2)) + 5
    page = SOUND.index(bytes(range(256)))
    for at in [at for at in range(start, end) if not page + 2 <= at < page + 253]:
        made[f"cut at {at}"] = SOUND[:at]
        for mask in (1, 0x10, 0x80, 0xFF):
            made[f"byte {at} by {mask:#x}"] = (
                SOUND[:at] + bytes((SOUND[at] ^ mask,)) + SOUND[at + 1 :]
            )
    return made


def seen(nodes: list[dict[str, Any]]) -> list[object]:
    """What is told of the bitmaps of the node `n`."""
    (told,) = (node.get("dirty-bitmaps", []) for node in nodes if node["node-name"] == "n")
    return [
        [
            *(each.get("name"), each["count"], each["granularity"]),
            *sorted(name for name, value in each.items() if value is True),
        ]
        for each in told
    ]


def judge(stream: bytes, directory: str) -> dict[str, Any]:
    """What real QEMU makes of a stream."""
    from tests.vmd.record_streams import Qemu

    state = Path(directory, "state")
    state.write_bytes(stream)
    machine = "-machine none,memory-backend=ram -nodefaults -S -incoming defer"
    backend = "-object memory-backend-ram,id=ram,size=16384"
    node = f"-blockdev null-co,node-name=n,size={SIZE}"
    qemu = Qemu([*machine.split(), *backend.split(), *node.split()])
    answer: dict[str, Any] = {"status": "crash"}
    with contextlib.suppress(EOFError, BrokenPipeError):
        qemu.execute("block-dirty-bitmap-add", node="n", name="own")
        qemu.execute("migrate-incoming", uri=f"file:{state}", **{"exit-on-error": False})
        info = qemu.outcome()
        answer = {"status": info["status"], "error": info.get("error-desc")}
        answer["bitmaps"] = seen(qemu.execute("query-named-block-nodes"))
    lines = qemu.end()
    return answer | ({"lines": lines} if answer["status"] != "crash" else {})


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o700)
        told = [
            {"name": name, "stream": stream.hex(), **judge(stream, directory)}
            for name, stream in {**cases(), **damaged()}.items()
        ]
    lines = "".join(json.dumps(line) + "\n" for line in told)
    KEPT.write_bytes(lzma.compress(lines.encode(), preset=9))


if __name__ == "__main__":
    main()
