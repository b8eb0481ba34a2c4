"""What each request of the qtest protocol does: words in, one line out.

Observed from QEMU 10.0.2 (system/qtest.c), but for the clock: the installed program has no qtest
accelerator, there QEMU's source is what was read. Where QEMU's process does not survive a malformed
request the answer here is `ERR invalid argument`.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, NamedTuple

from vmd.clock import HeldClock
from vmd.devices import ioports

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from vmd.machine import Machine

    # A request that takes long yields, and goes on in the event loop's next turn.
    Steps = Generator[None, None, str]
    Handler = Callable[[Machine, list[str]], str | Steps]

MOST_BYTES = 16 << 20
"""In one read or write; QEMU would try to allocate whatever it is asked for."""

SLICE = 8 << 20  # bytes that are set in one turn of the event loop
TICKS = 64  # of the guest, likewise
LAST_PORT = 0xFFFF
UNITS = {"b": 1, "w": 2, "l": 4, "q": 8}
_NUMBER = re.compile(r"([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/=]")
_MINUS_ONE = 0xF  # the digit that is none, as QEMU reads it


class Refused(Exception):
    """The request gets this answer, and has no effect."""


class Request(NamedTuple):
    """A kind of request: how many words must follow its name, and what it does with them."""

    words: int
    handle: Handler


def answer(machine: Machine, line: str) -> str | Steps:
    """The answer to one line of a client, without its end; or the steps that lead to it."""
    name, *words = line.split(" ")
    request = REQUESTS.get(name)
    if request is None or (name in CLOCK and not isinstance(machine.guest_clock, HeldClock)):
        return f"FAIL Unknown command '{name}'" if line else "ERR invalid argument"
    if len(words) < request.words:
        return "ERR invalid argument"
    try:
        return request.handle(machine, words)
    except Refused as refusal:
        return str(refusal)


def _unsigned(word: str) -> int:
    """A number as C's strtoull reads it: decimal, octal or hex; a negative one wraps."""
    match = _NUMBER.fullmatch(word)
    if match is None:
        raise Refused("ERR invalid argument")
    sign, digits = match.groups()
    octal = digits.startswith("0") and digits[:2].lower() != "0x"
    value = int(digits, 8 if octal else 0)
    if value >> 64:
        raise Refused("ERR invalid argument")
    return -value % (1 << 64) if sign == "-" else value


def _signed(word: str) -> int:
    """A number of 64 bits with its sign."""
    value = _unsigned(word)
    value = value - (1 << 64) if word.startswith("-") and value else value
    if not -(1 << 63) <= value < 1 << 63:
        raise Refused("ERR invalid argument")
    return value


def _length(word: str) -> int:
    """How many bytes to read or write."""
    size = _unsigned(word)
    if size > MOST_BYTES:
        raise Refused("ERR invalid argument size")
    return size


# Memory


def _read_number(size: int) -> Handler:
    def handle(machine: Machine, words: list[str]) -> str:
        data = machine.memory.read(_unsigned(words[0]), size)
        return f"OK 0x{int.from_bytes(data, 'little'):016x}"

    return handle


def _write_number(size: int) -> Handler:
    def handle(machine: Machine, words: list[str]) -> str:
        address, value = _unsigned(words[0]), _unsigned(words[1])
        machine.memory.write(address, (value % (1 << 8 * size)).to_bytes(size, "little"))
        return "OK"

    return handle


def _read(machine: Machine, words: list[str]) -> str:
    address, size = _unsigned(words[0]), _length(words[1])
    if not size:
        raise Refused("ERR invalid argument size")
    return f"OK 0x{machine.memory.read(address, size).hex()}"


def _write(machine: Machine, words: list[str]) -> str:
    """Hex digits behind two characters that are not looked at; what is short is filled with 0."""
    address, size, text = _unsigned(words[0]), _length(words[1]), words[2]
    if len(text) < 3:
        raise Refused("ERR invalid argument size")
    machine.memory.write(address, _from_hex(text[2:], size).ljust(size, b"\0"))
    return "OK"


