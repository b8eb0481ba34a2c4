"""A directory of PEM files becomes a context of `ssl`.

Observed from crypto/tlscredsx509.c, tlscredsanon.c and tlscreds.c: which files, in which order, and
the words of GnuTLS for what is wrong with them.
"""

from __future__ import annotations

import errno
import os
import re
import ssl
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from qapi.error import QmpError
from vmd.tls import certificate, sanity
from vmd.tls.certificate import Malformed

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_BYTES = 1 << 20  # of a file
UNREADABLE = "Error while reading file."
NOT_THERE = "The requested data were not available."
NO_BASE64 = "Base64 decoding error."
BAD_HEADER = "Base64 unexpected header error."
NO_CERTIFICATE = "ASN1 parser: Error in TAG."
_KEY = re.compile(rb"-----BEGIN (.*?)PRIVATE KEY-----(.*?)(-----END |\Z)", re.S)


class Files(NamedTuple):
    """Paths of the files that are there; None where one is not, and need not be."""

    ca: str
    cert: str | None
    key: str | None
    crl: str | None
    dh: str | None


def x509_context(
    directory: str, endpoint: str, *, sanity_check: bool, password: bytes | None
) -> ssl.SSLContext:
    """The context for an endpoint ("server" or "client") with certificates; QmpError if not."""
    files = _find(directory, endpoint)
    authorities = _content(files.ca, sanity_check)
    own = _content(files.cert, sanity_check) if files.cert is not None else b""
    if sanity_check:
        sanity.check_files(files.ca, authorities or b"", files.cert, own or b"", endpoint)
    context = _new_context(endpoint)
    _trust(context, files.ca, authorities)
    if files.cert is not None and files.key is not None:
        key = _present(context, files.cert, own, files.key, password)
        if sanity_check and own and authorities:
            alone = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            _load_pair(alone, _leaf(own), key, password)
            sanity.check_pair(files.ca, authorities, files.cert, own, alone)
    if files.crl is not None:
        _heed_revocations(context, files.crl)
    if files.dh is not None:
        load_parameters(context, files.dh)
    return context


def ask_for_peer(context: ssl.SSLContext, verify: bool, endpoint: str) -> None:
    """Have sessions that begin from now on verify their peer's certificate, or not."""
    context.check_hostname = False
    if not verify:
        context.verify_mode = ssl.CERT_NONE
    elif endpoint == "server":
        # Who shows none is sent away when the handshake is over, as by QEMU.
        context.verify_mode = ssl.CERT_OPTIONAL
    else:
        context.check_hostname = True


def _new_context(endpoint: str) -> ssl.SSLContext:
    protocol = ssl.PROTOCOL_TLS_SERVER if endpoint == "server" else ssl.PROTOCOL_TLS_CLIENT
    context = ssl.SSLContext(protocol)
    context.options |= ssl.OP_NO_RENEGOTIATION
    # An authority that is named is trusted, also one that another has made.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _find(directory: str, endpoint: str) -> Files:
    server = endpoint == "server"
    ca = find(directory, "ca-cert.pem", required=True)
    assert ca is not None
    crl = find(directory, "ca-crl.pem") if server else None
    cert = find(directory, f"{endpoint}-cert.pem", required=server)
    key = find(directory, f"{endpoint}-key.pem", required=server)
    dh = find(directory, "dh-params.pem") if server else None
    return Files(ca, cert, key, crl, dh)


def find(directory: str, name: str, *, required: bool = False) -> str | None:
    """The path of a file that can be read; None if it is missing and not `required`."""
    path = f"{directory}/{name}"
    try:
        os.stat(path)
        if os.access(path, os.R_OK):
            return path
        reason = os.strerror(errno.EACCES)
    except OSError as error:
        if not required and isinstance(error, FileNotFoundError):
            return None
        reason = os.strerror(error.errno or 0)
    raise QmpError(f"Unable to access credentials {path}: {reason}")


def _content(path: str, judged: bool) -> bytes | None:
    """What is in a file; None if it cannot be read and is not judged before it is used."""
    try:
        return _read(path)
    except OSError as error:
        if judged:
            reason = os.strerror(error.errno or 0)
            text = f"Cannot load CA cert list {path}: Error reading file “{path}”: {reason}"
            raise QmpError(text) from None
        return None


