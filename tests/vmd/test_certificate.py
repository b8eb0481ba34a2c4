"""What is read of certificates, and that nothing else can be made of them than an error."""

from __future__ import annotations

import contextlib
import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID, ObjectIdentifier
from hypothesis import given
from hypothesis import strategies as st

from tests.certificates import Maker, constraints, purpose, usage
from vmd.tls.certificate import Malformed, blocks, parse

KEY = ec.generate_private_key(ec.SECP256R1())
WHOLE = blocks(
    Maker()
    .leaf(constraints(False), usage("digital_signature"), purpose("server_auth", critical=False))
    .certificate
)[0]


def named(*attributes: x509.NameAttribute) -> bytes:
    name = x509.Name(attributes)
    start, end = datetime.datetime(1999, 12, 31, 1, 2, 3), datetime.datetime(2050, 1, 1)
    builder = x509.CertificateBuilder(name, name, KEY.public_key(), 1, start, end)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def test_what_a_certificate_says_of_itself() -> None:
    found = parse(WHOLE)
    assert found.subject == "CN=server"
    assert (found.is_ca, found.usage) == (False, (1, True))
    assert found.purposes == (("1.3.6.1.5.5.7.3.1",), False)


def test_times_are_read_in_both_notations() -> None:
    found = parse(named(x509.NameAttribute(NameOID.COMMON_NAME, "x")))
    assert found.not_before == 946602123
    assert found.not_after == 2524608000
    assert (found.is_ca, found.usage, found.purposes) == (None, None, None)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("plain", "plain"),
        ('a,b+c"d\\e<f>g;h', 'a\\,b\\+c\\"d\\\\e\\<f\\>g\\;h'),
        ("#hash", "\\#hash"),
        (" both ", "\\ both\\ "),
        ("häß€", "häß€"),
    ],
)
def test_names_are_escaped_as_the_rfc_asks(text: str, written: str) -> None:
    found = parse(named(x509.NameAttribute(NameOID.COMMON_NAME, text)))
    assert found.subject == f"CN={written}"


def test_names_keep_their_order_and_unknown_parts_are_told_in_hex() -> None:
    found = parse(
        named(
            x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "o"),
            x509.NameAttribute(ObjectIdentifier("1.2.3.4"), "x"),
            x509.NameAttribute(NameOID.COMMON_NAME, "n"),
        )
    )
    assert found.subject == "C=DE,O=o,1.2.3.4=#0c0178,CN=n"


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=6))
def test_a_spoilt_certificate_is_read_or_refused(changes: list[tuple[int, int]]) -> None:
    spoilt = bytearray(WHOLE)
    for place, byte in changes:
        spoilt[place] = byte
    with contextlib.suppress(Malformed):
        parse(bytes(spoilt))


def test_a_certificate_may_end_anywhere() -> None:
    for size in range(len(WHOLE)):
        with pytest.raises(Malformed):
            parse(WHOLE[:size])


@given(st.binary(max_size=200))
def test_no_bytes_break_it(data: bytes) -> None:
    with pytest.raises(Malformed):
        parse(data)
    with contextlib.suppress(Malformed):
        blocks(b"-----BEGIN CERTIFICATE-----\n" + data + b"-----END CERTIFICATE-----\n")
