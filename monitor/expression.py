"""Integer expressions of the human monitor: `1 + 2*$eip`.

64-bit, signed, wrapping. Three levels of operators, the tightest first: `* / %`, `& | ^`, `+ -`;
all bind to the left. Observed from monitor/hmp.c of QEMU 10.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.scanner import ArgumentError, Scanner

if TYPE_CHECKING:
    from collections.abc import Callable

LEVEL = {"*": 3, "/": 3, "%": 3, "&": 2, "|": 2, "^": 2, "+": 1, "-": 1}
UNARY = "+-~"
OPEN = "("
DIGITS = "0123456789"
NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.")
NAME_CHARACTERS = 127


def signed(value: int) -> int:
    """The value in 64 bits of two's complement."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


class Expression:
    """One expression being read. Nesting lives on a list, so its depth costs no Python stack."""

    __slots__ = ("_depth", "_operators", "_register", "_scanner", "_values")

    def __init__(self, scanner: Scanner, register: Callable[[str], int | None]) -> None:
        self._scanner = scanner
        self._register = register
        self._values: list[int] = []
        self._depth = 0  # parentheses still open
        self._operators: list[str] = []  # binary ones, "(" and the unary "u+", "u-", "u~"

    def read(self) -> int:
        """The value of the longest expression here; ArgumentError with QEMU's text."""
        scanner = self._scanner
        while True:
            self._operand()
            while self._depth and scanner.peek() not in LEVEL:
                self._close()
            operator = scanner.peek()
            if operator not in LEVEL:
                self._reduce(1)
                return self._values[-1]
            self._reduce(LEVEL[operator])
            self._operators.append(operator)
            self._step()

    def _step(self) -> None:
        self._scanner.advance()
        self._scanner.skip_blanks()

    def _operand(self) -> None:
        """Read signs and parentheses up to a number, and the number."""
        while True:
            character = self._scanner.peek()
            if character == OPEN:
                self._operators.append(OPEN)
                self._depth += 1
            elif character and character in UNARY:
                self._operators.append("u" + character)
            else:
                break
            self._step()
        self._values.append(self._primary(character))
        self._bind()

    def _close(self) -> None:
        self._reduce(1)
        if self._scanner.peek() != ")":
            raise ArgumentError("')' expected")
        self._operators.pop()
        self._depth -= 1
        self._step()
        self._bind()

    def _bind(self) -> None:
        """Apply what stands tightest before a finished operand: signs, then a product.

        At once, because a division by zero is reported before anything that follows.
        """
        while self._operators and self._operators[-1][0] == "u":
            sign = self._operators.pop()[1]
            value = self._values[-1]
            self._values[-1] = signed(-value if sign == "-" else ~value if sign == "~" else value)
        self._reduce(3)

    def _reduce(self, level: int) -> None:
        """Compute the operators on top that bind at least as tight as `level`."""
        while self._operators and LEVEL.get(self._operators[-1], 0) >= level:
            right = self._values.pop()
            self._values[-1] = compute(self._operators.pop(), self._values[-1], right)

    def _primary(self, character: str) -> int:
        if character in DIGITS and character:
            return self._number()
        if character == "'":
            return self._character()
        if character == "$":
            return self._named()
        if not character:
            raise ArgumentError("unexpected end of expression")
        raise ArgumentError(f"invalid char '{character}' in expression")

    def _number(self) -> int:
        """Decimal, 0x hexadecimal or 0 octal, as C's strtoull() reads it."""
        scanner = self._scanner
        base, digits = 10, DIGITS
        if scanner.peek() == "0":
            base, digits = 8, DIGITS[:8]
            hexadecimal = "0123456789abcdefABCDEF"
            third = scanner.peek(2)
            if scanner.peek(1) in ("x", "X") and third and third in hexadecimal:
                base, digits = 16, hexadecimal
                scanner.advance(2)
        text = scanner.take_while(digits)
        # int() refuses thousands of digits, and no number of 64 bits has more than 22
        text = text.lstrip("0")
        if len(text) > 22 or int(text or "0", base) >= 1 << 64:
            raise ArgumentError("number too large")
        scanner.skip_blanks()
        return signed(int(text or "0", base))

    def _character(self) -> int:
        self._scanner.advance()
        character = self._scanner.peek()
        if not character:
            raise ArgumentError("character constant expected")
        self._scanner.advance()
        if self._scanner.peek() != "'":
            raise ArgumentError("missing terminating ' character")
        self._step()
        code = ord(character)
        return code - 256 if code > 127 else code  # a C char is signed

    def _named(self) -> int:
        self._scanner.advance()
        name = self._scanner.take_while(NAME)[:NAME_CHARACTERS]
        self._scanner.skip_blanks()
        value = self._register(name)
        if value is None:
            raise ArgumentError("unknown register")
        return signed(value)


def compute(operator: str, left: int, right: int) -> int:
    """One operation on 64-bit values; division and remainder truncate towards zero, as C's."""
    if operator in "/%":
        if right == 0:
            raise ArgumentError("division by zero")
        quotient = abs(left) // abs(right)
        if (left < 0) != (right < 0):
            quotient = -quotient
        return signed(quotient if operator == "/" else left - quotient * right)
    if operator == "*":
        return signed(left * right)
    if operator == "&":
        return left & right
    if operator == "|":
        return left | right
    if operator == "^":
        return left ^ right
    return signed(left + right if operator == "+" else left - right)
