"""A serial line that libvirt puts behind TLS, with the certificates of its host."""

from __future__ import annotations

import json
import socket
import ssl
from typing import TYPE_CHECKING

from tests.certificates import Authority, put
from tests.differential.wires import GUARD

if TYPE_CHECKING:
    from tests.clients.libvirt.conftest import MakeDomain
    from tests.clients.libvirt.host import Host

SERIAL = (
    "<serial type='tcp'><source mode='bind' host='127.0.0.1' service='{port}' tls='yes'/>"
    "<protocol type='raw'/><target port='0'/></serial>"
)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def test_a_serial_line_behind_tls(host: Host, domain: MakeDomain) -> None:
    authority = Authority()
    ends = (
        authority.issue("localhost", name="server"),
        authority.issue("client.example", name="client"),
    )
    put(host.directory / "etc/tls", authority.pem, *ends)
    port = free_port()
    subject = domain(SERIAL.format(port=port))
    subject.does("start")
    pki = host.directory / "etc/tls"
    context = ssl.create_default_context(cafile=str(pki / "ca-cert.pem"))
    context.load_cert_chain(pki / "client-cert.pem", pki / "client-key.pem")
    with (
        socket.create_connection(("127.0.0.1", port), GUARD) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as peer,
    ):
        assert peer.version() == "TLSv1.3"
        name = ""
        while not name.startswith(f"tcp:127.0.0.1:{port},server=on <-> "):
            told = subject.does("qemu-monitor-command", json.dumps({"execute": "query-chardev"}))
            found = json.loads(told)["return"]
            name = next(each["filename"] for each in found if each["label"] == "charserial0")
    subject.does("destroy")
