"""DES, for the password of a VNC client and for nothing else (FIPS 46-3; RFC 6143, 7.2.2)."""

from __future__ import annotations

from functools import cache as once

# Tables of FIPS 46-3; bits are counted from 1, the first is the highest.
_INITIAL = [n - 8 * k for n in (58, 60, 62, 64, 57, 59, 61, 63) for k in range(8)]
_FINAL = [n - k for k in range(8) for n in (40, 8, 48, 16, 56, 24, 64, 32)]
_EXPANSION = [(4 * (n // 6) + n % 6 - 1) % 32 + 1 for n in range(48)]
_MIXING = (
    *(16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10),
    *(2, 8, 24, 14, 32, 27, 3, 9, 19, 13, 30, 6, 22, 11, 4, 25),
)
_KEY_BITS = (
    *(57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3),
    *(60, 52, 44, 36, 63, 55, 47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37),
    *(29, 21, 13, 5, 28, 20, 12, 4),
)
_ROUND_BITS = (
    *(14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2),
    *(41, 52, 31, 37, 47, 55, 30, 40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36),
    *(29, 32),
)
_SHIFTS = (1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 1)
_BOXES = (
    "e4d12fb83a6c5907 0f74e2d1a6cb9538 41e8d62bfc973a50 fc8249175b3ea06d",
    "f18e6b34972dc05a 3d47f28ec01a69b5 0e7ba4d158c6932f d8a13f42b67c05e9",
    "a09e63f51dc7b428 d709346a285ecbf1 d6498f30b12c5ae7 1ad069874fe3b52c",
    "7de3069a1285bc4f d8b56f03472c1ae9 a690cb7df13e5284 3f06a1d8945bc72e",
    "2c417ab6853fd0e9 eb2c47d150fa3986 421bad78f9c5630e b8c71e2d6f09a453",
    "c1af92680d34e75b af427c9561de0b38 9ef528c3704a1db6 432c95fabe17608d",
    "4b2ef08d3c975a61 d0b7491ae35c2f86 14bdc37eaf680592 6bd814a7950fe23c",
    "d2846fb1a93e50c7 1fd8a374c56b0e92 7b419ce206adf358 21e74a8dfc90356b",
)


def answer(password: bytes, challenge: bytes) -> bytes:
    """What a client that knows the password makes of a challenge: each byte of the key mirrored."""
    key = password[:8].ljust(8, b"\0")
    mirrored = bytes(int(f"{byte:08b}"[::-1], 2) for byte in key)
    blocks = (challenge[at : at + 8] for at in range(0, len(challenge), 8))
    return b"".join(encrypt(mirrored, block) for block in blocks)


def encrypt(key: bytes, block: bytes) -> bytes:
    """One block of eight bytes."""
    bits = _pick(int.from_bytes(block, "big"), 64, _INITIAL)
    left, right = bits >> 32, bits & 0xFFFFFFFF
    for round_key in _round_keys(key):
        left, right = right, left ^ _mix(right, round_key)
    return _pick(right << 32 | left, 64, _FINAL).to_bytes(8, "big")


def _pick(value: int, width: int, places: tuple[int, ...] | list[int]) -> int:
    """The bits of a value at these places, in a row."""
    found = 0
    for place in places:
        found = found << 1 | value >> (width - place) & 1
    return found


def _mix(half: int, round_key: int) -> int:
    wide = _pick(half, 32, _EXPANSION) ^ round_key
    found = 0
    for number, box in enumerate(_boxes()):
        six = wide >> (42 - 6 * number) & 0x3F
        found = found << 4 | box[(six >> 4 & 2 | six & 1) * 16 + (six >> 1 & 0xF)]
    return _pick(found, 32, _MIXING)


def _round_keys(key: bytes) -> list[int]:
    bits = _pick(int.from_bytes(key, "big"), 64, _KEY_BITS)
    first, second = bits >> 28, bits & 0xFFFFFFF
    keys = []
    for shift in _SHIFTS:
        first = (first << shift | first >> (28 - shift)) & 0xFFFFFFF
        second = (second << shift | second >> (28 - shift)) & 0xFFFFFFF
        keys.append(_pick(first << 28 | second, 56, _ROUND_BITS))
    return keys


@once
def _boxes() -> list[list[int]]:
    return [[int(digit, 16) for digit in text.replace(" ", "")] for text in _BOXES]
