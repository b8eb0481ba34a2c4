"""Streams made by hand, byte by byte: the questions that `record_streams.py` puts to real QEMU.

Nothing of vmd is used here, so that a writer's mistake cannot hide behind a reader's.
"""

from __future__ import annotations

from typing import NamedTuple

PAGE = 4096
RAM_SIZE = 4 * PAGE
DATA = bytes(range(256)) * 16


class Case(NamedTuple):
    """A stream, and the receiver it is sent to: its arguments and its capabilities."""

    stream: bytes
    args: tuple[str, ...] = ()
    caps: tuple[str, ...] = ()


def be(width: int, value: int) -> bytes:
    return value.to_bytes(width, "big")


def cstr(name: str) -> bytes:
    return bytes((len(name),)) + name.encode()


HEADER = b"QEVM" + be(4, 3)
EOS = be(8, 0x10)
EOF = b"\0"
DESCRIBED = b"\0\6" + be(4, 0)


def config(name: bytes = b"none", *subsections: bytes) -> bytes:
    return b"\7" + be(4, len(name)) + name + b"".join(subsections)


def subsection(name: str, payload: bytes = b"", version: int = 1) -> bytes:
    return b"\5" + cstr(name) + be(4, version) + payload


def capabilities(*names: str, count: int | None = None) -> bytes:
    number = be(4, len(names) if count is None else count)
    return subsection("configuration/capabilities", number + b"".join(map(cstr, names)))


def uuid(value: bytes) -> bytes:
    return subsection("configuration/uuid", value)


def footer(section_id: int) -> bytes:
    return b"\x7e" + be(4, section_id)


def section(
    payload: bytes,
    section_id: int = 1,
    idstr: str = "ram",
    instance: int = 0,
    version: int = 4,
    kind: int = 1,
) -> bytes:
    head = bytes((kind,)) + be(4, section_id) + cstr(idstr) + be(4, instance) + be(4, version)
    return head + payload + footer(section_id)


def part(*records: bytes, section_id: int = 1, kind: int = 2) -> bytes:
    return bytes((kind,)) + be(4, section_id) + b"".join(records) + EOS + footer(section_id)


def end(*records: bytes) -> bytes:
    return part(*records, kind=3)


def table(*blocks: tuple[str, int], total: int | None = None, gpa: int | None = None) -> bytes:
    entries = [
        cstr(name) + be(8, size) + (b"" if gpa is None else be(8, gpa)) for name, size in blocks
    ]
    return be(8, sum(b[1] for b in blocks) if total is None else total)[:-1] + (
        b"\4" + b"".join(entries)
    )


def record(address: int, flags: int, block: str | None = None, data: bytes = b"") -> bytes:
    return be(8, address | flags) + (b"" if block is None else cstr(block)) + data


def page(address: int, data: bytes = DATA) -> bytes:
    return record(address, 0x08, "ram", data)


def more(address: int, data: bytes = DATA) -> bytes:
    return record(address, 0x28, None, data)


def xbzrle(delta: bytes, address: int = 0, *, named: bool = True, encoding: int = 1) -> bytes:
    body = bytes((encoding,)) + be(2, len(delta)) + delta
    return record(address, 0x40 if named else 0x60, "ram" if named else None, body)


def command(number: int, payload: bytes = b"") -> bytes:
    return b"\x08" + be(2, number) + be(2, len(payload)) + payload


def globalstate_payload(state: bytes = b"running") -> bytes:
    return be(4, len(state) + 1) + state.ljust(32, b"\0") + b"\1\0" + bytes(66)


def globalstate(
    state: bytes = b"running", more: bytes = b"", version: int = 1, payload: bytes | None = None
) -> bytes:
    data = globalstate_payload(state) if payload is None else payload
    return section(data + more, 3, "globalstate", 0, version, 4)


def timer(
    version: int = 2, more: bytes = b"", section_id: int = 0, instance: int = 0, kind: int = 4
) -> bytes:
    data = be(8, 5) + bytes(8) + be(8, 7)
    return section(data + more, section_id, "timer", instance, version, kind)


