"""What the human monitor offers of QMP's commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.differential.scenes import NONE, leave

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage

PC = "-machine pc -nodefaults -accel tcg -m 8"


def _type(machine: Machine, *lines: str) -> None:
    for line in lines:
        machine.human.type(line)


def objects_and_properties(stage: Stage) -> None:
    machine = stage.start(NONE, human="socket")
    _type(
        machine,
        "object_add iothread,id=i",
        "object_add zz,id=i",
        "object_add iothread",
        "object_add iothread,id=i",
        "object_add memory-backend-ram,id=m,size=1M",
        "object_add qom-type=memory-backend-ram,id=m2",
        "object_add memory-backend-ram,id=m3,size=x",
        "object_add",
        "object_add iothread,help",
        "object_add iothread,id=j,zz",
        "object_del zz",
        "qom-list",
        "qom-list /zz",
        "qom-get /objects/i poll-max-ns",
        "qom-get /machine type",
        "qom-get /objects/m share",
        "qom-get /objects/m host-nodes",
        "qom-get /zz x",
        "qom-get /objects/i zz",
        "qom-set /objects/i poll-grow 4",
        "qom-get /objects/i poll-grow",
        "qom-set -j /objects/i poll-grow 5",
        "qom-get /objects/i poll-grow",
        "qom-set -j /objects/i poll-grow {",
        "qom-set /objects/i zz 4",
        "object_del i",
        "object_del i",
    )
    leave(machine)


def devices_that_are_characters(stage: Stage) -> None:
    machine = stage.start(
        f"{NONE} -chardev ringbuf,id=r,size=16 -chardev null,id=n", human="socket"
    )
    _type(
        machine,
        "ringbuf_write r hello",
        "ringbuf_read r 3",
        "ringbuf_read r 99",
        'ringbuf_write r "a\\\\b\\tc"',
        "ringbuf_read r 9",
        "ringbuf_write zz hello",
        "ringbuf_read zz 9",
        "ringbuf_read n 9",
        "chardev-send-break n",
        "chardev-send-break zz",
        "chardev-remove n",
        "chardev-remove n",
    )
    leave(machine)


def buttons_and_memory(stage: Stage) -> None:
    for arguments in (NONE, f"{PC} -S"):
        machine = stage.start(arguments, human="socket")
        _type(
            machine,
            "nmi",
            "balloon 5",
            "info balloon",
            "info vm-generation-id",
            "info mice",
            "info vnc",
            "watchdog_action none",
            "watchdog_action zz",
            "memsave 0 16 saved",
            "pmemsave 0 16 psaved",
            'pmemsave 0 16 "/nonexistent/x"',
            "screendump x -f zz",
            "screendump x zz",
        )
        leave(machine)


def keys_and_mice(stage: Stage) -> None:
    machine = stage.start(f"{PC} -trace input_event_* -D log", human="socket")
    _type(machine, "sendkey zz", "sendkey a-zz", "mouse_button 1", "mouse_button 7")
    _type(machine, "mouse_button 0", "mouse_move 3 -4", "mouse_move 1 x 2", "mouse_move 0 0 -1")
    _type(machine, "sendkey", "sendkey ctrl-<-0x1e 1")
    for _ in range(10000):
        if len(stage.file("log").read_text().splitlines()) >= 35:
            break
        machine.qmp.execute("query-name", quietly=True)
    for line in stage.file("log").read_text().splitlines():
        stage.note(f"log: {line}")
    leave(machine)
