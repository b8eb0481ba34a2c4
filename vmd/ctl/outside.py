"""Compressions that Python's own library does not know, undone by the programs of their names."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
from typing import IO, Protocol

PIECE = 64 << 10


class _Source(Protocol):
    """Where the compressed bytes come from."""

    def read(self, count: int) -> bytes: ...


class Program:
    """What `NAME -dc` makes of a source, which a thread feeds to it.

    FileNotFoundError if there is no such program; EOFError with its last words if it does not like
    what it is fed.
    """

    def __init__(self, name: str, source: _Source) -> None:
        path = shutil.which(name)
        if path is None:
            raise FileNotFoundError(name)
        self._process = subprocess.Popen(
            [path, "-dc"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self._process.stdin
        assert self._process.stdout
        self._output = self._process.stdout
        self._feeder = threading.Thread(target=_feed, args=(source, self._process.stdin))
        self._feeder.start()

    def readinto(self, buffer: memoryview) -> int:
        """Fill a part of the buffer; 0 at the end."""
        count = os.readv(self._output.fileno(), [buffer])
        if not count:
            self._finish()
        return count

    def _finish(self) -> None:
        assert self._process.stderr
        said = self._process.stderr.read().decode(errors="replace").strip()
        if self._process.wait():
            raise EOFError(said.splitlines()[-1] if said else "it ends too early")

    def close(self) -> None:
        """End it, whatever it has come to."""
        self._process.kill()
        self._process.wait()
        self._feeder.join()
        self._output.close()
        if self._process.stderr is not None:
            self._process.stderr.close()


def _feed(source: _Source, sink: IO[bytes]) -> None:
    """Until the source or the program has ended; the program notices the end by itself."""
    with contextlib.suppress(OSError), sink:
        while data := source.read(PIECE):
            sink.write(data)
