"""The head of an ELF core file of guest memory, as QEMU lays it out. Pure.

The order is: file header, section headers, program headers, notes, memory, section names. Observed
from dump/dump.c and target/i386/arch_dump.c, byte by byte. CPUs are told as they are after a reset:
a simulated guest runs without any.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMES = b"\0.shstrtab\0"
"""The end of the file: the names of its sections."""

_CORE, _EM_386, _PT_NOTE, _PT_LOAD, _SHT_STRTAB = 4, 3, 4, 1, 3
_NT_PRSTATUS = 1
_SIGNATURE = 0x60FB1  # what a reset leaves in EDX of qemu64
_RESET_IP, _RESET_CS, _RESET_FLAGS, _RESET_CR0 = 0xFFF0, 0xF000, 2, 0x60000010


class _Class(NamedTuple):
    """ELF32 or ELF64. Program headers keep their flags at different places."""

    number: int
    header: str
    section: str
    program: str


_ELF32 = _Class(1, "<16sHHIIIIIHHHHHH", "<10I", "<8I")
_ELF64 = _Class(2, "<16sHHIQQQIHHHHHH", "<IIQQQQIIQQ", "<IIQQQQQQ")


def head(pieces: Sequence[tuple[int, int]], cpus: int, end: int) -> bytes:
    """All that comes before memory. `pieces` are (guest address, length) in the order of memory.

    `end` is where guest memory ends, whether that is dumped or not: it decides the class.
    """
    kind = _ELF64 if end >= 1 << 32 else _ELF32
    own = notes(cpus)
    sections = struct.calcsize(kind.header)
    programs = sections + 2 * struct.calcsize(kind.section)
    at = programs + (1 + len(pieces)) * struct.calcsize(kind.program)
    table = [_program(kind, _PT_NOTE, at, 0, len(own))]
    at += len(own)
    for start, length in pieces:
        table.append(_program(kind, _PT_LOAD, at, start, length))
        at += length
    header = struct.pack(
        kind.header,
        b"\x7fELF" + bytes((kind.number, 1, 1)),
        *(_CORE, _EM_386, 1, 0, programs, sections, 0),
        8,  # QEMU gives the size of a pointer to the header
        *(struct.calcsize(kind.program), len(table), struct.calcsize(kind.section), 2, 1),
    )
    names = struct.pack(kind.section, 1, _SHT_STRTAB, 0, 0, at, len(NAMES), 0, 0, 0, 0)
    return b"".join((header, bytes(len(names)), names, *table, own))


def _program(kind: _Class, what: int, offset: int, address: int, size: int) -> bytes:
    place = (offset, address, address, size, size)
    values = (what, *place, 0, 0) if kind is _ELF32 else (what, 0, *place, 0)
    return struct.pack(kind.program, *values)


def notes(cpus: int) -> bytes:
    """What is told of each CPU."""
    statuses = [_note(b"CORE\0", _NT_PRSTATUS, _prstatus(cpu)) for cpu in range(cpus)]
    return b"".join([*statuses, *[_note(b"QEMU\0", 0, _qemu_state())] * cpus])


def _note(name: bytes, kind: int, content: bytes) -> bytes:
    return struct.pack("<III8s", len(name), len(content), kind, name) + content


def _prstatus(cpu: int) -> bytes:
    """Linux' elf_prstatus of a 32-bit process."""
    registers = [0] * 17
    registers[2] = _SIGNATURE
    registers[12:15] = _RESET_IP, _RESET_CS, _RESET_FLAGS
    return struct.pack("<24xI44x17I4x", cpu + 1, *registers)


def _qemu_state() -> bytes:
    """QEMU's own note: general registers, segments, control registers."""
    general = [0] * 16
    general[3] = _SIGNATURE
    code = (_RESET_CS, 0xFFFF, 0x9B00, 0, 0xFFFF0000)
    others = [(0, 0xFFFF, flags, 0, 0) for flags in (*[0x9300] * 5, 0x8200, 0x8B00, 0, 0)]
    segments = b"".join(struct.pack("<IIIIQ", *segment) for segment in (code, *others))
    return (
        struct.pack("<II18Q", 1, 440, *general, _RESET_IP, _RESET_FLAGS)
        + segments
        + struct.pack("<6Q", _RESET_CR0, 0, 0, 0, 0, 0)
    )
