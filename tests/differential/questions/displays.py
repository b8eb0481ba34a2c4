"""Display, mouse and keyboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.differential.scenes import NONE, leave

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage

PC = "-machine pc -accel tcg -m 8 -S"


def _size(stage: Stage, name: str) -> None:
    data = stage.file(name).read_bytes()
    if data[:2] == b"P6":
        stage.note(f"# PPM {data[:15]!r}, {len(data)} bytes")
    else:
        width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
        stage.note(f"# {data[:8]!r} {width} by {height}")


def _who_shows_it(machine: Machine) -> None:
    for command in ("query-vnc", "query-spice", "query-mice"):
        machine.qmp.execute(command)


def pictures(stage: Stage) -> None:
    machine = stage.start(PC)
    for arguments in (
        {"filename": "screen"},
        {"filename": "screen", "format": "png"},
        {"filename": "screen", "format": "ppm"},
    ):
        machine.qmp.execute("screendump", arguments)
        _size(stage, "screen")
    for more in (
        {"filename": "/nonexistent/screen"},
        {"filename": "/dev/fdset/3"},
        {"filename": "x", "device": "zz"},
        {"filename": "x", "device": "zz", "head": 1},
        {"filename": "x", "head": 0},
        {"filename": "x", "format": "bmp"},
    ):
        machine.qmp.execute("screendump", more)
    _who_shows_it(machine)
    leave(machine)


def machines_without_a_display(stage: Stage) -> None:
    for arguments in (NONE, "-machine pc -nodefaults -accel tcg -m 8 -S"):
        machine = stage.start(arguments)
        machine.qmp.execute("screendump", {"filename": "x"})
        machine.qmp.execute("screendump", {"filename": "x", "device": "zz"})
        machine.qmp.execute("screendump", {"filename": "x", "head": 0})
        _who_shows_it(machine)
        leave(machine)


def keys(stage: Stage) -> None:
    machine = stage.start(NONE)
    key, number = {"type": "qcode", "data": "a"}, {"type": "number", "data": 30}
    for pressed in ([], [key], [key, number], [{"type": "qcode", "data": "zz"}], [{"data": 1}]):
        machine.qmp.execute("send-key", {"keys": pressed})
    machine.qmp.execute("send-key", {"keys": [key], "hold-time": 1})
    machine.qmp.execute("send-key", {})
    leave(machine)


def screens_of_plugged_devices(stage: Stage) -> None:
    devices = "-device VGA,id=v0 -device virtio-gpu-pci,id=g0 -device virtio-rng-pci,id=r0"
    machine = stage.start(f"-machine pc -nodefaults -accel tcg -m 8 -S {devices}")
    for more in (
        *({}, {"device": "v0"}, {"device": "v0", "head": 0}, {"device": "v0", "head": 1}),
        *({"device": "g0"}, {"device": "g0", "head": 0}, {"device": "r0"}, {"device": "zz"}),
    ):
        machine.qmp.execute("screendump", {"filename": "x", **more})
    leave(machine)
