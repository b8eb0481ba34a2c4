"""Bytes to and from a descriptor on the event loop, without asyncio's transports in between.

A write goes straight to the descriptor; only what it does not take is queued. Reading can be
paused; a paused stream still notices a peer that hung up.
"""

from __future__ import annotations

import asyncio
import select
from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

LOW_WATER = 64 * 1024
LOOKS = 200  # how often it is looked whether the peer goes on at once: about 100 µs
PASSES = 8  # how often it is not looked any more when it was in vain


class Sink(Protocol):
    """Who owns a stream."""

    def receive(self, data: bytes) -> None: ...
    def drained(self) -> None: ...
    def ended(self) -> None:
        """No more input will come: the peer closed, hung up or failed."""
        ...


class Stream:
    """One open descriptor, or two: one to read and one to write. All must be non-blocking.

    `read()` returns bytes, b"" at the end; `write(data)` returns how much was taken. Both raise
    BlockingIOError when they would wait. The stream never closes the descriptors.
    """

    __slots__ = (
        "_hangup",
        "_loop",
        "_passes",
        "_polled",
        "_pump",
        "_queue",
        "_read",
        "_reading",
        "_ready",
        "_sink",
        "_source",
        "_target",
        "_write",
        "_write_failed",
        "backlog",
    )

    def __init__(
        self,
        sink: Sink,
        source: int | None,
        read: Callable[[], bytes],
        target: int | None,
        write: Callable[[bytes], int],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sink = sink
        self._source, self._read = source, read
        self._target, self._write = target, write
        self._queue: deque[bytes] = deque()
        self.backlog = 0
        self._reading = False
        self._polled = True  # False: epoll refuses the source (a plain file), which is always ready
        self._pump: asyncio.Handle | None = None
        self._ready: select.poll | None = None
        self._passes = 0
        self._hangup: HangupWatch | None = None
        self._write_failed = False

    # Input

    @property
    def reading(self) -> bool:
        return self._reading

    def resume(self) -> None:
        if self._reading or self._source is None:
            return
        self._reading = True
        if self._hangup is not None:
            self._hangup.stop()
        if self._polled:
            try:
                self._loop.add_reader(self._source, self._on_readable)
                return
            except PermissionError:
                self._polled = False
        self._pump = self._loop.call_soon(self._on_readable)

    def pause(self, watch_hangup: bool = True) -> None:
        """Stop reading. `watch_hangup`: end all the same when the peer has closed both ways."""
        if self._reading and self._source is not None:
            self._reading = False
            if self._polled:
                self._loop.remove_reader(self._source)
            elif self._pump is not None:
                self._pump.cancel()
        if watch_hangup and self._polled and self._source is not None:
            if self._hangup is None:
                self._hangup = HangupWatch(self._loop, self._source, self._sink.ended)
            self._hangup.start()

    def _on_readable(self) -> None:
        try:
            data = self._read()
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.pause(watch_hangup=False)
            self._sink.ended()
            return
        self._sink.receive(data)
        if not self._reading:
            return
        if not self._polled:
            self._pump = self._loop.call_soon(self._on_readable)
        elif self._passes:
            self._passes -= 1
        else:
            self._stay_awake()

    def _stay_awake(self) -> None:
        """Look for a moment whether the peer goes on at once; the loop then need not sleep.

        Who has waited for an answer often asks the next thing sooner than going to sleep and waking
        up takes. Who does not is not looked for again for a while.
        """
        assert self._source is not None
        if self._ready is None:
            self._ready = select.poll()
            self._ready.register(self._source, select.POLLIN)
        if not any(self._ready.poll(0) for _ in range(LOOKS)):
            self._passes = PASSES

    # Output

    def write(self, data: bytes) -> None:
        if self._target is None or self._write_failed:
            return
        if not self._queue:
            try:
                taken = self._write(data)
            except (BlockingIOError, InterruptedError):
                taken = 0
            except OSError:
                # The reading side hears the reason and ends the stream.
                self._write_failed = True
                return
            if taken == len(data):
                return
            data = data[taken:]
            self._loop.add_writer(self._target, self._on_writable)
        self._queue.append(data)
        self.backlog += len(data)

    def _on_writable(self) -> None:
        before = self.backlog
        try:
            while self._queue:
                chunk = self._queue[0]
                taken = self._write(chunk)
                self.backlog -= taken
                if taken < len(chunk):
                    self._queue[0] = chunk[taken:]
                    break
                self._queue.popleft()
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self._write_failed = True
            self._drop_output()
        if not self._queue:
            self._stop_writing()
        if not self._queue or before > LOW_WATER >= self.backlog:
            self._sink.drained()

    def stop(self) -> None:
        """Leave the event loop; unsent output is dropped."""
        self.pause(watch_hangup=False)
        if self._hangup is not None:
            self._hangup.close()
            self._hangup = None
        self.discard_output()
        self._source = self._target = None

    def discard_output(self) -> None:
        """Forget what the descriptor has not taken."""
        self._stop_writing()
        self._drop_output()

    def _stop_writing(self) -> None:
        if self._target is not None:
            self._loop.remove_writer(self._target)

    def _drop_output(self) -> None:
        self._queue.clear()
        self.backlog = 0


class HangupWatch:
    """Tells when a descriptor's peer is gone, without looking at its input.

    The loop's selector cannot wait for a hang-up alone, so an epoll of its own stands between.
    """

    __slots__ = ("_call", "_epoll", "_fd", "_loop", "_watching")

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int, call: Callable[[], None]) -> None:
        self._loop = loop
        self._fd = fd
        self._call = call
        self._epoll = select.epoll()
        self._watching = False

    def start(self) -> None:
        if not self._watching:
            self._watching = True
            self._epoll.register(self._fd, 0)
            self._loop.add_reader(self._epoll.fileno(), self._on_event)

    def stop(self) -> None:
        if self._watching:
            self._watching = False
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.unregister(self._fd)

    def close(self) -> None:
        self.stop()
        self._epoll.close()

    def _on_event(self) -> None:
        if self._epoll.poll(0):
            self.stop()
            self._call()
