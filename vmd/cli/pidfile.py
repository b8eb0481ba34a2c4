"""The pid file: `PID\n`, mode 0600, locked as long as the process lives, removed at its end.

Observed from util/oslib-posix.c.
"""

from __future__ import annotations

import contextlib
import fcntl
import os

from qapi.error import QmpError


class PidFile:
    """One held pid file. The lock is the process's: it does not survive a fork."""

    def __init__(self, path: str) -> None:
        """Create and lock it, with this process's id inside; QmpError if that cannot be."""
        # -daemonize moves to / later, and the file must be found again to be removed.
        self._path = os.path.abspath(path)
        try:
            self._fd = self._take(path)
            self._fill()
        except QmpError as error:
            raise QmpError(f"cannot create PID file: {error.desc}") from None

    def _fill(self) -> None:
        try:
            os.ftruncate(self._fd, 0)
        except OSError as error:
            text = os.strerror(error.errno or 0)
            raise QmpError(f"Failed to truncate pid file: {text}") from None
        try:
            os.write(self._fd, f"{os.getpid()}\n".encode())
        except OSError:
            raise QmpError("Failed to write pid file") from None

    @staticmethod
    def _take(path: str) -> int:
        while True:
            try:
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                text = os.strerror(error.errno or 0)
                raise QmpError(f"Could not create '{path}': {text}") from None
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(fd)
                text = os.strerror(error.errno or 0)
                raise QmpError(f"Cannot lock pid file: {text}") from None
            # Its last owner may have removed it between our open and our lock.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), os.stat(path)):
                    return fd
            os.close(fd)

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        os.close(self._fd)
