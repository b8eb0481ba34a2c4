"""A boot sector that behaves like the guest of QEMU's migration tests (the "a-b" guest).

It says `A`, clears the first byte of each page in a range, then for ever adds one to each of them,
page after page, and says `B` after every 64 sweeps. The suspending variant suspends (ACPI S3) once,
after its first `B`; woken, the firmware starts it again with RAM kept.
"""

from __future__ import annotations

FIRST = 0x100000
SUSPEND_FLAG = 0x7CBE  # in the sector itself, which is loaded at 0x7C00
SUSPENDED_MARK = FIRST + 4
PAGE = 4096
DEFAULT_END = 0x400000  # a small range keeps state files small


def ab_sector(*, suspend: bool = False, end: int = DEFAULT_END) -> bytes:
    """512 bytes to boot from; pages from FIRST up to `end` are written."""
    first, beyond, page = (number.to_bytes(4, "little").hex() for number in (FIRST, end, PAGE))
    mark = SUSPENDED_MARK.to_bytes(4, "little").hex()
    flag = SUSPEND_FLAG.to_bytes(4, "little").hex()
    code = (
        "fa"  # 7c00 cli                       real mode
        "31c0 8ed8"  #  ds = 0
        "b041 baf803 ee"  # out 'A' to the serial port
        "e492 0c02 e692"  # open the A20 gate
        "660f0116a87c"  # lgdt [0x7ca8]
        "0f20c0 0c01 0f22c0"  # protected mode on
        "ea247c0800"  # jump to 0x7c24, segment 8
        "66b81000 8ed8"  # 7c24 ds = 0x10      protected mode
        f"bb{first}"  # ebx = first page
        "c60300"  # 7c2f [ebx] = 0             clear
        f"81c3{page} 81fb{beyond} 72ef"  # next page, until the end
        "b940000000"  # 7c40 ecx = 64 sweeps
        f"bb{first}"  # 7c45 ebx = first page
        "fe03"  # 7c4a add one to [ebx]        sweep
        f"81c3{page} 81fb{beyond} 72f0"  # next page, until the end
        "49 75e8"  # next sweep
        "b042 66baf803 ee"  # out 'B'
        f"803d{flag}01 75d3"  # unless it should suspend: 7c40
        f"833d{mark}01 74ca"  # if it has suspended before: 7c40
        f"c705{mark}01000000"  # remember that it has
        "b0f1 e6b2"  # ACPI on
        "66b80124 66ba0406 66ef"  # suspend to RAM
        "ebb0"  # 7c40
        "0000000000000000"  # 7c90 segments: none,
        "ffff0000009acf00"  # code, the whole of memory,
        "ffff00000092cf00"  # data, the same
        "1700907c0000"  # 7ca8 where they stand: 0x18 bytes at 0x7c90
    )
    sector = bytearray(512)
    program = bytes.fromhex(code)
    sector[: len(program)] = program
    sector[SUSPEND_FLAG - 0x7C00] = suspend
    sector[510:] = b"\x55\xaa"
    return bytes(sector)
