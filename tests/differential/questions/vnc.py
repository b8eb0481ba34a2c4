"""A screen shown by VNC: who may look, what is told of it, and the first words on the wire."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tests.differential.scenes import leave

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage
    from tests.differential.wires import Wire

PC = "-machine pc -accel tcg -m 8 -S"
CHALLENGE = 16


def _hears(stage: Stage, wire: Wire, count: int) -> bytes:
    """Exactly so many bytes, or fewer if the other side hangs up."""
    data = b""
    while len(data) < count and not wire.ended:
        data += wire.read("a word of the VNC server")
    stage.note(f"# server: {data!r}")
    return data


def _asked(machine: Machine) -> None:
    machine.qmp.execute("query-vnc")
    machine.qmp.execute("query-vnc-servers")


def _looks(stage: Stage, machine: Machine) -> Wire:
    """Somebody comes, without a password."""
    wire = stage.connect("v.sock")
    _hears(stage, wire, 12)
    machine.qmp.wait("VNC_CONNECTED")
    wire.write(b"RFB 003.008\n")
    _hears(stage, wire, 2)
    wire.write(b"\1")
    _hears(stage, wire, 4)
    wire.write(b"\1")
    machine.qmp.wait("VNC_INITIALIZED")
    return wire


def somebody_looks(stage: Stage) -> None:
    machine = stage.start(f"{PC} -vnc unix:v.sock -name watched")
    _asked(machine)
    wire = _looks(stage, machine)
    _hears(stage, wire, 24 + len("QEMU (watched)"))
    _asked(machine)
    machine.qmp.execute("human-monitor-command", {"command-line": "info vnc"})
    wire.write(struct.pack(">BxH", 2, 0) + struct.pack(">BBHHHH", 3, 0, 0, 0, 640, 480))
    head = wire.read("a picture")[:16]
    stage.note(f"# picture: {struct.unpack('>BxHHHHHi', head)}")
    wire.close()
    machine.qmp.wait("VNC_DISCONNECTED")
    _asked(machine)
    leave(machine)


def two_who_look(stage: Stage) -> None:
    machine = stage.start(f"{PC} -vnc unix:v.sock,share=force-shared,id=wide")
    _looks(stage, machine)
    second = _looks(stage, machine)
    machine.qmp.execute("query-vnc-servers")
    second.close()
    machine.qmp.wait("VNC_DISCONNECTED")
    leave(machine)


def older_words_and_wrong_ones(stage: Stage) -> None:
    machine = stage.start(f"{PC} -vnc unix:v.sock")
    for words, count in (
        (b"RFB 003.003\n", 4),
        (b"RFB 003.005\n", 4),
        (b"RFB 003.007\n", 2),
        (b"RFB 009.001\n", 5),
    ):
        wire = stage.connect("v.sock")
        _hears(stage, wire, 12)
        wire.write(words)
        _hears(stage, wire, count)
        wire.close()
        machine.qmp.wait("VNC_DISCONNECTED")
    wire = stage.connect("v.sock")
    _hears(stage, wire, 12)
    wire.write(b"RFB 003.008\n")
    _hears(stage, wire, 2)
    wire.write(b"\2")
    _hears(stage, wire, 30)
    machine.qmp.wait("VNC_DISCONNECTED")
    leave(machine)


def passwords(stage: Stage) -> None:
    machine = stage.start(f"{PC} -vnc unix:v.sock,password=on")
    _asked(machine)
    for password in ("x", "right", "right", "expired"):
        if password != "x":
            machine.qmp.execute("set_password", {"protocol": "vnc", "password": "right"})
            time = "now" if password == "expired" else "never"
            machine.qmp.execute("expire_password", {"protocol": "vnc", "time": time})
        wire = stage.connect("v.sock")
        _hears(stage, wire, 12)
        wire.write(b"RFB 003.008\n")
        _hears(stage, wire, 2)
        wire.write(b"\2")
        data = b""
        while len(data) < CHALLENGE:
            data += wire.read("a challenge")
        wire.write(_answered(password, data))
        _hears(stage, wire, 4 if password == "right" else 29)
        wire.close()
        machine.qmp.wait("VNC_DISCONNECTED")
    leave(machine)


def _answered(password: str, challenge: bytes) -> bytes:
    from vmd.vnc import des

    return des.answer(b"wrong" if password == "x" else b"right", challenge)


def commands_about_passwords(stage: Stage) -> None:
    for arguments in ("-vnc unix:v.sock,password=on", "-vnc unix:v.sock", "-vnc none"):
        machine = stage.start(f"{PC} {arguments}")
        _asked(machine)
        for more in (
            *({}, {"connected": "keep"}, {"connected": "fail"}, {"connected": "disconnect"}),
            *({"display": "zz"}, {"display": "default"}, {"protocol": "spice"}, {"protocol": "x"}),
        ):
            options = {"protocol": "vnc", "password": "x", **more}
            machine.qmp.execute("set_password", options)
        for time in ("now", "never", "+30", "123", "x", ""):
            machine.qmp.execute("expire_password", {"protocol": "vnc", "time": time})
        machine.qmp.execute("expire_password", {"protocol": "spice", "time": "now"})
        machine.qmp.execute("expire_password", {"protocol": "vnc", "time": "now", "display": "zz"})
        machine.qmp.execute("change-vnc-password", {"password": "y"})
        machine.qmp.execute("human-monitor-command", {"command-line": "info vnc"})
        leave(machine)


def servers_that_cannot_be(stage: Stage) -> None:
    for words in (
        *("foo", ":x", "127.0.0.1:-1", "127.0.0.1:70000", "127.0.0.1:99,to=x"),
        *("127.0.0.1:99,foo=1", "127.0.0.1:99,password=maybe", "unix:/nonexistent/x"),
        *("127.0.0.1:98,audiodev=zz", "127.0.0.1:98,share=foo", "127.0.0.1:98,id=1"),
        *("127.0.0.1:98,password-secret=zz",),
    ):
        stage.refused(f"-machine pc -S -vnc {words}")


def a_server_that_moves(stage: Stage) -> None:
    machine = stage.start(f"{PC} -vnc unix:v.sock")

    def move(*addresses: dict[str, str]) -> None:
        machine.qmp.execute("display-update", {"type": "vnc", "addresses": list(addresses)})
        machine.qmp.execute("query-vnc-servers")
        stage.note(f"# {[name for name in ('v.sock', 'w.sock') if stage.file(name).exists()]}")

    first, second = ({"type": "unix", "path": name} for name in ("v.sock", "w.sock"))
    machine.qmp.execute("display-update", {"type": "vnc"})
    machine.qmp.execute("query-vnc-servers")
    move(second)
    move(second, first)
    _looks(stage, machine)
    machine.qmp.execute("query-vnc")
    move()
    machine.qmp.execute("query-vnc")
    move({"type": "unix", "path": "/nope/v.sock"})
    move(second, {"type": "fd", "str": "nope"})
    for arguments in ({}, {"type": "spice"}, {"type": "vnc", "addresses": 1}):
        machine.qmp.execute("display-update", arguments)
    leave(machine)


def credentials_that_are_looked_for_again(stage: Stage) -> None:
    for words in (f"{PC} -vnc unix:v.sock", PC):
        machine = stage.start(words)
        machine.qmp.execute("display-reload", {"type": "vnc"})
        machine.qmp.execute("display-reload", {"type": "vnc", "tls-certs": False})
        machine.qmp.execute("display-reload", {"type": "vnc", "tls-certs": True})
        machine.qmp.execute("display-update", {"type": "vnc"})
        leave(machine)


def where_a_screen_will_be(stage: Stage) -> None:
    machine = stage.start(PC, human="socket")
    for protocol in ("vnc", "spice", ""):
        asked = {"protocol": protocol, "hostname": "h"}
        machine.qmp.execute("client_migrate_info", asked)
        machine.qmp.execute("client_migrate_info", {**asked, "port": 1, "tls-port": 2})
        machine.human.type(f'client_migrate_info "{protocol}" h 1 2 x')
    machine.human.type("client_migrate_info vnc")
    machine.human.type("client_migrate_info vnc h x")
    leave(machine)
