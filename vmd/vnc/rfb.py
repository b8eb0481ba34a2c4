"""One VNC client's connection as a state machine without I/O: bytes in, bytes and wishes out.

The protocol is RFC 6143 (RFB 3.3, 3.7, 3.8), without encodings other than raw and a size that may
change. What is answered where, observed from ui/vnc.c.
"""

from __future__ import annotations

import struct
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from vmd.vnc.pixels import DEFAULT_FORMAT, PixelFormat

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmd.display import Picture

GREETING = b"RFB 003.008\n"
NO_AUTH, VNC_AUTH = 1, 2
CHALLENGE_SIZE = 16
RAW, DESKTOP_SIZE = 0, -223
MOST_TEXT = 1 << 20
_FAILED = b"Authentication failed\0"


class Stage(Enum):
    """What the server waits for. Each stage names the bytes it needs and what becomes of them:
    a handshake goes down the list, LIVE returns to itself, and a mistake leads to OVER."""

    VERSION = "version"
    SECURITY = "security"  # not in 3.3: there the server chooses
    ANSWER = "answer"  # only with a password
    INIT = "init"
    LIVE = "live"
    OVER = "over"


class Key(NamedTuple):
    """A key went up or down; `symbol` is X11's."""

    symbol: int
    down: bool


class Pointer(NamedTuple):
    """Where the mouse is, and its buttons as bits."""

    buttons: int
    x: int
    y: int


