"""Directories of certificates as QEMU's TLS credentials want them, good ones and bad ones."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, NamedTuple

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vmd.tls.context import FFDHE2048

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PASSWORD = b"hunter2"
CA_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
Extension = tuple[x509.ExtensionType, bool]
"""What an extension says, and whether it is critical."""


class Pair(NamedTuple):
    """A certificate and its key, both in PEM."""

    certificate: bytes
    key: bytes


def put(
    directory: Path, ca: bytes | None, server: Pair | None = None, client: Pair | None = None
) -> None:
    """Write a directory of credentials. Parameters are there so that no time goes into them."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "dh-params.pem").write_bytes(FFDHE2048)
    if ca is not None:
        (directory / "ca-cert.pem").write_bytes(ca)
    for role, pair in (("server", server), ("client", client)):
        if pair is not None:
            (directory / f"{role}-cert.pem").write_bytes(pair.certificate)
            (directory / f"{role}-key.pem").write_bytes(pair.key)


class Authority:
    """One of trustme's, which makes certificates as they should be."""

    def __init__(self) -> None:
        self._ca = trustme.CA()
        self.pem = self._ca.cert_pem.bytes()

    def issue(self, *hosts: str, name: str | None = None, until: int = 3000) -> Pair:
        leaf = self._ca.issue_cert(
            *hosts, common_name=name, not_after=datetime.datetime(until, 1, 1)
        )
        certificates = b"".join(each.bytes() for each in leaf.cert_chain_pems)
        return Pair(certificates, leaf.private_key_pem.bytes())


def credentials(directory: Path) -> None:
    """What most tests need: `both` ends, `foreign` ones, a server of `another` name, an old one."""
    ours, others = Authority(), Authority()
    server = ours.issue("localhost", "127.0.0.1", name="server")
    client = ours.issue("client.example", name="laptop")
    put(directory / "both", ours.pem, server, client)
    put(directory / "server", ours.pem, server)
    foreign = others.issue("localhost", "127.0.0.1", name="foreign")
    put(directory / "foreign", others.pem, foreign, foreign)
    put(directory / "another", ours.pem, ours.issue("other.example"))
    old = ours.issue("localhost", until=2020)
    put(directory / "expired", ours.pem, old, old)


