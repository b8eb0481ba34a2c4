"""Credentials for TLS as objects, and who is let in with them."""

from __future__ import annotations

import re
import socket
import ssl
from typing import TYPE_CHECKING, Any

from tests.certificates import credentials, odd_authorities, odd_certificates, odd_keys, revoked
from tests.differential.scenes import NONE, leave
from tests.differential.wires import GUARD

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage


def _dashed(data: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("_", "-"): value for name, value in data.items()}


def _create(machine: Machine, kind: str, **options: Any) -> Any:
    return machine.qmp.execute("object-add", {"qom-type": kind, **_dashed(options)})


def _x509(machine: Machine, directory: str, **options: Any) -> None:
    name = "creds"
    answer = _create(machine, "tls-creds-x509", id=name, dir=directory, **options)
    if not answer:
        machine.qmp.execute("object-del", {"id": name}, quietly=True)


def missing_files(stage: Stage) -> None:
    machine = stage.start(NONE)
    credentials(stage.file("pki"))
    for missing in ("ca-cert", "server-cert", "server-key", "client-cert", "client-key"):
        stage.file(f"pki/both/{missing}.pem").rename(stage.file("kept"))
        for endpoint in ("server", "client"):
            _x509(machine, "pki/both", endpoint=endpoint)
        stage.file("kept").rename(stage.file(f"pki/both/{missing}.pem"))
    _x509(machine, "pki")
    _x509(machine, "")
    _create(machine, "tls-creds-x509", id="x")
    _create(machine, "tls-creds-x509", id="x", dir="pki/both", endpoint="middle")
    _create(machine, "tls-creds-x509", id="x", dir="pki/both", username="x")
    stage.file("pki/both/ca-crl.pem").write_text("junk")
    _x509(machine, "pki/both", endpoint="server")
    _x509(machine, "pki/both", endpoint="client")
    stage.file("pki/both/ca-crl.pem").unlink()
    stage.file("pki/both/dh-params.pem").write_text("junk")
    _x509(machine, "pki/both", endpoint="server")
    _x509(machine, "pki/both", endpoint="client")
    _create(machine, "tls-creds-anon", id="a", dir="pki/both", endpoint="server")
    leave(machine)


def odd_certificate_authorities(stage: Stage) -> None:
    machine = stage.start(NONE)
    for name in odd_authorities(stage.directory):
        for endpoint in ("server", "client"):
            _x509(machine, name, endpoint=endpoint)
    for name in ("another", "expired", "empty", "junk", "cut", "der", "second-bad"):
        _x509(machine, name, endpoint="server", sanity_check=False)
    leave(machine)


def odd_own_certificates(stage: Stage) -> None:
    machine = stage.start(NONE)
    names = odd_certificates(stage.directory)
    for name in names:
        for endpoint in ("server", "client"):
            _x509(machine, name, endpoint=endpoint)
    for name in names:
        _x509(machine, name, endpoint="server", sanity_check=False)
    leave(machine)


def odd_private_keys(stage: Stage) -> None:
    machine = stage.start(f"{NONE} -object secret,id=right,data=hunter2")
    _create(machine, "secret", id="wrong", data="x")
    for name in odd_keys(stage.directory):
        _x509(machine, name, endpoint="server")
    for secret in ("right", "wrong", "nobody"):
        _x509(machine, "sealed", endpoint="server", passwordid=secret)
    leave(machine)


