"""vmd whose disk has a fault: `python faulty.py FAULT FILE ARGUMENTS…`, where FAULT is

killed-at-byte=N   SIGKILL when N bytes of the state file are written
killed-at=CALL     SIGKILL before the first such system call on the state file
stuck-at=CALL,N    the Nth such call never returns

The fault is in the state file FILE alone. Before a stuck call, a byte is written to the fifo
`stuck`, so that who waits for that moment need not guess.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.faults.disk import Disk
from vmd.__main__ import main
from vmd.migration.channels import file


class Fault:
    """Watches the calls on one file, and strikes."""

    def __init__(self, spec: str, path: str) -> None:
        self._kind, _, value = spec.partition("=")
        self._call, _, number = value.partition(",")
        self._left = int(number or 1)
        self._path = path
        self._watching = False
        self._room = int(value) if self._kind == "killed-at-byte" else 0

    def before(self, number: int, name: str, arguments: tuple[Any, ...]) -> None:
        if name == "open":
            self._watching = arguments[0] == self._path
        if not self._watching:
            return
        if self._kind == "killed-at-byte":
            if name == "writev":
                self._write_up_to_the_end(*arguments)
        elif name == self._call:
            self._left -= 1
            if self._left == 0:
                self._strike()

    def _write_up_to_the_end(self, fd: int, views: list[memoryview]) -> None:
        size = sum(map(len, views))
        if size < self._room:
            self._room -= size
            return
        os.write(fd, b"".join(views)[: self._room])
        os.kill(os.getpid(), signal.SIGKILL)

    def _strike(self) -> None:
        if self._kind == "killed-at":
            os.kill(os.getpid(), signal.SIGKILL)
        with open("stuck", "wb") as told:
            told.write(b"!")
        threading.Event().wait()


if __name__ == "__main__":
    vars(file)["os"] = Disk(Fault(sys.argv[1], sys.argv[2]).before)
    sys.argv = ["vmd", *sys.argv[3:]]
    main()