class Session:
    """`judge(challenge, answer)` tells whether a password was right; None if none is asked for."""

    def __init__(
        self,
        name: str,
        size: tuple[int, int],
        challenge: bytes,
        judge: Callable[[bytes, bytes], bool] | None,
    ) -> None:
        self.stage = Stage.VERSION
        self.out = bytearray(GREETING)
        self.shared = True
        self.wanted = False  # the client waits for a picture
        self._name = name
        self._size = size
        self._challenge = challenge
        self._judge = judge
        self._minor = 8
        self._in = bytearray()
        self._format = DEFAULT_FORMAT
        self._resizes = False
        self._whole = False  # it wants all of it, changed or not
        self._shown: Picture | None = None

    def feed(self, data: bytes) -> list[Key | Pointer | Stage]:
        """What the client said: keys, mouse, and stages that it came to."""
        self._in += data
        told: list[Key | Pointer | Stage] = []
        while self.stage is not Stage.OVER:
            before = self.stage
            said = self._step()
            if said is None:
                break
            told += said
            if self.stage is not before:
                told.append(self.stage)
        return told

    def _step(self) -> list[Key | Pointer] | None:
        """Take one message; None if it is not yet whole."""
        return _STEPS[self.stage](self)

    def _take(self, count: int) -> bytes | None:
        if len(self._in) < count:
            return None
        found = bytes(self._in[:count])
        del self._in[:count]
        return found

    def _fail(self) -> list[Key | Pointer]:
        self.stage = Stage.OVER
        return []

    # The handshake

    def _version(self) -> list[Key | Pointer] | None:
        text = self._take(len(GREETING))
        if text is None:
            return None
        version = text[4:11]
        if text[:4] != b"RFB " or version not in (b"003.003", b"003.004", b"003.005", *_NEWER):
            self.out += struct.pack(">I", 0)
            return self._fail()
        self._minor = 3 if version not in _NEWER else int(version[-1:])
        kind = NO_AUTH if self._judge is None else VNC_AUTH
        if self._minor == 3:
            self.out += struct.pack(">I", kind)
            return self._ask(kind)
        self.out += bytes([1, kind])
        self.stage = Stage.SECURITY
        return []

    def _security(self) -> list[Key | Pointer] | None:
        chosen = self._take(1)
        if chosen is None:
            return None
        if chosen[0] != (NO_AUTH if self._judge is None else VNC_AUTH):
            return self._refuse()
        return self._ask(chosen[0])

    def _ask(self, kind: int) -> list[Key | Pointer]:
        if kind == VNC_AUTH:
            self.out += self._challenge
            self.stage = Stage.ANSWER
        else:
            if self._minor >= 8:
                self.out += struct.pack(">I", 0)
            self.stage = Stage.INIT
        return []

    def _answer(self) -> list[Key | Pointer] | None:
        answer = self._take(CHALLENGE_SIZE)
        if answer is None:
            return None
        assert self._judge is not None
        if not self._judge(self._challenge, answer):
            return self._refuse()
        self.out += struct.pack(">I", 0)
        self.stage = Stage.INIT
        return []

    def _refuse(self) -> list[Key | Pointer]:
        self.out += struct.pack(">I", 1)
        if self._minor >= 8:
            self.out += struct.pack(">I", len(_FAILED)) + _FAILED
        return self._fail()

    def _init(self) -> list[Key | Pointer] | None:
        shared = self._take(1)
        if shared is None:
            return None
        self.shared = bool(shared[0])
        name = self._name.encode()
        self.out += struct.pack(">HH", *self._size) + self._format.packed()
        self.out += struct.pack(">I", len(name)) + name
        self.stage = Stage.LIVE
        return []

    # Life

    def _message(self) -> list[Key | Pointer] | None:
        if not self._in:
            return None
        row = _MESSAGES.get(self._in[0])
        if row is None:
            return self._fail()
        length, handle = row
        size = length(self._in)
        if size is None:
            return None
        if size > MOST_TEXT:
            return self._fail()
        message = self._take(size)
        return None if message is None else handle(self, message)

    def _set_format(self, message: bytes) -> list[Key | Pointer]:
        chosen = PixelFormat.unpack(message[4:20])
        if chosen is None:
            return self._fail()
        self._format = chosen
        self._shown = None
        return []

    def _set_encodings(self, message: bytes) -> list[Key | Pointer]:
        self._resizes = DESKTOP_SIZE in struct.unpack(f">{(len(message) - 4) // 4}i", message[4:])
        return []

    def _want(self, message: bytes) -> list[Key | Pointer]:
        self.wanted = True
        self._whole = self._whole or not message[1]
        return []

    def _key(self, message: bytes) -> list[Key | Pointer]:
        return [Key(int.from_bytes(message[4:8], "big"), bool(message[1]))]

    def _pointer(self, message: bytes) -> list[Key | Pointer]:
        return [Pointer(message[1], *struct.unpack(">HH", message[2:6]))]

    def _nothing(self, message: bytes) -> list[Key | Pointer]:
        return []

    def show(self, picture: Picture) -> None:
        """Answer a wish for a picture, if there is one and something is to be seen."""
        if not self.wanted or (picture == self._shown and not self._whole):
            return
        size = (picture.width, picture.height)
        parts = []
        if size != self._size and self._resizes:
            self._size, self._shown = size, None
            parts.append(struct.pack(">HHHHi", 0, 0, *size, DESKTOP_SIZE))
        width, height = self._size
        first, last = self._changed(picture, height)
        if first < last:
            parts.append(struct.pack(">HHHHi", 0, first, width, last - first, RAW))
            parts += [self._format.row(picture, y, width) for y in range(first, last)]
        count = sum(len(part) == 12 for part in parts[:2])
        self.out += struct.pack(">BxH", 0, count) + b"".join(parts)
        self.wanted = self._whole = False
        self._shown = picture

    def _changed(self, picture: Picture, height: int) -> tuple[int, int]:
        """The first row to send, and the one behind the last."""
        old = self._shown
        if old is None or self._whole or (old.width, old.height) != (picture.width, picture.height):
            return 0, height
        step = 3 * picture.width
        rows = [
            y
            for y in range(min(height, picture.height))
            if old.pixels[y * step : (y + 1) * step] != picture.pixels[y * step : (y + 1) * step]
        ]
        return (rows[0], rows[-1] + 1) if rows else (0, 0)


_NEWER = (b"003.007", b"003.008")


def _fixed(size: int) -> Callable[[bytearray], int | None]:
    return lambda data: size


def _encodings_length(data: bytearray) -> int | None:
    return 4 + 4 * int.from_bytes(data[2:4], "big") if len(data) >= 4 else None


def _text_length(data: bytearray) -> int | None:
    return 8 + int.from_bytes(data[4:8], "big") if len(data) >= 8 else None


_STEPS: dict[Stage, Callable[[Session], list[Key | Pointer] | None]] = {
    Stage.VERSION: Session._version,
    Stage.SECURITY: Session._security,
    Stage.ANSWER: Session._answer,
    Stage.INIT: Session._init,
    Stage.LIVE: Session._message,
}
_MESSAGES: dict[
    int,
    tuple[Callable[[bytearray], int | None], Callable[[Session, bytes], list[Key | Pointer]]],
] = {
    0: (_fixed(20), Session._set_format),
    2: (_encodings_length, Session._set_encodings),
    3: (_fixed(10), Session._want),
    4: (_fixed(8), Session._key),
    5: (_fixed(6), Session._pointer),
    6: (_text_length, Session._nothing),
}
