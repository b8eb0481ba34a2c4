"""The server's end of a websocket (RFC 6455): bytes in, bytes out, no I/O.

Observed from io/channel-websock.c: its limits, its answers to a handshake that does not please, its
words in a close frame. Two things are as the RFC has them: a pong repeats its ping alone (QEMU adds
whatever has arrived behind it), and a ping may stand between the parts of a message.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MAX_REQUEST = 4096
MAX_HEADERS = 32
MAX_PAYLOAD = 8192  # of a frame that is sent
MAX_CONTROL = 125
KEY_LENGTH = 24
MASK_SIZE = 4
NS_PER_S = 1_000_000_000

CONTINUATION, BINARY, CLOSE, PING, PONG = 0x0, 0x2, 0x8, 0x9, 0xA
FINAL = MASKED = 0x80
NORMAL, PROTOCOL_ERROR, INVALID_DATA, POLICY = 1000, 1002, 1003, 1008


class Refused(Exception):
    """A handshake that fails; the text is the status line's end, and headers. None: no answer."""


class Violation(Exception):
    """What a peer must not send: (code, reason) of the close frame."""


class Header(NamedTuple):
    """The head of a frame, `size` bytes long."""

    opcode: int
    size: int
    length: int
    mask: bytes


class WebSocket:
    """A layer (see layers.py). `wall_ns` tells the time for the answer's date.

    While `is_heard()` is false, because the peer does not read, its pings have no answer.
    """

    __slots__ = (
        *("_input", "_is_heard", "_left", "_mask", "_opcode", "_output", "_wall_ns"),
        *("over", "ready"),
    )

    def __init__(
        self, wall_ns: Callable[[], int], is_heard: Callable[[], bool] = lambda: True
    ) -> None:
        self._wall_ns = wall_ns
        self._is_heard = is_heard
        self._input = bytearray()
        self._output = bytearray()
        self._opcode = CONTINUATION  # of the last message that began
        self._left = 0  # bytes of the present frame that are still to come
        self._mask = bytes(MASK_SIZE)
        self.ready = False
        self.over = False

    def receive(self, data: bytes) -> bytes:
        self._input += data
        if not self.ready and not self._handshake():
            return b""
        plain = bytearray()
        try:
            while self._frame(plain):
                pass
        except Violation as violation:
            # What came together with it is lost.
            code, reason = violation.args
            self._close(code, reason)
            return b""
        return bytes(plain)

    def take_output(self) -> bytes:
        output, self._output = bytes(self._output), bytearray()
        return output

    def wrap(self, data: bytes) -> bytes:
        parts = range(0, len(data), MAX_PAYLOAD)
        return b"".join(frame(BINARY, data[start : start + MAX_PAYLOAD]) for start in parts)

    # The handshake

    def _handshake(self) -> bool:
        """Answer the request when it is whole; True if frames may follow."""
        room = self._input[:MAX_REQUEST].partition(b"\0")[0]  # QEMU reads a text in C
        end = room.find(b"\r\n\r\n")
        if end < 0:
            if len(self._input) >= MAX_REQUEST:
                self._answer("403 Request Entity Too Large", _REFUSAL)
                self.over = True
            return False
        try:
            key, speaks_binary = judge(room[:end].decode("latin-1"))
        except Refused as refused:
            self.over = True
            if refused.args:
                self._answer(*refused.args)
            return False
        protocol = "Sec-WebSocket-Protocol: binary\r\n" if speaks_binary else ""
        self._answer("101 Switching Protocols", f"{_AGREED}{accept(key)}\r\n{protocol}\r\n")
        del self._input[: end + 4]
        self.ready = True
        return True

    def _answer(self, status: str, more: str) -> None:
        # QEMU's own name: clients are known that look for it.
        text = f"HTTP/1.1 {status}\r\nServer: QEMU VNC\r\nDate: {http_date(self._wall_ns())}\r\n"
        self._output += f"{text}{more}".encode("latin-1")

    # Frames

    def _frame(self, plain: bytearray) -> bool:
        """Go one step on; False if that needs more input."""
        if self._left:
            return self._payload(plain)
        header = read_header(self._input, self._opcode)
        if header is None:
            return False
        if header.opcode == BINARY:
            self._opcode = BINARY
            self._left, self._mask = header.length, header.mask
            del self._input[: header.size]
            return True
        if len(self._input) < header.size + header.length:
            return False
        if header.opcode == PING and self._is_heard():
            content = self._input[header.size : header.size + header.length]
            self._output += frame(PONG, unmask(bytes(content), header.mask))
        del self._input[: header.size + header.length]
        return True

    def _payload(self, plain: bytearray) -> bool:
        part = bytes(self._input[: self._left])
        plain += unmask(part, self._mask)
        del self._input[: len(part)]
        self._left -= len(part)
        turn = len(part) % MASK_SIZE
        self._mask = self._mask[turn:] + self._mask[:turn]
        return self._left == 0

    def _close(self, code: int, reason: str) -> None:
        self._output += frame(CLOSE, code.to_bytes(2, "big") + reason.encode())
        self.over = True