class Maker:
    """Makes odd certificates, all of one authority."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._serial = 0

    def authority(self, *extensions: Extension, start: int = 2000, until: int = 3000) -> bytes:
        return self._make(CA_NAME, self._key, self._key, extensions, start, until)

    def leaf(self, *extensions: Extension, forged: bool = False, until: int = 3000) -> Pair:
        """A certificate; a `forged` one is signed with another key than the authority's."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
        signer = key if forged else self._key
        return Pair(self._make(subject, key, signer, extensions, 2000, until), private(key))

    def revocations(self, *serials: int, until: int = 3000) -> bytes:
        """A list of the certificates that the authority does not stand for any more."""
        builder = (
            x509.CertificateRevocationListBuilder(CA_NAME)
            .last_update(datetime.datetime(2000, 1, 1))
            .next_update(datetime.datetime(until, 1, 1))
        )
        for serial in serials:
            revoked = x509.RevokedCertificateBuilder(serial, datetime.datetime(2000, 1, 1))
            builder = builder.add_revoked_certificate(revoked.build())
        made = builder.sign(self._key, hashes.SHA256())
        return made.public_bytes(serialization.Encoding.PEM)

    def _make(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        signer: ec.EllipticCurvePrivateKey,
        extensions: Sequence[Extension],
        start: int,
        until: int,
    ) -> bytes:
        self._serial += 1
        builder = (
            x509.CertificateBuilder(CA_NAME, subject, key.public_key(), self._serial)
            .not_valid_before(datetime.datetime(start, 1, 1))
            .not_valid_after(datetime.datetime(until, 1, 1))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        made = builder.sign(signer, hashes.SHA256())
        return made.public_bytes(serialization.Encoding.PEM)


def revoked(directory: Path) -> None:
    """Credentials `both`, and of a client `gone` that its authority has revoked."""
    maker = Maker()
    ca = maker.authority(constraints(True))  # has the serial number 1
    named = x509.SubjectAlternativeName([x509.DNSName("localhost")]), False
    server, client, gone = maker.leaf(named), maker.leaf(), maker.leaf()
    put(directory / "both", ca, server, client)
    put(directory / "gone", ca, server, gone)
    (directory / "both/ca-crl.pem").write_bytes(maker.revocations(4))


def private(key: ec.EllipticCurvePrivateKey, password: bytes | None = None) -> bytes:
    """A key in PEM, perhaps under a password."""
    sealed: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        sealed = serialization.BestAvailableEncryption(password)
    pem, shape = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(pem, shape, sealed)


def constraints(ca: bool) -> Extension:
    return x509.BasicConstraints(ca, None), True


def usage(*names: str, critical: bool = True) -> Extension:
    """A key usage with these bits set."""
    bits = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment")
    bits += ("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{bit: bit in names for bit in bits}), critical


def purpose(*names: str, critical: bool = True) -> Extension:
    """What a certificate is for: `server_auth`, `client_auth`, `code_signing`, …"""
    found = [getattr(ExtendedKeyUsageOID, name.upper()) for name in names]
    return x509.ExtendedKeyUsage(found), critical


def odd_authorities(directory: Path) -> list[str]:
    """Credentials whose authority is not what it should be, a directory each; their names."""
    maker = Maker()
    leaf = maker.leaf()
    good = maker.authority(constraints(True), usage("key_cert_sign"))
    cases = {
        "good": good,
        "silent": maker.authority(),
        "no-ca": maker.authority(constraints(False)),
        "no-signer": maker.authority(constraints(True), usage("digital_signature")),
        "advised": maker.authority(constraints(True), usage("crl_sign", critical=False)),
        "expired": maker.authority(constraints(True), until=2001),
        "future": maker.authority(constraints(True), start=2100),
        "another": Authority().pem,
        "two": Authority().pem + good,
        "second-bad": good + maker.authority(constraints(False)),
        "text-before": b"hello\n" + good,
        "empty": b"",
        "junk": b"junk",
        "cut": good[:200],
        "der": x509.load_pem_x509_certificate(good).public_bytes(serialization.Encoding.DER),
    }
    for name, ca in cases.items():
        put(directory / name, ca, leaf, leaf)
    return list(cases)


def odd_certificates(directory: Path) -> list[str]:
    """The same for the own certificate."""
    maker = Maker()
    good = maker.leaf()
    begin, end = b"-----BEGIN CERTIFICATE-----\n", b"-----END CERTIFICATE-----\n"
    cases = {
        "ca": maker.leaf(constraints(True)),
        "no-signature": maker.leaf(usage("key_encipherment")),
        "no-encipherment": maker.leaf(usage("digital_signature")),
        "advised": maker.leaf(usage("key_agreement", critical=False)),
        "for-clients": maker.leaf(purpose("client_auth")),
        "for-servers": maker.leaf(purpose("server_auth")),
        "for-any": maker.leaf(purpose("any_extended_key_usage")),
        "for-code": maker.leaf(purpose("code_signing")),
        "for-code-perhaps": maker.leaf(purpose("code_signing", critical=False)),
        "expired": maker.leaf(until=2020),
        "forged": maker.leaf(forged=True),
        "empty": good._replace(certificate=b""),
        "junk": good._replace(certificate=b"junk"),
        "cut": good._replace(certificate=good.certificate[:200]),
        "key": good._replace(certificate=good.key),
        "no-base64": good._replace(certificate=begin + b"!!!!\n" + end),
        "no-certificate": good._replace(certificate=begin + b"AAAA\n" + end),
    }
    for name, pair in cases.items():
        put(directory / name, maker.authority(constraints(True)), pair, pair)
    return list(cases)


def odd_keys(directory: Path) -> list[str]:
    """The same for the key."""
    maker = Maker()
    good = maker.leaf()
    key = serialization.load_pem_private_key(good.key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    cases = {
        "empty": b"",
        "certificate": good.certificate,
        "cut": good.key[:100],
        "another": maker.leaf().key,
        "no-key": b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "sealed": private(key, PASSWORD),
    }
    for name, text in cases.items():
        pair = good._replace(key=text)
        put(directory / name, maker.authority(constraints(True)), pair, pair)
    return list(cases)
