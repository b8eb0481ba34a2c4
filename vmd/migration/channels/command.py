"""Migration through a command's standard input and output. Observed from migration/exec.c."""

from __future__ import annotations

import _thread
import os
import select
import subprocess
from typing import TYPE_CHECKING

from qapi.error import QmpError
from vmd.migration.channels.stream import IncomingStream, OutgoingStream, Wire

if TYPE_CHECKING:
    from collections.abc import Sequence

GRACE_MS = 100
"""How long a command may take to do what is left with a whole stream, before that is told."""


class Command:
    """A running command; both its ends are pipes, as in QEMU. QmpError if it cannot be run."""

    def __init__(self, args: Sequence[str]) -> None:
        name = args[0] if args else ""
        # A plain name is a file of this directory: QEMU does not search PATH.
        program = name if "/" in name else f"./{name}"
        try:
            if not name:
                raise FileNotFoundError
            self._process = subprocess.Popen(
                [*args],
                executable=program,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
            )
        except (OSError, ValueError, IndexError) as error:
            reason = os.strerror(getattr(error, "errno", None) or 2)
            raise QmpError(f"Failed to execute child process “{name}” ({reason})") from None
        assert self._process.stdin
        assert self._process.stdout
        # The pipes get other owners; whoever collects the process closes nothing.
        self.stdin = Wire(os.dup(self._process.stdin.fileno()))
        self.stdout = Wire(os.dup(self._process.stdout.fileno()))
        self._process.stdin.close()
        self._process.stdout.close()

    def collect(self, whole: bool) -> None:
        """Collect the process; for one that got a whole stream wait a little.

        Who hears of the migration's end then finds what the command has made of it.
        """
        pidfd = os.pidfd_open(self._process.pid)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        ended = poll.poll(GRACE_MS if whole else 0)
        os.close(pidfd)
        if ended:
            self._process.wait()
        else:
            _thread.start_new_thread(self._process.wait, ())


def outgoing(args: Sequence[str]) -> OutgoingStream:
    """The channel into a command."""
    command = Command(args)
    return OutgoingStream(command.stdin, "command", command.stdout, command.collect)


def incoming(args: Sequence[str]) -> IncomingStream:
    """The channel out of a command."""
    command = Command(args)
    return IncomingStream(command.stdout, command.stdin, command.collect)
