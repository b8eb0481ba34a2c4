"""How a guest's life goes on and ends, beside what its program does: as `-vmd` asks for it.

What is asked for stands in registers behind those of the program, so it travels with RAM. Times
count guest time; they begin with the boot. All zero is a guest that shuts down at once when the
power button is pressed, and does nothing of its own accord.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from qapi.error import QmpError
from vmd.options import parse_number

if TYPE_CHECKING:
    from collections.abc import Mapping

MS = 1_000_000
NEVER = (1 << 64) - 1
OPTIONS: Mapping[str, str] = {
    "powerdown": "milliseconds from the power button to the end, or `ignore` (0)",
    "panic-after": "milliseconds from its boot to a panic, on pc and q35 (never)",
    "reboot-after": "milliseconds from its boot to a reset, on pc and q35 (never)",
    "poweroff-after": "milliseconds from its boot to its own shutdown, on pc and q35 (never)",
}
DEEDS = ("panic", "reboot", "poweroff")
_REGISTERS = struct.Struct("<6Q")


class Life(NamedTuple):
    """The registers, in ns; `booted` is a moment of guest time, `pressed` one more than one,
    or 0 as long as nobody has pressed the power button."""

    powerdown: int = 0
    panic_after: int = 0
    reboot_after: int = 0
    poweroff_after: int = 0
    booted: int = 0
    pressed: int = 0

    def pack(self) -> bytes:
        return _REGISTERS.pack(*(word % (1 << 64) for word in self))

    @property
    def answers_powerdown(self) -> bool:
        return self.powerdown != NEVER

    def next(self) -> tuple[int, str] | None:
        """What comes next, and at which moment of guest time."""
        after = (self.panic_after, self.reboot_after, self.poweroff_after)
        due = [
            (self.booted + delay, deed)
            for delay, deed in zip(after, DEEDS, strict=True)
            if delay not in (0, NEVER)
        ]
        if self.pressed and self.answers_powerdown:
            due.append((self.pressed - 1 + self.powerdown, "poweroff"))
        return min(due, default=None)


def judge(options: Mapping[str, str]) -> Life:
    """What options ask for; QmpError if they make no sense."""
    times = []
    for name in OPTIONS:
        text = options.get(name)
        if name == "powerdown" and text == "ignore":
            times.append(NEVER)
            continue
        number = parse_number(name, text) * MS if text is not None else 0
        if number >= NEVER or (text is not None and not number and name != "powerdown"):
            raise QmpError(f"Parameter '{name}' expects milliseconds")
        times.append(number)
    return Life(*times)


def unpack(registers: bytes) -> Life:
    return Life(*_REGISTERS.unpack(registers))
