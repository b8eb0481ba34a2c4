"""QMP on a character device: the session's bytes, the dispatcher's turns, the backend's limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Protocol

from monitor.dispatcher import report_exception
from monitor.json_encoder import Encoded
from monitor.qmp import QmpSession, Request, event_text
from qapi.error import QmpError

if TYPE_CHECKING:
    from monitor.dispatcher import Dispatcher, Work
    from monitor.registry import QmpCommand, QmpRegistry

# A client that does not read keeps its commands running (QEMU buffers without limit) up to here;
# then nothing more is read from it until it has read.
HIGH_WATER = 16 << 20
# Events come whether it reads or not; here its connection is closed.
HARD_LIMIT = 64 << 20
# Within a turn replies are gathered into writes of about this size.
GATHER = 256 << 10


class Frontend(Protocol):
    """Whoever sits on a character device."""

    def opened(self) -> None: ...
    def received(self, data: bytes) -> None: ...
    def closed(self) -> None: ...
    def drained(self) -> None: ...


class CharBackend(Protocol):
    """What a monitor asks of a character device."""

    @property
    def backlog(self) -> int:
        """Bytes not yet taken by the peer."""

    def attach(self, frontend: Frontend) -> None: ...
    def write(self, data: bytes) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def take_fd(self) -> int | None: ...
    def abort(self) -> None: ...
    def catch_interrupt(self, catch: bool) -> None:
        """On the user's terminal: Ctrl-C is a byte to read and no signal. Elsewhere nothing."""