def _read(path: str) -> bytes:
    """The content of a plain file: nobody is waited for at the other end of a pipe."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EISDIR if stat.S_ISDIR(found.st_mode) else errno.EINVAL, "")
        if found.st_size > MOST_BYTES:
            raise OSError(errno.EFBIG, "")
        return os.read(fd, MOST_BYTES)
    finally:
        os.close(fd)


def _trust(context: ssl.SSLContext, path: str, text: bytes | None) -> None:
    if text is None:
        raise QmpError(f"Cannot load CA certificate '{path}': {UNREADABLE}")
    try:
        found = certificate.blocks(text)
        if b"-----BEGIN CERTIFICATE-----" in text and not found:
            raise Malformed
    except Malformed:
        raise QmpError(f"Cannot load CA certificate '{path}': {BAD_HEADER}") from None
    if not found:
        return  # no authority: nobody is trusted
    try:
        context.load_verify_locations(cadata=b"".join(found))
    except ssl.SSLError:
        raise QmpError(f"Cannot load CA certificate '{path}': {NO_CERTIFICATE}") from None


def _present(
    context: ssl.SSLContext,
    cert_path: str,
    cert: bytes | None,
    key_path: str,
    password: bytes | None,
) -> bytes:
    """Load the own certificate and its key; returns what is in the key's file."""

    def failed(reason: str) -> QmpError:
        return QmpError(f"Cannot load certificate '{cert_path}' & key '{key_path}': {reason}")

    problem = UNREADABLE if cert is None else _problem_of_certificate(cert)
    if problem is not None:
        raise failed(problem)
    try:
        key = _read(key_path)
    except OSError:
        raise failed(UNREADABLE) from None
    found = _KEY.search(key)
    if found is None:
        raise failed(NOT_THERE)
    if not found[3]:
        raise failed(NO_BASE64)
    try:
        _load_pair(context, cert or b"", key, password)
    except (ssl.SSLError, OSError, ValueError) as error:
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            raise failed("The certificate and the given key do not match.") from None
        encrypted = found[1].startswith(b"ENCRYPTED") or b"ENCRYPTED" in found[2]
        reason = "Decryption has failed." if encrypted else NO_CERTIFICATE
        raise failed(reason) from None
    return key


def _load_pair(
    context: ssl.SSLContext, certificates: bytes, key: bytes, password: bytes | None
) -> None:
    with memory_file(certificates) as cert_path, memory_file(key) as key_path:
        # Without a function OpenSSL would ask at the terminal.
        context.load_cert_chain(cert_path, key_path, password=lambda: password or b"")


def _problem_of_certificate(text: bytes) -> str | None:
    if b"-----BEGIN CERTIFICATE-----" not in text:
        return NO_BASE64
    try:
        found = certificate.blocks(text)
    except Malformed:
        found = []
    if not found or not found[0]:
        return BAD_HEADER
    try:
        certificate.parse(found[0])
    except Malformed:
        return NO_CERTIFICATE
    return None


@contextmanager
def memory_file(content: bytes) -> Iterator[str]:
    """The path of a file that is in memory: `ssl` takes some things from files only."""
    fd = os.memfd_create("pem")
    try:
        os.write(fd, content)
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _leaf(text: bytes) -> bytes:
    """The first certificate alone: the authorities must know it themselves."""
    from binascii import b2a_base64

    first = b2a_base64(certificate.blocks(text)[0])
    return b"-----BEGIN CERTIFICATE-----\n" + first + b"-----END CERTIFICATE-----\n"


def _heed_revocations(context: ssl.SSLContext, path: str) -> None:
    try:
        with memory_file(_read(path)) as copy:
            context.load_verify_locations(copy)
    except (ssl.SSLError, OSError):
        raise QmpError(f"Cannot load CRL '{path}': {NO_BASE64}") from None
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


def load_parameters(context: ssl.SSLContext, path: str) -> None:
    """Diffie-Hellman parameters from a file."""
    try:
        with memory_file(_read(path)) as copy:
            context.load_dh_params(copy)
    except (ssl.SSLError, OSError):
        raise QmpError(f"Unable to load DH parameters from {path}: {BAD_HEADER}") from None


# RFC 7919, ffdhe2048, as a file of parameters: anonymous servers need some.
FFDHE2048 = b"""-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
"""


def anonymous_context(directory: str | None, endpoint: str) -> ssl.SSLContext:
    """The context for an endpoint without certificates; what they say is secret, but to whom?"""
    context = _new_context(endpoint)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if endpoint == "server":
        path = find(directory, "dh-params.pem") if directory is not None else None
        if path is not None:
            load_parameters(context, path)
        else:
            with memory_file(FFDHE2048) as made:
                context.load_dh_params(made)
    return context
