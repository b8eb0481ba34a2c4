"""AES-256-CBC, as published examples have it."""

from __future__ import annotations

from vmd.devices.aes import decrypt


def test_a_block_of_the_standard() -> None:
    """FIPS 197, C.3."""
    block = bytes.fromhex("8ea2b7ca516745bfeafc49904b496089")
    plain = "00112233445566778899aabbccddeeff"
    assert decrypt(bytes(range(32)), bytes(16), block).hex() == plain


def test_blocks_that_are_chained() -> None:
    """NIST SP 800-38A, F.2.6."""
    key = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    blocks = bytes.fromhex("f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d")
    plain = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    assert decrypt(key, bytes(range(16)), blocks).hex() == plain


def test_nothing_is_nothing() -> None:
    assert decrypt(bytes(32), bytes(16), b"") == b""
