"""A program's own page of guest RAM: the signature that says who lives here, and its registers.

A real guest's state is its RAM (and CPU); a simulated one has no CPU, so everything it knows stands
here and travels with RAM. 64-bit little-endian words behind a signature, below the boot block.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE = 4096
_INCREMENT = bytes((byte + 1) % 256 for byte in range(256))

STATE_OFFSET = 0x600
SIGNATURE = b"vmd-guest\x00\x01\x00"
_HEAD = struct.Struct("<12s12s8x")
WORDS = 8
_BODY = struct.Struct(f"<{WORDS}Q")
_LIFE_OFFSET = STATE_OFFSET + _HEAD.size + _BODY.size
LIFE_SIZE = 6 * 8
_BALLOON_OFFSET = _LIFE_OFFSET + LIFE_SIZE
_WISH_OFFSET = _BALLOON_OFFSET + 8
_ASKED_OFFSET = _WISH_OFFSET + 8
_ASKED_SIZE = 8  # of one entry: how long it is, and its bytes
MOST_ASKED = 32
_TRAYS_OFFSET = _ASKED_OFFSET + MOST_ASKED * _ASKED_SIZE
STATE_SIZE = _TRAYS_OFFSET + 8 - STATE_OFFSET


class GuestRam(Protocol):
    """What a program needs of its main RAM block. Offsets and sizes in bytes."""

    size: int
    view: memoryview

    def read(self, offset: int, length: int, /) -> bytes: ...
    def write(self, offset: int, data: bytes, /) -> None: ...
    def mark(self, offset: int, length: int, /) -> None: ...


def resident(ram: GuestRam) -> str | None:
    """The name of the program whose signature stands in RAM, or None."""
    if ram.size < STATE_OFFSET + STATE_SIZE:
        return None
    signature, name = _HEAD.unpack(ram.read(STATE_OFFSET, _HEAD.size))
    if signature != SIGNATURE:
        return None
    return str(name.rstrip(b"\0").decode("ascii", "replace"))


def sign(ram: GuestRam, name: str, words: Sequence[int]) -> None:
    """Take possession of RAM: signature, name and first register values."""
    ram.write(STATE_OFFSET, _HEAD.pack(SIGNATURE, name.encode()))
    store(ram, words)


def load(ram: GuestRam) -> list[int]:
    """The registers."""
    return list(_BODY.unpack(ram.read(STATE_OFFSET + _HEAD.size, _BODY.size)))


def store(ram: GuestRam, words: Sequence[int]) -> None:
    """Write the registers back; missing ones are zero."""
    padded = [word & (1 << 64) - 1 for word in words] + [0] * (WORDS - len(words))
    ram.write(STATE_OFFSET + _HEAD.size, _BODY.pack(*padded))


def load_life(ram: GuestRam) -> bytes:
    """The registers behind those of the program, see life.py; all zero for most guests."""
    return ram.read(_LIFE_OFFSET, LIFE_SIZE)


def store_life(ram: GuestRam, registers: bytes) -> None:
    ram.write(_LIFE_OFFSET, registers)


def load_given_back(ram: GuestRam) -> int:
    """How many bytes of its memory the guest has given back through its balloon."""
    return int.from_bytes(ram.read(_BALLOON_OFFSET, 8), "little")


def store_given_back(ram: GuestRam, count: int) -> None:
    ram.write(_BALLOON_OFFSET, count.to_bytes(8, "little"))


def load_wish(ram: GuestRam) -> int | None:
    """How many bytes it is asked to have given back, and has not yet; None: nobody asks."""
    asked = int.from_bytes(ram.read(_WISH_OFFSET, 8), "little")
    return asked - 1 if asked else None


def store_wish(ram: GuestRam, count: int | None) -> None:
    asked = 0 if count is None else count + 1
    ram.write(_WISH_OFFSET, asked.to_bytes(8, "little"))


def load_asked(ram: GuestRam) -> list[bytes]:
    """The slots that the guest is asked to give up, by names that are the machine's."""
    table = ram.read(_ASKED_OFFSET, MOST_ASKED * _ASKED_SIZE)
    entries = [table[at : at + _ASKED_SIZE] for at in range(0, len(table), _ASKED_SIZE)]
    return [entry[1 : 1 + entry[0]] for entry in entries if entry[0]]


def store_asked(ram: GuestRam, names: Sequence[bytes]) -> None:
    """Of more than there is room for, the rest is forgotten."""
    entries = [bytes([len(name)]) + name for name in names[:MOST_ASKED]]
    table = b"".join(entry.ljust(_ASKED_SIZE, b"\0") for entry in entries)
    ram.write(_ASKED_OFFSET, table.ljust(MOST_ASKED * _ASKED_SIZE, b"\0"))


def load_trays(ram: GuestRam) -> int:
    """Which trays of the machine's drives are open: a bit for each."""
    return int.from_bytes(ram.read(_TRAYS_OFFSET, 8), "little")


def store_trays(ram: GuestRam, bits: int) -> None:
    ram.write(_TRAYS_OFFSET, (bits & (1 << 64) - 1).to_bytes(8, "little"))


def add_one_to_pages(ram: GuestRam, start: int, end: int) -> None:
    """Add 1 (mod 256) to the first byte of each page in [start, end), in one go."""
    if start < end:
        firsts = ram.view[start:end:PAGE]
        firsts[:] = firsts.tobytes().translate(_INCREMENT)
        ram.mark(start, end - start)
