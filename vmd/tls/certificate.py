"""What a certificate says of itself: just as much of X.509 (RFC 5280) as is asked for. Pure."""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

SEQUENCE, SET, OBJECT, BIT_STRING, OCTETS, BOOLEAN = 0x30, 0x31, 0x06, 0x03, 0x04, 0x01
UTC_TIME = 0x17
VERSION, EXTENSIONS = 0xA0, 0xA3
KEY_USAGE, BASIC_CONSTRAINTS, PURPOSES = "2.5.29.15", "2.5.29.19", "2.5.29.37"

_NAMES = {
    "2.5.4.3": "CN",
    "2.5.4.4": "surName",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "title",
    "2.5.4.42": "givenName",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "EMAIL",
}
_ENCODINGS = {0x0C: "utf-8", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1E: "utf-16-be"}
_BLOCK = re.compile(
    rb"-----BEGIN (?:X509 )?CERTIFICATE-----\r?\n(.*?)-----END (?:X509 )?CERTIFICATE-----", re.S
)


class Malformed(ValueError):
    """No certificate, or none that can be read."""


class Certificate(NamedTuple):
    """`is_ca`, `usage` and `purposes` are None where the certificate does not speak of them.

    Times are seconds since the epoch; `usage` is (bits, critical), the bit 1 << n being the n-th of
    the RFC; `purposes` is (object identifiers, critical); `issuer` is as it is encoded.
    """

    subject: str
    issuer: bytes
    raw_subject: bytes
    not_before: int
    not_after: int
    is_ca: bool | None
    usage: tuple[int, bool] | None
    purposes: tuple[tuple[str, ...], bool] | None


def blocks(text: bytes) -> list[bytes]:
    """The certificates of a PEM file, each in DER; Malformed if one is not in base64."""
    try:
        return [a2b_base64(found) for found in _BLOCK.findall(text)]
    except Base64Error:
        raise Malformed from None


def parse(der: bytes) -> Certificate:
    """Read a certificate; Malformed if it is none."""
    try:
        return _parse(der)
    except (IndexError, ValueError, UnicodeError, OverflowError):
        raise Malformed from None


def _parse(der: bytes) -> Certificate:
    tag, outer, _ = _read(der, 0)
    _expect(tag, SEQUENCE)
    tag, signed, _ = _read(outer, 0)
    _expect(tag, SEQUENCE)
    fields = [field for field in _fields(signed) if field[0] != VERSION]
    _serial, _algorithm, issuer, validity, subject, _key, *others = fields
    start, end = (_time(tag, value) for tag, value in _fields(validity[1]))
    extensions = {}
    for tag, value in others:
        if tag == EXTENSIONS:
            extensions = dict(_extensions(value))
    return Certificate(
        _name(subject[1]),
        issuer[1],
        subject[1],
        start,
        end,
        _basic_constraints(extensions),
        _key_usage(extensions),
        _purposes(extensions),
    )


def _read(data: bytes, at: int) -> tuple[int, bytes, int]:
    """One element: its tag, its content, and where the next begins."""
    tag, length = data[at], data[at + 1]
    at += 2
    if length & 0x80:
        count = length & 0x7F
        length = int.from_bytes(data[at : at + count], "big")
        at += count
    if at + length > len(data):
        raise ValueError
    return tag, data[at : at + length], at + length


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        tag, content, at = _read(data, at)
        yield tag, content


def _expect(tag: int, wanted: int) -> None:
    if tag != wanted:
        raise ValueError


def _time(tag: int, value: bytes) -> int:
    text = value.decode("ascii")
    if tag == UTC_TIME:
        text = ("19" if text[:2] >= "50" else "20") + text
    return int(datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp())


def _identifier(data: bytes) -> str:
    numbers = [min(data[0] // 40, 2)]
    numbers.append(data[0] - 40 * numbers[0])
    number = 0
    for byte in data[1:]:
        number = number << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(number)
            number = 0
    return ".".join(map(str, numbers))


def _extensions(data: bytes) -> Iterator[tuple[str, tuple[bytes, bool]]]:
    _, sequence, _ = _read(data, 0)
    for _, extension in _fields(sequence):
        name, *flags, (_, value) = _fields(extension)
        yield _identifier(name[1]), (value, any(flag[1] != b"\0" for flag in flags))


def _basic_constraints(extensions: dict[str, tuple[bytes, bool]]) -> bool | None:
    if BASIC_CONSTRAINTS not in extensions:
        return None
    _, content, _ = _read(extensions[BASIC_CONSTRAINTS][0], 0)
    return any(tag == BOOLEAN and value != b"\0" for tag, value in _fields(content))


def _key_usage(extensions: dict[str, tuple[bytes, bool]]) -> tuple[int, bool] | None:
    if KEY_USAGE not in extensions:
        return None
    value, critical = extensions[KEY_USAGE]
    tag, content, _ = _read(value, 0)
    _expect(tag, BIT_STRING)
    bits = 0
    for place, byte in enumerate(content[1:]):
        for bit in range(8):
            bits |= (byte >> (7 - bit) & 1) << (8 * place + bit)
    return bits, critical


def _purposes(extensions: dict[str, tuple[bytes, bool]]) -> tuple[tuple[str, ...], bool] | None:
    if PURPOSES not in extensions:
        return None
    value, critical = extensions[PURPOSES]
    _, content, _ = _read(value, 0)
    return tuple(_identifier(each) for _, each in _fields(content)), critical


def _name(data: bytes) -> str:
    """A name as GnuTLS writes it: RFC 4514, but the first part first."""
    parts = []
    for _, group in _fields(data):
        pairs = (tuple(_fields(pair)) for _, pair in _fields(group))
        parts.append("+".join(_attribute(kind, value) for (_, kind), value in pairs))
    return ",".join(parts)


def _attribute(kind: bytes, value: tuple[int, bytes]) -> str:
    name = _identifier(kind)
    tag, content = value
    if name not in _NAMES or tag not in _ENCODINGS:
        return f"{name}=#{_encoded(tag, content).hex()}"
    text = content.decode(_ENCODINGS[tag])
    escaped = re.sub(r'([,+"\\<>;])', r"\\\1", text)
    if escaped[:1] in (" ", "#"):
        escaped = "\\" + escaped
    if len(text) > 1 and text.endswith(" "):
        escaped = escaped[:-1] + "\\ "
    return f"{_NAMES[name]}={escaped}"


def _encoded(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content