def properties_of_credentials(stage: Stage) -> None:
    machine = stage.start(NONE)
    credentials(stage.file("pki"))
    _create(machine, "tls-creds-x509", id="x", dir="pki/both")
    _create(machine, "tls-creds-anon", id="a")
    _create(machine, "tls-creds-x509", id="x", dir="pki/both")
    # QEMU frees what it never had if the endpoint is another one then.
    changes = {"dir": "y", "endpoint": "client", "verify-peer": False, "priority": "z"}
    bad = {"endpoint": "middle", "verify-peer": "x"}
    for path in ("/objects/x", "/objects/a"):
        machine.qmp.execute("qom-list", {"path": path})
        for values in (changes, bad):
            for name, value in values.items():
                where = {"path": path, "property": name}
                machine.qmp.execute("qom-get", where)
                machine.qmp.execute("qom-set", {**where, "value": value})
                machine.qmp.execute("qom-get", where)
    for kind in ("tls-creds", "authz"):
        arguments = {"implements": kind, "abstract": True}
        machine.qmp.execute("qom-list-types", arguments, view=_known)
    for kind in ("tls-creds-x509", "tls-creds-anon", "authz-simple", "authz-list"):
        machine.qmp.execute("qom-list-properties", {"typename": kind})
    leave(machine)


def _known(types: list[dict[str, Any]]) -> list[dict[str, Any]]:
    lacking = ("tls-creds-psk", "tls-cipher-suites", "authz-list-file")
    known = (kind for kind in types if kind["name"] not in lacking)
    return sorted(known, key=lambda kind: str(kind["name"]))


def who_may_come(stage: Stage) -> None:
    machine = stage.start(NONE)
    allow, deny = {"match": "a", "policy": "allow"}, {"match": "b*", "policy": "deny"}
    _create(machine, "authz-simple", id="s")
    _create(machine, "authz-simple", id="s", identity="x")
    _create(machine, "authz-list", id="l")
    _create(
        machine, "authz-list", id="m", policy="allow", rules=[allow, {**deny, "format": "glob"}]
    )
    for rules in ([{"match": "a"}], [{**allow, "policy": "x"}], "x", [{**deny, "format": "re"}]):
        _create(machine, "authz-list", id="n", rules=rules)
    _create(machine, "authz-list", id="n", policy="x")
    for name, names in (("s", ["identity"]), ("l", ["policy", "rules"]), ("m", ["rules"])):
        path = f"/objects/{name}"
        machine.qmp.execute("qom-list", {"path": path})
        for member in names:
            machine.qmp.execute("qom-get", {"path": path, "property": member})
    for name, member, value in (
        ("s", "identity", "y"),
        ("s", "identity", 1),
        ("l", "policy", "allow"),
        ("l", "policy", "x"),
        ("l", "rules", [deny]),
    ):
        where = {"path": f"/objects/{name}", "property": member}
        machine.qmp.execute("qom-set", {**where, "value": value})
        machine.qmp.execute("qom-get", where)
    for line in ("authz-list,id=h,policy=allow", "tls-creds-x509,id=h,dir=nowhere"):
        machine.qmp.execute("human-monitor-command", {"command-line": f"object_add {line}"})
    machine.qmp.execute("human-monitor-command", {"command-line": "object_del h"})
    leave(machine)


# Connections


def _ports_hidden(devices: list[dict[str, Any]]) -> list[str]:
    names = (device["filename"] for device in devices if device["label"] == "w")
    return [re.sub(r"(127\.0\.0\.1):\d+", r"\1:<port>", name) for name in names]


def _port(machine: Machine) -> int:
    found = machine.qmp.execute("query-chardev", quietly=True)
    names = [device["filename"] for device in found if device["label"] == "w"]
    return int(re.findall(r"127\.0\.0\.1:(\d+)", names[0])[0])


def _visit(
    stage: Stage, machine: Machine, name: str, context: ssl.SSLContext, *, bare: bool = False
) -> None:
    """Connect, shake hands, and read the first words of the monitor behind."""
    with socket.create_connection(("127.0.0.1", _port(machine)), GUARD) as plain:
        try:
            with context.wrap_socket(plain, server_hostname="localhost") as peer:
                said = peer.recv(4)
                stage.note(f"{name}: {peer.version()} {said!r}")
        except (ConnectionResetError, ssl.SSLEOFError):  # which of them, is the kernel's affair
            stage.note(f"{name}: hung up on")
        except OSError as error:
            stage.note(f"{name}: {type(error).__name__}")


