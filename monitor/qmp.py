"""One QMP session as a state machine without I/O (imitates monitor/qmp.c, qapi/qmp-dispatch.c).

Bytes go in through feed(); pump() and take() hand out what is to be run; reply(), error() and
event() give the text to be sent. Nothing is executed here.

Reading obeys QEMU's flow control: without out-of-band execution nothing is read behind a document
until it is answered; with it, until QUEUE_LENGTH documents wait. Bytes not read stay in the
decoder: a session holds at most what it was last fed.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Any

from monitor.json import INCOMPLETE, JsonDecoder, JsonError, encode
from qapi.error import COMMAND_NOT_FOUND, QmpError
from qapi.order import object_order

if TYPE_CHECKING:
    from collections.abc import Callable

    from monitor.registry import QmpCommand, QmpRegistry

QUEUE_LENGTH = 8
# Tokens read the long way before others have their turn: some 50 ms of a hostile input.
PATIENCE = 4096
OOB = "oob"
NO_ID: Any = object()  # None is an id like any other


class State(Enum):
    """How far a session has come."""

    CLOSED = "closed"  # nobody is connected
    NEGOTIATION = "negotiation"  # greeted; only qmp_capabilities exists
    COMMANDS = "commands"  # everything exists but qmp_capabilities


# Each connection starts over; negotiation happens once. Some character devices (pty) report that
# they were opened although they were open: that greets again. No entry: the move is refused.
_MOVES: dict[tuple[State, str], State] = {
    (State.CLOSED, "opened"): State.NEGOTIATION,
    (State.NEGOTIATION, "opened"): State.NEGOTIATION,
    (State.COMMANDS, "opened"): State.NEGOTIATION,
    (State.NEGOTIATION, "negotiated"): State.COMMANDS,
    (State.CLOSED, "closed"): State.CLOSED,
    (State.NEGOTIATION, "closed"): State.CLOSED,
    (State.COMMANDS, "closed"): State.CLOSED,
}


class Request:
    """A document that a client sent, and the id that its answer will bear."""

    __slots__ = ("arguments", "document", "id", "name", "oob")

    def __init__(self, document: object, oob: bool = False) -> None:
        self.document = document
        self.oob = oob
        self.id = document.get("id", NO_ID) if type(document) is dict else NO_ID
        self.name = ""  # and the arguments: known once the envelope was read
        self.arguments: dict[str, object] = {}

    def read_envelope(self, oob_enabled: bool) -> None:
        """Find name and arguments; QmpError in QEMU's order of checks."""
        document = self.document
        if type(document) is not dict:
            if isinstance(document, JsonError):
                raise QmpError(document.desc)
            raise QmpError("QMP input must be a JSON object")
        if not (
            document.keys() <= _USUAL_MEMBERS
            and type(document.get("execute")) is str
            and type(document.get("arguments", self.arguments)) is dict
        ):
            _check_envelope(document, oob_enabled)
        self.name = document["execute" if "execute" in document else "exec-oob"]
        self.arguments = document.get("arguments", self.arguments)


_USUAL_MEMBERS = {"execute", "arguments", "id"}


def _check_envelope(document: dict[str, object], oob_enabled: bool) -> None:
    """Go through the members as QEMU's hash table gives them; the first problem is the error."""
    command_key = ""
    for key in object_order(document):
        value = document[key]
        if key == "execute" or (key == "exec-oob" and oob_enabled):
            if type(value) is not str:
                raise QmpError(f"QMP input member '{key}' must be a string")
            if command_key:
                raise QmpError(f"QMP input member '{key}' clashes with '{command_key}'")
            command_key = key
        elif key == "arguments":
            if type(value) is not dict:
                raise QmpError("QMP input member 'arguments' must be an object")
        elif key != "id":
            raise QmpError(f"QMP input member '{key}' is unexpected")
    if not command_key:
        raise QmpError("QMP input lacks member 'execute'")


