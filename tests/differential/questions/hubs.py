"""Character devices for several devices, for datagrams, for terminals of the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.differential.scenes import NONE, leave

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage


def _by_label(devices: list[dict[str, Any]]) -> list[dict[str, Any]]:
    others = (device for device in devices if device["label"] not in ("qmp", "hmp"))
    return sorted(others, key=lambda device: str(device["label"]))


def _names(devices: list[dict[str, Any]]) -> list[str]:
    """Without who listens: at the serial line of a machine without ports vmd's guest does."""
    return [f"{device['label']}: {device['filename']}" for device in _by_label(devices)]


def _add(machine: Machine, label: str, kind: str, command: str = "chardev-add", **data: Any) -> Any:
    arguments = {"id": label, "backend": {"type": kind, "data": data}}
    return machine.qmp.execute(command, arguments)


def _inet(host: str, port: str, **more: Any) -> dict[str, Any]:
    return {"type": "inet", "data": {"host": host, "port": port, **more}}


def hubs(stage: Stage) -> None:
    devices = " ".join(f"-chardev null,id=n{number}" for number in range(6))
    machine = stage.start(f"{NONE} {devices} -chardev null,id=m,mux=on")
    _add(machine, "h", "hub", chardevs=["n0", "n1", "n2", "n3", "n4"])
    for names in ([], ["zz"], ["m"], ["n0", "n0"], ["n0", "zz"], ["n0", "m"], ["qmp"]):
        _add(machine, "bad", "hub", chardevs=names)
    _add(machine, "h", "hub", chardevs=["n0", "n1", "n2", "n3"])
    _add(machine, "g", "hub", chardevs=["n0"])
    _add(machine, "g", "hub", chardevs=["h"])
    _add(machine, "g", "hub")
    machine.qmp.execute("query-chardev", view=_by_label)
    _add(machine, "h", "null", "chardev-change")
    _add(machine, "n0", "null", "chardev-change")
    for label in ("n0", "h", "n0"):
        machine.qmp.execute("chardev-remove", {"id": label})
    _add(machine, "n1", "hub", "chardev-change", chardevs=["n2"])
    _add(machine, "on-top", "mux", chardev="n1")
    machine.qmp.execute("query-chardev", view=_by_label)
    leave(machine)


def hubs_of_the_command_line(stage: Stage) -> None:
    hub = "-chardev null,id=n -chardev null,id=p -chardev hub,id=h,chardevs.0=n"
    for more in ("", ",chardevs.1=p", ",chardevs.2=p"):
        machine = stage.start(f"{NONE} {hub}{more}")
        machine.qmp.execute("query-chardev", view=_by_label)
        leave(machine)
    machine = stage.start(f"{NONE} {hub},mux=on")
    machine.qmp.execute("query-chardev", view=_by_label)
    leave(machine)
    machine = stage.start(f"{NONE} {hub} -mon h")
    machine.qmp.execute("query-chardev", view=_by_label)
    leave(machine)
    for bad in ("", ",chardevs.0=n", ",chardevs.1=n", ",chardevs.4=n"):
        stage.refused(f"{NONE} -chardev hub,id=h{bad}")
    stage.refused(f"{NONE} {hub},chardevs.1=n")
    stage.refused(f"{NONE} -chardev null,id=n,mux=on -chardev hub,id=h,chardevs.0=n")


def a_hub_brings_what_each_says(stage: Stage) -> None:
    sockets = " ".join(f"-chardev socket,id={n},path={n}.sock,server=on,wait=off" for n in "ab")
    hub = "-chardev hub,id=h,chardevs.0=a,chardevs.1=b -mon h"
    machine = stage.start(f"{NONE} {sockets} {hub}")
    first = stage.human(stage.connect("a.sock"))
    first.banner()
    first.type("info name")
    machine.qmp.execute("query-chardev", view=lambda found: [d["label"] for d in _by_label(found)])
    leave(machine)


def two_clients_of_one_monitor(stage: Stage) -> None:
    sockets = " ".join(f"-chardev socket,id={n},path={n}.sock,server=on,wait=off" for n in "ab")
    hub = "-chardev hub,id=h,chardevs.0=a,chardevs.1=b -mon h,mode=control"
    machine = stage.start(f"{NONE} {sockets} {hub}")
    first = stage.qmp(stage.connect("a.sock"), "first: ")
    first.negotiate()
    second = stage.qmp(stage.connect("b.sock"), "second: ")
    second.execute("query-name")
    second.execute("query-status")
    leave(machine)


def datagrams(stage: Stage) -> None:
    machine = stage.start(NONE)
    there = _inet("127.0.0.1", "5999")
    _add(machine, "u1", "udp", remote=there)
    _add(machine, "u2", "udp", remote=there, local=_inet("127.0.0.1", "0"))
    _add(machine, "u3", "udp", remote=_inet("", "5999"))
    for remote in (
        {"type": "unix", "data": {"path": "s.sock"}},
        {"type": "fd", "data": {"str": "x"}},
        _inet("127.0.0.1", "http"),
        _inet("127.0.0.1", ""),
        _inet("127.0.0.1", "1", ipv4=False, ipv6=False),
    ):
        _add(machine, "bad", "udp", remote=remote)
    _add(machine, "bad", "udp", remote=there, local=_inet("192.0.2.1", "0"))
    _add(machine, "bad", "udp")
    machine.qmp.execute("query-chardev", view=_by_label)
    machine.qmp.execute("chardev-remove", {"id": "u1"})
    leave(machine)


def datagrams_of_the_command_line(stage: Stage) -> None:
    here = "host=127.0.0.1,port=5999"
    for more in ("port=5999", here, f"{here},localaddr=127.0.0.1", f"{here},localport=0,mux=on"):
        machine = stage.start(f"{NONE} -chardev udp,id=u,{more}")
        machine.qmp.execute("query-chardev", view=_by_label)
        leave(machine)
    for bad in ("", ",host=127.0.0.1", ",port=", ",port=x,host=127.0.0.1"):
        stage.refused(f"{NONE} -chardev udp,id=u{bad}")
    for name in ("udp:1", "udp::5@", "udp:5@6", "udp:127.0.0.1:x", "udp:", "udp:127.0.0.1:5@6"):
        stage.refused(f"{NONE} -serial {name}")
    for name in ("udp:127.0.0.1:5999", "udp::5999@:0", "udp:127.0.0.1:5999@127.0.0.1:0,junk"):
        machine = stage.start(f"{NONE} -serial {name}")
        machine.qmp.execute("query-chardev", view=_names)
        leave(machine)


def terminals_of_the_host(stage: Stage) -> None:
    machine = stage.start(f"{NONE} -chardev serial,id=s,path=/dev/null -serial /dev/zero")
    _add(machine, "t", "serial", device="/nonexistent")
    _add(machine, "t", "serial", device="/dev/full")
    machine.qmp.execute("query-chardev", view=_names)
    leave(machine)
    stage.refused(f"{NONE} -chardev serial,id=s")
    stage.refused(f"{NONE} -chardev serial,id=s,path=/nonexistent")
    stage.refused(f"{NONE} -serial /dev/nonexistent")