def _client(
    stage: Stage, *, shows: str | None = "both", newest: ssl.TLSVersion | None = None
) -> ssl.SSLContext:
    pki = stage.file("pki")
    context = ssl.create_default_context(cafile=str(pki / "both/ca-cert.pem"))
    if shows is not None:
        mine = pki / shows
        context.load_cert_chain(mine / "client-cert.pem", mine / "client-key.pem")
    if newest is not None:
        context.maximum_version = newest
    return context


TLS = "-chardev socket,id=w,host=127.0.0.1,port=0,server=on,wait=off,tls-creds=creds -mon w"
CREDS = "-object tls-creds-x509,id=creds,dir=pki/both,endpoint=server"


def clients_of_a_server_with_certificates(stage: Stage) -> None:
    credentials(stage.file("pki"))
    machine = stage.start(f"{NONE} {CREDS} {TLS}")
    _visit(stage, machine, "ours", _client(stage))
    _visit(stage, machine, "ours, older", _client(stage, newest=ssl.TLSVersion.TLSv1_2))
    _visit(stage, machine, "nobody", _client(stage, shows=None))
    _visit(stage, machine, "a foreigner", _client(stage, shows="foreign"))
    _visit(stage, machine, "one of old", _client(stage, shows="expired"))
    _visit(stage, machine, "ours again", _client(stage))
    machine.qmp.execute("query-chardev", view=_ports_hidden)
    leave(machine)


def clients_that_were_revoked(stage: Stage) -> None:
    revoked(stage.file("pki"))
    machine = stage.start(f"{NONE} {CREDS} {TLS}")
    _visit(stage, machine, "still good", _client(stage))
    _visit(stage, machine, "revoked", _client(stage, shows="gone"))
    leave(machine)
    stage.file("pki/both/ca-crl.pem").unlink()
    machine = stage.start(f"{NONE} {CREDS} {TLS}")
    _visit(stage, machine, "not known to be", _client(stage, shows="gone"))
    leave(machine)


def a_server_that_asks_for_no_certificate(stage: Stage) -> None:
    credentials(stage.file("pki"))
    machine = stage.start(f"{NONE} {CREDS},verify-peer=off {TLS}")
    _visit(stage, machine, "nobody", _client(stage, shows=None))
    _visit(stage, machine, "a foreigner", _client(stage, shows="foreign"))
    leave(machine)


def priorities(stage: Stage) -> None:
    credentials(stage.file("pki"))
    for priority in ("NORMAL:-VERS-TLS1.3", "NORMAL", "SECURE128", "SECURE256", "JUNK", ""):
        machine = stage.start(f"{NONE} {CREDS},priority={priority} {TLS}")
        _visit(stage, machine, priority, _client(stage))
        leave(machine)


def authorization(stage: Stage) -> None:
    credentials(stage.file("pki"))
    machine = stage.start(f"{NONE} {CREDS} {TLS.replace('creds ', 'creds,tls-authz=door ')}")
    _visit(stage, machine, "no door", _client(stage))

    def rule(match: str, policy: str = "allow", form: str = "glob") -> dict[str, str]:
        return {"match": match, "policy": policy, "format": form}

    for rules in (
        [],
        [rule("*CN=laptop")],
        [rule("O=trustme*,OU=*,CN=laptop")],
        [rule("CN=laptop*")],
        [rule("*CN=lapto?")],
        [rule("*CN=[l]aptop")],
        [rule("*CN=laptop", form="exact")],
        [rule("*CN=laptop", "deny"), rule("*")],
    ):
        _create(machine, "authz-list", id="door", rules=rules)
        _visit(stage, machine, "rules", _client(stage))
        machine.qmp.execute("object-del", {"id": "door"})
    _create(machine, "authz-list", id="door", policy="allow")
    _visit(stage, machine, "open", _client(stage))
    machine.qmp.execute("object-del", {"id": "door"})
    _create(machine, "authz-simple", id="door", identity="CN=laptop")
    _visit(stage, machine, "another", _client(stage))
    machine.qmp.execute("object-del", {"id": "door"})
    _create(machine, "secret", id="door", data="x")
    _visit(stage, machine, "no judge", _client(stage))
    leave(machine)
