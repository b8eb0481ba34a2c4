"""Sizes as QEMU's options write them: `64`, `1.5G`, `0x1000`. Observed from util/cutils.c."""

from __future__ import annotations

import re

UNITS = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50, "e": 1 << 60}
INVALID = "Invalid argument"
OUT_OF_RANGE = "Numerical result out of range"

# Compiled when a size comes, not when every process starts.
_HEX = r"\s*\+?0[xX]([0-9a-fA-F]+)([.kmgtpKMGTP]?)"
_DECIMAL = r"\s*([+-]?)(\d*)(\.\d*)?([bkmgtpeBKMGTPE]?)"


def scan_size(text: str, default_unit: int = 1) -> tuple[int, int, str | None]:
    """Read a size at the start of `text`.

    Returns (bytes, characters used, error): error is None, INVALID or OUT_OF_RANGE. A bare number
    counts `default_unit` bytes. Hexadecimal numbers take no fraction and no suffix.
    """
    if (hexadecimal := re.match(_HEX, text)) is not None:
        if hexadecimal[2]:
            return 0, hexadecimal.end(), INVALID
        value = int(hexadecimal[1], 16) * default_unit
        return _in_range(value, hexadecimal.end())
    match = re.match(_DECIMAL, text)
    assert match is not None
    sign, whole, fraction, suffix = match.groups()
    if not whole and not (fraction and len(fraction) > 1):
        return 0, 0, INVALID
    unit = UNITS[suffix.lower()] if suffix else default_unit
    value = int(whole or "0") * unit
    if fraction and len(fraction) > 1 and int(fraction[1:]):
        if unit == 1:
            return 0, match.end(), INVALID
        digits = fraction[1:]
        value += (int(digits) * unit * 2 + 10 ** len(digits)) // (2 * 10 ** len(digits))
    if sign == "-":
        return 0, match.end(), OUT_OF_RANGE
    return _in_range(value, match.end())


def _in_range(value: int, end: int) -> tuple[int, int, str | None]:
    return (value, end, None) if value < 1 << 64 else (0, end, OUT_OF_RANGE)


def parse_size(text: str, default_unit: int = 1) -> tuple[int, str | None]:
    """The size that the whole of `text` stands for, in bytes, and what is wrong with it or None."""
    value, used, error = scan_size(text, default_unit)
    if error is None and used != len(text):
        return 0, INVALID
    return (0, error) if error is not None else (value, None)