def _from_hex(digits: str, most: int) -> bytes:
    """At most so many bytes; a last digit without its pair is not one."""
    digits = digits[: min(most, len(digits) // 2) * 2]
    try:
        return bytes.fromhex(digits)
    except ValueError:
        pairs = zip(digits[::2], digits[1::2], strict=True)
        # A digit that is none counts as -1: it sets all bits of the byte above its own, too.
        return bytes(_digit(high) << 4 & 0xF0 | _low(low) for high, low in pairs)


def _digit(char: str) -> int:
    return int(char, 16) if char in "0123456789abcdefABCDEF" else _MINUS_ONE


def _low(char: str) -> int:
    return _digit(char) if char in "0123456789abcdefABCDEF" else 0xFF


def _b64read(machine: Machine, words: list[str]) -> str:
    data = machine.memory.read(_unsigned(words[0]), _length(words[1]))
    return f"OK {base64.b64encode(data).decode()}"


def _b64write(machine: Machine, words: list[str]) -> str:
    """Decoded in place: where the text tells less than was said, what it was written over shows."""
    address, size, text = _unsigned(words[0]), _length(words[1]), words[2]
    if len(text) < 3:
        raise Refused("ERR invalid argument size")
    letters = _NOT_BASE64.sub("", text)
    data = base64.b64decode(letters[: len(letters) // 4 * 4])
    data += text.encode("latin-1", "replace")[len(data) :]
    machine.memory.write(address, data[:size].ljust(size, b"\0"))
    return "OK"


def _memset(machine: Machine, words: list[str]) -> Steps:
    address, size, byte = _unsigned(words[0]), _unsigned(words[1]), _unsigned(words[2]) % 256
    end = min(address + size, max((r.start + r.length for r in machine.memory.ranges), default=0))
    return _fill(machine, address, end, byte)


def _fill(machine: Machine, address: int, end: int, byte: int) -> Steps:
    while address < end:
        count = min(SLICE, end - address)
        machine.memory.fill(address, count, byte)
        address += count
        if address < end:
            yield
    return "OK"


# Ports: the few that devices of ours have (vmd/devices/ioports.py); the others are nobody's


def _in(size: int) -> Handler:
    def handle(machine: Machine, words: list[str]) -> str:
        port = _port(words[0])
        value = ioports.read(machine, port, min(size, LAST_PORT + 1 - port))
        return f"OK 0x{value:04x}"

    return handle


def _write_port(size: int) -> Handler:
    def handle(machine: Machine, words: list[str]) -> str:
        port, value = _port(words[0]), _unsigned(words[1])
        ioports.write(machine, port, size, value % (1 << 8 * size))
        return "OK"

    return handle


def _port(word: str) -> int:
    port = _unsigned(word)
    if port > LAST_PORT:
        raise Refused("ERR invalid argument")
    return port


# Interrupt lines: there are none


def _intercept(machine: Machine, words: list[str]) -> str:
    if _is_device(machine, words[0]):
        return "FAIL No intercepts installed"
    return "FAIL Unknown device"


def _set_irq(machine: Machine, words: list[str]) -> str:
    return "FAIL Unknown device"


def _is_device(machine: Machine, path: str) -> bool:
    from vmd.devices import composition, qom, types

    try:
        found = qom.resolve(composition.compose(machine), path)
    except qom.Ambiguous:
        return False
    return found is not None and types.is_a(found.type, "device")


# Time


def _clock_step(machine: Machine, words: list[str]) -> Steps | str:
    clock = machine.guest_clock
    assert isinstance(clock, HeldClock)
    now = clock.now_ns()
    if words:
        target = now + _signed(words[0])
    else:
        due = clock.next_ns()
        if due is None:
            return (
                "FAIL cannot advance clock to the next deadline because there is no pending"
                " deadline"
            )
        target = due
    if target <= now:
        return "FAIL could not advance time"
    return _approach(clock, target)


def _clock_set(machine: Machine, words: list[str]) -> Steps | str:
    clock = machine.guest_clock
    assert isinstance(clock, HeldClock)
    target, now = _signed(words[0]), clock.now_ns()
    if target < now:
        return f"FAIL {now}"
    return _approach(clock, target)


def _approach(clock: HeldClock, target: int) -> Steps:
    while not clock.approach(target, TICKS):
        yield
    return f"OK {clock.now_ns()}"


def _endianness(machine: Machine, words: list[str]) -> str:
    return "OK little"


def _module_load(machine: Machine, words: list[str]) -> str:
    return "FAIL"  # there are no modules


CLOCK = ("clock_step", "clock_set")
"""Only where the guest's time is in the test's hand: with -accel qtest."""

REQUESTS: dict[str, Request] = {
    "endianness": Request(0, _endianness),
    **{f"read{unit}": Request(1, _read_number(size)) for unit, size in UNITS.items()},
    **{f"write{unit}": Request(2, _write_number(size)) for unit, size in UNITS.items()},
    "read": Request(2, _read),
    "write": Request(3, _write),
    "b64read": Request(2, _b64read),
    "b64write": Request(3, _b64write),
    "memset": Request(3, _memset),
    **{f"in{unit}": Request(1, _in(UNITS[unit])) for unit in "bwl"},
    **{f"out{unit}": Request(2, _write_port(UNITS[unit])) for unit in "bwl"},
    "irq_intercept_in": Request(1, _intercept),
    "irq_intercept_out": Request(1, _intercept),
    "set_irq_in": Request(4, _set_irq),
    "module_load": Request(2, _module_load),
    "clock_step": Request(0, _clock_step),
    "clock_set": Request(1, _clock_set),
}
