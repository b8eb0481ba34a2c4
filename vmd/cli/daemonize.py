"""Going to the background, as QEMU does: fork early, and let the caller wait for one byte.

The process that was started forks before anything else exists (no event loop, no thread, no
socket) and waits on a pipe. Its child sets everything up; it says so with a byte, and the parent
ends with 0. A pipe that closes without the byte means that setting up failed: the child has told
why on the stderr that both share, and the parent ends with 1. Observed from os-posix.c.
"""

from __future__ import annotations

import os
import signal

READY = b"\0"


class Daemonizer:
    """The daemon's side of the fork. Made in the child by `fork`."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def detach(self, log: int | None = None) -> None:
        """All is set up: leave directory and standard streams, and let the caller go.

        What is said on stderr from now on goes to `log`, if there is one.
        """
        os.chdir("/")
        null = os.open("/dev/null", os.O_RDWR)
        # Before the byte: a caller that reads our output to its end must not wait for us.
        for stream in (0, 1, 2):
            os.dup2(log if stream == 2 and log is not None else null, stream)
        if null > 2:
            os.close(null)
        os.write(self._pipe, READY)
        os.close(self._pipe)


def fork() -> Daemonizer:
    """Split; returns in the background process only. The caller's process ends in here."""
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        os._exit(0 if _wait(reader) == READY else 1)
    os.close(reader)
    os.setsid()
    # A session's leader could get a terminal by opening one; its child cannot.
    if os.fork():
        os._exit(0)
    os.umask(0o027)
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    signal.signal(signal.SIGTTIN, signal.SIG_IGN)
    return Daemonizer(writer)


def _wait(reader: int) -> bytes:
    """The byte, or nothing if the background process died without it."""
    return os.read(reader, 1)
