"""Arguments of a human monitor command: a line against the letters of the command's table entry.

`args_type` is QEMU's notation: `NAME:LETTER` separated by commas, a `?` behind the letter making it
optional. The letters are those of PARSERS. Observed from monitor/hmp.c of QEMU 10.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monitor.expression import Expression
from monitor.option_list import OptionError, parse_option_list
from monitor.registry import as_keyword
from monitor.scanner import ArgumentError, Scanner, WordError, from_bytewise
from qapi.size import scan_size

if TYPE_CHECKING:
    from collections.abc import Callable, Container

INT64_MAX = (1 << 63) - 1
MIB = 1 << 20
# The name that a bare first value of an option list has.
IMPLIED = {"device": "driver", "netdev": "type"}
GRAPHIC = frozenset(map(chr, range(0x21, 0x7F)))
UNIT_SIZES = {"b": 1, "h": 2, "w": 4, "g": 8, "L": 8}
SIZE_OF_INSTRUCTION = -1


class Format(NamedTuple):
    """A /fmt: the number of items, in which notation (one of x d u o c i), of how many bytes each.

    The size is -1 for instructions without a given one.
    """

    number: int
    notation: str
    size: int


class Parameter(NamedTuple):
    """One entry of an args_type."""

    keyword: str  # the handler's name for it
    name: str
    letter: str
    modifier: str  # "?" or "." or ""; of a flag, "s" if it takes a word
    flag: str  # of a flag, its letter
    later: str  # all of the args_type that stands behind


def parse_args_type(args_type: str) -> tuple[Parameter, ...]:
    """The entries of an args_type; ValueError for a letter that does not exist."""
    parameters = []
    rest = args_type
    while rest:
        name, _, rest = rest.partition(":")
        letter, rest = rest[:1], rest[1:]
        if letter not in PARSERS:
            raise ValueError(f"no argument type {letter!r} in {args_type!r}")
        flag = ""
        if letter == "-":
            flag, rest = rest[:1], rest[1:]
        later = rest
        modifier, _, rest = rest.partition(",")
        parameters.append(Parameter(as_keyword(name), name, letter, modifier, flag, later))
    return tuple(parameters)


class Surroundings:
    """The process around all lines: where complaints go, and the defaults of a /fmt, which stick.

    `console` prints on stdout, the text as it is; `report` a message on stderr.
    """

    __slots__ = ("console", "notation", "report", "size")

    def __init__(self, console: Callable[[str], None], report: Callable[[str], None]) -> None:
        self.console = console
        self.report = report
        self.notation = "x"
        self.size = 4


class Line:
    """A line whose arguments are being read for one command.

    `register(name)` is the value of a CPU's register or None; `option_ids(group)` are the ids that
    the options of a group (device, netdev) already have.
    """

    __slots__ = ("command", "option_ids", "register", "scanner", "surroundings")

    def __init__(
        self,
        scanner: Scanner,
        command: str,
        surroundings: Surroundings,
        register: Callable[[str], int | None],
        option_ids: Callable[[str], Container[str]],
    ) -> None:
        self.scanner = scanner
        self.command = command
        self.surroundings = surroundings
        self.register = register
        self.option_ids = option_ids

    def arguments(self, parameters: tuple[Parameter, ...]) -> dict[str, object]:
        """What the line gives for the parameters, by keyword; absent ones are left out.

        ArgumentError with QEMU's message, which ends in a newline.
        """
        found: dict[str, object] = {}
        for parameter in parameters:
            self.scanner.skip_blanks()
            value = PARSERS[parameter.letter](self, parameter)
            if value is not None:
                found[parameter.keyword] = value
        self.scanner.skip_blanks()
        if not self.scanner.at_end():
            raise ArgumentError(f"{self.command}: extraneous characters at the end of line\n")
        return found

    def absent(self, parameter: Parameter) -> bool:
        return parameter.modifier == "?" and self.scanner.at_end()


# One function a letter: the value, None if the line gives none, or ArgumentError. It starts behind
# the blanks.


def _word(line: Line, parameter: Parameter) -> str | None:
    if line.absent(parameter):
        return None
    try:
        return from_bytewise(line.scanner.word())
    except WordError:
        kind = {"F": "filename", "B": "block device name"}.get(parameter.letter, "string")
        raise ArgumentError(f"{line.command}: {kind} expected\n") from None


def _rest(line: Line, parameter: Parameter) -> str | None:
    if line.absent(parameter):
        return None
    if line.scanner.at_end():
        raise ArgumentError(f"{line.command}: string expected\n")
    return from_bytewise(line.scanner.rest())


def _options(line: Line, parameter: Parameter) -> dict[str, str]:
    """Complaints are printed on stderr; the monitor shows none."""
    if line.scanner.at_end():
        return {}
    around, group = line.surroundings, parameter.name
    try:
        text = from_bytewise(line.scanner.word())
        taken = line.option_ids(group)
        return parse_option_list(text, IMPLIED[group], group, taken, around.report)
    except WordError:
        raise ArgumentError("") from None
    except OptionError as error:
        around.report(str(error))
        raise ArgumentError("") from None


def _format(line: Line, parameter: Parameter) -> Format:
    """What is given becomes the default; `i` leaves the default size alone."""
    scanner, defaults = line.scanner, line.surroundings
    if scanner.peek() != "/":
        size = SIZE_OF_INSTRUCTION if defaults.notation == "i" else defaults.size
        return Format(1, defaults.notation, size)
    scanner.advance()
    count = scanner.take_while("0123456789")
    notation, size = "", -1
    for letter in scanner.take_while("oduxicbhwgL"):
        if letter in UNIT_SIZES:
            size = UNIT_SIZES[letter]
        else:
            notation = letter
    if scanner.peek() not in ("", " ", "\t", "\n", "\v", "\f", "\r"):
        raise ArgumentError(f"invalid char in format: '{scanner.peek()}'\n")
    defaults.notation = notation or defaults.notation
    if defaults.notation != "i":
        defaults.size = size = defaults.size if size < 0 else size
    return Format(_c_int(count or "1"), defaults.notation, size)


def _c_int(digits: str) -> int:
    """The number in 32 bits, for QEMU counts in a C int; they depend on the last 32 digits only."""
    return (int(digits[-32:]) + (1 << 31)) % (1 << 32) - (1 << 31)


def _integer(line: Line, parameter: Parameter) -> int | None:
    scanner = line.scanner
    if line.absent(parameter):
        return None
    if parameter.modifier == ".":
        if scanner.peek() != ".":
            return None
        scanner.advance()
        scanner.skip_blanks()
    try:
        value = Expression(scanner, line.register).read()
    except ArgumentError as error:
        raise ArgumentError(f"{error}\n") from None
    if parameter.letter == "i" and value >> 32 & 0xFFFFFFFF:
        raise ArgumentError(f"'{line.command}' has failed: integer is for 32-bit values\n")
    if parameter.letter == "M":
        if value < 0:
            raise ArgumentError("enter a positive value\n")
        value = (value * MIB + (1 << 63)) % (1 << 64) - (1 << 63)
    return value


def _size(line: Line, parameter: Parameter) -> int | None:
    if line.absent(parameter):
        return None
    scanner = line.scanner
    value, used, error = scan_size(scanner.text[scanner.position :], MIB)
    if error is not None or value > INT64_MAX:
        raise ArgumentError("invalid size\n")
    scanner.advance(used)
    return value


def _boolean(line: Line, parameter: Parameter) -> bool:
    word = line.scanner.take_while(GRAPHIC)
    if word not in ("on", "off"):
        raise ArgumentError("Expected 'on' or 'off'\n")
    return word == "on"


def _flag(line: Line, parameter: Parameter) -> bool | str | None:
    scanner = line.scanner
    if scanner.peek() != "-":
        return None
    given = scanner.peek(1)
    if given != parameter.flag:
        # A flag of this letter may follow; QEMU looks for it anywhere in the text behind.
        if f"-{given}" in parameter.later:
            return None
        # The C string ends at the NUL that stands for a missing letter.
        raise ArgumentError(
            f"{line.command}: unsupported option -{given}{chr(10) if given else ''}"
        )
    scanner.advance(2)
    if parameter.modifier != "s":
        return True
    try:
        return from_bytewise(scanner.word())
    except WordError:
        raise ArgumentError(f"{line.command}: value expected for -{given}\n") from None


PARSERS: dict[str, Callable[[Line, Parameter], object]] = {
    "s": _word,  # a word
    "F": _word,  # a file's name
    "B": _word,  # a block device's name
    "S": _rest,  # the rest of the line
    "O": _options,  # an option list
    "i": _integer,  # an expression of 32 bits
    "l": _integer,  # an expression of 64 bits
    "M": _integer,  # an expression in MiB
    "o": _size,  # a size; a bare number counts MiB
    "b": _boolean,  # on or off
    "-": _flag,  # an optional flag, its letter follows; then "s" if it takes a word
    "/": _format,  # /fmt
}