TABLE = table(("ram", RAM_SIZE))
START = HEADER + config() + section(TABLE + EOS)
REST = globalstate() + DESCRIBED
WITH_DATA = START + part(page(0))
LOCAL_UUID = "00112233-4455-6677-8899-aabbccddeeff"
LOCAL_UUID_BYTES = bytes.fromhex(LOCAL_UUID.replace("-", ""))
OTHER_UUID = bytes(range(16))


def _outer() -> dict[str, bytes]:
    """Header, order of sections, EOF and description."""
    return {
        "empty": b"",
        "short magic": b"QEV",
        "no header": config(),
        "no configuration": HEADER + section(TABLE + EOS) + REST,
        "minimal": START + end() + globalstate() + EOF,
        "no ram section": HEADER + config() + globalstate() + EOF,
        "only header and eof": HEADER + config() + DESCRIBED,
        "no section after start": START + DESCRIBED,
        "start without end": START + part(page(0)) + DESCRIBED,
        "footer missing": HEADER + config() + section(TABLE + EOS)[:-5] + REST,
        "part before start": HEADER + config() + part() + DESCRIBED,
        **{f"section type {n}": START + bytes((n,)) + REST for n in (5, 6, 7, 9)},
        "description cut": START + globalstate() + b"\0\6" + be(4, 100) + b"abc",
        "description length cut": START + globalstate() + b"\0\6\0\0",
        "description is junk": START + globalstate() + b"\0\6" + be(4, 3) + b"abctrailing",
        "description length huge": START + globalstate() + b"\0\6" + be(4, 0xFFFFFFFF) + b"abc",
        "something else after eof": START + globalstate() + b"\0\7junk",
        "unknown device": START + section(bytes(10), 9, "foo", 0, 1, 4) + REST,
        "unknown instance": START + timer(section_id=9, instance=5) + REST,
        "unknown instance, large": START + timer(section_id=9, instance=0xFFFFFFFE) + REST,
        "slirp without a default nic": START + section(bytes(131), 9, "slirp", 0, 4, 4) + REST,
        "empty name": START + section(bytes(10), 9, "", 0, 1, 4) + REST,
        "longest name": START + section(bytes(10), 9, "x" * 255, 0, 1, 4) + REST,
        "ram has section id 0": HEADER
        + config()
        + section(TABLE + EOS, 0)
        + part(section_id=0)
        + DESCRIBED,
        "ram has a huge section id": HEADER
        + config()
        + section(TABLE + EOS, 0xFFFFFFF0)
        + part(section_id=0xFFFFFFF0)
        + REST,
        "two handlers with one id": START + timer(section_id=1) + part() + DESCRIBED,
        "dirty-bitmap without bitmaps": START + section(b"\1", 2, "dirty-bitmap", 0, 1) + REST,
        "dirty-bitmap with something": START + section(b"\2", 2, "dirty-bitmap", 0, 1) + REST,
        "dirty-bitmap cut": START + section(b"\1", 2, "dirty-bitmap", 0, 1)[:-6],
    }


def _devices() -> dict[str, bytes]:
    """timer and globalstate."""
    states = (b"a" * 32, b"a" * 31, b"", b"running\0junk", b"paused", b"nonsense", b"shutdown")
    payload = globalstate_payload()
    return {
        **{f"run state {state!r}": START + globalstate(state) + DESCRIBED for state in states},
        "run state size wrong": START + globalstate(payload=be(4, 99) + payload[4:]) + DESCRIBED,
        "run state size 0": START + globalstate(payload=be(4, 0) + payload[4:]) + DESCRIBED,
        "was suspended 2": START
        + globalstate(payload=payload[:36] + b"\1\2" + bytes(66))
        + DESCRIBED,
        "globalstate, unknown subsection": START
        + globalstate(more=subsection("globalstate/foo"))
        + DESCRIBED,
        "globalstate, foreign subsection": START
        + globalstate(more=subsection("foo/foo"))
        + DESCRIBED,
        "globalstate version 0": START + globalstate(version=0) + DESCRIBED,
        **{f"timer version {v}": START + timer(v) + REST for v in (0, 1, 3)},
        "timer, unknown subsection": START + timer(more=subsection("timer/foo", bytes(24))) + REST,
        "timer, subsection named like half": START + timer(more=subsection("tim")) + REST,
        "timer, subsection named like it": START + timer(more=subsection("timer")) + REST,
        "timer twice": START + timer() + timer() + REST,
        "timer as start": START + timer(section_id=7, kind=1) + REST,
        "timer negative": START
        + section(be(8, 2**64 - 5) + bytes(8) + be(8, 2**64 - 7), 0, "timer", 0, 2, 4)
        + REST,
    }


