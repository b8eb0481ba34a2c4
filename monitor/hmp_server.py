"""The human monitor on a character device: a session, the dispatcher's turns, flow control."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.hmp_session import HmpSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from monitor.dispatcher import Dispatcher, Work
    from monitor.hmp import HmpRegistry
    from monitor.server import CharBackend

# Of a client that does not read its screen nothing more is read from here on.
HIGH_WATER = 1 << 20
# Within a turn of the dispatcher output is gathered into writes of about this size.
GATHER = 64 << 10


class HmpMonitor:
    """A human monitor for one client at a time.

    For the user's own terminal `columns` gives its width; `dumb`: it knows no escape sequences.
    """

    def __init__(
        self,
        backend: CharBackend,
        registry: HmpRegistry,
        machine: object,
        dispatcher: Dispatcher,
        *,
        version: str = "10.0.2",
        columns: Callable[[], int] | None = None,
        dumb: bool = False,
    ) -> None:
        self.backend = backend
        self.dispatcher = dispatcher
        self.session = HmpSession(
            registry,
            machine,
            written=self._written,
            spawn=dispatcher.spawn,
            preconfig=lambda: dispatcher.preconfig,
            version=version,
            columns=columns,
            dumb=dumb,
        )
        self.session.hmp.take_fd = backend.take_fd
        self.screen_changed: Callable[[], None] | None = None  # what a terminal's driver calls
        self.beside: Callable[[bytes], None] | None = None  # what a mux calls for its other users
        self._catches = False
        self._congested = False
        self._paused = False
        self._open = False
        self._leaving = False  # the client is gone, what it typed before is still being run
        if dispatcher.held:
            self.session.suspend()
            dispatcher.at_release(self.session.resume)
        backend.attach(self)

    # What the backend calls

    def opened(self) -> None:
        self._leave()
        self._open = True
        self._congested = False
        self.session.opened()
        self._regulate()

    def received(self, data: bytes) -> None:
        self.session.received(data)
        self._wake()
        self._regulate()

    def closed(self) -> None:
        self._open = False
        self._congested = False
        self._leaving = True
        self._wake()
        self._regulate()

    def drained(self) -> None:
        self._congested = False
        self._wake()
        self._regulate()

    def focus(self, has_it: bool) -> None:
        """The multiplexer of the device has chosen this monitor, or another user."""
        if not has_it and self.beside is not None:
            self.beside(b"")
        self.session.focus(has_it)
        self.flush()

    # What the dispatcher calls

    def ready(self) -> bool:
        return self.session.waiting and not self._congested

    def step(self) -> Work | None:
        return self.session.run()

    def flush(self) -> None:
        data = self.session.take_output()
        if data and self._open:
            self.backend.write(data)
            self.dispatcher.charge(len(data))
            self._congested = self.backend.backlog > HIGH_WATER
        self._wake()
        self._regulate()

    # The rest is its own

    def _written(self) -> None:
        if self.session.output_size > GATHER:
            self.flush()
        else:
            self.dispatcher.flush_later(self)

    def _wake(self) -> None:
        if self.ready():
            self.dispatcher.wake(self)
        elif self._leaving and not self.session.behind:
            self._leave()

    def _leave(self) -> None:
        if self._leaving:
            self._leaving = False
            self.session.closed()

    def _regulate(self) -> None:
        """Leave in the device what would only pile up here."""
        catches = self.session.interruptible
        if catches != self._catches:
            self._catches = catches
            self.backend.catch_interrupt(catches)
        held = self.session.held and not catches
        pause = self._open and (self._congested or held)
        if pause != self._paused:
            self._paused = pause
            if pause:
                self.backend.pause_reading()
            else:
                self.backend.resume_reading()
