"""A host with libvirtd, and the emulators that its domains run on in turn."""

from __future__ import annotations

import contextlib
import itertools
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.clients.libvirt.host import Domain, Host, Missing
from tests.differential.stage import find_vmd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.differential.stage import Program

    MakeDomain = Callable[..., Domain]

CONSOLE = "<console type='pty'/>"
NUMBERS = itertools.count(1)


def missing(reason: str) -> None:
    """Skip the test, or fail it where nothing may be left out."""
    if os.environ.get("VMD_REQUIRE_LIBVIRT") == "1":
        pytest.fail(f"{reason}, and VMD_REQUIRE_LIBVIRT=1 asks for it")
    pytest.skip(reason)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    try:
        host = Host(tmp_path_factory.mktemp("lv"))
    except Missing as reason:
        missing(str(reason))
        raise
    yield host
    host.close()


@pytest.fixture(params=["vmd", "qemu"])
def emulator(request: pytest.FixtureRequest) -> str:
    if request.param == "vmd":
        return find_vmd().argv[0]
    qemu: Program = request.getfixturevalue("qemu")
    return qemu.argv[0]


@pytest.fixture
def domain(host: Host, emulator: str) -> Iterator[MakeDomain]:
    """Makes domains on the emulator in turn."""
    yield from _domains(host, emulator)


@pytest.fixture
def on_vmd(host: Host) -> Iterator[MakeDomain]:
    """Makes domains whose guest takes part."""
    yield from _domains(host, find_vmd().argv[0])


@pytest.fixture
def both(host: Host, qemu: Program) -> Iterator[list[MakeDomain]]:
    """Makes domains on vmd, and others on real QEMU, to be compared."""
    with contextlib.ExitStack() as made:
        makers = [
            made.enter_context(contextlib.contextmanager(_domains)(host, program))
            for program in (find_vmd().argv[0], qemu.argv[0])
        ]
        yield makers


def _domains(host: Host, emulator: str) -> Iterator[MakeDomain]:
    made: list[Domain] = []

    def make(devices: str = CONSOLE, **more: Any) -> Domain:
        name = f"d{os.getpid()}-{next(NUMBERS)}"
        made.append(Domain(host, name, emulator, devices, **more))
        return made[-1]

    yield make
    for each in made:
        each.forget()
