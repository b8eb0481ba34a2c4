"""Keyboard and mouse. No guest reads them; what happens is seen in the trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.differential.scenes import NONE, leave

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage

TRACED = "-trace input_event_* -D log"
PATIENCE = 10000
LIVE = f"-machine pc -nodefaults -accel tcg -m 8 {TRACED}"


def _key(code: str | int, down: bool = True) -> dict[str, Any]:
    kind = "qcode" if isinstance(code, str) else "number"
    return {"type": "key", "data": {"key": {"type": kind, "data": code}, "down": down}}


def _move(kind: str, axis: str, value: int) -> dict[str, Any]:
    return {"type": kind, "data": {"axis": axis, "value": value}}


def _button(name: str, down: bool = True) -> dict[str, Any]:
    return {"type": "btn", "data": {"button": name, "down": down}}


FINGER = {"type": "begin", "slot": 1, "tracking-id": 2, "axis": "x", "value": 5}


def _send(machine: Machine, *events: dict[str, Any], **more: Any) -> None:
    machine.qmp.execute("input-send-event", {"events": list(events), **more})


def _log(machine: Machine, stage: Stage, lines: int) -> None:
    """Note the log once it has so many lines: keys are released after a moment."""
    path = stage.file("log")
    for _ in range(PATIENCE):
        if len(path.read_text().splitlines()) >= lines:
            break
        machine.qmp.execute("query-name", quietly=True)
    for line in path.read_text().splitlines():
        stage.note(f"log: {line}")


def _everything(machine: Machine) -> None:
    _send(machine, _key("a"), _key("a", False), _key(31), _key(0xB5), _key(-7), _key(1 << 40))
    _send(machine, _button("left"), _move("rel", "x", -5), _move("rel", "y", 1 << 40))
    _send(machine)
    _send(machine, _move("abs", "x", 5))
    _send(machine, _key("b"), {"type": "mtt", "data": FINGER})
    _send(machine, device="zz")
    _send(machine, head=1)
    _send(machine, _key("zz"))


def events_on_a_pc(stage: Stage) -> None:
    machine = stage.start(LIVE)
    _everything(machine)
    machine.qmp.execute("stop")
    _everything(machine)
    _log(machine, stage, 12)
    leave(machine)


def events_at_a_console(stage: Stage) -> None:
    screens = "-device bochs-display,id=first -device VGA,id=second"
    machine = stage.start(f"{LIVE} {screens} -device virtio-rng-pci,id=none")
    for device in ("first", "second", "none", "zz"):
        _send(machine, _button("left"), _key("a"), device=device)
    _send(machine, _key("a"), device="first", head=1)
    machine.qmp.execute("stop")
    _send(machine, _key("a"), device="first")
    _log(machine, stage, 6)
    leave(machine)


def events_without_a_keyboard(stage: Stage) -> None:
    machine = stage.start(f"{NONE} {TRACED}")
    _everything(machine)
    _log(machine, stage, 1)
    leave(machine)


def keys_one_after_the_other(stage: Stage) -> None:
    for arguments, live in ((LIVE, True), (f"{NONE} {TRACED}", True), (f"{LIVE} -S", False)):
        machine = stage.start(arguments)
        keys = [{"type": "qcode", "data": "ctrl"}, {"type": "number", "data": 0x1E}]
        for hold in (None, 1, 0):
            more = {} if hold is None else {"hold-time": hold}
            machine.qmp.execute("send-key", {"keys": keys, **more})
        machine.qmp.execute("send-key", {"keys": []})
        _log(machine, stage, 24 * live)
        leave(machine)
