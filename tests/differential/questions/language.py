"""The human monitor's own language: words, quotes, numbers, sizes, flags, formats, option lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.differential.scenes import NONE, typed

if TYPE_CHECKING:
    from tests.differential.stage import Stage

PC = "-machine pc -nodefaults -S -m 16 -accel tcg"


def where_a_name_ends(stage: Stage) -> None:
    typed(
        stage,
        NONE,
        "foo/bar",
        "/x",
        "  info  nosuch  bar",
        "info status x",
        "info status/x",
        "  c  x",
        "cont x",
        "s x",
        "stop;",
        "info /x",
        "info usbhost",
        "info usbhost x",
        "été",
        "# comment",
        "STOP",
        "sto",
        "x" * 150,
        "? nosuch",
        "help info nosuch more",
    )


def words_and_quotes(stage: Stage) -> None:
    typed(
        stage,
        NONE,
        "chardev-remove",
        "  chardev-remove   x  ",
        'chardev-remove "a b"',
        'chardev-remove "a\\\\b\\"c\\\'d"',
        'chardev-remove "a\\nb"',
        'chardev-remove "a\\tb"',
        'chardev-remove "a\\xb"',
        'chardev-remove "ab',
        'chardev-remove "\\',
        'chardev-remove a"b',
        'chardev-remove "a"b',
        "chardev-remove 'a b'",
        "chardev-remove 'ab'",
        'chardev-remove ""',
        "chardev-remove a b",
        'chardev-remove "a b" c',
        "chardev-remove é",
        "object_del",
        "logfile",
        "object_add",
        "qom-set / x",
        'qom-set /machine nosuch "a b" c',
        "qom-list /objects extra",
        "qom-list nosuch",
        "migrate_set_parameter mode",
        "migrate_set_parameter mode normal x",
        "trace-event nosuch on",
        'trace-event "no such" on',
    )


def numbers(stage: Stage) -> None:
    typed(
        stage,
        NONE,
        *(
            f"p {text}"
            for text in (
                "",
                "1+2&3",
                "5&3|8",
                "1+2*3",
                "(1+2)*3",
                "10-3-2",
                "100/10/2",
                "7&3*2",
                "1|2^3&4",
                "'a'",
                "''",
                "'",
                "'a",
                "'ab'",
                "'a' + 1",
                "$foo",
                "$eip",
                "$pc",
                "$cs.base",
                "$rip",
                "(1+2",
                "((1)",
                "1)",
                "()",
                "1+",
                "abc",
                "1|p",
                "+-~1",
                "--1",
                "~0",
                "-(1+2)*3",
                "1 2",
                "1 + 2",
                "0x",
                "08",
                "017",
                "0X1f",
                "1k",
                "1<<2",
                "1.5",
                "18446744073709551615",
                "18446744073709551616",
                "0x10000000000000000",
                "9223372036854775807*2",
                "-9223372036854775807-2",
                "-7/2",
                "-7%2",
                "1/0",
                "1%0",
                "1/(1-1)",
            )
        ),
        "cpu",
        "cpu -1",
        "cpu 4294967296",
        "cpu x",
        "cpu 1 2",
        "memsave 0 16 /dir/f",
        'memsave 0 16 "/dir/f" x',
        "ringbuf_read x",
        "ringbuf_read x y",
        "ringbuf_read x 1",
        "trace-event nosuch on x",
        "trace-event nosuch on -1",
        "sendkey a b",
        "sum 0",
        "sum 0 16",
    )


def formats(stage: Stage) -> None:
    typed(
        stage,
        NONE,
        "p 255",
        "p 0",
        "p/d -1",
        "p -1",
        "p/u -1",
        "p/x 255",
        "p/o 8",
        "p/o 0",
        "p 8",
        "p/c 65",
        "p/c 10",
        "p/c 39",
        "p/c 92",
        "p/c 200",
        "p/c 0",
        "p/y 1",
        "p/1y 1",
        "p/1",
        "p/2x 9",
        "p /d 12",
        "p/ 5",
        "p / 5",
        "p/cd 5",
        "p/c1 5",
        "p/i 5",
        "p 5",
        "p/x 5",
        "p/bwL 5",
        "print/x 5",
        "x",
        "x 0",
        "xp 0",
        "xp/0x 0",
        "x/y 0",
        "xp/i 0",
        "xp/2xb abc",
    )


def registers(stage: Stage) -> None:
    typed(
        stage,
        PC,
        "p $eip",
        "p $pc",
        "p $cs",
        "p $cs.base",
        "p $cs.limit",
        "p $eflags",
        "p $edx",
        "p $sp",
        "p $r8",
        "p $rip",
        "p $EAX",
        "p $xmm0",
        "p $eip+$cs.base",
        "p/d 2*$cs.limit + 1",
    )


def sizes_and_units(stage: Stage) -> None:
    texts = [
        *("1", "1.5G", ".5", "1.", "+1", "-1", "0x10", "0x10M", "010", "1e3", "1Q", "1b", "1B"),
        *("1k", "1K", "8E", "16E", "1kb", "1MiB", "0.5b", "x", '""', '"1"', "inf", "1 k"),
    ]
    typed(
        stage,
        NONE,
        *(f"migrate_set_parameter max-bandwidth {text}" for text in texts),
        *(f"migrate_set_parameter downtime-limit {text}" for text in texts),
        *(f"migrate_set_parameter cpu-throttle-initial {text}" for text in texts),
        "migrate_set_parameter xbzrle-cache-size 64M",
        "migrate_set_parameter xbzrle-cache-size 4096",
        "migrate_set_parameter xbzrle-cache-size 1000",
        "balloon",
        "balloon -1",
        "balloon 64M",
        "balloon 1",
        "balloon x",
        "balloon 2*3",
    )


def booleans(stage: Stage) -> None:
    typed(
        stage,
        NONE,
        "migrate_set_capability",
        "migrate_set_capability nosuch",
        "migrate_set_capability nosuch on",
        "migrate_set_capability nosuch off",
        "migrate_set_capability nosuch maybe",
        'migrate_set_capability nosuch "on"',
        "migrate_set_capability nosuch on off",
        "migrate_set_capability nosuch ON",
        "migrate_set_capability nosuch onX",
        *(
            f"migrate_set_parameter cpu-throttle-tailslow {text}"
            for text in ("on", "off", "yes", "no", "y", "n", "true", "false", "1", "0", "ON", "")
        ),
    )


def flags(stage: Stage) -> None:
    typed(
        stage,
        NONE,
        "migrate -",
        "migrate -d -",
        "migrate -d -r",
        "migrate -x",
        "migrate --d zzz",
        "migrate -d zzz",
        "migrate -r -d zzz",
        "migrate -dr zzz",
        "migrate -dzzz",
        "migrate zzz -d",
        'migrate "-d" zzz',
        "migrate -d exec:sleep 3",
        "info block -v -n",
        "info block -n -v nosuch",
        "info block -vn",
        "info block -x",
        "qom-set -j",
        "qom-set -j /machine nosuch {",
        "screendump -f",
        "screendump f -f",
        "screendump f -x png",
        "screendump f -f zzz",
        'screendump f -f"zzz"',
    )


def option_lists(stage: Stage) -> None:
    typed(
        stage,
        NONE,
        "device_add",
        "device_add nosuch",
        "device_add nosuch,foo",
        "device_add nosuch,nofoo,id=1",
        'device_add "nosuch,id=1"',
        "device_add =,",
        "device_add ,",
        "device_add nosuch,id=a,id=b,x",
        "device_add nosuch,,bar=1",
        "device_add nosuch,driver=bar",
        "device_add id=x",
        "device_add id",
        "device_add a=b=c,d==",
        'device_add "',
        "device_add nosuch b",
        "device_add =x,id=1",
        "device_add nosuch,id=",
        "device_add nosuch,id=_x",
        "netdev_add user",
        "netdev_add user,id=9",
        'netdev_add "',
        "netdev_add user,id=a b",
        "object_add secret,id=s",
        "object_add iothread,id=9",
        "object_add memory-backend-ram,id=a,size=1x",
        "object_add nosuch,id=a",
        "object_add iothread",
        "chardev-add null",
        "chardev-add nosuch,id=x",
        "chardev-add null,id=9",
    )


def the_keys_of_history(stage: Stage) -> None:
    machine = stage.start(NONE, qmp=False, human="socket")
    human = machine.human
    for line in ("info status", "", "  info  name ", "info status", "p 1", "info history"):
        human.type(line)
    human.press(b"\x10\x10\x10")
    human.type(" ")
    human.press(b"\x1b[A\x1b[A\x1b[A\x1b[B\x05x\x08")
    human.type("")
    human.type("info history")
    human.leave()
    machine.exited()
