"""Chardevs on opened files: `file` (output, perhaps input), `pipe` (two fifos, or one), `serial`.

Observed from chardev/char-file.c, chardev/char-pipe.c, chardev/char-serial.c and chardev/char-fd.c.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from qapi.error import QmpError
from vmd.chardev.chardev import strerror
from vmd.chardev.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vmd.chardev.chardev import Chardev, Host

READ_SIZE = 64 * 1024


class DescriptorDriver:
    """Reads one descriptor and writes another; the end of the input changes nothing.

    `opener` gives (descriptor to read or None, descriptor to write), both owned from then on. With
    `waits` it may wait for the other end of a FIFO, and nothing else waits meanwhile.
    """

    threaded = True

    def __init__(
        self, filename: str, opener: Callable[[], tuple[int | None, int]], *, waits: bool = False
    ) -> None:
        self.filename = filename
        self._opener = opener
        self._waits = waits
        self._fds: tuple[int, ...] = ()
        self._stream: Stream | None = None

    async def open(self, chardev: Chardev) -> None:
        self._chardev = chardev
        if self._waits:
            from vmd.worker import in_a_thread

            source, target = await in_a_thread(self._opener)
        else:
            source, target = self._opener()
        self._fds = (target,) if source in (None, target) else (source or 0, target)
        for fd in self._fds:
            os.set_blocking(fd, False)
        self._stream = Stream(
            self,
            source,
            lambda: os.read(source or 0, READ_SIZE),
            target,
            lambda data: os.write(target, data),
        )
        chardev.connected()

    # The sink of the stream

    def receive(self, data: bytes) -> None:
        self._chardev.receive(data)

    def drained(self) -> None:
        self._chardev.drained()

    def ended(self) -> None:
        pass

    # The side of the chardev

    @property
    def backlog(self) -> int:
        return self._stream.backlog if self._stream is not None else 0

    def write(self, data: bytes) -> None:
        if self._stream is not None:
            self._stream.write(data)

    def pause(self) -> None:
        if self._stream is not None:
            self._stream.pause(watch_hangup=False)

    def resume(self) -> None:
        if self._stream is not None:
            self._stream.resume()

    def take_fd(self) -> int | None:
        return None

    def abort(self) -> None:
        if self._stream is not None:
            self._stream.discard_output()
            self._chardev.lost()
            self._chardev.connected()

    def set_echo(self, echo: bool) -> None:
        pass

    def close(self) -> None:
        if self._stream is not None:
            self._stream.stop()
            self._stream = None
        for fd in self._fds:
            os.close(fd)
        self._fds = ()


def _open(host: Host, path: str, flags: int) -> int:
    try:
        return host.open_file(path, flags | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise QmpError(f"Could not open '{path}': {strerror(error)}") from None


def file_driver(options: Mapping[str, Any], host: Host) -> DescriptorDriver:
    """`options` is the schema's ChardevFile."""
    mode = os.O_APPEND if options.get("append", False) else os.O_TRUNC

    def opener() -> tuple[int | None, int]:
        target = _open(host, options["out"], os.O_WRONLY | os.O_CREAT | mode)
        if "in" not in options:
            return None, target
        try:
            return _open(host, options["in"], os.O_RDONLY), target
        except QmpError:
            os.close(target)
            raise

    paths = (options[name] for name in ("in", "out") if name in options)
    return DescriptorDriver("file", opener, waits=any(map(_is_fifo, paths)))


def _is_fifo(path: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:
        return False


def pipe_driver(options: Mapping[str, Any], host: Host) -> DescriptorDriver:
    """`options` is the schema's ChardevHostdev: DEV.in and DEV.out, or DEV for both ways."""
    device = options["device"]

    def opener() -> tuple[int | None, int]:
        fds: list[int] = []
        try:
            # Opened for both ways, so that neither end has to wait for the other.
            fds.append(os.open(f"{device}.in", os.O_RDWR | os.O_CLOEXEC))
            fds.append(os.open(f"{device}.out", os.O_RDWR | os.O_CLOEXEC))
        except OSError:
            for fd in fds:
                os.close(fd)
            both = _open(host, device, os.O_RDWR)
            return both, both
        return fds[0], fds[1]

    return DescriptorDriver("pipe", opener)


def serial_driver(options: Mapping[str, Any], host: Host) -> DescriptorDriver:
    """`options` is the schema's ChardevHostdev: a terminal of the host, made raw."""

    def opener() -> tuple[int | None, int]:
        line = _open(host, options["device"], os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY)
        if os.isatty(line):
            import tty

            tty.setraw(line)
        return line, line

    return DescriptorDriver("serial", opener)
