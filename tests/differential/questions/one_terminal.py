"""A console and a monitor that share one terminal, and the keys between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.differential.stage import Stage

PC = "-machine pc -nodefaults -S -m 16 -accel tcg -serial mon:stdio"
NONE = "-machine none -nodefaults -m 16 -serial mon:stdio"


def _switched(stage: Stage, how: str) -> None:
    machine = stage.start(PC, qmp=False, human=how, first_keys=b"\x01c")
    human = machine.human
    human.type("info status")
    human.press(b"half a line\x01c\x01c")
    human.type("info name")
    human.press(b"info st\x01z\x01b\x01satus")
    human.type("")
    human.press(b"info\x01h")
    human.type(" status")
    human.press(b"\x03\x1a")
    human.type("info history")
    human.press(b"x\x01x")
    human.end()
    machine.exited()


def switched_on_a_pipe(stage: Stage) -> None:
    _switched(stage, "pipe")


def switched_on_a_terminal(stage: Stage) -> None:
    _switched(stage, "pty")


def quit_from_a_shared_terminal(stage: Stage) -> None:
    machine = stage.start(PC, qmp=False, human="pty", first_keys=b"\x01c")
    machine.human.type("info status")
    machine.human.leave()
    machine.exited()


def a_machine_without_a_port(stage: Stage) -> None:
    machine = stage.start(NONE, qmp=False, human="pipe")
    machine.human.type("info status")
    machine.human.leave()
    machine.exited()


def the_time_before_each_line(stage: Stage) -> None:
    """Switched on and off again, for the time differs."""
    machine = stage.start(PC, qmp=False, human="pipe", first_keys=b"\x01c")
    machine.human.type("info status")
    machine.human.press(b"\x01t\x01t")
    machine.human.type("info status")
    machine.human.leave()
    machine.exited()
