"""The scalar types: one table of checks for each way in which values arrive.

A check takes the value as it came and returns it as it is meant, or raises Misfit. The wording was
observed from qobject-input-visitor.c, opts-visitor.c and their parsers in cutils.c. The tables are
made by functions, so that a start that only speaks JSON makes only one.
"""

from __future__ import annotations

from qapi.size import parse_size
from qapi.validate import ELEMENT, LEAF, PATH, Misfit, wrong_type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from qapi.validate import Scalar

_MAX64 = (1 << 64) - 1
_MIN63 = -(1 << 63)
_RANGE_MAX = 65536  # elements that one `first-last` may stand for


def expects(what: str, naming: int = PATH) -> Misfit:
    return Misfit("Parameter '", naming, f"' expects {what}")


# -- text → numbers


def parse_int(text: str) -> int | None:
    """A whole string as C's strtoll with base 0 reads it, of any size; None if it is no number."""
    text = text.lstrip(" \t\n\v\f\r")
    sign = -1 if text[:1] == "-" else 1
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not digits.isascii() or not digits.isalnum():
        return None
    try:
        if digits[:2] in ("0x", "0X"):
            return sign * int(digits[2:], 16)
        return sign * int(digits, 8 if digits[0] == "0" else 10)
    except ValueError:
        return None


def parse_int64(text: str) -> int | None:
    """The same if it fits a signed 64-bit number."""
    value = parse_int(text)
    return value if value is not None and _MIN63 <= value < -_MIN63 else None


def parse_uint64(text: str) -> int | None:
    """The same for unsigned ones; a negative number wraps round."""
    value = parse_int(text)
    return value & _MAX64 if value is not None and abs(value) <= _MAX64 else None


def parse_bool(text: str) -> bool | None:
    """on, yes, true and y are true; off, no, false and n are false; all else is None."""
    if text in ("on", "yes", "true", "y"):
        return True
    return False if text in ("off", "no", "false", "n") else None


def parse_size_or_none(text: str) -> int | None:
    """Bytes from a size like `64`, `0x40`, `1.5G` or `2k`; None if it is none or too big."""
    value, error = parse_size(text)
    return value if error is None else None


# -- the same narrowing for all flavours


def _narrow(wide: Scalar, low: int, high: int, name: str) -> Scalar:
    def check(value: Any) -> object:
        number = wide(value)
        if low <= number <= high:  # type: ignore[operator]
            return number
        raise expects(name, LEAF)

    return check


def _integers(signed: Scalar, unsigned: Scalar, size: Scalar) -> dict[str, Scalar]:
    """All integer types, from the three that are as wide as can be."""
    table = {"int": signed, "int64": signed, "uint64": unsigned, "size": size}
    for width in (8, 16, 32):
        half = 1 << (width - 1)
        table[f"int{width}"] = _narrow(signed, -half, half - 1, f"int{width}_t")
        table[f"uint{width}"] = _narrow(unsigned, 0, 2 * half - 1, f"uint{width}_t")
    return table


# -- JSON


def _json_str(value: Any) -> object:
    if type(value) is str:
        return value
    raise wrong_type("string")


def _json_bool(value: Any) -> object:
    if type(value) is bool:
        return value
    raise wrong_type("boolean")


def _json_int64(value: Any) -> object:
    if type(value) is int and _MIN63 <= value < -_MIN63:
        return value
    raise wrong_type("integer")


def _json_uint64(value: Any) -> object:
    if type(value) is int and _MIN63 <= value <= _MAX64:
        return value & _MAX64
    raise expects("uint64")


def _json_number(value: Any) -> object:
    if type(value) is float or type(value) is int:
        return float(value)
    raise wrong_type("number")


def _json_null(value: Any) -> object:
    if value is None:
        return None
    raise wrong_type("null")


def _any(value: Any) -> object:
    return value


def json_table() -> dict[str, Scalar]:
    """Values of a JSON document, as the monitor gets them."""
    return {
        "str": _json_str,
        "bool": _json_bool,
        "number": _json_number,
        "null": _json_null,
        "any": _any,
        **_integers(_json_int64, _json_uint64, _json_uint64),
    }


