"""Whatever is typed at a human monitor, vmd shows byte for byte what real QEMU shows."""

from __future__ import annotations

import socket
import subprocess
from typing import TYPE_CHECKING

import pyte
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.differential.stage import find_vmd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.differential.stage import Program

ARGUMENTS = "-machine none -nodefaults -display none -m 16"

KEYS = [
    *(bytes((byte,)) for byte in range(32) if byte != 9),  # TAB knows what there is, which differs
    *(b"\x1b[%c" % letter for letter in b"ABCDEFHZ"),
    *(b"\x1b[%d~" % number for number in (1, 2, 3, 4, 5, 33, 257, 4294967297)),
    *(
        b"\x1bOH",
        b"\x1bOF",
        b"\x1bOZ",
        b"\x1b[1;5C",
        b"\x9b",
        b"\x9bD",
        b"\x9b3~",
        b"\x7f",
        b"\x1b",
    ),
    *(b"\x1b[", b"\x1b[3", b"\x1bO", b"\x1b", b"\x7f"),
]
# Of no letters that a command could be made of.
TEXT = st.text(alphabet="zw 0129.,;:-+*/(){}'\"\\$#%&=_~^|<>é€\x80\xff", max_size=12)
# A long line shows the whole of itself with each key: very long ones are asked elsewhere.
WORDS = st.sampled_from(
    [
        *(b"info zz", b"info status\n", b"info history\n", b"help zz\n", b"info status zz\n"),
        *(b"stop zz\n", b"  info   status  \n", b"z" * 100),
    ]
)
TYPED = st.lists(
    st.one_of(
        st.sampled_from(KEYS), TEXT.map(lambda text: text.encode("utf-8", "surrogateescape")), WORDS
    ),
    max_size=20,
).map(b"".join)


class Monitor:
    """A running program and its human monitor on a socket."""

    def __init__(self, program: Program, place: Path) -> None:
        path = place / program.name
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(1)
        self.process = subprocess.Popen(
            [*program.argv, *ARGUMENTS.split(), "-monitor", f"unix:{path}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._socket, _ = listener.accept()
        listener.close()
        self._socket.settimeout(60)
        self.shown(b"", 0)

    def shown(self, typed: bytes, number: int) -> bytes:
        """What it shows for the keys, up to the answer to a line that follows them."""
        # A key that has only begun swallows one line end.
        self._socket.sendall(typed + b"\n\n\x05\x15@%d\n" % number)
        data = b""
        while not data.endswith(b"unknown command: '@%d'\r\n(qemu) " % number):
            piece = self._socket.recv(1 << 16)
            assert piece, f"it has gone: {data[-200:]!r}"
            data += piece
        return data

    def end(self) -> None:
        self._socket.close()
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def monitors(
    qemu: Program, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Monitor, Monitor]]:
    place = tmp_path_factory.mktemp("m")
    both = Monitor(find_vmd(), place), Monitor(qemu, place)
    yield both
    for one in both:
        one.end()


def rendered(data: bytes) -> list[str]:
    screen = pyte.Screen(80, 24)
    pyte.ByteStream(screen).feed(data)
    return list(screen.display)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(typed=TYPED, number=st.integers(0, 1 << 40))
def test_any_keys_are_shown_as_qemu_shows_them(
    monitors: tuple[Monitor, Monitor], typed: bytes, number: int
) -> None:
    ours, theirs = (monitor.shown(typed, number) for monitor in monitors)
    assert rendered(ours) == rendered(theirs)
    assert ours == theirs