_AGREED = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
_REFUSAL = "Connection: close\r\n\r\n"
_BAD = ("400 Bad Request", "Connection: close\r\nSec-WebSocket-Version: 13\r\n")


def judge(request: str) -> tuple[str, bool]:
    """The key of a request without its empty line, and whether it asks for the subprotocol."""
    line, more, rest = request.partition("\r\n")
    if not more:
        raise Refused(*_BAD)
    method, space, target = line.partition(" ")
    if not space:
        raise Refused
    path, space, version = target.partition(" ")
    if method != "GET" or not space:
        raise Refused(*_BAD)
    if path != "/":
        raise Refused("404 Not Found", _REFUSAL)
    headers: dict[str, str] = {}
    lines = rest.split("\r\n")
    for name, colon, value in (line.partition(":") for line in lines):
        if not colon:
            raise Refused(*_BAD)
        headers.setdefault(name.lower(), value.lstrip(" "))
    protocols = headers.get("sec-websocket-protocol", "binary")
    words = headers.get("connection", "").lower().split(",")
    key = headers.get("sec-websocket-key", "")
    if not (
        version == "HTTP/1.1"
        and len(lines) <= MAX_HEADERS
        and "host" in headers
        and "binary" in protocols
        and headers.get("sec-websocket-version") == "13"
        and len(key) == KEY_LENGTH
        and "upgrade" in (word.strip() for word in words)
        and headers.get("upgrade", "").lower() == "websocket"
    ):
        raise Refused(*_BAD)
    return key, "sec-websocket-protocol" in headers


def accept(key: str) -> str:
    """What proves that the request was read by one who knows the protocol."""
    from binascii import b2a_base64
    from hashlib import sha1

    digest = sha1(key.encode("latin-1") + GUID, usedforsecurity=False).digest()
    return b2a_base64(digest, newline=False).decode()


def http_date(wall_ns: int) -> str:
    from datetime import datetime

    when = datetime.fromtimestamp(wall_ns // NS_PER_S, UTC)
    return when.strftime("%a, %d %b %Y %H:%M:%S GMT")


def frame(opcode: int, payload: bytes) -> bytes:
    """A whole message of a server: one frame, not masked."""
    length = len(payload)
    size = bytes((length,)) if length <= MAX_CONTROL else b"~" + length.to_bytes(2, "big")
    return bytes((FINAL | opcode,)) + size + payload


def read_header(data: bytes | bytearray, opcode_before: int) -> Header | None:
    """The header at the start of the input; None if it is not whole.

    A continuation goes on with `opcode_before`. Violation if it is none that a client may send.
    """
    if len(data) < 2 + MASK_SIZE:
        return None
    code, length = data[1] & 0x7F, data[1] & 0x7F
    opcode = data[0] & 0xF or opcode_before
    if opcode == CLOSE:
        raise Violation(NORMAL, "peer requested close")
    if opcode != BINARY and not data[0] & FINAL:
        raise Violation(POLICY, "only binary frames may be fragmented")
    if opcode not in (BINARY, PING, PONG):
        text = "only binary, close, ping, and pong frames are supported"
        raise Violation(INVALID_DATA, text)
    if not data[1] & MASKED:
        raise Violation(PROTOCOL_ERROR, "client frames must be masked")
    if opcode != BINARY and code > MAX_CONTROL:
        raise Violation(PROTOCOL_ERROR, "control frame is too large")
    more = {126: 2, 127: 8}.get(code, 0)
    size = 2 + more + MASK_SIZE
    if len(data) < size:
        return None
    if more:
        length = int.from_bytes(data[2 : 2 + more], "big")
    return Header(opcode, size, length, bytes(data[size - MASK_SIZE : size]))


def unmask(data: bytes, mask: bytes) -> bytes:
    """The payload under its mask (which lies over it as over what it hides)."""
    stretched = (mask * (len(data) // MASK_SIZE + 1))[: len(data)]
    plain = int.from_bytes(data, "little") ^ int.from_bytes(stretched, "little")
    return plain.to_bytes(len(data), "little")
