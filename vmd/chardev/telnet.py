"""What telnet adds to a socket: an opening offer, and commands amid the input.

Observed from chardev/char-socket.c: only a server speaks it, and output is not escaped.
"""

from __future__ import annotations

IAC = 0xFF
# WILL ECHO, WILL SUPPRESS-GO-AHEAD, WILL BINARY, DO BINARY
GREETING = bytes((IAC, 251, 1, IAC, 251, 3, IAC, 251, 0, IAC, 253, 0))
# DO and WILL END-OF-RECORD, DO and WILL BINARY, DO TERMINAL-TYPE, SB TERMINAL-TYPE SEND SE
TN3270_GREETING = bytes((IAC, 253, 25, IAC, 251, 25, IAC, 253, 0, IAC, 251, 0))
TN3270_GREETING += bytes((IAC, 253, 24, IAC, 250, 24, 1, IAC, 240))
BREAK, IP, NOP = 243, 244, 241
END_OF_RECORD, SB, SE = 239, 250, 240


class Telnet:
    """A layer (see layers.py): its offer, and input without commands, at any split of the bytes.

    A command is IAC and one byte (BREAK, IP, NOP), or IAC and two; IAC IAC is one 0xFF. With
    `tn3270` a terminal's records are kept whole: their marks stay in the input.
    """

    __slots__ = ("_greeting", "_marks", "_place", "over", "ready")

    def __init__(self, *, tn3270: bool = False) -> None:
        self._greeting = TN3270_GREETING if tn3270 else GREETING
        self._marks = (END_OF_RECORD, SB, SE) if tn3270 else ()
        self._place = 0  # bytes of a command seen so far
        self.ready = True
        self.over = False

    def take_output(self) -> bytes:
        greeting, self._greeting = self._greeting, b""
        return greeting

    def wrap(self, data: bytes) -> bytes:
        return data

    def receive(self, data: bytes) -> bytes:
        if self._place == 0 and IAC not in data:
            return data
        plain = bytearray()
        for byte in data:
            if self._place == 0:
                if byte == IAC:
                    self._place = 1
                else:
                    plain.append(byte)
            elif self._place == 1 and byte == IAC:
                plain.append(byte)
                self._place = 0
            elif self._place == 1 and byte in self._marks:
                plain += bytes((IAC, byte))
                self._place = 0
            elif self._place == 1 and byte not in (BREAK, IP, NOP):
                self._place = 2
            else:
                self._place = 0
        return bytes(plain)
