"""Credentials for TLS and who may come with them, as objects of a user.

Observed from crypto/tlscreds*.c, authz/simple.c and authz/list.c. What a property is set to later
counts from the next connection on, as far as it is not the files: those have been read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qapi.error import QmpError
from vmd.devices.qom import Property, boolean, choice, text

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from vmd.tls.session import Session

ENDPOINTS = ("client", "server")
POLICIES = ("deny", "allow")
FORMATS = ("exact", "glob")


class TlsCredentials:
    """What one end of a TLS connection shows and asks for: certificates, or nothing (`anon`).

    `password` is what `passwordid` leads to.
    """

    __slots__ = ("_context", "_values", "id", "qom_type")

    def __init__(self, options: Mapping[str, object], password: bytes | None) -> None:
        from vmd.tls import context

        self.id = str(options["id"])
        self.qom_type = str(options["qom-type"])
        self._values: dict[str, object] = {
            "endpoint": "client",
            "dir": "",
            "verify-peer": True,
            "priority": None,  # told as "", which is another wish, and cannot be fulfilled
        }
        if self._has_certificates:
            self._values |= {"sanity-check": True, "passwordid": ""}
        self._values |= {name: options[name] for name in self._values if name in options}
        directory = str(options["dir"]) if "dir" in options else None
        if not self._has_certificates:
            self._context = context.anonymous_context(directory, self.endpoint)
            return
        if directory is None:
            raise QmpError("Missing 'dir' property value")
        self._context = context.x509_context(
            directory,
            self.endpoint,
            sanity_check=bool(self._values["sanity-check"]),
            password=password,
        )

    @property
    def _has_certificates(self) -> bool:
        return self.qom_type == "tls-creds-x509"

    @property
    def endpoint(self) -> str:
        return str(self._values["endpoint"])

    def properties(self) -> dict[str, Property]:
        def made(name: str, value: object) -> Property:
            def write(value: object) -> None:
                self._values[name] = judge(name, value)

            kind = "bool" if isinstance(value, bool) else "string"
            judge = boolean if kind == "bool" else text
            return Property(kind, lambda: _told(self._values[name]), write)

        def write_endpoint(value: object) -> None:
            self._values["endpoint"] = choice("endpoint", value, ENDPOINTS)

        kind = "QCryptoTLSCredsEndpoint"
        endpoint = Property(kind, lambda: self._values["endpoint"], write_endpoint)
        found = {name: made(name, value) for name, value in self._values.items()}
        return {**found, "endpoint": endpoint}

    def new_session(self, hostname: str | None, may_come: Callable[[str], bool] | None) -> Session:
        """See Credentials in vmd/chardev/layers.py."""
        from vmd.tls.certificate import Malformed, parse
        from vmd.tls.session import Session

        def welcome(shown: bytes | None) -> bool:
            if not self._has_certificates or not self._values["verify-peer"]:
                return True
            if shown is None:
                return False
            try:
                return may_come is None or may_come(parse(shown).subject)
            except Malformed:
                return False

        server = self.endpoint == "server"
        return Session(self._prepared(), None if server else hostname, welcome, server=server)

    def _prepared(self) -> ssl.SSLContext | None:
        """The context as the properties want it now; None if it cannot be."""
        from vmd.tls import context, priority

        wanted = self._values["priority"]
        anonymous = not self._has_certificates
        spelled = priority.DEFAULT if wanted is None else str(wanted)
        if not priority.heed(self._context, spelled, anonymous=anonymous):
            return None
        if not anonymous:
            context.ask_for_peer(self._context, bool(self._values["verify-peer"]), self.endpoint)
        return self._context

    def close(self) -> None:
        pass


def _told(value: object) -> object:
    return "" if value is None else value


class OneIdentity:
    """Lets one peer come: the one with this name (`authz-simple`)."""

    __slots__ = ("_identity", "id")
    qom_type = "authz-simple"

    def __init__(self, options: Mapping[str, object]) -> None:
        self.id = str(options["id"])
        self._identity = str(options["identity"])

    def allows(self, identity: str) -> bool:
        return identity == self._identity

    def properties(self) -> dict[str, Property]:
        def write(value: object) -> None:
            self._identity = text("identity", value)

        return {"identity": Property("string", lambda: self._identity, write)}

    def close(self) -> None:
        pass


class Rules:
    """The first rule that fits a name decides; if none does, the policy (`authz-list`)."""

    __slots__ = ("_policy", "_rules", "id")
    qom_type = "authz-list"

    def __init__(self, options: Mapping[str, object]) -> None:
        self.id = str(options["id"])
        self._policy = str(options.get("policy", "deny"))
        self._rules = _rules(options.get("rules", []))

    def allows(self, identity: str) -> bool:
        decisions = (rule["policy"] for rule in self._rules if _fits(rule, identity))
        return next(decisions, self._policy) == "allow"

    def properties(self) -> dict[str, Property]:
        def write_policy(value: object) -> None:
            self._policy = choice("policy", value, POLICIES)

        def write_rules(value: object) -> None:
            self._rules = []  # gone also if the others are refused
            self._rules = _rules(value)

        policy = Property("QAuthZListPolicy", lambda: self._policy, write_policy)
        return {
            "policy": policy,
            "rules": Property("QAuthZListRule", lambda: self._rules, write_rules),
        }

    def close(self) -> None:
        pass


def _rules(value: object) -> list[dict[str, str]]:
    import qapi

    checked = qapi.load().check("AuthZListProperties", {"rules": value})
    assert isinstance(checked, dict)
    return list(checked["rules"])


def _fits(rule: dict[str, str], identity: str) -> bool:
    if rule.get("format", "exact") == "exact":
        return rule["match"] == identity
    wild = {"*": ".*", "?": "."}
    pattern = "".join(wild.get(each) or re.escape(each) for each in rule["match"])
    return re.fullmatch(pattern, identity, re.DOTALL) is not None
