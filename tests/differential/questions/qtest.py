"""What a test says on the qtest socket, and what it hears.

Of requests that QEMU does not survive (a word missing, no number) nothing is asked here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.differential.scenes import ask_qtest, leave

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.differential.stage import Stage

MACHINE = "-machine q35 -nodefaults -accel tcg -m 16 -S"
SERVED = f"{MACHINE} -qtest unix:qtest,server=on,wait=off -qtest-log none"


def _say(stage: Stage, lines: Iterable[str]) -> None:
    machine = stage.start(SERVED)
    ask_qtest(stage, stage.connect("qtest"), *lines)
    leave(machine)


def numbers_in_memory(stage: Stage) -> None:
    words = ("writeb 0x100 0x12", "writew 0x102 0x3456", "writel 0x104 0x789abcde")
    more = ("writeq 0x108 0x1122334455667788", "readb 0x100", "readw 0x102", "readl 0x104")
    _say(stage, (*words, *more, "readq 0x108", "read 0x100 16"))


def how_numbers_are_written(stage: Stage) -> None:
    _say(stage, ("writeq 256 -1", "readq 0400", "readb +256", "readb 0X100", "writeb 0x100 0x1ff"))


def values_that_are_too_large_for_their_place(stage: Stage) -> None:
    _say(stage, ("writeb 0x100 -1", "writeb 0x101 0x1fe", "writew 0x102 0x12345", "read 0x100 4"))


def where_nothing_is(stage: Stage) -> None:
    words = ("readb 0xfffffffff", "writeq 0xfffffffff 1", "readq 18446744073709551615")
    _say(stage, (*words, "read 0xfffffffffffffffe 4", "readb -1"))


def across_the_end_of_ram(stage: Stage) -> None:
    _say(stage, ("write 0xfffffe 4 0x11223344", "read 0xfffffc 8"))


def bytes_in_memory(stage: Stage) -> None:
    words = ("write 0x100 4 0x01020304", "read 0x100 4", "write 0x100 4 0x0506", "read 0x100 4")
    more = ("write 0x100 1 0x0708", "write 0x100 4 0x010203045", "write 0x100 0 0x12")
    _say(stage, (*words, *more, "read 0x100 4", "read 0x100 0x2", "read 0x100 020"))


def bytes_that_are_none(stage: Stage) -> None:
    words = ("write 0x100 4 0x", "write 0x100 4 01", "write 0x100 4 0xzz", "read 0x100 4")
    _say(
        stage,
        (*words, "write 0x100 4 0xz11z2", "read 0x100 4", "write 0x100 2 xx12", "readw 0x100"),
    )


def base64(stage: Stage) -> None:
    words = ("b64write 0x100 3 QUJD", "read 0x100 4", "b64read 0x100 3", "b64read 0x100 0")
    more = ("b64write 0x200 2 QUJD", "read 0x200 4", "b64write 0x100 1 QQ==", "read 0x100 4")
    _say(stage, (*words, *more, "b64write 0x100 9 QUJDREVGR0hJSktM", "read 0x100 12"))


def base64_that_tells_less(stage: Stage) -> None:
    words = ("b64write 0x100 3 !!!", "read 0x100 3", "b64write 0x100 3 QUJ!", "read 0x100 3")
    more = ("b64write 0x100 4 QUI=", "read 0x100 4", "b64write 0x100 4 QUJD", "read 0x100 4")
    _say(stage, (*words, *more, "b64write 0x100 3 QU", "b64write 0x100 0 QU"))


def memset(stage: Stage) -> None:
    words = ("memset 0x100 4 0xab", "read 0xfe 8", "memset 0x100 0 1", "memset 0x101 2 0x1cd")
    more = ("memset 0x102 1 -1", "read 0xfe 8", "memset 0xfffffe 100 7", "read 0xfffffc 8")
    _say(stage, (*words, *more, "memset 0x100000 0x100000 0", "memset 0x200000 0x8ff 5"))


def ports_that_nothing_listens_on(stage: Stage) -> None:
    words = ("inb 0x9999", "inw 0x9999", "inl 0x9999", "outb 0x9999 1", "outw 0x9999 1")
    more = ("outl 0x9999 -1", "inb 0xffff", "inw 0xffff", "inl 0xffff", "inl 0xfffe")
    _say(stage, (*words, *more, "outl 0xffff 5"))


def interrupt_lines_of_nobody(stage: Stage) -> None:
    words = ("irq_intercept_in /machine/nothing", "irq_intercept_out /machine/nothing")
    more = ("set_irq_in /machine/nothing foo 0 1", "irq_intercept_in /machine/unattached/device[0]")
    _say(stage, (*words, *more))


def time_is_not_in_a_tests_hand(stage: Stage) -> None:
    _say(stage, ("clock_step", "clock_step 100", "clock_set 100"))


def what_is_unknown(stage: Stage) -> None:
    _say(
        stage,
        ("bogus", " ", " readb 0x100", "READB 0x100", "rtas x", "get_irq 1", "module_load a b"),
    )


def who_it_is(stage: Stage) -> None:
    _say(stage, ("endianness", "endianness of what"))


def many_at_once(stage: Stage) -> None:
    machine = stage.start(SERVED)
    wire = stage.connect("qtest")
    wire.write(b"writeb 0x10")
    wire.write(b"0 1\nreadb 0x100\nreadb 0x101\nbogus\nendian")
    wire.write(b"ness\n")
    reply = b""
    while reply.count(b"\n") < 5:
        reply += wire.read("five answers")
    for line in reply.decode().splitlines():
        stage.note(f"<- {line}")
    leave(machine)


def its_place_among_devices_and_objects(stage: Stage) -> None:
    machine = stage.start(SERVED)
    machine.qmp.execute(
        "query-chardev", view=lambda all_: [d for d in all_ if d["label"] == "qtest"]
    )
    machine.qmp.execute("qom-list", {"path": "/machine/qtest"})
    for name in ("chardev", "log", "type"):
        machine.qmp.execute("qom-get", {"path": "/machine/qtest", "property": name})
    for name in ("chardev", "log"):
        arguments = {"path": "/machine/qtest", "property": name, "value": "x"}
        machine.qmp.execute("qom-set", arguments)
    machine.qmp.execute("chardev-remove", {"id": "qtest"})
    leave(machine)


def a_signal_ends_it_without_a_word(stage: Stage) -> None:
    import signal

    machine = stage.start(SERVED)
    machine.signal(signal.SIGTERM)
    machine.qmp.end()
    machine.exited()


def devices_that_cannot_be_had(stage: Stage) -> None:
    none = "-machine none -nodefaults"
    for words in (
        "-qtest foo",
        "-qtest none",
        "-qtest unix:",
        "-qtest unix:missing",
        "-qtest chardev:c1",
        "-qtest mon:null",
        "-chardev null,id=qtest -qtest null",
        "-qtest null -qtest foo",
        "-qtest foo -serial bar",
        "-qtest foo -accel bar",
        "-qtest-log",
    ):
        stage.refused(f"{none} {words}")


def the_sound_of_a_test(stage: Stage) -> None:
    for words in ("foo", "none,foo=bar", "model=x"):
        stage.refused(f"-machine none -nodefaults -audio {words}")
    machine = stage.start(f"{MACHINE} -audio none -audio driver=none,id=x")
    leave(machine)


def a_device_that_is_there_already(stage: Stage) -> None:
    machine = stage.start(f"{MACHINE} -chardev null,id=c0 -qtest chardev:c0 -qtest-log none")
    machine.qmp.execute("qom-get", {"path": "/machine/qtest", "property": "chardev"})
    leave(machine)
