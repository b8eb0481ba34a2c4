"""Command lines that must be refused, with QEMU's words and its exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.differential.scenes import NONE, leave

if TYPE_CHECKING:
    from tests.differential.stage import Stage


def _refused(stage: Stage, *arguments: str) -> None:
    for argument in arguments:
        stage.refused(argument)


def options_that_do_not_exist(stage: Stage) -> None:
    _refused(stage, "-foo", "--foo", "-machine none -bogus 1", "-machine none extra", "-machine")


def machines_that_do_not_exist(stage: Stage) -> None:
    _refused(
        stage,
        "-machine foo",
        "-machine none,foo=bar",
        "-M none,memory-backend=zz",
        "-accel foo -machine none",
        "-machine none,accel=foo",
    )


def memory_that_makes_no_sense(stage: Stage) -> None:
    _refused(
        stage,
        "-machine none -m abc",
        "-machine none -m 16,foo=1",
        "-machine none -m 1.x",
        "-machine none -m -1",
        "-machine none -m 16 -object memory-backend-ram,id=r,size=32M -machine memory-backend=r",
        "-machine none -object memory-backend-file,id=a,size=1M",
        "-machine none -object memory-backend-file,id=a,mem-path=x",
        "-machine none -object memory-backend-file,id=a,size=1M,mem-path=nowhere/x",
        "-machine none -object memory-backend-ram,id=a",
        "-machine none -object memory-backend-ram,size=1M",
        "-machine none -object memory-backend-ram,id=a,size=1x",
        "-machine none -object memory-backend-ram,id=a,size=0",
        "-machine none -object memory-backend-ram,id=a,size=1M,share=maybe",
        "-machine none -object memory-backend-ram,id=a,size=1M,foo=1",
        "-machine none -object memory-backend-ram,id=1a,size=1M",
        "-machine none -object foo,id=a",
        "-machine none -object memory-backend-ram,id=a,size=1M"
        " -object memory-backend-ram,id=a,size=1M",
        """-machine none -object '{"qom-type":"memory-backend-ram","id":"a","size":"x"}'""",
        """-machine none -object '{"qom-type":"memory-backend-ram","id":"a"'""",
    )


def identities_that_make_no_sense(stage: Stage) -> None:
    _refused(
        stage,
        "-machine none -uuid x",
        "-machine none -name a,foo=b",
        "-machine none -smp 0",
        "-machine none -smp foo=1",
        "-machine none -smp 2",
        "-machine none -pidfile nowhere/x",
        "-machine none -pidfile /proc/version",
    )


def incoming_addresses_that_make_no_sense(stage: Stage) -> None:
    _refused(
        stage,
        "-machine none -incoming bogus",
        "-machine none -incoming ''",
        "-machine none -incoming '{bad'",
        "-machine none -incoming Defer",
        "-machine none -incoming zzz:1",
        "-machine none -incoming file:x,offset=abc",
        "-machine none -S -S -incoming defer -incoming file:x",
    )


def monitors_that_make_no_sense(stage: Stage) -> None:
    _refused(
        stage,
        "-machine none -qmp unix:nowhere/x,server=on,wait=off",
        "-machine none -qmp unix:nowhere/x",
        "-machine none -qmp foo",
        "-machine none -monitor foo",
        "-machine none -serial foo",
        "-machine none -chardev foo,id=a",
        "-machine none -chardev null",
        "-machine none -chardev socket,id=a",
        "-machine none -chardev socket,id=a,path=x,server=maybe",
        "-machine none -chardev null,id=a -chardev null,id=a",
        "-machine none -mon chardev=nope",
        "-machine none -mon foo=nope",
        "-machine none -chardev null,id=a -mon chardev=a,mode=bogus",
    )


def displays_that_do_not_exist(stage: Stage) -> None:
    _refused(stage, "-machine none -display foo", "-machine none -global foo")


def a_unix_socket_in_use_is_taken_over(stage: Stage) -> None:
    first = stage.start(f"{NONE} -monitor unix:hmp.sock,server=on,wait=off")
    second = stage.start(f"{NONE} -monitor unix:hmp.sock,server=on,wait=off -name second")
    person = stage.human(stage.connect("hmp.sock"))
    person.banner()
    person.type("info name")
    leave(first)
    leave(second)


def a_pidfile_in_use(stage: Stage) -> None:
    first = stage.start(f"{NONE} -pidfile vm.pid")
    its_own = stage.file("vm.pid").read_text() == f"{first.process.pid}\n"
    stage.note(f"# its own pid and a newline: {its_own}")
    stage.refused(f"{NONE} -pidfile vm.pid")
    leave(first)
    stage.note(f"# pid file left behind: {stage.file('vm.pid').exists()}")


def a_tcp_port_in_use(stage: Stage) -> None:
    port = stage.busy_tcp_port()
    stage.refused(f"{NONE} -qmp tcp:127.0.0.1:{port},server=on,wait=off")


def a_name_with_a_comma(stage: Stage) -> None:
    machine = stage.start(f"{NONE} -name a,,b")
    machine.qmp.execute("query-name")
    leave(machine)


def options_may_have_two_dashes(stage: Stage) -> None:
    machine = stage.start("--machine none --m 16 --name two --S")
    machine.qmp.execute("query-name")
    machine.qmp.execute("query-status")
    leave(machine)


def options_given_twice(stage: Stage) -> None:
    machine = stage.start("-machine q35 -machine none -m 8 -m 16 -name one -name two -accel tcg")
    machine.qmp.execute("query-name")
    machine.qmp.execute("query-memory-size-summary")
    machine.qmp.execute("query-current-machine")
    leave(machine)


def a_memory_object_as_json(stage: Stage) -> None:
    made = '{"qom-type":"memory-backend-ram","id":"m","size":16777216,"share":true}'
    machine = stage.start(f"-machine none,memory-backend=m -m 16 -object '{made}'")
    machine.qmp.execute("query-memdev")
    leave(machine)


def sizes_taken_from_the_backend(stage: Stage) -> None:
    backend = "-object memory-backend-ram,id=m,size=24M"
    machine = stage.start(f"-machine none,memory-backend=m {backend}")
    machine.qmp.execute("query-memory-size-summary")
    leave(machine)
