"""Character devices at the human monitor. Observed from chardev/char-hmp-cmds.c."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.hmp import HmpCommand
from vmd.qmp import char

if TYPE_CHECKING:
    from monitor.hmp import Hmp
    from vmd.machine import Machine


def chardev_remove(machine: Machine, hmp: Hmp, id: str) -> None:
    char.chardev_remove(machine, id)


def chardev_send_break(machine: Machine, hmp: Hmp, id: str) -> None:
    char.chardev_send_break(machine, id)


def ringbuf_write(machine: Machine, hmp: Hmp, device: str, data: str) -> None:
    char.ringbuf_write(machine, device, data)


def ringbuf_read(machine: Machine, hmp: Hmp, device: str, size: int) -> None:
    """Backslashes are doubled, control characters written as numbers."""
    text = char.ringbuf_read(machine, device, size)
    hmp.print("".join(_shown(character) for character in text) + "\n")


def _shown(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character == "\x7f" or (character < " " and character != "\n"):
        return f"\\u{ord(character):04X}"
    return character


COMMANDS = [
    HmpCommand("chardev-remove", "id:s", "id", "take a character device away", chardev_remove),
    HmpCommand(
        "chardev-send-break", "id:s", "id", "send a break on a character device", chardev_send_break
    ),
    HmpCommand(
        "ringbuf_write", "device:s,data:s", "device data", "write to a ring buffer", ringbuf_write
    ),
    HmpCommand(
        "ringbuf_read", "device:s,size:i", "device size", "read from a ring buffer", ringbuf_read
    ),
]