def result_table() -> dict[str, Scalar]:
    """What a handler returns: as JSON, but unsigned is unsigned."""

    def unsigned(value: Any) -> object:
        if type(value) is int and 0 <= value <= _MAX64:
            return value
        raise expects("uint64")

    return json_table() | _integers(_json_int64, unsigned, unsigned)


# -- key=value


def _keyval_str(value: Any) -> Any:
    if type(value) is str:
        return value
    raise Misfit("Parameters '", PATH, ".*' are unexpected")


def _parsed(parse: Callable[[str], object], what: str) -> Scalar:
    def check(value: Any) -> object:
        result = parse(_keyval_str(value))
        if result is None:
            raise expects(what)
        return result

    return check


def _keyval_null(value: Any) -> object:
    if _keyval_str(value) == "":
        return None
    raise wrong_type("null")


def _parse_number(text: str) -> float | None:
    try:
        number = float(text) if text == text.rstrip() and "_" not in text else None
    except ValueError:
        return None
    return number if number is None or abs(number) < float("inf") else None


def keyval_table() -> dict[str, Scalar]:
    """Values from `key=value,…` with dotted keys (`-incoming`, HMP's object_add)."""
    return {
        "str": _keyval_str,
        "bool": _parsed(parse_bool, "'on' or 'off'"),
        "number": _parsed(_parse_number, "number"),
        "null": _keyval_null,
        "any": _any,
        **_integers(
            _parsed(parse_int64, "integer"),
            _parsed(parse_uint64, "integer"),
            _parsed(parse_size_or_none, "size"),
        ),
    }


# -- old-style options: each value is the list of all that the key was given


def _option(parse: Callable[[str], object], what: str) -> Scalar:
    def check(values: Any) -> object:
        result = parse(values[-1] or "")
        if result is None:
            raise expects(what, LEAF)
        return result

    return check


def _option_str(values: Any) -> object:
    return values[-1] or ""


def _option_bool(values: Any) -> object:
    value = True if values[-1] is None else parse_bool(values[-1])
    if value is None:
        raise expects("'on' or 'off'", LEAF)
    return value


def _option_list(parse: Callable[[str], int | None], low: int, high: int, kind: str) -> Scalar:
    """Numbers and ranges `first-last`, of all the key's values together."""

    def check(values: Any) -> object:
        numbers: list[int] = []
        for text in values:
            numbers += _range(text or "", parse, kind)
        for number in numbers:
            if not low <= number <= high:
                raise expects(f"{kind}_t", ELEMENT)
        return numbers

    return check


def _range(text: str, parse: Callable[[str], int | None], kind: str) -> list[int]:
    cut = text.find("-", 1)
    first = parse(text if cut < 0 else text[:cut])
    last = first if cut < 0 else parse(text[cut + 1 :])
    if first is None or last is None or first > last or last - first >= _RANGE_MAX:
        width = "uint64" if kind.startswith("u") else "int64"
        article = "a" if width == "uint64" else "an"
        raise expects(f"{article} {width} value or range", LEAF)
    return list(range(first, last + 1))


def _parse_unsigned(text: str) -> int | None:
    value = parse_int(text)
    return value if value is not None and 0 <= value <= _MAX64 and "-" not in text else None


def options_table() -> dict[str, Scalar]:
    """Values of flat options (`-object`)."""
    table = {
        "str": _option_str,
        "bool": _option_bool,
        "[str]": lambda values: [text or "" for text in values],
        **_integers(
            _option(parse_int64, "an int64 value"),
            _option(_parse_unsigned, "a uint64 value"),
            _option(parse_size_or_none, "a size value"),
        ),
    }
    for width in (8, 16, 32, 64):
        half = 1 << (width - 1)
        table[f"[int{width}]"] = _option_list(parse_int64, -half, half - 1, f"int{width}")
        table[f"[uint{width}]"] = _option_list(_parse_unsigned, 0, 2 * half - 1, f"uint{width}")
    return table
