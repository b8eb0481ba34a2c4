"""Character devices at the human monitor. Observed from chardev/char-hmp-cmds.c."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from monitor.hmp import HmpCommand
from qapi.error import QmpError
from vmd.options import HelpWanted
from vmd.qmp import char

if TYPE_CHECKING:
    from collections.abc import Iterable

    from monitor.hmp import Hmp
    from monitor.server import QmpMonitor
    from vmd.chardev.chardev import Chardev
    from vmd.chardev.options import ChardevOptions
    from vmd.machine import Machine


async def chardev_add(machine: Machine, hmp: Hmp, args: str) -> None:
    options = _options(hmp, args)
    if options is not None and machine.chardevs is not None:
        await machine.chardevs.plug_options(options, hmp.fds)


async def chardev_change(machine: Machine, hmp: Hmp, id: str, args: str) -> None:
    options = _options(hmp, args, id)
    if options is not None:
        # All that it wants of the asking monitor is its descriptors.
        asker = cast("QmpMonitor", hmp)
        await char.chardev_change(machine, asker, id, options.backend)


def _options(hmp: Hmp, args: str, label: str | None = None) -> ChardevOptions | None:
    """What the text asks for, of the device with that label; None after showing what there is."""
    from vmd.chardev.options import CHARDEV, backend_of
    from vmd.options import Options, parse_options

    try:
        parsed = parse_options(args, CHARDEV)
    except HelpWanted:
        from vmd.chardev.options import KINDS

        hmp.print("Available chardev backend types: \n" + "".join(f"  {it}\n" for it in KINDS))
        return None
    except QmpError as error:
        hmp.print(f"{error.desc}\n" + (f"{error.hint}\n" if error.hint else ""))
        raise QmpError("Parsing chardev args failed") from None
    if label is not None:
        parsed = Options(label, parsed.pairs)
    return backend_of(parsed)


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


# What completion offers


def _labels(machine: Machine, prefix: str) -> Iterable[str]:
    return (chardev.label for chardev in _all(machine))


def _rings(machine: Machine, prefix: str) -> Iterable[str]:
    return (chardev.label for chardev in _all(machine) if chardev.kind == "ringbuf")


def _all(machine: Machine) -> Iterable[Chardev]:
    return machine.chardevs.values() if machine.chardevs is not None else ()


def _kinds(machine: Machine, prefix: str) -> Iterable[str]:
    return (str(backend["name"]) for backend in char.query_chardev_backends(machine))


COMMANDS = [
    HmpCommand(
        "chardev-add",
        "args:s",
        "args",
        "make a character device",
        chardev_add,
        complete={1: _kinds},
    ),
    HmpCommand(
        "chardev-change", "id:s,args:s", "id args", "make a character device anew", chardev_change
    ),
    HmpCommand(
        "chardev-remove",
        "id:s",
        "id",
        "take a character device away",
        chardev_remove,
        complete={1: _labels},
    ),
    HmpCommand(
        "chardev-send-break",
        "id:s",
        "id",
        "send a break on a character device",
        chardev_send_break,
        complete={1: _labels},
    ),
    HmpCommand(
        "ringbuf_write",
        "device:s,data:s",
        "device data",
        "write to a ring buffer",
        ringbuf_write,
        complete={1: _rings},
    ),
    HmpCommand(
        "ringbuf_read",
        "device:s,size:i",
        "device size",
        "read from a ring buffer",
        ringbuf_read,
        complete={1: _rings},
    ),
]
