"""Announcements of network devices: their pace, and the frames that really leave."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from tests.faults.stand import Subject
from vmd import announce
from vmd.announce import Pace

if TYPE_CHECKING:
    from collections.abc import Iterator

MS = 1_000_000
TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x400454CA, 0x0002, 0x1000, 0x4000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
ALL = 3  # ETH_P_ALL
MAC = "52:54:00:12:34:56"


@pytest.mark.parametrize(
    ("pace", "pauses"),
    [
        (Pace(50, 550, 5, 100), [50, 150, 250, 350]),
        (Pace(50, 300, 5, 100), [50, 150, 250, 300]),
        (Pace(0, 0, 3, 100), [0, 0]),
        (Pace(-1, 20, 3, 1), [20, 0]),
        (Pace(7, 5, 2, 0), [5]),
    ],
)
def test_each_pause_is_longer_up_to_a_limit(pace: Pace, pauses: list[int]) -> None:
    assert [pace.pause_ms(done) for done in range(1, pace.rounds)] == pauses


class Network:
    """A machine with one network device, and when it announced itself, in ms."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.subject = Subject(board="q35", paused=True)
        self.subject.machine.devices.add({"driver": "virtio-net-pci", "id": "v0"}, hotplug=False)
        self.sent: list[int] = []
        monkeypatch.setattr(announce, "_send", lambda nic: self.sent.append(self.now))

    @property
    def now(self) -> int:
        return self.subject.clock.now_ns() // MS

    def begin(self, name: str, *pace: int, only: list[str] | None = None) -> None:
        self.subject.machine.announcements.begin(name, Pace(*pace), only)

    def sent_within(self, ms: int) -> list[int]:
        self.sent.clear()
        self.subject.clock.advance(ms * MS)
        return self.sent


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    one = Network(monkeypatch)
    yield one
    one.subject.close()


def test_the_first_round_is_at_once_and_the_last_one_is_the_last(network: Network) -> None:
    network.begin("", 50, 550, 3, 100)
    assert network.sent == [0]
    assert network.sent_within(10_000) == [50, 200]


def test_an_announcement_of_the_same_name_takes_the_place_of_another(network: Network) -> None:
    network.begin("one", 10, 10, 100, 0)
    network.begin("two", 30, 30, 3, 0)
    network.begin("one", 70, 70, 2, 0)
    assert network.sent_within(1000) == [30, 60, 70]


def test_no_rounds_end_it(network: Network) -> None:
    network.begin("one", 10, 10, 100, 0)
    network.begin("one", 10, 10, 0, 0)
    assert network.sent_within(1000) == []


def test_a_machine_that_ends_is_silent(network: Network) -> None:
    network.begin("one", 10, 10, 100, 0)
    network.subject.machine.quit()
    assert network.sent_within(1000) == []


def test_an_address_that_is_free_again_is_given_again() -> None:
    subject = Subject(board="pc", paused=True)
    devices, networks = subject.machine.devices, subject.machine.networks
    for name in ("a", "b"):
        devices.add({"driver": "e1000", "id": name}, hotplug=False)
    devices.remove("a")
    devices.take_out_waiting()
    devices.add({"driver": "e1000", "id": "c"}, hotplug=True)
    assert [(nic.name, nic.mac[-2:]) for nic in networks.nics()] == [("b", "57"), ("c", "56")]
    subject.close()


class Tap:
    """An interface of the host's, and what is sent into it."""

    def __init__(self, flags: int) -> None:
        self.fd = os.open("/dev/net/tun", os.O_RDWR)
        self.wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL))
        request = struct.pack("16sH22x", b"", IFF_TAP | IFF_NO_PI | flags)
        self.name = fcntl.ioctl(self.fd, TUNSETIFF, request)[:16].rstrip(b"\0").decode()
        request = struct.pack("16sH22x", self.name.encode(), IFF_UP)
        fcntl.ioctl(self.wire, SIOCSIFFLAGS, request)
        self.wire.bind((self.name, 0))

    def frames(self) -> list[bytes]:
        """What comes in from the machine; the host's own frames go the other way."""
        found = []
        while select.select([self.wire], [], [], 0)[0]:
            data, origin = self.wire.recvfrom(2048)
            if origin[2] != socket.PACKET_OUTGOING:
                found.append(data)
        return found


@pytest.fixture(params=[0, IFF_VNET_HDR], ids=["plain", "vnet header"])
def tap(request: pytest.FixtureRequest) -> Iterator[Tap]:
    try:
        one = Tap(request.param)
    except OSError as error:
        pytest.skip(f"no tap interface can be made here: {error.strerror}")
    yield one
    one.wire.close()


def test_a_frame_leaves_through_an_interface_of_the_host(tap: Tap) -> None:
    subject = Subject(board="q35", paused=True)
    machine = subject.machine
    machine.networks.add({"type": "tap", "id": "n0", "fd": str(tap.fd)}, {})
    nic = {"driver": "virtio-net-pci", "id": "v0", "netdev": "n0"}
    machine.devices.add(nic, hotplug=False)
    machine.announcements.begin("", Pace(1, 1, 1, 1))
    me = bytes.fromhex(MAC.replace(":", ""))
    expected = b"\xff" * 6 + me + bytes.fromhex("8035 0001 0800 0604 0003")
    expected += (me + bytes(4)) * 2
    assert tap.frames() == [expected.ljust(60, b"\0")]
    machine.devices.named["v0"].place["link"] = False
    machine.announcements.begin("", Pace(1, 1, 1, 1))
    assert tap.frames() == []
    machine.networks.close()
    subject.close()
