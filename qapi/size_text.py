"""Sizes for people to read. Observed from util/cutils.c."""

from __future__ import annotations

_UNITS = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")


def size_text(value: int) -> str:
    """A number of bytes for people: three digits, and 1000 of a unit are one of the next."""
    power = max((value.bit_length() - 1) // 10, 0)
    if value / (1 << 10 * power) >= 1000 and power < len(_UNITS) - 1:
        power += 1
    return f"{value / (1 << 10 * power):0.3g} {_UNITS[power]}B"
