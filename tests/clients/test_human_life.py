"""One life and one live update of a machine, driven at its human monitor, on vmd and on QEMU."""

from __future__ import annotations

import contextlib
import shlex
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.clients.human_drivers import (
    Driver,
    expect_on_a_socket,
    expect_on_a_terminal,
    vt_monitor,
)
from tests.differential.stage import find_qemu, find_vmd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

VM = (
    "-machine none,memory-backend=ram0 -nodefaults -display none -m 32M"
    " -object memory-backend-file,id=ram0,size=32M,mem-path=ram0,share=on"
)
PROGRAMS = [find_vmd(), *([qemu] if (qemu := find_qemu()) else [])]


def live(driver: Driver) -> None:
    assert driver.run("info status") == "VM status: running"
    assert driver.run("stop") == ""
    assert driver.run("info status") == "VM status: paused"
    assert driver.run("nonsense") == "unknown command: 'nonsense'"
    assert driver.complete("info vers") == "info version"
    assert driver.complete("migrate_set_cap") == "migrate_set_capability"
    assert driver.run("cont") == ""
    assert driver.run("info uuid") == "00000000-0000-0000-0000-000000000000"


def update(driver: Driver) -> None:
    assert driver.run("migrate_set_capability x-ignore-shared on") == ""
    assert driver.run("migrate_set_parameter mode cpr-reboot") == ""
    assert "mode: cpr-reboot" in driver.run("info migrate_parameters")


def until(driver: Driver, question: str, wanted: str) -> None:
    while wanted not in driver.run(question):
        pass


def story(opened: Callable[[str], AbstractContextManager[Driver]]) -> None:
    with opened(VM) as driver:
        live(driver)
        update(driver)
        assert driver.run("migrate -d file:vm.state") == ""
        until(driver, "info migrate", "Migration status: completed")
        until(driver, "info status", "VM status: paused (postmigrate)")
        driver.leave()
    with opened(f"{VM} -incoming defer") as driver:
        assert driver.run("info status") == "VM status: paused (inmigrate)"
        update(driver)
        assert driver.run("migrate_incoming file:vm.state") == ""
        until(driver, "info status", "VM status: running")
        live(driver)
        driver.leave()


each_program = pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)


@each_program
@pytest.mark.parametrize("driver", [vt_monitor, expect_on_a_socket], ids=lambda it: it.__name__)
def test_a_driver_updates_a_machine_over_a_socket(
    program: object, driver: Callable[[Path], AbstractContextManager[Driver]], tmp_path: Path
) -> None:
    argv = program.argv  # type: ignore[attr-defined]

    @contextlib.contextmanager
    def opened(arguments: str) -> Iterator[Driver]:
        path = tmp_path / "monitor"
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(1)
            fd = listener.fileno()
            device = f"socket,id=m,fd={fd},server=on,wait=off"
            command = [*argv, *shlex.split(arguments), "-chardev", device, "-mon", "m"]
            process = subprocess.Popen(command, cwd=tmp_path, pass_fds=[fd])
        try:
            with driver(path) as one:
                yield one
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()

    story(opened)


@each_program
def test_a_script_for_a_terminal_updates_a_machine(program: object, tmp_path: Path) -> None:
    argv = program.argv  # type: ignore[attr-defined]
    story(lambda arguments: expect_on_a_terminal([*argv, *shlex.split(arguments)], tmp_path))
