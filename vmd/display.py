"""The simulated display: a text screen that shows what the guest says on its serial line.

The pictures have the sizes of QEMU's: 640 by 480 until the guest has run, then 720 by 400, which is
the text mode of a VGA with 80 by 25 characters.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from qapi.error import DEVICE_NOT_FOUND, QmpError

if TYPE_CHECKING:
    from vmd.machine import Machine

COLUMNS, ROWS = 80, 25
CELL_WIDTH, CELL_HEIGHT = 9, 16
BLANK_SIZE = (640, 480)
TAB = 8
ADAPTERS = ("VGA", "cirrus-vga", "bochs-display", "virtio-vga", "virtio-gpu-pci")
KEPT = COLUMNS * ROWS * 4
"""Bytes of output that are remembered: more than a screen can show."""

_INK, _PAPER = b"\xaa\xaa\xaa", b"\x00\x00\x00"

# Each character of ASCII from space to tilde as five columns of dots, the lowest bit on top.
_FONT = bytes.fromhex(
    "0000000000 00005f0000 0007000700 147f147f14 242a7f2a12 2313086462 3649552250 0005030000"
    "001c224100 0041221c00 14083e0814 08083e0808 0050300000 0808080808 0060600000 2010080402"
    "3e5149453e 00427f4000 4261514946 2141454b31 1814127f10 2745454539 3c4a494930 0171090503"
    "3649494936 064949291e 0036360000 0056360000 0814224100 1414141414 0041221408 0201510906"
    "324979413e 7e1111117e 7f49494936 3e41414122 7f4141221c 7f49494941 7f09090901 3e4149497a"
    "7f0808087f 00417f4100 2040413f01 7f08142241 7f40404040 7f020c027f 7f0408107f 3e4141413e"
    "7f09090906 3e4151215e 7f09192946 4649494931 01017f0101 3f4040403f 1f2040201f 3f4038403f"
    "6314081463 0708700807 6151494543 007f414100 0204081020 0041417f00 0402010204 4040404040"
    "0001020400 2054545478 7f48444438 3844444420 384444487f 3854545418 087e090102 0c5252523e"
    "7f08040478 00447d4000 2040443d00 7f10284400 00417f4000 7c04180478 7c08040478 3844444438"
    "7c14141408 081414187c 7c08040408 4854545420 043f444020 3c4040207c 1c2040201c 3c4030403c"
    "4428102844 0c5050503c 4464544c44 0008364100 00007f0000 0041360800 0804081008".replace(" ", "")
)


class Picture(NamedTuple):
    """`pixels` holds three bytes for each dot, row by row from the top."""

    width: int
    height: int
    pixels: bytes


class Screen:
    """What was said last."""

    __slots__ = ("_said", "lit")

    def __init__(self) -> None:
        self._said = bytearray()
        self.lit = False  # the guest has run

    def write(self, data: bytes) -> None:
        self._said += data
        if len(self._said) > 2 * KEPT:
            del self._said[:-KEPT]

    def clear(self) -> None:
        """As a reset does."""
        self._said.clear()

    def lines(self) -> list[str]:
        """The text on the screen, without what is blank at the ends."""
        lines = [""]
        for character in self._said.decode("ascii", "replace"):
            if character == "\n":
                lines.append("")
            elif character == "\r":
                pass
            elif character == "\b":
                lines[-1] = lines[-1][:-1]
            elif character == "\t":
                lines[-1] += " " * (TAB - len(lines[-1]) % TAB)
            elif len(lines[-1]) == COLUMNS:
                lines.append(character)
            else:
                lines[-1] += character
        return lines[-ROWS:]

    def picture(self) -> Picture:
        """The screen as a camera sees it."""
        if not self.lit:
            width, height = BLANK_SIZE
            return Picture(width, height, _PAPER * (width * height))
        rows = [line.ljust(COLUMNS)[:COLUMNS] for line in self.lines()]
        rows += [" " * COLUMNS] * (ROWS - len(rows))
        cells = {character: _cell(character) for character in {*"".join(rows)}}
        pixels = b"".join(
            cells[character][y] for row in rows for y in range(CELL_HEIGHT) for character in row
        )
        return Picture(COLUMNS * CELL_WIDTH, ROWS * CELL_HEIGHT, pixels)


def has_display(machine: Machine) -> bool:
    """Whether there is an adapter: the board's own, or one that was plugged in."""
    if any(block.idstr.endswith("vga.vram") for block in machine.ram_blocks):
        return True
    return any(device.type.name in ADAPTERS for device in machine.devices.plugged())


def console_of(machine: Machine, name: str, head: int) -> int:
    """The number of a plugged device's screen, the board's own being the first one.

    QmpError if it has no such screen. All of them show the same.
    """
    device = machine.devices.named.get(name)
    if device is None:
        raise QmpError(f"Device '{name}' not found", DEVICE_NOT_FOUND)
    if device.type.name not in ADAPTERS or head:
        raise QmpError(f"Device {name} (head {head}) is not bound to a QemuConsole")
    plugged = [each for each in machine.devices.users() if each.type.name in ADAPTERS]
    own = sum(each.type.name in ADAPTERS for each in machine.devices.all()) - len(plugged)
    return own + plugged.index(device)


def _cell(character: str) -> list[bytes]:
    """The rows of one character; each row of the font fills two."""
    place = (ord(character) - ord(" ")) * 5
    columns = _FONT[place : place + 5] if " " <= character <= "~" else b"\x7f\x41\x41\x41\x7f"
    blank = _PAPER * CELL_WIDTH
    rows = []
    for y in range(7):
        dots = b"".join(_INK if column >> y & 1 else _PAPER for column in columns)
        rows += [_PAPER * 2 + dots + _PAPER * 2] * 2
    return [blank, *rows, blank]


def ppm(picture: Picture) -> bytes:
    return f"P6\n{picture.width} {picture.height}\n255\n".encode() + picture.pixels


def png(picture: Picture) -> bytes:
    """As RFC 2083 has it: 8 bits a colour, rows unfiltered."""
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)

    step = 3 * picture.width
    rows = (picture.pixels[at : at + step] for at in range(0, len(picture.pixels), step))
    header = struct.pack(">IIBBBBB", picture.width, picture.height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"".join(
        (b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b""))
    )
