"""What telnet adds to a socket: an opening offer, and commands amid the input.

Observed from chardev/char-socket.c: output is not escaped.
"""

from __future__ import annotations

IAC = 0xFF
# WILL ECHO, WILL SUPPRESS-GO-AHEAD, WILL BINARY, DO BINARY
GREETING = bytes((IAC, 251, 1, IAC, 251, 3, IAC, 251, 0, IAC, 253, 0))
BREAK, IP, NOP = 243, 244, 241


class TelnetFilter:
    """Takes commands out of the input, at any split of the bytes.

    A command is IAC and one byte (BREAK, IP, NOP), or IAC and two; IAC IAC is one 0xFF.
    """

    __slots__ = ("_place",)

    def __init__(self) -> None:
        self._place = 0  # bytes of a command seen so far

    def strip(self, data: bytes) -> bytes:
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
            elif self._place == 1 and byte not in (BREAK, IP, NOP):
                self._place = 2
            else:
                self._place = 0
        return bytes(plain)
