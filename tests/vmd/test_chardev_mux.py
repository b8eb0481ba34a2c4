"""Several frontends on one chardev."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from qapi.error import QmpError
from tests.vmd.chardev_stand import Listener, Monitor, Stage, a_look_around, dial, options_of, read
from vmd.chardev import Chardev, claim
from vmd.chardev.mux import HELP, MuxDriver, MuxPort

SECOND = 1_000_000_000


class Bench:
    """A mux on a unix socket with a monitor and, above it, a serial line, and who dialled in."""

    def __init__(self, stage: Stage, device: Chardev, peer: socket.socket) -> None:
        self.stage = stage
        self.device = device
        self.peer = peer
        self.monitor, self.serial = Monitor(), Listener()
        self.monitor_port, self.serial_port = self._take(), self._take()
        self.monitor_port.attach(self.monitor)
        self.serial_port.attach(self.serial)

    def _take(self) -> MuxPort:
        port = claim(self.device)
        assert isinstance(port, MuxPort)
        return port

    async def types(self, keys: bytes) -> None:
        """Type, and wait until the mux has seen it all: what is echoed last has been read last."""
        self.peer.send(keys)
        self.peer.send(b"\x01h")
        seen = b""
        while not seen.endswith(HELP.encode()):
            seen += await read(self.peer)
        self.shown = seen.removesuffix(HELP.encode())


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    stage = Stage()
    path = str(tmp_path / "s")
    device = stage.make(options_of(f"unix:{path},server=on,wait=off").backend, mux=True)
    await device.open()
    with closing(dial(path)) as peer:
        bench = Bench(stage, device, peer)
        assert isinstance(device.driver, MuxDriver)
        device.driver.start()
        await bench.serial.hears("opened")
        yield bench
    device.driver.base.close()  # type: ignore[attr-defined]
    stage.close()


async def test_the_newest_frontend_has_the_focus_and_a_monitor_waits_for_it(bench: Bench) -> None:
    await bench.types(b"ls\r")
    assert bench.serial.heard == ["opened", b"ls\r"]
    assert bench.monitor.heard == []


async def test_the_monitor_is_opened_when_it_first_gets_the_focus(bench: Bench) -> None:
    bench.monitor.on_opened = lambda: bench.monitor_port.write(b"banner")
    await bench.types(b"\x01cinfo")
    assert bench.shown == b"banner"
    assert bench.monitor.heard == ["opened", b"info"]
    await bench.types(b"\x01cx\x01cy")
    assert bench.monitor.heard == ["opened", b"info", "unfocused", "focused", b"y"]
    assert bench.serial.input == b"x"


async def test_a_monitor_may_say_goodbye_but_is_then_silent_until_it_is_back(
    bench: Bench,
) -> None:
    await bench.types(b"\x01c")
    bench.monitor.focus = lambda has_it: bench.monitor_port.write(  # type: ignore[method-assign]
        b"back" if has_it else b"bye"
    )
    await bench.types(b"\x01c")
    assert bench.shown == b"bye"
    bench.monitor_port.write(b"meanwhile ")
    bench.serial_port.write(b"login:")
    await bench.types(b"")
    assert bench.shown == b"login:"
    await bench.types(b"\x01c")
    assert bench.shown == b"backmeanwhile "


async def test_a_monitor_may_show_what_others_say_while_it_has_the_focus(bench: Bench) -> None:
    beside: list[bytes] = []
    bench.monitor.beside = beside.append  # type: ignore[attr-defined]
    bench.serial_port.write(b"before ")
    await bench.types(b"\x01c")
    bench.serial_port.write(b"meanwhile ")
    await bench.types(b"\x01c")
    bench.serial_port.write(b"after ")
    await bench.types(b"")
    assert beside == [b"meanwhile "]
    assert bench.shown == b"after "


async def test_the_escape_key_twice_is_itself(bench: Bench) -> None:
    await bench.types(b"a\x01\x01b\x01zc")
    assert bench.serial.input == b"a\x01bc"


async def test_the_mux_can_end_the_process(bench: Bench) -> None:
    await bench.types(b"\x01x")
    assert bench.shown == b"QEMU: Terminated\n\r"
    assert bench.stage.ended


async def test_lines_are_stamped_with_the_time_since_the_first_stamp(bench: Bench) -> None:
    bench.peer.send(b"\x01tx")
    await bench.serial.has_input(b"x")
    bench.serial_port.write(b"half")
    bench.serial_port.write(b" a line\n")
    bench.serial_port.write(b"second\n")
    bench.stage.clock.advance(3661 * SECOND + 5_000_000)
    bench.serial_port.write(b"third\n\r")
    shown = b""
    while not shown.endswith(b"\r"):
        shown += await read(bench.peer)
    assert shown == (b"half a line\n[00:00:00.000] second\n[01:01:01.005] third\n[01:01:01.005] \r")


async def test_a_paused_frontend_does_not_stop_the_mux_from_hearing_its_own_keys(
    bench: Bench,
) -> None:
    bench.serial_port.pause_reading()
    await bench.types(b"typed ahead\x01c")
    assert (bench.serial.input, bench.monitor.heard) == (b"", ["opened"])
    bench.serial_port.resume_reading()
    assert bench.serial.input == b"typed ahead"


async def test_a_frontend_that_takes_nothing_stops_the_reading_in_the_end(bench: Bench) -> None:
    bench.serial_port.pause_reading()
    bench.peer.setblocking(False)
    sent = bench.peer.send(b"x" * (1 << 20))  # as much as the kernel takes
    for _ in range(10):
        await a_look_around()
    assert bench.serial.input == b""
    (unread,) = struct.unpack("i", fcntl.ioctl(bench.peer, termios.TIOCOUTQ, bytes(4)))
    assert unread
    bench.serial_port.resume_reading()
    await bench.serial.has_input(b"x" * sent)


async def test_everybody_hears_that_the_peer_is_gone(bench: Bench) -> None:
    await bench.types(b"\x01c")
    bench.peer.close()
    await bench.serial.hears("closed")
    assert bench.monitor.heard == ["opened", "closed"]
    assert not bench.device.is_open


async def test_there_are_four_places_on_a_mux(bench: Bench) -> None:
    assert bench.device.frontend_open
    claim(bench.device)
    claim(bench.device)
    with pytest.raises(
        QmpError, match=r"^too many uses of multiplexed chardev 'c' \(maximum is 4\)$"
    ):
        claim(bench.device)