class QmpSession:
    """The protocol's side of one monitor.

    `version` is shown in the greeting as it is. `oob_offered` is false where the character device
    cannot be served while a command runs.
    """

    __slots__ = (
        "_decoder",
        "_queue",
        "_running",
        "oob",
        "oob_offered",
        "pretty",
        "seen",
        "state",
        "version",
    )

    def __init__(
        self, version: dict[str, object], *, oob_offered: bool = True, pretty: bool = False
    ) -> None:
        self.state = State.CLOSED
        self.oob = False  # whether this connection has enabled it
        self.oob_offered = oob_offered
        self.pretty = pretty
        self.seen: Callable[[object], None] | None = None  # is told each document that was read
        self.version = version
        self._decoder = JsonDecoder(PATIENCE)
        self._queue: deque[object] = deque()  # documents read and not yet taken
        self._running = False  # a taken one is not yet answered (it outlives its connection)

    def _move(self, event: str) -> bool:
        state = _MOVES.get((self.state, event))
        if state is None:
            return False
        self.state = state
        return True

    def opened(self) -> str:
        """A client is there: the greeting."""
        self._start_over("opened")
        capabilities = [OOB] if self.oob_offered else []
        return self._line({"QMP": {"version": self.version, "capabilities": capabilities}})

    def closed(self) -> None:
        """It is gone, and with it whatever it had not seen started."""
        self._start_over("closed")

    def _start_over(self, event: str) -> None:
        self._move(event)
        self.oob = False
        self._decoder.reset()
        self._queue.clear()

    def feed(self, data: bytes) -> None:
        self._decoder.feed(data)

    @property
    def waiting(self) -> bool:
        """Whether take() has something to give."""
        return bool(self._queue) and not self._running

    @property
    def suspended(self) -> bool:
        """Whether nothing may be read for the time being."""
        if self.oob:
            return len(self._queue) >= QUEUE_LENGTH
        return self._running or bool(self._queue)

    @property
    def pending(self) -> int:
        """Bytes that were fed and not yet read."""
        return self._decoder.pending

    @property
    def tired(self) -> bool:
        """Whether there is more to read, but others should have their turn first: then rest()."""
        return self._decoder.tired

    def rest(self) -> None:
        self._decoder.rest()

    def pump(self) -> Request | None:
        """Read on: to an out-of-band request, which is to be run at once, or else as far as may be.

        What is in-band is queued; None if there is nothing more to read now.
        """
        while not self.suspended:
            document = self._decoder.next()
            if document is INCOMPLETE:
                break
            if self.seen is not None:
                self.seen(document)
            if self.oob and type(document) is dict and _is_oob(document):
                return Request(document, oob=True)
            self._queue.append(document)
        return None

    def take(self) -> Request:
        """The next in-band request, which counts as running until done()."""
        self._running = True
        return Request(self._queue.popleft())

    def done(self) -> None:
        """What was taken is answered."""
        self._running = False

    def resolve(self, request: Request, registry: QmpRegistry, preconfig: bool) -> QmpCommand:
        """The command that a request names, or QmpError: all checks but those of its arguments.

        `preconfig`: the machine does not exist yet, and few commands are allowed.
        """
        request.read_envelope(self.oob)
        name = request.name
        command = registry.find(name)
        if self.state is not State.COMMANDS and name != "qmp_capabilities":
            raise QmpError(
                "Expecting capabilities negotiation with 'qmp_capabilities'", COMMAND_NOT_FOUND
            )
        if command is None:
            raise QmpError(f"The command {name} has not been found", COMMAND_NOT_FOUND)
        if request.oob and not command.allow_oob:
            raise QmpError(f"The command {name} does not support OOB")
        if preconfig and not command.allow_preconfig:
            raise QmpError(
                f"The command '{name}' is permitted only after machine initialization has completed"
            )
        return command

    def negotiate(self, enable: list[str]) -> None:
        """Carry out qmp_capabilities."""
        if self.state is State.COMMANDS:
            raise QmpError(
                "Capabilities negotiation is already complete, command ignored", COMMAND_NOT_FOUND
            )
        if OOB in enable and not self.oob_offered:
            raise QmpError(f"Capability {OOB} not available")
        self._move("negotiated")
        self.oob = OOB in enable

    def reply(self, request: Request, value: object) -> str:
        """The answer of a command that went well; None is an empty object."""
        document = {"return": {} if value is None else value}
        return self._answer(request, document)

    def error(self, request: Request, error: QmpError) -> str:
        """The answer of a request that failed."""
        return self._answer(request, {"error": {"class": error.error_class, "desc": error.desc}})

    def _answer(self, request: Request, document: dict[str, Any]) -> str:
        if request.id is not NO_ID:
            document["id"] = request.id
        return self._line(document)

    def _line(self, document: object) -> str:
        return encode(document, self.pretty) + "\r\n"

    @property
    def hears_events(self) -> bool:
        return self.state is State.COMMANDS


def _is_oob(document: dict[str, object]) -> bool:
    return "exec-oob" in document and "execute" not in document


def event_text(
    name: str, data: object, seconds: int, microseconds: int, *, pretty: bool = False
) -> str:
    """An event as it is sent; `data` is None if it has none."""
    event: dict[str, object] = {
        "event": name,
        "timestamp": {"seconds": seconds, "microseconds": microseconds},
    }
    if data is not None:
        event["data"] = data
    return encode(event, pretty) + "\r\n"
