"""Asks real QEMU what its human monitor answers, and writes it into tests/monitor/data.

    python -m tests.monitor.record_hmp

hmp_keys.json: what is shown for keys as they are typed, one QEMU each; of a very long screen its
digest. hmp_lines.json: what a whole line answers, and what QEMU then says on its own stdout and
stderr. hmp_screens.json: the screen of a terminal on which keys were typed, and where its cursor
is. Strings of bytes are latin-1.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import tempfile
from pathlib import Path

from tests.monitor.screen import Screen

DATA = Path(__file__).parent / "data"
QEMU = ["qemu-system-x86_64", "-machine", "none", "-nodefaults", "-display", "none"]
DRIVE = ["-drive", "if=none,id=d0,file=disk.img,format=raw"]
VNC = ["-vnc", "unix:vnc.sock,password=on"]
SYNC = b"\x05\x15@\n"
QUIT = b"quit\n"

# What is typed. Every one ends with SYNC and QUIT, which the recorder adds.
KEYS: list[tuple[str, bytes]] = [
    ("a line", b"info status\n"),
    ("an empty line", b"\n"),
    ("blanks", b"   \n"),
    ("CR LF is two lines", b"info status\r\n"),
    ("two lines at once", b"info status\ninfo name\n"),
    ("start, insert", b"abc\x01X\n"),
    ("start and end as keys", b"abc\x1b[1~X\x1b[4~Y\x1bOHZ\x1bOFW\n"),
    (
        "left and right",
        b"abc\x1b[D\x1b[Dx\x1b[Cy\x1b[C\x1b[C\x1b[C\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D",
    ),
    ("delete under the cursor", b"abc\x01\x04\x1b[3~\x04\x04\x04"),
    ("delete at the end", b"abc\x04\x1b[3~"),
    ("delete on an empty line", b"\x04\x1b[3~"),
    ("backspace", b"abc\x08\x7f\x1b[D\x08\x08\x08"),
    ("kill a word", b"foo bar\x17"),
    ("kill a word and the blanks behind", b"foo bar   \x17"),
    ("kill the first word", b"foo\x17 foo\x17foo \x17"),
    ("kill a word after a leading blank", b" a\x17  b c\x17\x17\x17"),
    ("kill a word from its middle", b"foo barbaz\x1b[D\x1b[D\x1b[D\x17\x17\x17"),
    ("kill to the start", b"q1\x15abc\x1b[D\x15\x15"),
    ("clear the screen", b"ab\x0c"),
    ("clear the screen, cursor inside", b"abc\x1b[D\x0cx"),
    ("a line typed again shows nothing", b"a\x7fa\x01\x04a"),
    (
        "control keys that do nothing",
        b"ab\x02\x03\x06\x0b\x12\x14\x19\x1a\x00\x07\x11\x13\x16\x18\x1c\x1f",
    ),
    ("keys that do nothing", b"ab\x1b[H\x1b[2~\x1b[5~\x1bx\x1b[99~\x1bOA\x1bOx\x1b[Z"),
    ("a modified arrow types its end", b"ab\x1b[1;5D"),
    ("the one-byte CSI", b"ab\x9bDx\x9b1~y"),
    ("the one-byte CSI keeps the number", b"abc\x1b[D\x1b[D\x1b[3~\x9b~\x9b~\x9b3~\x01\x9b~"),
    ("two escapes", b"ab\x1b\x1b[D"),
    ("an escape inside a key", b"ab\x1b[\x1b[D\x1b[3\x1b~"),
    ("enter inside a key", b"ab\x1b\n\x1b[\n\x1b[3\n"),
    ("a huge number in a key", b"ab\x1b[4294967297~x\x1b[18446744073709551617~y"),
    ("bytes above ASCII", b"\xc3\xa9\xff\x80 a\x7f\x7f\x7f\n"),
    ("an unknown command with odd bytes", b"\xc3\xa9\xff\n"),
    ("history", b".a\n.b\n\x10\x10\x10X\n\x10\x0e\x0eY\n"),
    ("history by keys", b".a\n.b\n\x1b[A\x1b[A\x1b[B\x1b[B\x1b[F\x1b[F\x1b[E\x1b[E"),
    ("history is empty", b"a\x10\x0eb"),
    ("a repeated line moves to the end", b".a\n.b\n.a\ninfo history\n"),
    ("empty lines are not stored", b".a\n\n  \ninfo history\n"),
    ("an edited recalled line is added", b".a\n.b\n\x10\x10c\ninfo history\n"),
    ("a recalled line run again moves", b".a\n.b\n\x10\x10\ninfo history\n\x10\x10\x10"),
    ("a recalled line emptied", b".a\n.b\n\x10\x10\x15\n\x10\x10\x0e\x0e"),
    (
        "history holds 64",
        b"".join(b".%d\n" % i for i in range(66)) + b"info history\n\x10\x0e\x10\x10",
    ),
    ("a line of 5000 bytes", b"x" * 4090 + b"0123456789" + b"\x01\x04\x7fz\n"),
    ("complete one", b"info mig\tx\x15info mic\t\x15quit\t"),
    ("complete many", b"info mi\t\n"),
    ("complete many with a common part", b"info mig\t"),
    ("complete nothing", b"foo \t\x15zzz\t\x15info zzz\t"),
    ("complete in the middle", b"inf mi\x01\x1b[C\x1b[C\x1b[C\t"),
    ("complete many in the middle", b"info mixx\x1b[D\x1b[D\t"),
    ("complete with wrong quotes", b'info "mi\t\x15"info" mic\t'),
    ("complete behind help", b"help quit\t\x15help info mic\t\x15? quit\t\x15help quit mic\t"),
    (
        "complete 16 words and 17",
        b"eject " + b"2 " * 14 + b"d\t\x15eject " + b"2 " * 15 + b"d\t",
    ),
    (
        "complete capabilities",
        b"migrate_set_capability xb\to\tn\t\x15migrate_set_capability x \t x \t",
    ),
    ("complete key names", b"sendkey ctrl-alt-del\t\x15sendkey caps\t-caps\t\x15sendkey a cap\t"),
    (
        "complete block devices",
        b"eject \t\x15eject -f \t\x15eject x \t\x15eject -f d0 \t\x15change d\t d\t",
    ),
    (
        "complete block devices at info",
        b"info block \t\x15info block -n \t\x15info block -n -v \t\x15info block d0 d\t",
    ),
    ("complete after a sized word", b"block_resize \t1 \t"),
    ("complete files", b"logfile f/\t\x15logfile f/al\t\x15logfile f/di\tx\t\x15logfile ./f\t"),
    ("complete files behind the last argument", b"logfile f/alpha f/di\t"),
    ("complete hidden files", b"logfile f/.\t\x15logfile f/.h\t"),
    ("complete files nowhere", b"logfile nowhere/\t\x15logfile f/zzz\t"),
    ("a password", b"change vnc password\nsec\x10ret\x7fx\n.c\n\x10\x10"),
    ("a password that is cleared and completed", b"change vnc password\nab\x0cc\t\x15\n"),
    ("a failing command", b"chardev-remove x\n"),
]

SIZES = (
    b"1|1.5G|.5|1.|+1|-1||0x10|0x10M|010|1e3|1Q|1b|1B|1.5b|1k|1K|9E|8E|7E|7.999E|1 k|.|"
    b"1.2.3|1.5.G|0x|0x1.8|0xp|.k|9223372036854775807b|9223372036854775808b|"
    b'18446744073709551616b|1kb|1MiB|0.5b|+.5|-0|+-1|inf|nan|1.5e3|1.5E|0x1e|00x1|"1"|1d|'
    b"1.5x|0x7fffffffffffffff|0X1F|0x10 |0x10k|0x1b"
).split(b"|")

LINES: list[bytes] = [
    # shape
    b"foo bar",
    b"  foo bar",
    b"INFO status",
    b"inf status",
    b"# x",
    b"foo/bar",
    b"/",
    b"/x",
    b"info foo",
    b"info  foo bar",
    b"  info  usbhost  x",
    b"info status x",
    b"info status/x",
    b"  c  x",
    b"cont x",
    b"stop;",
    b"info/x",
    b"info /x",
    b"\xc3\xa9t\xc3\xa9",
    b"x" * 300,
    # words
    b"chardev-remove",
    b"chardev-remove x",
    b"  chardev-remove   x  ",
    b'chardev-remove "a\\nb"',
    b'chardev-remove "a\\tb"',
    b'chardev-remove "a\\xb"',
    b'chardev-remove "ab',
    b'chardev-remove a"b',
    b'chardev-remove "a"b',
    b"chardev-remove 'a b'",
    b'chardev-remove ""',
    b'chardev-remove "\\',
    b'chardev-remove "a\\"\\\'\\\\b"',
    b"chardev-remove a b",
    b"chardev-remove /a/b",
    b"chardev-remove " + b"y" * 1100,
    b'chardev-remove "' + b"y" * 1100 + b'"',
    b'chardev-remove "a b" c',
    b"chardev-remove \xc3\xa9\xff",
    b"chardev-remove " + b"y" * 1022 + b"\xc3\xa9",
    b"eject",
    b"logfile",
    b"object_del",
    b"qom-set / x",
    b"qom-list nope extra",
    # help
    b"help quit",
    b"? quit",
    b"help q",
    b"help help",
    b"help c",
    b"help migrate",
    b"help migrate info",
    b"help info status",
    b"help info status x",
    b"help foo",
    b"help info foo",
    b"help foo bar",
    b'help "x',
    b'help "quit" x',
    b"help log x",
    b"help " + b"quit " * 16,
    b"help " + b"quit " * 17,
    b"help   quit",
    b'help "a b"',
    # expressions
    b"p",
    b"p 1+2&3",
    b"p 5&3|8",
    b"p 1+2*3",
    b"p (1+2)*3",
    b"p 2*3+4*5",
    b"p 10-3-2",
    b"p 100/10/2",
    b"p 7&3*2",
    b"p 1|2^3&4",
    b"p 2+3&1-1",
    b"p 'a'",
    b"p '\xe9'",
    b"p ''",
    b"p '",
    b"p 'a",
    b"p 'ab'",
    b"p ' '",
    b"p '''",
    b"p 'a' + 1",
    b"p $foo",
    b"p $",
    b"p $pc",
    b"p $" + b"a" * 200,
    b"p (1",
    b"p (1+2",
    b"p ((1)",
    b"p (1 2)",
    b"p 1)",
    b"p ()",
    b"p (",
    b"p 1+",
    b"p +",
    b"p 1 + * 2",
    b"p abc",
    b"p 1|p",
    b"p 0b11",
    b"p +-~1",
    b"p --1",
    b"p ~0",
    b"p - - 1",
    b"p -(1+2)*3",
    b"p ~(1)&7",
    b"p 1 2",
    b"p 0x",
    b"p 0xg",
    b"p 08",
    b"p 017",
    b"p 0x1F",
    b"p 0X1f",
    b"p 1k",
    b"p 1<<2",
    b"p 1.5",
    b"p 18446744073709551615",
    b"p 18446744073709551616",
    b"p 0xffffffffffffffff",
    b"p 0x10000000000000000",
    b"p 01777777777777777777777",
    b"p 02000000000000000000000",
    b"p " + b"0" * 30 + b"7",
    b"p " + b"9" * 100,
    b"p 9223372036854775807*2",
    b"p 9223372036854775807+1",
    b"p -9223372036854775807-2",
    b"p -7/2",
    b"p -7%2",
    b"p 7/-2",
    b"p 7%-2",
    b"p 1/0",
    b"p 1%0",
    b"p 1/0+abc",
    b"p 1+2/0",
    b"p 1/(1-1)",
    b"p 1/-0",
    b"p (1/0",
    b"p 1/0)",
    b"p \t1",
    b"p 1 ",
    b"p ((((((((1))))))))",
    b"p " + b"(" * 900 + b"1" + b")" * 900,
    b"p " + b"-" * 2001 + b"1",
    b"memsave 0 16 /dir/f",
    # /fmt
    b"p/d -1",
    b"p -1",
    b"p/u -1",
    b"p/x 255",
    b"p/o 8",
    b"p 8",
    b"p/x 0",
    b"p/o 0",
    b"p/c 65",
    b"p/c 10",
    b"p/c 39",
    b"p/c 200",
    b"p/y 1",
    b"p/1y 1",
    b"p/1",
    b"p/2x 9",
    b"p /d 12",
    b"p/ 5",
    b"p / 5",
    b"p/xx 5",
    b"p/cd 5",
    b"p/c1 5",
    b"p/i 5",
    b"p 5",
    b"p/x 5",
    b"p/bwL 5",
    b"p/99999999999c 65",
    b"p/xbhwg 5",
    b"p/d\xe9 5",
    # integers
    b"cpu",
    b"cpu -1",
    b"cpu 4294967295",
    b"cpu 4294967296",
    b"cpu 1",
    b"cpu 1 2",
    b"balloon",
    b"balloon -1",
    b"balloon 64M",
    b"balloon 1",
    b"balloon 9223372036854775807",
    b"balloon x",
    b"ringbuf_read x",
    b"ringbuf_read x y",
    b"ringbuf_read x 1",
    b"trace-event nosuch on",
    b"trace-event nosuch on x",
    b"trace-event nosuch on -1",
    # sizes
    *(b"block_resize nodev " + size for size in SIZES),
    b"block_stream nodev",
    b"block_stream nodev 1k",
    b"block_stream nodev x",
    b"block_stream nodev 1k b c",
    # booleans
    b"migrate_set_capability nosuch on",
    b"migrate_set_capability nosuch off",
    b"migrate_set_capability nosuch maybe",
    b"migrate_set_capability nosuch",
    b'migrate_set_capability nosuch "on"',
    b"migrate_set_capability nosuch on off",
    b"migrate_set_capability nosuch on\xc3\xa9",
    b"migrate_set_capability nosuch ON",
    b"migrate_set_capability",
    # flags
    b"eject -f",
    b"eject -f nodev",
    b"eject -fnodev",
    b"eject -f -f nodev",
    b"eject --f nodev",
    b"eject -x nodev",
    b"eject -",
    b'eject "-f" nodev',
    b'eject -f"nodev"',
    b"eject - nodev",
    b"eject nodev -f",
    b"eject -\xe9",
    b"migrate -",
    b"migrate -d -",
    b"migrate -d -r",
    b"migrate -x",
    b"migrate -d zzz",
    b"migrate -r -d zzz",
    b"migrate -dr zzz",
    b"migrate zzz",
    b"migrate -d exec:sleep 3",
    b"migrate",
    b"drive_mirror -f -n nodev t",
    b"drive_mirror -nf nodev t",
    b"nbd_server_start -w -a zzz",
    b"block_job_cancel nodev -f",
    b"snapshot_blkdev -f",
    b"snapshot_blkdev -i",
    b"snapshot_blkdev -z",
    b"set_password vnc x -d",
    b"set_password vnc -d",
    b"set_password vnc x -x y",
    b"set_password -d a vnc x",
    # option lists
    b"device_add",
    b"device_add nosuch",
    b"device_add nosuch,foo",
    b"device_add nosuch,nofoo,id=1",
    b'device_add "nosuch,id=1"',
    b"device_add =,",
    b"device_add ,",
    b"device_add nosuch,id=a,id=b,x",
    b"device_add nosuch,,bar=1",
    b"device_add nosuch,delay",
    b"device_add nosuch,nodelay",
    b"device_add nosuch,driver=bar",
    b"device_add id=x",
    b"device_add id",
    b"device_add noid",
    b"device_add a=b=c,d==",
    b'device_add "',
    b"device_add nosuch b",
    b"device_add =x,id=1",
    b"device_add nosuch,no",
    b"device_add nosuch,id=",
    b"device_add nosuch,id=_x",
    b"device_add nosuch,id=x_-.9",
    b"device_add nosuch,foo,id=1",
    b"device_add nosuch,,id=4",
    b"netdev_add user",
    b"netdev_add user,id=9",
    b'netdev_add "',
    b"netdev_add user,id=a b",
    b"netdev_add user,id=n0",
]


# What is typed on a terminal. SYNC follows, unless QEMU ends.
SCREENS: list[tuple[str, bytes]] = [
    ("lines", b"info status\nfoo\n\n  \nchardev-remove x\n"),
    ("carriage returns", b"info status\rfoo\r\n"),
    ("editing", b"abc\x01X\x05Y\x1b[D\x1b[D\x04\x7fZ\n"),
    ("killing", b"foo bar\x17baz\nfoo bar\x15baz\n"),
    ("end of input on an empty line", b"\x04\x04info status\n"),
    ("history", b".a\n.b\n\x1b[A\x1b[A\n\x10\x10X\n\x10\x0e\x0eY\ninfo history\n"),
    ("history behind its start", b".a\n\x10\x10\x10\n"),
    ("completing one", b"info statu\t\ninfo mic\tx\n"),
    ("completing many", b"info mi\tc\t\n"),
    ("completing a common part", b"info mig\tx\n"),
    ("completing nothing", b"foo \tx\n"),
    ("completing in the middle", b"info mi status\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\t\n"),
    ("clearing the screen", b"info status\ninfo\x0c status\n"),
    ("a half-typed line", b"info status\nab\x1b[Dc\x15"),
    ("more than a screen", b"foo\n" * 20),
    ("bytes above ASCII", b"chardev-remove \xc3\xa9\n"),
    ("a password", b"change vnc password\nsecret\x7f\n"),
    ("help of one", b"help migrate\n"),
    ("quit", b"info status\nquit\n"),
]


class Program:
    """A real QEMU in a directory of its own, its monitor on a unix socket."""

    def __init__(self, directory: str, options: list[str]) -> None:
        monitor = os.path.join(directory, "monitor.sock")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(monitor)
        listener.listen(1)
        self.process = subprocess.Popen(
            [*QEMU, "-monitor", f"unix:{monitor}", *options],
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.socket, _ = listener.accept()
        self.socket.settimeout(60)

    def read_until(self, end: bytes) -> bytes:
        data = b""
        while not data.endswith(end):
            piece = self.socket.recv(1 << 16)
            assert piece, data
            data += piece
        return data

    def read_all(self) -> bytes:
        data = b""
        while piece := self.socket.recv(1 << 16):
            data += piece
        return data


def synchronised(screen: Screen) -> bool:
    """Whether the screen shows the answer to SYNC and the prompt behind it."""
    return screen.at_prompt() and screen.lines()[-2] == "unknown command: '@'"


def record_screen(typed: bytes) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as directory:
        options = [*DRIVE, *(VNC if b"vnc" in typed else [])]
        make_files(directory)
        screen = Screen([*QEMU, "-monitor", "stdio", *options], directory)
        screen.wait_for(Screen.at_prompt)
        screen.type(typed)
        if b"quit" in typed:
            screen.wait_for_end()
        else:
            screen.type(SYNC)
            screen.wait_for(synchronised)
        shown, cursor = screen.lines(), screen.cursor
        screen.child.close(force=True)
        return {"lines": shown, "cursor": cursor}


def make_files(directory: str) -> None:
    """The files that completion finds, and the disk."""
    with open(os.path.join(directory, "disk.img"), "wb") as disk:
        disk.truncate(1 << 20)
    os.makedirs(os.path.join(directory, "f", "dir"))
    for name in ("alpha", "albert", ".hidden", "dir/x"):
        with open(os.path.join(directory, "f", name), "wb"):
            pass


def record_keys(typed: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        make_files(directory)
        program = Program(directory, [*DRIVE, *(VNC if b"vnc" in typed else [])])
        program.socket.sendall(typed + SYNC)
        # a QEMU that quits throws away what has not been read yet
        shown = program.read_until(b"unknown command: '@'\r\n(qemu) ")
        program.socket.sendall(QUIT)
        shown += program.read_all()
        program.process.communicate()
        return shown


def record_lines(lines: list[bytes]) -> tuple[list[bytes], bytes, bytes]:
    with tempfile.TemporaryDirectory() as directory:
        program = Program(directory, ["-netdev", "user,id=n0"])
        program.read_until(b"(qemu) ")
        answers = []
        for line in lines:
            program.socket.sendall(line + b"\n")
            shown = program.read_until(b"\r\n(qemu) ") if line else program.read_until(b"(qemu) ")
            answers.append(shown.partition(b"\r\n")[2].removesuffix(b"(qemu) "))
        program.socket.sendall(b"quit\n")
        stdout, stderr = program.process.communicate()
        return answers, stdout, stderr


def abridged(shown: bytes) -> str:
    """The bytes as text, or their digest if they are too many to be kept."""
    if len(shown) < 100_000:
        return shown.decode("latin-1")
    return "sha256:" + hashlib.sha256(shown).hexdigest()


def write(name: str, value: object) -> None:
    text = json.dumps(value, indent=1)
    (DATA / name).write_text(text + "\n")


def main() -> None:
    keys = [
        {
            "name": name,
            "typed": (typed + SYNC + QUIT).decode("latin-1"),
            "shown": abridged(record_keys(typed)),
        }
        for name, typed in KEYS
    ]
    write("hmp_keys.json", keys)
    answers, stdout, stderr = record_lines(LINES)
    lines = [
        {"line": line.decode("latin-1"), "answer": answer.decode("latin-1")}
        for line, answer in zip(LINES, answers, strict=True)
    ]
    complaints = [
        text for text in stderr.decode("latin-1").splitlines() if "has no peer" not in text
    ]
    write(
        "hmp_lines.json", {"lines": lines, "stdout": stdout.decode("latin-1"), "stderr": complaints}
    )
    screens = [
        {"name": name, "typed": typed.decode("latin-1"), **record_screen(typed)}
        for name, typed in SCREENS
    ]
    write("hmp_screens.json", screens)


if __name__ == "__main__":
    main()