class QmpMonitor:
    """A QMP monitor for one client at a time.

    `machine` is handed to the handlers as it is. `version` is the greeting's (VersionInfo,
    its members in the schema's order). `fds` are the file
    descriptors that clients gave names (getfd); like QEMU's they outlive the connection.
    """

    def __init__(
        self,
        backend: CharBackend,
        registry: QmpRegistry,
        machine: object,
        dispatcher: Dispatcher,
        *,
        version: dict[str, object],
        pretty: bool = False,
        oob: bool = True,
    ) -> None:
        self.backend = backend
        self.registry = registry
        self.dispatcher = dispatcher
        self.session = QmpSession(version, oob_offered=oob, pretty=pretty)
        self.fds: dict[str, int] = {}
        self._machine = machine
        self._trace = dispatcher.trace
        if self._trace is not None:
            self.session.seen = self._seen
        self._connected = False
        self._paused = False
        self._congested = False
        self._resting = False
        self._out: list[str] = []
        self._out_size = 0
        backend.attach(self)

    # What the backend calls

    def opened(self) -> None:
        self._connected = True
        self._congested = False
        self._paused = False  # a new connection is read unless it is told otherwise
        if self._trace is not None and self._trace.active:
            from monitor import trace

            trace.greeted(self._trace, self.session.version)
        self.send(self.session.opened())
        self._regulate()

    def received(self, data: bytes) -> None:
        if not self._connected:
            return
        self.session.feed(data)
        self._pump()
        self._regulate()

    def closed(self) -> None:
        self._connected = False
        self.session.closed()
        self._out.clear()
        self._out_size = 0
        self._congested = False
        self._regulate()

    def drained(self) -> None:
        self._congested = False
        self._pump()
        self._regulate()

    # What the dispatcher calls

    def ready(self) -> bool:
        return not self._congested and self.session.waiting

    def step(self) -> Work | None:
        request = self.session.take()
        if self.session.oob:
            self._pump()  # a place in the queue has become free
        return self._run(request, self._in_band_done)

    def flush(self) -> None:
        if self._out:
            data = "".join(self._out).encode("ascii")
            self._out.clear()
            self._out_size = 0
            self.backend.write(data)
            backlog = self.backend.backlog
            if backlog > HARD_LIMIT:
                # It does not read, and others are not to suffer.
                self.backend.abort()
            else:
                self._congested = backlog > HIGH_WATER
        self._regulate()

    # What handlers and the machine's wiring call

    def event(self, name: str, data: object, seconds: int, microseconds: int) -> None:
        broadcast_event((self,), name, data, seconds, microseconds)

    def take_fd(self) -> int | None:
        """The file descriptor that the client sent along, if there is one; it is then the
        caller's to close."""
        return self.backend.take_fd()

    # The rest is its own

    def _pump(self) -> None:
        """Read what may be read: out-of-band requests run here, the others wait their turn."""
        if self._congested or self.dispatcher.stopped:
            return
        while (request := self.session.pump()) is not None:
            work = self._run(request, _nothing)
            if work is not None:
                self.dispatcher.spawn(work)
        if self.session.waiting:
            self.dispatcher.wake(self)
        if self.session.tired and not self._resting:
            self._resting = True
            asyncio.get_running_loop().call_soon(self._rested)

    def _rested(self) -> None:
        """Others have had their turn: read on in a long stretch of odd input."""
        self._resting = False
        self.session.rest()
        self._pump()
        self._regulate()

    def _run(self, request: Request, done: Callable[[], None]) -> Work | None:
        """Execute and answer; what cannot end at once is returned. `done` follows the answer."""
        command: QmpCommand | None = None
        log = self._trace if self._trace is not None and self._trace.active else None
        if log is not None:
            from monitor import trace

            trace.taken(log, request)
        try:
            command = self.session.resolve(request, self.registry, self.dispatcher.preconfig)
            if log is None:
                result = command.call(self._machine, self, request.arguments)
            else:
                result = trace.call(log, command, self._machine, self, request.arguments)
            if type(result) is CoroutineType:
                return self._wait(request, command, result, done)
            answer = self._reply(request, command, result)
        except Exception as error:
            answer = self._failure(request, error)
        self.send(answer)
        done()
        return None

    async def _wait(
        self, request: Request, command: QmpCommand, result: Any, done: Callable[[], None]
    ) -> None:
        try:
            answer = self._reply(request, command, await result)
        except Exception as error:
            answer = self._failure(request, error)
        self.send(answer)
        done()

    def _reply(self, request: Request, command: QmpCommand, result: object) -> str:
        value = {} if result is None else result
        if command.check_returns and type(value) is not Encoded:
            command.check_return(value)
        return self.session.reply(request, value)

    def _failure(self, request: Request, error: Exception) -> str:
        if not isinstance(error, QmpError):
            report_exception(f"the command {request.name}")
            error = QmpError(f"Internal error: {type(error).__name__}: {error}".rstrip())
        return self.session.error(request, error)

    def _in_band_done(self) -> None:
        self.session.done()
        self._pump()

    def send(self, text: str) -> None:
        """Queue output; without a client it is lost."""
        if self._trace is not None and self._trace.active:
            from monitor import trace

            trace.sent(self._trace, self, text)
        if not self._connected:
            return
        self._out.append(text)
        self._out_size += len(text)
        self.dispatcher.charge(len(text))
        if self._out_size > GATHER:
            self.flush()
        else:
            self.dispatcher.flush_later(self)

    def _seen(self, document: object) -> None:
        if self._trace is not None and self._trace.active:
            from monitor import trace

            trace.seen(self._trace, self, document)

    def _regulate(self) -> None:
        """Leave in the socket what would not be read (a file descriptor may ride on it)."""
        session = self.session
        pause = self._connected and bool(self._congested or session.suspended or session.pending)
        if pause != self._paused:
            self._paused = pause
            if pause:
                self.backend.pause_reading()
            else:
                self.backend.resume_reading()


def broadcast_event(
    monitors: Iterable[QmpMonitor], name: str, data: object, seconds: int, microseconds: int
) -> None:
    """Send an event to every monitor whose client has negotiated; `data` is None if it has none.

    The time is that of the event, since the epoch.
    """
    texts: dict[bool, str] = {}
    for monitor in monitors:
        session = monitor.session
        if not session.hears_events:
            continue
        if session.pretty not in texts:
            monitor.registry.check_event(name, data)  # type: ignore[arg-type]
            texts[session.pretty] = event_text(
                name, data, seconds, microseconds, pretty=session.pretty
            )
        monitor.send(texts[session.pretty])


def _nothing() -> None:
    pass
