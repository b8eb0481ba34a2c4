"""AES-256 in CBC mode, decrypting: what a secret may be wrapped in. As FIPS 197 describes it.

Passwords are a few blocks long, so plain code will do.
"""

from __future__ import annotations

BLOCK = 16
ROUNDS = 14


def _times(left: int, right: int) -> int:
    """Product in the field of 2^8 elements."""
    product = 0
    while right:
        if right & 1:
            product ^= left
        left = left << 1 ^ (0x11B if left & 0x80 else 0)
        right >>= 1
    return product


def _substitutions() -> bytes:
    """The S-box: each byte's inverse, mixed with its own bits."""
    inverse = [0] * 256
    for number in range(1, 256):
        if not inverse[number]:
            other = next(n for n in range(1, 256) if _times(number, n) == 1)
            inverse[number], inverse[other] = other, number
    box = bytearray()
    for byte in inverse:
        twice = byte << 8 | byte
        rotated = byte ^ twice >> 4 ^ twice >> 5 ^ twice >> 6 ^ twice >> 7
        box.append(rotated & 0xFF ^ 0x63)
    return bytes(box)


def _round_keys(key: bytes, box: bytes) -> list[bytes]:
    words = [key[at : at + 4] for at in range(0, len(key), 4)]
    constant = 1
    for number in range(len(words), 4 * (ROUNDS + 1)):
        word = words[-1]
        if number % 8 == 0:
            word = (word[1:] + word[:1]).translate(box)
            word = bytes((word[0] ^ constant, *word[1:]))
            constant = _times(constant, 2)
        elif number % 8 == 4:
            word = word.translate(box)
        words.append(_xor(word, words[number - 8]))
    return [b"".join(words[at : at + 4]) for at in range(0, len(words), 4)]


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def decrypt(key: bytes, iv: bytes, data: bytes) -> bytes:
    """Whole blocks, with a key of 32 bytes; padding stays."""
    box = _substitutions()
    unbox = bytes(box.index(byte) for byte in range(256))
    keys = _round_keys(key, box)
    products = {factor: [_times(n, factor) for n in range(256)] for factor in (9, 11, 13, 14)}
    plain = bytearray()
    for at in range(0, len(data), BLOCK):
        block = data[at : at + BLOCK]
        plain += _xor(_decrypt_block(block, keys, unbox, products), iv)
        iv = block
    return bytes(plain)


def _decrypt_block(
    block: bytes, keys: list[bytes], unbox: bytes, products: dict[int, list[int]]
) -> bytes:
    state = _xor(block, keys[ROUNDS])
    for number in range(ROUNDS - 1, -1, -1):
        # Row r of the columns goes back by r places.
        shifted = bytes(state[(at - 4 * (at % 4)) % BLOCK] for at in range(BLOCK))
        state = _xor(shifted.translate(unbox), keys[number])
        if number:
            state = b"".join(_unmix(state[at : at + 4], products) for at in range(0, BLOCK, 4))
    return state


def _unmix(column: bytes, products: dict[int, list[int]]) -> bytes:
    return bytes(
        products[14][column[row]]
        ^ products[11][column[(row + 1) % 4]]
        ^ products[13][column[(row + 2) % 4]]
        ^ products[9][column[(row + 3) % 4]]
        for row in range(4)
    )
