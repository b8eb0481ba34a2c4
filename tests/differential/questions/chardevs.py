"""Character devices at run time: made, changed, removed, yanked; ring buffers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.differential.scenes import NONE, leave

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage

OWN = ("qmp", "hmp")


def _by_label(devices: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted((d for d in devices if d["label"] not in OWN), key=lambda d: str(d["label"]))


def _others(instances: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [instance for instance in instances if instance.get("id") not in OWN]


def _add(machine: Machine, label: str, kind: str, command: str = "chardev-add", **data: Any) -> Any:
    arguments = {"id": label, "backend": {"type": kind, "data": data}}
    return machine.qmp.execute(command, arguments)


def _change(machine: Machine, label: str, kind: str, **data: Any) -> Any:
    return _add(machine, label, kind, "chardev-change", **data)


def _unix(path: str) -> dict[str, Any]:
    return {"type": "unix", "data": {"path": path}}


def kinds_of_devices(stage: Stage) -> None:
    machine = stage.start(NONE)
    machine.qmp.execute("query-chardev-backends", optional=True)
    leave(machine)


def devices_are_added_and_removed(stage: Stage) -> None:
    machine = stage.start(f"{NONE} -chardev null,id=there")
    _add(machine, "there", "null")
    for label in ("9", "", "a b"):
        _add(machine, label, "null")
    _add(machine, "f", "file", out="f")
    _add(machine, "f2", "file", out="/nonexistent/x")
    _add(machine, "f3", "null", logfile="/nonexistent/x")
    _add(machine, "r", "ringbuf")
    _add(machine, "r2", "ringbuf", size=5)
    _add(machine, "r3", "ringbuf", size=-5)
    _add(machine, "r4", "memory", size=4)
    _add(machine, "m", "mux", chardev="zz")
    _add(machine, "m", "mux", chardev="f")
    _add(machine, "m2", "mux", chardev="f")
    _add(machine, "m3", "mux", chardev="qmp")
    _add(machine, "p", "pipe", device="/nonexistent")
    _add(machine, "v", "vc")
    machine.qmp.execute("query-chardev", view=_by_label)
    for label in ("zz", "qmp", "f", "m", "f", "r", "9", "9"):
        machine.qmp.execute("chardev-remove", {"id": label})
    machine.qmp.execute("query-chardev", view=_by_label)
    leave(machine)


def a_log_on_a_full_disk(stage: Stage) -> None:
    machine = stage.start(f"{NONE} -chardev null,id=n,logfile=/dev/full -mon n")
    machine.qmp.execute("query-status")
    leave(machine)


def sockets_are_added(stage: Stage) -> None:
    machine = stage.start(NONE)
    _add(machine, "s", "socket", addr=_unix("s.sock"))
    stage.connect("s.sock")
    _add(machine, "c", "socket", addr=_unix("s.sock"), server=False)
    _add(machine, "c2", "socket", addr=_unix("nothing"), server=False)
    _add(machine, "c3", "socket", addr=_unix("x" * 200))
    _add(machine, "c4", "socket", addr=_unix("y"), server=False, wait=False)
    _add(machine, "c6", "socket", addr=_unix("y"), **{"reconnect-ms": 5})
    for name in ("zz", "3"):
        _add(machine, "fd", "socket", addr={"type": "fd", "data": {"str": name}})
    for cid, port in (("x", "1"), ("1", "x"), ("1", "-1")):
        address = {"type": "vsock", "data": {"cid": cid, "port": port}}
        _add(machine, "v", "socket", addr=address)
    for host, port in (("localhost", "0"), ("127.0.0.1", "http")):
        data = {"host": host, "port": port, "numeric": True}
        _add(machine, "i", "socket", addr={"type": "inet", "data": data})
    machine.qmp.execute("chardev-remove", {"id": "s"})
    leave(machine)


def unused_devices_are_changed(stage: Stage) -> None:
    devices = "-chardev null,id=n -chardev ringbuf,id=r -chardev null,id=m,mux=on"
    machine = stage.start(f"{NONE} {devices}")
    _change(machine, "zz", "null")
    _change(machine, "n", "ringbuf")
    _change(machine, "m", "null")
    _change(machine, "qmp", "null")
    _change(machine, "n", "mux", chardev="r")
    _change(machine, "r", "null")
    machine.qmp.execute("query-chardev", view=_by_label)
    # One that nobody uses goes before the other comes, which may then fail.
    _add(machine, "f", "null")
    _change(machine, "f", "file", out="/nonexistent/f")
    _change(machine, "f", "null")
    machine.qmp.execute("query-chardev", view=_by_label)
    leave(machine)


def a_serial_port_changes_over(stage: Stage) -> None:
    devices = "-chardev null,id=n -serial chardev:n -chardev null,id=other"
    machine = stage.start(f"-machine pc -nodefaults -S {devices}")
    machine.qmp.execute("chardev-remove", {"id": "n"})
    _change(machine, "n", "file", out="/nonexistent/f")
    _change(machine, "n", "mux", chardev="zz")
    _change(machine, "n", "mux", chardev="qmp")
    _change(machine, "n", "ringbuf")
    machine.qmp.execute("query-chardev", view=_by_label)
    _change(machine, "n", "socket", addr=_unix("n.sock"))
    wire = stage.connect("n.sock")
    _change(machine, "n", "null")
    assert wire.read("the end") == b""
    machine.qmp.execute("query-chardev", view=_by_label)
    leave(machine)


def breaks(stage: Stage) -> None:
    machine = stage.start(f"{NONE} -chardev null,id=n -chardev null,id=m,mux=on")
    for label in ("n", "m", "m-base", "qmp", "zz"):
        machine.qmp.execute("chardev-send-break", {"id": label})
    leave(machine)


def ring_buffers(stage: Stage) -> None:
    machine = stage.start(f"{NONE} -chardev ringbuf,id=r,size=8 -chardev null,id=n")

    def write(data: str, device: str = "r", **more: str) -> None:
        machine.qmp.execute("ringbuf-write", {"device": device, "data": data, **more})

    def read(size: int, device: str = "r", **more: str) -> None:
        machine.qmp.execute("ringbuf-read", {"device": device, "size": size, **more})

    for device in ("zz", "n"):
        write("x", device)
        read(1, device)
        read(0, device)
    write("hello")
    for size in (0, -1, 2, 100, 1):
        read(size)
    write("0123456789ab")
    read(100)
    for text in ("aGk=", "/0H+", "not base64!", "aGk", "", "a=b=", "aG\nk=", "====", "YWJjZA=="):
        write(text, format="base64")
        read(100, format="base64")
    write("AGEA", format="base64")
    read(100)
    write("/0H+", format="base64")
    read(100)
    write("é€")
    for _ in range(5):
        read(1)
    write("é€😀")
    read(100)
    write("a\0b")
    read(3)
    read(100, format="base64")
    leave(machine)


def connections_are_yanked(stage: Stage) -> None:
    machine = stage.start(f"{NONE} -chardev socket,id=a,path=a.sock,server=on,wait=off")
    machine.qmp.execute("query-yank", view=_others)
    _add(machine, "b", "socket", addr=_unix("b.sock"))
    _add(machine, "n", "null")
    machine.qmp.execute("query-yank", view=_others)
    wire = stage.connect("b.sock")
    a, b, zz = ({"type": "chardev", "id": label} for label in ("a", "b", "zz"))
    for instances in ([], [a], [b, zz], [{"type": "migration"}], [{"type": "chardev"}], [{}]):
        machine.qmp.execute("yank", {"instances": instances})
    machine.qmp.execute("yank", {"instances": [b, a]})
    assert wire.read("the end") == b""
    machine.qmp.execute("chardev-remove", {"id": "b"})
    machine.qmp.execute("query-yank", view=_others)
    leave(machine)
