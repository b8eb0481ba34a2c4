"""Whether certificates will do for what they are to be used for, before anybody connects.

Observed from crypto/tlscredsx509.c: the order of the questions, and the words.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from qapi.error import QmpError
from vmd.clock import NS_PER_S, RealClock
from vmd.tls import certificate
from vmd.tls.certificate import Malformed

if TYPE_CHECKING:
    from vmd.tls.certificate import Certificate

DIGITAL_SIGNATURE, KEY_ENCIPHERMENT, CERTIFICATE_SIGNING = 1 << 0, 1 << 2, 1 << 5
ANY_PURPOSE = "2.5.29.37.0"
PURPOSES = {"server": "1.3.6.1.5.5.7.3.1", "client": "1.3.6.1.5.5.7.3.2"}


def check_files(ca_path: str, ca: bytes, own_path: str | None, own: bytes, endpoint: str) -> None:
    """Judge what the files of the authorities and of the own certificate say; QmpError if bad."""
    mine = _own(own_path, own, endpoint) if own_path is not None else None
    authorities = _authorities(ca_path, ca)
    if mine is not None and own_path is not None:
        check(mine, own_path, endpoint)
    for authority in authorities:
        check(authority, ca_path, "CA")


def check_pair(ca_path: str, ca: bytes, own_path: str, own: bytes, mine: ssl.SSLContext) -> None:
    """Whether the authorities vouch for the own certificate, which `mine` presents.

    The judge is a client that knows the authorities, and is spoken to.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(cadata=b"".join(certificate.blocks(ca)))
    if _accepts(client, mine):
        return
    leaf = certificate.parse(certificate.blocks(own)[0])
    names = [certificate.parse(each).raw_subject for each in certificate.blocks(ca)]
    reason = "is not trusted" if leaf.issuer in names else "hasn't got a known issuer"
    raise QmpError(
        f"Our own certificate {own_path} failed validation against {ca_path}: "
        f"The certificate {reason}"
    )


def _accepts(client: ssl.SSLContext, server: ssl.SSLContext) -> bool:
    """Whether a client goes on when it has seen the certificate of a server."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True)]
    for turn in range(4):
        try:
            ends[turn % 2].do_handshake()
            return True
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError as error:
            return error.verify_code == INVALID_PURPOSE  # is nobody's business here
    return False


INVALID_PURPOSE = 26  # X509_V_ERR_INVALID_PURPOSE


def _own(path: str, text: bytes, endpoint: str) -> Certificate:
    try:
        found = certificate.blocks(text)
    except Malformed:
        found = []
    try:
        if found and found[0]:
            return certificate.parse(found[0])
        reason = "Base64 unexpected header error."
    except Malformed:
        reason = "ASN1 parser: Error in TAG."
    raise QmpError(f"Unable to import {endpoint} certificate {path}: {reason}")


def _authorities(path: str, text: bytes) -> list[Certificate]:
    try:
        found = [certificate.parse(each) for each in certificate.blocks(text)]
    except Malformed:
        found = []
    if not found:
        raise QmpError(f"Unable to import CA certificate list {path}")
    return found


def check(found: Certificate, path: str, role: str) -> None:
    """Judge one certificate for its role: "server", "client" or "CA"."""
    now = RealClock().wall_ns() // NS_PER_S
    if found.not_after < now:
        raise QmpError(f"The {role} certificate {path} has expired")
    if found.not_before > now:
        raise QmpError(f"The {role} certificate {path} is not yet active")
    _check_constraints(found, path, role)
    _check_usage(found, path, role)
    if role != "CA" and found.purposes is not None:
        purposes, critical = found.purposes
        if critical and not {ANY_PURPOSE, PURPOSES[role]} & set(purposes):
            text = f"Certificate {path} purpose does not allow use with a TLS {role}"
            raise QmpError(text)


def _check_constraints(found: Certificate, path: str, role: str) -> None:
    if role != "CA":
        if found.is_ca:
            text = f"The certificate {path} basic constraints show a CA, but we need one for a"
            raise QmpError(f"{text} {role}")
    elif found.is_ca is None:
        raise QmpError(f"The certificate {path} is missing basic constraints for a CA")
    elif not found.is_ca:
        raise QmpError(f"The certificate {path} basic constraints do not show a CA")


def _check_usage(found: Certificate, path: str, role: str) -> None:
    """What is critical must allow it; what is not is taken as an advice."""
    bits, critical = found.usage or (0, False)
    needed = {DIGITAL_SIGNATURE: "digital signature", KEY_ENCIPHERMENT: "key encipherment"}
    if role == "CA":
        needed = {CERTIFICATE_SIGNING: "certificate signing"}
    for bit, name in needed.items():
        if critical and not bits & bit:
            raise QmpError(f"Certificate {path} usage does not permit {name}")
