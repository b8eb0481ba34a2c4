"""The lines on which a question talks to its subject: QMP, the human monitor, the serial port.

Nothing here sleeps. A wire waits for what the subject sends; `GUARD` only ends a wait that would
otherwise never end, by raising `Stuck`.
"""

from __future__ import annotations

import json
import os
import select
import socket
from typing import TYPE_CHECKING, Any

import pyte

if TYPE_CHECKING:
    from collections.abc import Callable

GUARD = 30.0
OPTIONAL = "~ "
"""Begins a line of a transcript that vmd may lack: one of a list of what real QEMU can do."""
PROMPT = "(qemu)"


class Stuck(AssertionError):
    """What was waited for did not come: the peer hung up, or stayed silent too long."""


class Wire:
    """Bytes in both directions over two file descriptors (which may be one)."""

    def __init__(self, reader: int, writer: int) -> None:
        self._reader = reader
        self._writer = writer
        self.ended = False

    def write(self, data: bytes, fd: int | None = None) -> None:
        """Send everything; a peer that has gone is noticed by the next read.

        `fd`: a descriptor that goes with the first byte (over a unix socket).
        """
        try:
            if fd is not None:
                with socket.socket(fileno=os.dup(self._writer)) as connection:
                    data = data[socket.send_fds(connection, [data], [fd]) :]
            while data:
                data = data[os.write(self._writer, data) :]
        except (BrokenPipeError, ConnectionResetError):
            pass

    def read(self, waiting_for: str) -> bytes:
        """What has arrived, at least one byte; b"" at the end."""
        ready, _, _ = select.select([self._reader], [], [], GUARD)
        if not ready:
            raise Stuck(f"silence while waiting for {waiting_for}")
        try:
            data = os.read(self._reader, 1 << 16)
        except (ConnectionResetError, OSError):  # a pty whose other side has closed says EIO
            data = b""
        self.ended = not data
        return data

    def close(self) -> None:
        """Hang up; once is enough."""
        for fd in {self._reader, self._writer} - {-1}:
            os.close(fd)
        self._reader = self._writer = -1


class Qmp:
    """A QMP client that notes every message in the order of its arrival."""

    def __init__(self, wire: Wire, note: Callable[[str, Any], None], label: str = "") -> None:
        self._wire = wire
        self._note = note
        self._label = label
        self._buffer = b""
        self._unawaited: list[dict[str, Any]] = []

    def greeting(self) -> dict[str, Any]:
        """Wait for the greeting and note it."""
        message = self._message("the greeting")
        self._note(f"{self._label}<- greeting", message)
        return message

    def negotiate(self, *enable: str, quietly: bool = False) -> None:
        """Take the greeting and leave capabilities negotiation; `quietly` notes neither."""
        note, self._note = self._note, (lambda *_: None) if quietly else self._note
        self.greeting()
        self.execute("qmp_capabilities", {"enable": list(enable)} if enable else None)
        self._note = note

    def execute(
        self,
        command: str,
        arguments: dict[str, Any] | None = None,
        *,
        view: Callable[[Any], Any] = lambda value: value,
        quietly: bool = False,
        optional: bool = False,
        fd: int | None = None,
    ) -> Any:
        """Run one command; returns what it returned, or its error object.

        `view` picks what of the return value is noted; with `quietly` only events are; with
        `optional` its members are noted one by one, as what vmd may lack. `fd` is handed over.
        """
        request: dict[str, Any] = {"execute": command}
        if arguments is not None:
            request["arguments"] = arguments
        if not quietly:
            self._note(f"{self._label}-> {command}", arguments)
        self._unawaited.clear()
        self._wire.write(json.dumps(request).encode() + b"\r\n", fd)
        if not optional:
            return self._answer(command, view, quietly)
        answer = self._answer(command, quietly=True)
        members = answer if isinstance(answer, list) else sorted(answer.items())
        for member in members:
            self._note(f"{OPTIONAL}{self._label}<-", member)
        return answer

    def send(self, text: str) -> None:
        """Send a line as it is; whoever needs the answer asks with `answer`."""
        self._note(f"{self._label}-> {text}", None)
        self._unawaited.clear()
        self._wire.write(text.encode() + b"\r\n")

    def answer(self) -> Any:
        """Wait for the next answer, noting events that come before it."""
        return self._answer("an answer")

    def wait(self, event: str, **data: Any) -> dict[str, Any]:
        """Wait for an event that carries at least this data.

        It may have come before the answer to the last command: real QEMU is not always in order.
        """
        wanted = f"event {event} {data}"
        while True:
            message = self._unawaited.pop(0) if self._unawaited else self._noted(wanted)
            if message.get("event") == event and data.items() <= message.get("data", {}).items():
                return message

    def end(self) -> None:
        """Note everything up to the end of the connection."""
        try:
            while True:
                self._noted("the end")
        except EndOfWire:
            self._note(f"{self._label}<- end of file", None)

    def close(self) -> None:
        self._wire.close()

    def _answer(
        self,
        waiting_for: str,
        view: Callable[[Any], Any] = lambda value: value,
        quietly: bool = False,
    ) -> Any:
        while True:
            message = self._message(f"the answer to {waiting_for}")
            if "event" in message:
                self._unawaited.append(message)
            if not quietly or "event" in message:
                self._note_message(message, view)
            if "return" in message or "error" in message:
                return message.get("return", message.get("error"))

    def _noted(self, waiting_for: str) -> dict[str, Any]:
        message = self._message(waiting_for)
        self._note_message(message)
        return message

    def _note_message(
        self, message: dict[str, Any], view: Callable[[Any], Any] = lambda value: value
    ) -> None:
        rest = dict(message)
        if "event" in message:
            stamp = rest.pop("timestamp", None)
            label = f"event {rest.pop('event')}"
            value = rest.pop("data", None)
            if not _is_timestamp(stamp):
                rest["timestamp"] = stamp
        elif "return" in message:
            label, value = "return", view(rest.pop("return"))
        else:
            label, value = "error", rest.pop("error", None)
        if rest:  # an id, or something that no message should have
            label += " " + json.dumps(rest, sort_keys=True)
        self._note(f"{self._label}<- {label}", value)

    def _message(self, waiting_for: str) -> dict[str, Any]:
        while b"\r\n" not in self._buffer:
            data = self._wire.read(waiting_for)
            if not data:
                raise EndOfWire(f"end of file while waiting for {waiting_for}")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        message = json.loads(line)
        assert isinstance(message, dict), f"a message that is no object: {line!r}"
        return message


