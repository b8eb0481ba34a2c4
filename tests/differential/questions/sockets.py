"""What may stand between a socket and its character device: telnet, websockets, TLS."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tests.certificates import credentials
from tests.differential.scenes import NONE, leave

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage
    from tests.differential.wires import Wire

WEB = "-chardev socket,id=w,path=w.sock,server=on,wait=off"
UNIX = {"type": "unix", "data": {"path": "s.sock"}}
INET = {"type": "inet", "data": {"host": "127.0.0.1", "port": "0"}}
NAMED_FD = {"type": "fd", "data": {"str": "nothing"}}
VSOCK = {"type": "vsock", "data": {"cid": "1", "port": "1"}}
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
REQUEST = {
    "Host": " x",
    "Upgrade": " websocket",
    "Connection": " Upgrade",
    "Sec-WebSocket-Key": f" {KEY}",
    "Sec-WebSocket-Version": " 13",
    "Sec-WebSocket-Protocol": " binary",
}
LINE = "GET / HTTP/1.1"


# Options


def _add(machine: Machine, label: str, address: dict[str, Any], **data: Any) -> Any:
    backend = {"type": "socket", "data": {"addr": address, **_dashed(data)}}
    return machine.qmp.execute("chardev-add", {"id": label, "backend": backend})


def _dashed(data: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("_", "-"): value for name, value in data.items()}


def _files(devices: list[dict[str, Any]]) -> list[str]:
    own = ("qmp", "hmp")
    names = (device["filename"] for device in devices if device["label"] not in own)
    plain = (re.sub(r"(127\.0\.0\.1):\d+", r"\1:<port>", name) for name in names)
    return sorted(re.sub(r"unix:.*/", "unix:", name) for name in plain)


def options_that_exclude_each_other(stage: Stage) -> None:
    machine = stage.start(NONE)
    for address in (UNIX, INET):
        _add(machine, "web", address, websocket=True)
        _add(machine, "dials", address, websocket=True, server=False)
        _add(machine, "dials", address, websocket=True, server=False, wait=True)
        _add(machine, "dials", address, websocket=True, server=False, reconnect=1)
        _add(machine, "listens", address, websocket=True, reconnect=1)
        _add(machine, "phone", address, telnet=True, websocket=True)
        _add(machine, "screen", address, tn3270=True)
        _add(machine, "all", address, tn3270=True, telnet=True, websocket=True)
        _add(machine, "seal", address, tls_creds="zz")
        _add(machine, "seal", address, tls_creds="zz", websocket=True, reconnect=1)
        _add(machine, "guard", address, tls_authz="zz")
        _add(machine, "guard", address, tls_authz="zz", server=False, wait=True)
        machine.qmp.execute("query-chardev", view=_files)
        for label in ("web", "phone", "screen", "all"):
            machine.qmp.execute("chardev-remove", {"id": label})
    leave(machine)


def credentials_that_do_not_fit(stage: Stage) -> None:
    credentials(stage.file("pki"))
    objects = "-object secret,id=secret,data=x"
    for end in ("client", "server"):
        objects += f" -object tls-creds-x509,id={end},dir=pki/both,endpoint={end}"
    machine = stage.start(f"{NONE} {objects}")
    for address in (UNIX, INET, NAMED_FD, VSOCK):
        for name in ("secret", "client", "nobody", ""):
            _add(machine, "x", address, tls_creds=name)
        _add(machine, "x", address, tls_creds="server", server=False)
        _add(machine, "x", address, tls_creds="server", server=True, tls_authz="nobody")
        machine.qmp.execute("chardev-remove", {"id": "x"})
    for address in (UNIX, NAMED_FD, VSOCK):
        _add(machine, "y", address, tls_creds="client", server=False)
    _add(machine, "z", INET, tls_creds="server", telnet=True)
    _add(machine, "a", INET, tls_creds="server", websocket=True)
    machine.qmp.execute("query-chardev", view=_files)
    machine.qmp.execute("object-del", {"id": "server"})
    leave(machine)


def a_command_line_with_everything(stage: Stage) -> None:
    credentials(stage.file("pki"))
    creds = "-object tls-creds-x509,id=server,dir=pki/both,endpoint=server"
    base = "-chardev socket,id=w,host=127.0.0.1,port=0,server=on,wait=off"
    machine = stage.start(f"{NONE} {base},tls-creds=server,websocket=on,tls-authz=x {creds}")
    machine.qmp.execute("query-chardev", view=_files)
    leave(machine)
    for more in ("tls-creds=nobody", "tls-authz=x", "websocket=x", "tn3270=maybe", "tls-port=1"):
        stage.refused(f"{NONE} {base},{more}")
    stage.refused(f"{NONE} -chardev socket,id=w,path=w.sock,websocket=on")
    stage.refused(f"{NONE} -object tls-creds-x509,id=server,endpoint=server")
    stage.refused(f"{NONE} -object tls-creds-x509,id=server,dir=nowhere")
    stage.refused(f"{NONE} -object tls-creds-x509,id=server,dir=nowhere,rules.0.match=x")


# Telnet


def offers_of_telnet(stage: Stage) -> None:
    for more in ("telnet=on", "tn3270=on", "telnet=on,tn3270=on"):
        machine = stage.start(f"{NONE} {WEB},{more}")
        wire = stage.connect("w.sock")
        stage.note(_until(wire, b"", 12).hex(" "))
        wire.close()
        leave(machine)


def a_client_of_telnet_says_nothing(stage: Stage) -> None:
    for more in ("telnet=on", "tn3270=on"):
        listener = stage.listener(f"{more}.sock")
        devices = f"-chardev socket,id=w,path={more}.sock,{more} -mon w"
        machine = stage.start(f"{NONE} {devices}")
        peer = listener.accept()
        stage.note(repr(peer.recv(4)))
        machine.qmp.execute("query-chardev", view=_files)
        leave(machine)


# Websockets


def _request(line: str = LINE, **changed: str | None) -> bytes:
    names = {name.lower().replace("-", "_"): name for name in REQUEST}
    headers = dict(REQUEST)
    for name, value in changed.items():
        if value is None:
            del headers[names[name]]
        else:
            headers[names[name]] = value
    lines = [line, *(f"{name}:{value}" for name, value in headers.items())]
    return "\r\n".join((*lines, "", "")).encode()


def _until(wire: Wire, end: bytes, least: int = 0) -> bytes:
    """What comes, up to `end` or the end of the connection."""
    data = b""
    while len(data) < least or not (end and data.endswith(end)):
        if least and not end and len(data) >= least:
            break
        more = wire.read("an answer")
        if not more:
            return data + b"<end>"
        data += more
    return data


def _judged(stage: Stage, name: str, request: bytes) -> None:
    wire = stage.connect("w.sock")
    wire.write(request)
    accepted = b"\r\n\r\n"
    answer = _until(wire, b"") if name.startswith("-") else _until(wire, accepted)
    answer = re.sub(rb"Date: [^\r]*", b"Date: <date>", answer)
    stage.note(f"{name}: {answer!r}")
    wire.close()


def handshakes(stage: Stage) -> None:
    """Those whose name begins with a dash are refused, and the connection ends."""
    machine = stage.start(f"{NONE} {WEB},websocket=on")
    for name, request in {
        "plain": _request(),
        "- no host": _request(host=None),
        "- no upgrade": _request(upgrade=None),
        "- no connection": _request(connection=None),
        "- no key": _request(sec_websocket_key=None),
        "- no version": _request(sec_websocket_version=None),
        "no protocol": _request(sec_websocket_protocol=None),
        "- POST": _request("POST / HTTP/1.1"),
        "- path": _request("GET /x HTTP/1.1"),
        "- query": _request("GET /?a=b HTTP/1.1"),
        "- two blanks": _request("GET  / HTTP/1.1"),
        "- old": _request("GET / HTTP/1.0"),
        "- small letters": _request("get / HTTP/1.1"),
        "- blank behind": _request("GET / HTTP/1.1 "),
        "- no line": b"hello\r\n\r\n",
        "- no version of HTTP": b"GET /\r\n\r\n",
        "- no path": b"GET\r\nx\r\n\r\n",
        "- no headers": b"GET / HTTP/1.1\r\n\r\n",
        "- nothing": b"\r\n\r\n",
        "- chat": _request(sec_websocket_protocol=" chat"),
        "two protocols": _request(sec_websocket_protocol=" chat, binary"),
        "within a word": _request(sec_websocket_protocol=" xbinaryx"),
        "- big letters": _request(sec_websocket_protocol=" Binary"),
        "- version 8": _request(sec_websocket_version=" 8"),
        "- versions": _request(sec_websocket_version=" 13, 8"),
        "- tab": _request(sec_websocket_version="\t13"),
        "many blanks": _request(sec_websocket_version="   13"),
        "- blank at the end": _request(sec_websocket_version=" 13 "),
        "- short key": _request(sec_websocket_key=" abc"),
        "- long key": _request(sec_websocket_key=f" {KEY}="),
        "strange key": _request(sec_websocket_key=" !!!!!!!!!!!!!!!!!!!!!!!!"),
        "several words": _request(connection=" keep-alive ,\tUpgrade "),
        "empty words": _request(connection=",,upgrade"),
        "- close": _request(connection=" close"),
        "- part of a word": _request(connection=" xupgradex"),
        "letters": _request(upgrade=" WebSocket"),
        "- upgrades": _request(upgrade=" h2c, websocket"),
        "empty host": _request(host=""),
        "- no colon": _request().replace(b"Host: x", b"Host"),
        "- blank before the colon": _request().replace(b"Host:", b"Host :"),
        "first of two": _request(sec_websocket_key=f" {KEY}\r\nSec-WebSocket-Key: {KEY[::-1]}"),
        "32 headers": _request(LINE + "".join(f"\r\nX-{n}: y" for n in range(26))),
        "- 33 headers": _request(LINE + "".join(f"\r\nX-{n}: y" for n in range(27))),
        "4096 bytes": _sized(4096),
        "- 4096 bytes without an end": b"a" * 4096,
    }.items():
        _judged(stage, name, request)
    leave(machine)


def _sized(size: int) -> bytes:
    line = f"{LINE}\r\nX: "
    return _request(line + "a" * (size - len(_request(line))))


def _frame(opcode: int, data: bytes, *, fin: bool = True, mask: bytes | None = b"abcd") -> bytes:
    head = bytes((fin << 7 | opcode, (mask is not None) << 7 | len(data)))
    if mask is None:
        return head + data
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))


BINARY, TEXT, CONTINUATION, CLOSE, PING, PONG = 2, 1, 0, 8, 9, 10


def _opened(stage: Stage) -> Wire:
    """A websocket to a human monitor that has said all it has to say."""
    wire = stage.connect("w.sock")
    wire.write(_request())
    _until(wire, b"(qemu) ")
    return wire


def frames_that_end_it(stage: Stage) -> None:
    machine = stage.start(f"{NONE} {WEB},websocket=on -mon w")
    for name, frame in {
        "close": _frame(CLOSE, b""),
        "close with a reason": _frame(CLOSE, b"\x03\xe8bye"),
        "close without a mask": _frame(CLOSE, b"abcd", mask=None),
        "part of a close": _frame(CLOSE, b"", fin=False),
        "data and close": _frame(BINARY, b"x") + _frame(CLOSE, b""),
        "text": _frame(TEXT, b"x"),
        "part of a text": _frame(TEXT, b"x", fin=False),
        "continuation of nothing": _frame(CONTINUATION, b"x"),
        "no mask": _frame(BINARY, b"abcd", mask=None),
        "unknown": _frame(3, b"x"),
        "unknown control": _frame(11, b"x"),
        "large ping": b"\x89\xfe\0\x7eabcd" + bytes(126),
        "ping in a long header": b"\x89\xfe\0\5abcdhello",
        "part of a ping": _frame(PING, b"x", fin=False),
        "raw": b"info name\n",
    }.items():
        wire = _opened(stage)
        wire.write(frame)
        stage.note(f"{name}: {_until(wire, b'')!r}")
        wire.close()
    leave(machine)


def frames_that_are_heard(stage: Stage) -> None:
    machine = stage.start(f"{NONE} {WEB},websocket=on -mon w")
    line = b"stop\n"
    for name, parts in {
        "binary": [_frame(BINARY, line)],
        "in parts": [_frame(BINARY, line[:2], fin=False), _frame(CONTINUATION, line[2:])],
        "never ending": [_frame(BINARY, line[:2], fin=False), _frame(BINARY, line[2:])],
        "empty first": [_frame(BINARY, b"") + _frame(BINARY, line)],
        "after a pong": [_frame(PONG, b"x") + _frame(BINARY, line)],
        "long header": [b"\x82\xfe\0\5" + _frame(BINARY, line)[2:]],
        "longer header": [b"\x82\xff\0\0\0\0\0\0\0\5" + _frame(BINARY, line)[2:]],
        "reserved bits": [b"\xf2" + _frame(BINARY, line)[1:]],
        "byte by byte": [bytes((byte,)) for byte in _frame(BINARY, line)],
    }.items():
        wire = _opened(stage)
        for part in parts:
            wire.write(part)
        _until(wire, b"(qemu) ")
        stage.note(name)
        machine.qmp.execute("query-status")
        machine.qmp.execute("cont")
        wire.close()
    leave(machine)


def pings(stage: Stage) -> None:
    machine = stage.start(f"{NONE} {WEB},websocket=on -mon w")
    wire = _opened(stage)
    for content in (b"hello", b"", b"p" * 125):
        wire.write(_frame(PING, content))
        stage.note(repr(_until(wire, b"", 2 + len(content))))
    leave(machine)


def telnet_over_a_websocket(stage: Stage) -> None:
    for more in ("telnet=on", "tn3270=on"):
        machine = stage.start(f"{NONE} {WEB},websocket=on,{more}")
        wire = stage.connect("w.sock")
        wire.write(_request())
        said = _until(wire, b"\xff\xfd\0" if more == "telnet=on" else b"\xff\xf0")
        stage.note(said.partition(b"\r\n\r\n")[2].hex(" "))
        machine.qmp.execute("query-chardev", view=_files)
        leave(machine)
