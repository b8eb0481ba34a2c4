"""The head of a core file, against ELF itself; tests/differential holds it against QEMU's."""

import struct

from vmd.corefile import NAMES, head

GIB = 1 << 30


def test_memory_follows_the_head_where_the_program_headers_say() -> None:
    pieces = [(0, 0x1000), (0x2000, 0x3000), (4 * GIB, 0x1000)]
    core = head(pieces, cpus=2, end=5 * GIB)
    table, size, count = struct.unpack_from("<32xQ14xHH", core)[0:3]
    entries = [struct.unpack_from("<IIQQQQ", core, table + size * n) for n in range(count)]
    notes, loads = entries[0], entries[1:]
    assert notes[0] == 4
    assert notes[2] + notes[5] == loads[0][2] == len(core)
    assert [entry[4:] for entry in loads] == pieces
    assert [entry[2] - len(core) for entry in loads] == [0, 0x1000, 0x4000]


def test_the_names_of_sections_are_behind_memory() -> None:
    core = head([(0, 0x1000)], cpus=1, end=4 * GIB)
    kind, offset, size = struct.unpack_from("<4xI16xQQ", core, 128)
    assert (kind, offset, size) == (3, len(core) + 0x1000, len(NAMES))


def test_each_cpu_has_two_notes() -> None:
    pieces = [(0, 0x1000)]
    sizes = [len(head(pieces, cpus=n, end=4 * GIB)) for n in range(3)]
    assert sizes[2] - sizes[1] == sizes[1] - sizes[0] == 164 + 460


def test_memory_below_4_gib_is_told_in_elf32() -> None:
    assert head([(0, 1)], cpus=0, end=4 * GIB - 1)[4] == 1
    assert head([(0, 1)], cpus=0, end=4 * GIB)[4] == 2