def _optional_rows(rows: list[str]) -> list[str]:
    return rows[:1] + [OPTIONAL + row for row in rows[1:]]


class EndOfWire(Stuck):
    """The peer hung up while something was still expected of it."""


def _is_timestamp(stamp: object) -> bool:
    return (
        isinstance(stamp, dict)
        and stamp.keys() == {"seconds", "microseconds"}
        and all(isinstance(value, int) for value in stamp.values())
    )


class _Paper(pyte.Screen):
    """A terminal so high that nothing scrolls away; it answers what a terminal is asked."""

    def __init__(self, columns: int, lines: int, answer: Callable[[bytes], None]) -> None:
        super().__init__(columns, lines)
        self._answer = answer

    def write_process_input(self, data: str) -> None:
        self._answer(data.encode())

    def row(self, y: int) -> str:
        line = self.buffer[y]
        return "".join(line[x].data for x in range(self.columns)).rstrip()


class Human:
    """Someone at the human monitor, who reads the screen and types."""

    COLUMNS, LINES = 160, 1000
    PAPER = 30000  # lines, where no terminal has a say

    def __init__(
        self, wire: Wire, note: Callable[[str], None], enter: bytes = b"\n", lines: int = PAPER
    ) -> None:
        self._wire = wire
        self._note = note
        self._enter = enter
        self._screen = _Paper(self.COLUMNS, lines, wire.write)
        self._stream = pyte.ByteStream(self._screen)
        self._row = 0

    def banner(self) -> None:
        """Wait for the first prompt."""
        self._until_prompt(-1)
        self._note_up_to(self._screen.cursor.y)

    def type(
        self,
        line: str,
        *,
        view: Callable[[list[str]], list[str]] = list,
        optional: bool = False,
    ) -> str:
        """Type a line, wait for the next prompt; returns (and notes) what the screen then shows.

        `view` picks what is noted of the rows, the first of which is the prompt with the line; with
        `optional` all others are what vmd may lack.
        """
        self.press(line.encode() + self._enter)
        self._until_prompt(self._row)
        return self._note_up_to(self._screen.cursor.y, _optional_rows if optional else view)

    def type_until(self, line: str, wanted: str) -> None:
        """Ask again and again until the answer contains `wanted`; only that one is noted."""
        note, self._note = self._note, lambda _: None
        while wanted not in self.type(line) + "\n":
            pass
        self._note = note
        self._note(f"{PROMPT} {line}  # until: {wanted.strip()}")

    def press(self, keys: bytes) -> None:
        """Send keys, and wait for nothing."""
        self._wire.write(keys)

    def shows(self, wanted: str) -> None:
        """Wait until the last line of the screen is `wanted`, cursor at any place in it."""
        while self._screen.row(self._screen.cursor.y) != wanted:
            self._feed(f"the line {wanted!r}")

    def end(self) -> None:
        """Note everything up to the end of the output."""
        try:
            while True:
                self._feed("the end")
        except EndOfWire:
            self._note_up_to(self._screen.cursor.y + 1)
            self._note("# end of output")

    def leave(self, line: str = "quit") -> None:
        """Type a line that ends the program, note what it still shows."""
        self.press(line.encode() + self._enter)
        self.end()

    def close(self) -> None:
        self._wire.close()

    def _feed(self, waiting_for: str) -> None:
        data = self._wire.read(waiting_for)
        if not data:
            raise EndOfWire(f"end of file while waiting for {waiting_for}")
        self._stream.feed(data)

    def _until_prompt(self, row: int) -> None:
        cursor = self._screen.cursor
        while not (
            cursor.y > row and cursor.x == len(PROMPT) + 1 and self._screen.row(cursor.y) == PROMPT
        ):
            self._feed("the prompt")
            cursor = self._screen.cursor

    def _note_up_to(self, end: int, view: Callable[[list[str]], list[str]] = list) -> str:
        rows = [self._screen.row(y) for y in range(self._row, end)]
        while rows and not rows[-1] and end > self._screen.cursor.y:
            rows.pop()
        self._row = end
        for row in view(rows):
            self._note(row)
        return "\n".join(rows[1:])
