"""What a guest makes of what is typed on its serial line: it echoes, and obeys a few words."""

from __future__ import annotations

_MOST = 80
_ERASE = (0x08, 0x7F)
WORDS = ("panic", "poweroff", "reboot", "suspend")


class Console:
    """The line that is being typed. A half line is forgotten when the guest moves elsewhere."""

    __slots__ = ("_line",)

    def __init__(self) -> None:
        self._line = bytearray()

    def hear(self, data: bytes) -> tuple[bytes, list[str]]:
        """What is shown for typed bytes, and the words of WORDS among the lines that they end."""
        shown = bytearray()
        words = []
        for byte in data:
            if byte in (0x0A, 0x0D):
                shown += b"\r\n"
                word = self._line.decode("ascii", "replace").strip()
                self._line.clear()
                if word in WORDS:
                    words.append(word)
                elif word:
                    shown += b"words: " + " ".join(WORDS).encode() + b"\r\n"
            elif byte in _ERASE:
                if self._line:
                    self._line.pop()
                    shown += b"\b \b"
            elif 0x20 <= byte < 0x7F and len(self._line) < _MOST:
                self._line.append(byte)
                shown.append(byte)
        return bytes(shown), words
