"""Corners of known commands: what is judged first, and what goes without saying."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.differential.scenes import NONE, leave

if TYPE_CHECKING:
    from tests.differential.stage import Stage

PC = "-machine pc -nodefaults -accel tcg -S -m 64"
BOARDS = ("none", "pc-i440fx-10.0", "pc-q35-10.0")


def values_of_an_object_that_is_there_already(stage: Stage) -> None:
    machine = stage.start(NONE)
    thread = {"qom-type": "iothread", "id": "a"}
    memory = {"qom-type": "memory-backend-ram", "id": "a", "size": 4096}
    machine.qmp.execute("object-add", thread)
    for name, value in (("poll-max-ns", -1), ("thread-pool-max", -1), ("thread-pool-max", 0)):
        machine.qmp.execute("object-add", {**thread, name: value})
        machine.qmp.execute("object-add", {**thread, name: value, "id": "type"})
        machine.qmp.execute("object-add", {**thread, name: value, "id": "9"})
    for name, value in (("size", 0), ("size", 1 << 60), ("prealloc-threads", 0)):
        machine.qmp.execute("object-add", {**memory, name: value})
    machine.qmp.execute("object-add", {**memory, "host-nodes": [128]})
    machine.qmp.execute("object-add", {**memory, "prealloc": True, "reserve": False})
    machine.qmp.execute("object-add", {"qom-type": "secret", "id": "a"})
    leave(machine)


def differences_of_boards(stage: Stage) -> None:
    machine = stage.start(NONE)

    def ours(boards: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sorted((b for b in boards if b["name"] in BOARDS), key=lambda b: str(b["name"]))

    for arguments in (None, {"compat-props": False}, {"compat-props": True}):
        machine.qmp.execute("query-machines", arguments, view=ours)
    leave(machine)


def models_of_cpus_with_odd_properties(stage: Stage) -> None:
    machine = stage.start(NONE)
    for name in ("nobody", "max"):
        for props in ("x", [], 1, None, {"nothing": True}):
            model = {"name": name, "props": props}
            arguments = {"type": "static", "model": model}
            machine.qmp.execute("query-cpu-model-expansion", arguments)
    leave(machine)


def memory_that_may_be_plugged_has_a_node(stage: Stage) -> None:
    backend = "-object memory-backend-ram,id=m,size=64M"
    for options in (
        ",maxmem=1G",
        ",slots=2,maxmem=1G -smp 2,maxcpus=4",
        f",slots=2,maxmem=1G {backend} -machine memory-backend=m",
        f",slots=2,maxmem=1G -smp 2 {backend} -numa node,memdev=m",
        ",maxmem=64M",
    ):
        machine = stage.start(f"{PC}{options}", human="socket")
        for command in ("x-query-numa", "query-hotpluggable-cpus", "query-memory-size-summary"):
            machine.qmp.execute(command)
        machine.human.type("info numa")
        leave(machine)


def sound(stage: Stage) -> None:
    given = "none,id=b,in.mixing-engine=off,out.frequency=48000,out.format=f32,out.buffer-length=5"
    for options in (
        "",
        f"-audiodev none,id=a -audiodev {given} -audiodev none,id=a,timer-period=5",
        '-audiodev \'{"id": "1", "driver": "none", "in": {"voices": 7}}\'',
        "-audiodev none,id=a,in.fixed-settings=off -vnc none,audiodev=a",
    ):
        machine = stage.start(f"{NONE} {options}")
        machine.qmp.execute("query-audiodevs")
        leave(machine)
    for wrong in (
        "in.fixed-settings=on,in.mixing-engine=off",
        "out.fixed-settings=off,out.frequency=5",
        "out.mixing-engine=off,out.channels=5",
        "in.format=s24",
        "in.volume=5",
        "timer-period=-1",
    ):
        stage.refused(f"{NONE} -audiodev none,id=a,{wrong}")


def ports_that_cannot_be(stage: Stage) -> None:
    for options in (
        "-parallel null -parallel null -parallel null -parallel file:nowhere/x",
        "-parallel file:nowhere/x",
        "-serial null -serial file:nowhere/x",
        "-serial mon:file:nowhere/x",
        "-serial unix:x,server=on,reconnect=1",
        "-serial tcp:127.0.0.1:0,server=on,wait=off,nodelay=on,delay=off",
        "-serial tcp:nowhere.invalid:x",
        "-serial chardev:nobody",
    ):
        stage.refused(f"-machine pc -nodefaults -accel tcg {options}")


def a_connection_handed_to_the_display(stage: Stage) -> None:
    for options, skipauth in (
        ("-vnc none", False),
        ("-vnc unix:v,password=on", False),
        ("-vnc unix:v,password=on", True),
        ("", False),
    ):
        machine = stage.start(f"{PC} -name shown {options}")
        ours, theirs = socket.socketpair()
        with ours, theirs:
            machine.qmp.execute("getfd", {"fdname": "looker"}, fd=theirs.fileno())
            client = {"protocol": "vnc", "fdname": "looker", "skipauth": skipauth}
            machine.qmp.execute("add_client", client)
            if options:
                stage.note(f"# {ours.recv(12)!r}")
                ours.sendall(b"RFB 003.008\n")
                stage.note(f"# {ours.recv(2)!r}")
            machine.qmp.execute("add_client", client)
            leave(machine)


def the_real_time_clock(stage: Stage) -> None:
    for board, bridge in (("pc", 5), ("q35", 4)):
        for rtc in ("base=2020-02-29T23:59:58,clock=vm", "base=1970-01-01,clock=vm,driftfix=slew"):
            options = f"-machine {board} -nodefaults -accel tcg -S -m 64 -smp 3"
            machine = stage.start(f"{options} -rtc {rtc}")
            path = f"/machine/unattached/device[{bridge}]"
            for name in ("type", "date", "irq", "iobase", "base_year", "lost_tick_policy"):
                machine.qmp.execute("qom-get", {"path": f"{path}/rtc", "property": name})
            machine.qmp.execute("qom-get", {"path": "/machine", "property": "rtc-time"})
            machine.qmp.execute("qom-get", {"path": path, "property": "rtc"})
            for where, name in (
                (f"{path}/rtc", "date"),
                (f"{path}/rtc", "irq"),
                ("/machine", "rtc-time"),
            ):
                arguments = {"path": where, "property": name, "value": 1}
                machine.qmp.execute("qom-set", arguments)
            machine.qmp.execute("device_del", {"id": f"{path}/rtc"})
            machine.qmp.execute("device_add", {"driver": "mc146818rtc"})
            leave(machine)


def devices_that_are_none(stage: Stage) -> None:
    machine = stage.start(PC)
    for name in ("", "/", "//", ".", "machine", "/machine", "/machine/peripheral", "x/y"):
        machine.qmp.execute("device_del", {"id": name})
    leave(machine)


def ports_that_are_listened_to(stage: Stage) -> None:
    ports = "-serial null " * 5 + "-parallel none -parallel null -parallel none"
    machine = stage.start(f"-machine pc -accel tcg -S -m 64 {ports}")

    def by_label(devices: list[dict[str, Any]]) -> list[dict[str, Any]]:
        shown = [device for device in devices if device["label"] != "qmp"]
        return sorted(shown, key=lambda port: str(port["label"]))

    machine.qmp.execute("query-chardev", view=by_label)
    leave(machine)


def threads_that_have_names(stage: Stage) -> None:
    def names(told: list[dict[str, Any]]) -> list[str]:
        place = f"/proc/{machine.process.pid}/task"
        shown = [Path(place, str(each["thread-id"]), "comm").read_text() for each in told]
        return [name if name[:3] in ("CPU", "IO ") else "as the program" for name in shown]

    words = "-smp 2 -object iothread,id=io3456789012 -object iothread,id=io34567890123"
    machine = stage.start(f"{PC} -name debug-threads=on {words}")
    machine.qmp.execute("query-cpus-fast", view=names)
    machine.qmp.execute("query-iothreads", view=names)
    machine.qmp.execute("object-add", {"qom-type": "iothread", "id": "later"})
    machine.qmp.execute("query-iothreads", view=names)
    leave(machine)


def the_machines_generation(stage: Stage) -> None:
    guid = "324E6EAF-d1d1-4bf6-bf41-b9bb6c91fb87"
    for device in ("", f"-device vmgenid,guid={guid},id=g", "-device vmgenid,guid=auto,id=g"):
        machine = stage.start(f"{PC} {device}")
        view = (lambda told: len(told["guid"])) if "auto" in device else (lambda told: told)
        machine.qmp.execute("query-vm-generation-id", view=view)
        if "auto" not in device:
            line = {"command-line": "info vm-generation-id"}
            machine.qmp.execute("human-monitor-command", line)
        if device:
            place = {"path": "/machine/peripheral/g", "property": "guid"}
            machine.qmp.execute("qom-get", place, view=len)
        leave(machine)
    stage.refused(f"{PC} -device vmgenid,guid=nobody")


def lists_in_the_order_of_tables(stage: Stage) -> None:
    machine = stage.start(NONE)
    names = [f"m{number * number:o}" for number in range(12)]
    for name in names:
        memory = {"qom-type": "memory-backend-ram", "id": name, "size": 4096}
        machine.qmp.execute("object-add", memory, quietly=True)
        device = {"id": name, "backend": {"type": "null", "data": {}}}
        machine.qmp.execute("chardev-add", device, quietly=True)
    for name in names:
        thread = {"qom-type": "iothread", "id": f"thread-of-{name}"}
        machine.qmp.execute("object-add", thread, quietly=True)
    for path in ("/", "/objects", "/chardevs"):
        machine.qmp.execute("qom-list", {"path": path}, view=lambda told: [p["name"] for p in told])
    for command, key in (
        ("query-memdev", "id"),
        ("query-chardev", "label"),
        ("query-iothreads", "id"),
    ):
        machine.qmp.execute(command, view=lambda told, key=key: [one[key] for one in told])
    leave(machine)
