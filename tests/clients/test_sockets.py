"""A whole vmd behind sockets that speak websocket and TLS: its monitors, its serial line."""

from __future__ import annotations

import json
import re
import socket
import ssl
from typing import TYPE_CHECKING, Any

from tests.certificates import credentials
from tests.differential.scenes import NONE
from tests.differential.wires import GUARD
from tests.vmd.test_websocket import BINARY, CLOSE, REQUEST, masked

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage

Socket = socket.socket | ssl.SSLSocket
CREDS = "-object tls-creds-x509,id=creds,dir=both,endpoint=server"


class Web:
    """A client of a websocket on an open connection."""

    def __init__(self, connection: Socket) -> None:
        self._connection = connection
        self._input = b""
        connection.sendall(REQUEST)
        while b"\r\n\r\n" not in self._input:
            self._more()
        head, _, self._input = self._input.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")

    def _more(self) -> None:
        data = self._connection.recv(1 << 16)
        assert data, "the end of the connection"
        self._input += data

    def _take(self, size: int) -> bytes:
        while len(self._input) < size:
            self._more()
        taken, self._input = self._input[:size], self._input[size:]
        return taken

    def send(self, data: bytes) -> None:
        self._connection.sendall(masked(BINARY, data))

    def message(self) -> tuple[int, bytes]:
        """The next frame: its opcode and what is in it."""
        head = self._take(2)
        size = int.from_bytes(self._take(2), "big") if head[1] == 126 else head[1]
        return head[0] & 0xF, self._take(size)

    def line(self) -> Any:
        """A line of JSON, in as many frames as it needs."""
        data = b""
        while not data.endswith(b"\r\n"):
            opcode, part = self.message()
            assert opcode == BINARY
            data += part
        return json.loads(data)

    def execute(self, command: str) -> Any:
        self.send(json.dumps({"execute": command}).encode())
        return self.line()["return"]


def on_unix(vmd: Stage, path: str) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(GUARD)
    peer.connect(str(vmd.file(path)))
    return peer


def on_tcp(machine: Machine, label: str) -> socket.socket:
    found = machine.qmp.execute("query-chardev", quietly=True)
    name = next(each["filename"] for each in found if each["label"] == label)
    port = int(re.findall(r"127\.0\.0\.1:(\d+)", name)[0])
    return socket.create_connection(("127.0.0.1", port), GUARD)


def ours(vmd: Stage) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(vmd.file("both/ca-cert.pem")))
    pair = vmd.file("both/client-cert.pem"), vmd.file("both/client-key.pem")
    context.load_cert_chain(*pair)
    return context


def test_qmp_on_a_websocket(vmd: Stage) -> None:
    web = "-chardev socket,id=w,path=w.sock,server=on,wait=off,websocket=on -mon w,mode=control"
    vmd.start(f"{NONE} {web}")
    for _ in range(2):  # one client after the other
        with on_unix(vmd, "w.sock") as peer:
            client = Web(peer)
            assert "QMP" in client.line()
            assert client.execute("qmp_capabilities") == {}
            assert client.execute("query-status")["running"]
            assert len(client.execute("query-qmp-schema")) > 100
            peer.sendall(masked(CLOSE, b""))
            assert client.message()[0] == CLOSE


def test_qmp_over_tls_and_a_websocket_added_at_run_time(vmd: Stage) -> None:
    credentials(vmd.directory)
    machine = vmd.start("-machine pc -nodefaults -S -serial null")
    creds = {"qom-type": "tls-creds-x509", "id": "creds", "dir": "both", "endpoint": "server"}
    machine.qmp.execute("object-add", creds)
    address = {"type": "inet", "data": {"host": "127.0.0.1", "port": "0"}}
    data = {"addr": address, "tls-creds": "creds", "websocket": True}
    added = {"id": "w", "backend": {"type": "socket", "data": data}}
    assert machine.qmp.execute("chardev-add", added) == {}
    with ours(vmd).wrap_socket(on_tcp(machine, "w"), server_hostname="localhost") as peer:
        Web(peer)
        found = machine.qmp.execute("query-chardev", quietly=True)
        name = next(each["filename"] for each in found if each["label"] == "w")
        assert name.startswith("websocket:127.0.0.1:")
        yanked = {"instances": [{"type": "chardev", "id": "w"}]}
        assert machine.qmp.execute("yank", yanked) == {}
        assert peer.recv(1) == b""
    assert machine.qmp.execute("chardev-remove", {"id": "w"}) == {}


def test_qmp_over_tls(vmd: Stage) -> None:
    credentials(vmd.directory)
    device = "socket,id=w,host=127.0.0.1,port=0,server=on,wait=off,tls-creds=creds"
    machine = vmd.start(f"{NONE} {CREDS} -chardev {device} -mon w,mode=control")
    with ours(vmd).wrap_socket(on_tcp(machine, "w"), server_hostname="localhost") as peer:
        lines = peer.makefile("rb")
        assert "QMP" in json.loads(lines.readline())
        peer.sendall(b'{"execute":"qmp_capabilities"}{"execute":"query-qmp-schema"}')
        assert json.loads(lines.readline()) == {"return": {}}
        assert len(json.loads(lines.readline())["return"]) > 100
        peer.sendall(b'{"execute":"quit"}')
        assert json.loads(lines.readline())["event"] == "SHUTDOWN"
        assert json.loads(lines.readline()) == {"return": {}}
        lines.close()
    machine.process.wait(GUARD)


def test_a_serial_line_moves_to_a_websocket(vmd: Stage) -> None:
    machine = vmd.start("-machine pc -nodefaults -m 8 -serial null", guest="ab")
    address = {"type": "unix", "data": {"path": "s.sock"}}
    data = {"addr": address, "websocket": True}
    change = {"id": "serial0", "backend": {"type": "socket", "data": data}}
    assert machine.qmp.execute("chardev-change", change) == {}
    with on_unix(vmd, "s.sock") as peer:
        client = Web(peer)
        assert client.message()[0] == BINARY
