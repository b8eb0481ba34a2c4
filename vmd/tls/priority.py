"""Priority strings of GnuTLS, as far as Python's `ssl` can follow them.

A level (NORMAL, SECURE128, …), then versions to leave out or take in. What else may stand there is
refused like what GnuTLS does not know: there is no handshake.
"""

from __future__ import annotations

import ssl

DEFAULT = "NORMAL"
# What the level asks of keys, in the levels of OpenSSL
LEVELS = {
    "NORMAL": 1,
    "PERFORMANCE": 1,
    "PFS": 1,
    "SECURE128": 3,
    "SECURE192": 4,
    "SECURE256": 5,
}
VERSIONS = {
    "VERS-TLS1.2": ssl.TLSVersion.TLSv1_2,
    "VERS-TLS1.3": ssl.TLSVersion.TLSv1_3,
}
OLD_VERSIONS = ("VERS-TLS1.0", "VERS-TLS1.1")
ALL_VERSIONS = ("VERS-ALL", "VERS-TLS-ALL")


def heed(context: ssl.SSLContext, priority: str, *, anonymous: bool) -> bool:
    """Set the context up for the priority; False if it is none that can be followed.

    `anonymous`: nobody has a certificate, which TLS 1.3 cannot do.
    """
    level, *changes = priority.split(":")
    if level not in LEVELS:
        return False
    versions = set(VERSIONS)
    for change in changes:
        sign, name = change[:1], change[1:]
        names = set(VERSIONS) if name in ALL_VERSIONS else {name}
        if sign not in ("+", "-", "!") or not names <= {*VERSIONS, *OLD_VERSIONS}:
            return False
        if sign == "+" and name in OLD_VERSIONS:
            return False
        versions = versions | names if sign == "+" else versions - names
    if anonymous:
        versions.discard("VERS-TLS1.3")
    if not versions:
        return False
    context.minimum_version = min(VERSIONS[name] for name in versions)
    context.maximum_version = max(VERSIONS[name] for name in versions)
    # OpenSSL knows nothing anonymous above its lowest level.
    ciphers = "ADH:@SECLEVEL=0" if anonymous else f"DEFAULT:@SECLEVEL={LEVELS[level]}"
    context.set_ciphers(ciphers)
    return True