def _ram() -> dict[str, bytes]:
    """The ram section: table and records."""

    def tabled(*blocks: tuple[str, int], total: int | None = None) -> bytes:
        return HEADER + config() + section(table(*blocks, total=total) + EOS) + REST

    ram = ("ram", RAM_SIZE)
    flags: tuple[int, ...] = (
        0,
        1,
        0x80,
        0x100,
        0x0A,
        0x12,
        0x18,
        0x30,
        0x20,
        0x400,
        0x800,
        0x200,
        0x220,
    )
    flags += (0x44, 0x202, 0x24, 0x14, 0x0C)
    junk = b"\3ram" + bytes(PAGE)
    return {
        **{f"ram version {v}": START[:30] + be(4, v) + START[34:] + REST for v in (0, 3, 5)},
        "ram started twice": START + section(TABLE + EOS) + part(page(0)) + REST,
        "ram started again with another id": START + section(TABLE + EOS, 5) + part() + REST,
        "ram as full": HEADER + config() + section(TABLE + page(0) + EOS, kind=4) + REST,
        "table in a part": HEADER + config() + section(EOS) + part(TABLE, page(0)) + REST,
        "no table": HEADER + config() + section(EOS) + part(page(0)) + REST,
        "total too big": tabled(ram, total=2 * RAM_SIZE),
        "total too small": tabled(ram, total=RAM_SIZE // 2),
        "total zero with an entry": tabled(ram, total=0),
        "block twice": tabled(ram, ram),
        "block smaller": tabled(("ram", RAM_SIZE // 2)),
        "block empty": tabled(("ram", 0), total=PAGE),
        "unknown block": tabled(("m0", PAGE), ram),
        "unknown block behind": tabled(ram, ("m0", PAGE)),
        "page continues nothing": START + part(more(0)) + DESCRIBED,
        "zero continues nothing": START + part(record(0, 0x22, None, b"\0")) + DESCRIBED,
        "page of an unknown block": START + part(record(0, 8, "foo", DATA)) + DESCRIBED,
        "page behind the end": START + part(page(RAM_SIZE)) + DESCRIBED,
        "page far behind the end": START + part(page(1 << 63)) + DESCRIBED,
        "zero behind the end": START + part(record(RAM_SIZE, 2, "ram", b"\0")) + DESCRIBED,
        "zero that is five": START + part(record(0, 2, "ram", b"\5")) + DESCRIBED,
        "zero over data": WITH_DATA + part(record(0, 0x22, None, b"\0")) + REST,
        "last page wins": WITH_DATA + part(more(0, DATA[::-1])) + REST,
        "continue over sections": WITH_DATA + part(more(PAGE)) + end(more(2 * PAGE)) + REST,
        "zeros in a run, one is not": WITH_DATA
        + part(*(record(i * PAGE, 0x22, None, bytes((i == 2,))) for i in range(4)))
        + REST,
        **{f"flags {f:#x}": WITH_DATA + part(record(0, f), junk) + REST for f in flags},
        "multifd flush": START + part(record(0, 0x200)) + REST,
        "hook": START + part(record(0, 0x80)) + REST,
    }


def _xbzrle() -> dict[str, bytes]:
    def delta(*pieces: bytes) -> bytes:
        return WITH_DATA + part(xbzrle(b"".join(pieces))) + REST

    return {
        "xbzrle": delta(b"\2\x0aABCDEFGHIJ", b"\xc9\x1d\1\7"),
        "xbzrle continue": WITH_DATA + part(xbzrle(b"\2\1A", PAGE, named=False)) + REST,
        "xbzrle nothing": delta(b""),
        "xbzrle encoding 2": WITH_DATA + part(xbzrle(b"\0\1A", encoding=2)) + REST,
        "xbzrle too long": delta(bytes(PAGE + 1)),
        "xbzrle as long as a page": delta(bytes(PAGE)),
        "xbzrle ends with kept bytes": delta(b"\2\1A", b"\3"),
        "xbzrle keeps nothing, later": delta(b"\2\1A", b"\0\1B"),
        "xbzrle changes nothing": delta(b"\2\0", b"\1\1B"),
        "xbzrle behind the end": delta(b"\xff\x1f\2AB"),
        "xbzrle keeps behind the end": delta(b"\xff\x3f\2AB"),
        "xbzrle up to the end": delta(b"\xfe\x1f\2AB"),
        "xbzrle has too few bytes": delta(b"\0\5AB"),
        "xbzrle number too long": delta(b"\x80\x80\1\1A"),
        "xbzrle number cut": delta(b"\0\1A\x80"),
        "xbzrle number longer than needed": delta(b"\x82\0\1A"),
        "xbzrle from the start": delta(b"\0\1A"),
    }


def _commands() -> dict[str, bytes]:
    tried: list[tuple[int, bytes]] = [(n, b"") for n in (*range(13), 99, 0xFFFF)]
    tried += [(1, b"x"), (2, be(4, 7)), (2, bytes(5)), (3, bytes(15)), (3, be(8, PAGE) * 2)]
    tried += [(6, bytes(30)), (7, be(4, 5)), (7, be(4, 0x7FFFFFFF)), (8, b"abc")]
    tried += [(10, b"\3ram"), (11, b"x")]
    return {
        **{
            f"command {number} {payload.hex()}".strip(): START + command(number, payload) + REST
            for number, payload in tried
        },
        "return path, then ping": START + command(1) + command(2, be(4, 1)) + REST,
        "return path twice": START + command(1) + command(1) + REST,
        "switchover twice": START + command(11) + command(11) + REST,
        "command cut": START + b"\x08\0",
        "command cut in its length": START + b"\x08\0\x0b\0",
        "command payload cut": START + b"\x08\0\2\0\4\0",
    }


def _configuration() -> dict[str, bytes]:
    def configured(name: bytes = b"none", *subsections: bytes) -> bytes:
        return HEADER + config(name, *subsections) + section(TABLE + EOS) + REST

    known = capabilities("x-ignore-shared")
    head = HEADER + config()
    return {
        **{
            f"machine {name!r}": configured(name)
            for name in (b"no", b"", b"nonee", b"isapc", b"none\0x", b"n\0ne")
        },
        "no capability listed": configured(b"none", capabilities()),
        "unknown capability": configured(b"none", capabilities("foo")),
        "other capabilities": configured(b"none", capabilities("xbzrle", "multifd")),
        "x-ignore-shared": configured(b"none", known),
        "mapped-ram": configured(b"none", capabilities("mapped-ram")),
        "both capabilities": configured(b"none", capabilities("mapped-ram", "x-ignore-shared")),
        "huge number of capabilities": configured(
            b"none", capabilities("xbzrle", count=0x7FFFFFFF)
        ),
        "capability without a name": configured(b"none", capabilities("")),
        "unknown capability and machine": configured(b"isapc", capabilities("foo")),
        "capability and machine differ": configured(b"isapc", known),
        "capabilities twice": configured(b"none", *[capabilities("xbzrle")] * 2),
        **{
            f"capabilities version {v}": configured(
                b"none", subsection("configuration/capabilities", be(4, 0), v)
            )
            for v in (0, 2)
        },
        "page bits": configured(b"none", subsection("configuration/target-page-bits", be(4, 12))),
        "unknown subsection": configured(b"none", subsection("configuration/foo")),
        "foreign subsection": configured(b"none", subsection("foo/foo")),
        "subsection without own name": configured(b"none", subsection("configuration")),
        "uuid, local has none": configured(b"none", uuid(OTHER_UUID)),
        "uuid cut": head + uuid(OTHER_UUID)[:-5],
        **{f"capabilities cut by {n}": head + known[:-n] for n in (4, 16, 18, 22, 30)},
        "subsection cut in its length": head + b"\5",
    }


def _other_receivers() -> dict[str, Case]:
    """Streams for receivers that have a capability on, or a UUID."""

    def ignoring(gpa: int, *parts: bytes) -> bytes:
        head = HEADER + config(b"none", capabilities("x-ignore-shared"))
        blocks = table(("ram", RAM_SIZE), gpa=gpa)
        return head + section(blocks + EOS) + b"".join(parts) + REST

    def with_uuid(value: bytes, name: bytes = b"none", *subsections: bytes) -> bytes:
        head = HEADER + config(name, *subsections, uuid(value))
        return head + section(TABLE + EOS) + REST

    plain = START + REST
    ignore, both = ("x-ignore-shared",), ("mapped-ram", "x-ignore-shared")
    named, check = ("-uuid", LOCAL_UUID), ("validate-uuid",)
    shared = capabilities("x-ignore-shared")
    return {
        "both ignore shared": Case(ignoring(0), caps=ignore),
        "a page that is ignored": Case(ignoring(0, part(page(0))), caps=ignore),
        "another guest address": Case(ignoring(PAGE), caps=ignore),
        "guest address cut": Case(ignoring(PAGE)[: -len(REST) - 16], caps=ignore),
        "only local ignores shared": Case(plain, caps=ignore),
        "only local maps ram": Case(plain, caps=("mapped-ram",)),
        "only local has both": Case(plain, caps=both),
        "same uuid": Case(with_uuid(LOCAL_UUID_BYTES), named, check),
        "other uuid": Case(with_uuid(OTHER_UUID), named, check),
        "other uuid, not asked for": Case(with_uuid(OTHER_UUID), named),
        "no uuid": Case(plain, named, check),
        "uuid, local has none, but asks": Case(with_uuid(OTHER_UUID), caps=check),
        "other uuid and machine": Case(with_uuid(OTHER_UUID, b"isapc"), named, check),
        "other uuid and capability": Case(with_uuid(OTHER_UUID, b"none", shared), named, check),
    }


def _secondaries() -> dict[str, Case]:
    """Streams for receivers with x-colo, which stand by if a stream asks for it."""
    enable, table = command(8), section(TABLE + EOS)
    head = HEADER + config()
    streams = {
        "secondary": head + enable + table + part(page(0)) + end() + REST,
        "secondary, asked for behind ram": START + part(page(0)) + end() + enable + REST,
        "secondary, asked for twice": head + enable + enable + table + REST,
        "secondary, not asked for": START + part(page(0)) + end() + REST,
        "secondary, with a payload": head + command(8, b"abc") + table + REST,
        "secondary of a refused stream": head + enable + table + b"\x09",
        "secondary, cut": head + enable + table + part(page(0)),
        "secondary, cut in the command": head + enable[:-1],
        "secondary in a package": head + table + command(7, be(4, len(enable) + 1)) + enable + EOF,
        "secondary without a description": head + enable + table + globalstate() + EOF,
        "secondary of a stopped source": head + enable + table + globalstate(b"paused") + DESCRIBED,
    }
    return {name: Case(stream, caps=("x-colo",)) for name, stream in streams.items()}


def made_cases() -> dict[str, Case]:
    """All streams that are made, by a name that says what is special in them."""
    groups = (_outer(), _devices(), _ram(), _xbzrle(), _commands(), _configuration())
    made = {name: Case(stream) for group in groups for name, stream in group.items()}
    return made | _other_receivers() | _secondaries()
