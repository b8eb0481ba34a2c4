"""Files, pipes, ptys, memory and the process's own terminal as chardevs."""

from __future__ import annotations

import asyncio
import os
import pty
import select
import subprocess
import sys
import termios
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from qapi.error import QmpError
from tests.vmd.chardev_stand import Listener, Stage
from vmd.chardev.memory import Ring
from vmd.chardev.registry import Chardevs

SECOND = 1_000_000_000


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


# Files and pipes


async def test_a_file_is_emptied_and_takes_output(stage: Stage, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_bytes(b"old")
    device, listener = await stage.open(f"file:{out}")
    device.write(b"new")
    assert (device.filename, device.is_open, listener.heard) == ("file", True, ["opened"])
    assert out.read_bytes() == b"new"


async def test_a_files_input_is_read_to_its_end_which_is_no_hangup(
    stage: Stage, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    source.write_bytes(b"x" * 200_000)
    device = stage.make({"type": "file", "data": {"out": str(tmp_path / "out"), "in": str(source)}})
    await device.open()
    listener = Listener()
    device.attach(listener)
    await listener.has_input(b"x" * 200_000)
    assert "closed" not in listener.heard


async def test_appending_leaves_what_is_there(stage: Stage, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_bytes(b"old ")
    device = stage.make({"type": "file", "data": {"out": str(out), "append": True}})
    await device.open()
    device.write(b"new")
    assert out.read_bytes() == b"old new"


async def test_a_pipe_has_one_fifo_for_each_way(stage: Stage, tmp_path: Path) -> None:
    for end in ("p.in", "p.out"):
        os.mkfifo(tmp_path / end)
    device, listener = await stage.open(f"pipe:{tmp_path / 'p'}")
    assert device.filename == "pipe"
    with open(tmp_path / "p.in", "wb", buffering=0) as source:
        source.write(b"command")
        await listener.has_input(b"command")
    with open(tmp_path / "p.out", "rb", buffering=0) as target:
        device.write(b"reply")
        assert target.read(5) == b"reply"


async def test_a_pipe_may_be_one_fifo_for_both_ways(stage: Stage, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p")
    device, listener = await stage.open(f"pipe:{tmp_path / 'p'}")
    device.write(b"echo")
    await listener.has_input(b"echo")


# Memory


async def test_aborting_a_pipe_drops_its_output_and_starts_over(
    stage: Stage, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "p.in")
    os.mkfifo(tmp_path / "p.out")
    device, listener = await stage.open(f"pipe:{tmp_path / 'p'}")
    device.write(bytes(1 << 20))
    assert device.backlog > 0
    device.abort()
    assert device.backlog == 0
    assert listener.heard == ["opened", "closed", "opened"]


async def test_null_and_vc_swallow_everything_and_are_open(stage: Stage) -> None:
    for name in ("null", "vc"):
        device, listener = await stage.open(name)
        device.write(b"x" * 100_000)
        assert (device.filename, device.backlog, listener.heard) == (name, 0, ["opened"])
        assert not device.threaded


def test_a_ring_keeps_the_newest_bytes() -> None:
    ring = Ring(16)
    ring.write(b"hello")
    ring.write(b"0123456789abcdefghij")
    assert ring.take(4) == b"4567"
    assert ring.take(100) == b"89abcdefghij"
    assert ring.take(1) == b""


def test_a_rings_size_is_a_power_of_two() -> None:
    with pytest.raises(QmpError, match="size of ringbuf chardev must be power of two"):
        Ring(1000)


# Pseudo terminals


async def test_a_pty_says_where_it_is_and_waits_for_somebody(stage: Stage) -> None:
    device, listener = await stage.open("pty")
    path = device.filename.removeprefix("pty:")
    assert stage.said == [f"char device redirected to {path} (label c)"]
    assert (device.is_open, listener.heard) == (False, [])
    device.write(b"lost")
    slave = os.open(path, os.O_RDWR | os.O_NOCTTY)
    stage.clock.advance(SECOND)
    assert listener.heard == ["opened"]
    device.write(b"hello\n")
    assert os.read(slave, 100) == b"hello\n"
    os.write(slave, b"command\r")
    await listener.has_input(b"command\r")
    os.close(slave)
    await listener.hears("closed")


async def test_a_pty_is_looked_at_before_something_is_written(stage: Stage) -> None:
    device, listener = await stage.open("pty")
    slave = os.open(device.filename.removeprefix("pty:"), os.O_RDWR | os.O_NOCTTY)
    device.write(b"at once")
    assert listener.heard == ["opened"]
    assert os.read(slave, 100) == b"at once"
    os.close(slave)


async def test_a_pty_can_be_opened_again(stage: Stage) -> None:
    device, listener = await stage.open("pty")
    path = device.filename.removeprefix("pty:")
    for times in (1, 2):
        slave = os.open(path, os.O_RDWR | os.O_NOCTTY)
        stage.clock.advance(SECOND)
        assert listener.heard.count("opened") == times
        os.close(slave)
        await listener.until(lambda times=times: listener.heard.count("closed") == times)


async def test_a_ptys_link_lives_as_long_as_the_pty(stage: Stage, tmp_path: Path) -> None:
    link = tmp_path / "link"
    device, _ = await stage.open(f"pty:{link}")
    assert os.readlink(link) == device.filename.removeprefix("pty:")
    device.close()
    assert not link.is_symlink()


# The process's own terminal: in a process of its own

ECHO = """
import asyncio, sys
from vmd.chardev import Host, create
from vmd.clock import RealClock

class Echo:
    def opened(self): device.write(b"ready\\n")
    def received(self, data):
        device.write(data.upper())
        if b"q" in data: done.set()
    def closed(self): pass
    def drained(self): pass

async def main():
    global device, done
    done = asyncio.Event()
    host = Host(RealClock(), print, print, print, done.set)
    device = create("c", {"type": "stdio", "data": {"signal": False}}, host)
    await device.open()
    device.set_echo("cooked" in sys.argv)
    device.attach(Echo())
    await done.wait()
    device.close()

asyncio.run(main())
"""


def test_stdio_speaks_through_pipes() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ECHO], input=b"abcq", capture_output=True, check=True
    )
    assert done.stdout == b"ready\nABCQ"


class Terminal:
    """A process whose standard streams are a terminal that we hold the other end of."""

    def __init__(self, *argv: str) -> None:
        self.master, self.slave = pty.openpty()
        tty.setcbreak(self.slave)
        self.before = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(
            [sys.executable, "-c", ECHO, *argv], stdin=self.slave, stdout=self.slave
        )
        self.seen = b""

    def until(self, text: bytes) -> None:
        while text not in self.seen:
            assert select.select([self.master], [], [], 10)[0], self.seen
            self.seen += os.read(self.master, 1024)

    def close(self) -> None:
        assert self.process.wait(10) == 0
        os.close(self.master)
        os.close(self.slave)


def test_a_terminal_is_raw_and_silent_and_put_back_at_the_end() -> None:
    terminal = Terminal()
    terminal.until(b"ready\r\n")
    during = termios.tcgetattr(terminal.slave)
    assert not during[3] & (termios.ECHO | termios.ICANON | termios.ISIG)
    os.write(terminal.master, b"\x03q")
    terminal.until(b"\x03Q")
    assert terminal.seen == b"ready\r\n\x03Q"
    assert terminal.process.wait(10) == 0
    assert termios.tcgetattr(terminal.slave) == terminal.before
    terminal.close()


def test_a_terminal_echoes_lines_where_that_is_asked() -> None:
    terminal = Terminal("cooked")
    terminal.until(b"ready\r\n")
    during = termios.tcgetattr(terminal.slave)
    assert (during[3] ^ terminal.before[3]) == termios.ISIG
    os.write(terminal.master, b"q")
    terminal.until(b"Q")
    terminal.close()


# All of a process's chardevs


@pytest.fixture
async def devices(stage: Stage) -> Chardevs:
    return Chardevs(stage.host)


NULL = {"type": "null", "data": {}}


async def test_a_muxed_device_is_listed_with_its_base(devices: Chardevs) -> None:
    await devices.add("a", NULL, mux=True)
    assert [(each.label, each.filename) for each in devices.values()] == [
        ("a", "mux"),
        ("a-base", "null"),
    ]


async def test_a_device_that_cannot_be_opened_leaves_no_trace(
    devices: Chardevs, tmp_path: Path
) -> None:
    backend = {"type": "file", "data": {"out": str(tmp_path / "no" / "file")}}
    with pytest.raises(QmpError, match="Could not open"):
        await devices.add("a", backend, mux=True)
    assert list(devices.values()) == []
    await devices.add("a", NULL)


async def test_chardev_add_says_what_failed(devices: Chardevs) -> None:
    await devices.add("a", NULL)
    with pytest.raises(QmpError, match=r"^Chardev with id 'a' already exists$"):
        await devices.plug("a", NULL, {})
    with pytest.raises(
        QmpError, match=r"^Failed to add chardev 'b': mux: base chardev zz not found$"
    ):
        await devices.plug("b", {"type": "mux", "data": {"chardev": "zz"}}, {})
    assert await devices.plug("c", NULL, {}) == {}


async def test_chardev_add_tells_a_ptys_path(devices: Chardevs) -> None:
    answer = await devices.plug("p", {"type": "pty", "data": {}}, {})
    assert str(answer["pty"]).startswith("/dev/pts/")
    devices.close()


async def test_only_an_unused_device_can_be_removed(devices: Chardevs) -> None:
    used = await devices.add("used", NULL)
    used.attach(Listener())
    await devices.add("m", NULL, mux=True)
    for label, text in (
        ("used", "Chardev 'used' is busy"),
        ("m-base", "Chardev 'm-base' is busy"),
        ("zz", "Chardev 'zz' not found"),
    ):
        with pytest.raises(QmpError, match=f"^{text}$"):
            devices.unplug(label)
    devices.unplug("m")
    devices.unplug("m-base")
    assert [each.label for each in devices.values()] == ["used"]


async def test_rings_are_found_by_label(devices: Chardevs) -> None:
    ring = await devices.add("r", {"type": "ringbuf", "data": {"size": 16}})
    ring.write(b"guest says")
    assert devices.ring("r").take(5) == b"guest"
    await devices.add("n", NULL)
    for label, text in (("n", "n is not a ringbuf device"), ("zz", "Device 'zz' not found")):
        with pytest.raises(QmpError, match=f"^{text}$"):
            devices.ring(label)


async def test_two_frontends_cannot_share_a_device_without_a_mux(devices: Chardevs) -> None:
    device = await devices.add("a", NULL)
    device.claim().attach(Listener())
    with pytest.raises(QmpError, match=r"^chardev 'a' is already in use$"):
        device.claim()


async def test_closing_waits_for_nobody(stage: Stage, devices: Chardevs, tmp_path: Path) -> None:
    backend = {
        "type": "socket",
        "data": {"addr": {"type": "unix", "data": {"path": str(tmp_path / "s")}}, "wait": True},
    }
    adding = asyncio.ensure_future(devices.add("s", backend))
    await stage.says_something()
    adding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adding
    devices.close()
    assert not (tmp_path / "s").exists()
