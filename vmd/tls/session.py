"""One end of a TLS connection as a layer (see vmd/chardev/layers.py): bytes in, bytes out, no I/O.

Observed from crypto/tlssession.c and io/channel-tls.c: a handshake that fails is not explained to
the peer, and nobody says goodbye.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PIECE = 64 * 1024


class Session:
    """See the module. `welcome` is asked when the handshake is done, with the peer's certificate.

    The certificate is in DER, None if the peer has shown none; False ends the connection. With
    `context` None, or a host name that is none, there is no handshake at all.
    """

    __slots__ = ("_incoming", "_object", "_outgoing", "_welcome", "over", "ready")

    def __init__(
        self,
        context: ssl.SSLContext | None,
        hostname: str | None,
        welcome: Callable[[bytes | None], bool],
        *,
        server: bool,
    ) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._welcome = welcome
        self._object: ssl.SSLObject | None = None
        self.ready = self.over = False
        if context is not None:
            with contextlib.suppress(ssl.SSLError, ValueError):
                self._object = context.wrap_bio(
                    self._incoming, self._outgoing, server_side=server, server_hostname=hostname
                )
        if self._object is None:
            self.over = True
        elif not server:
            self._shake_hands(self._object)

    def receive(self, data: bytes) -> bytes:
        if self._object is None or self.over:
            return b""
        self._incoming.write(data)
        if not self.ready:
            self._shake_hands(self._object)
        return self._read(self._object) if self.ready and not self.over else b""

    def take_output(self) -> bytes:
        return self._outgoing.read()

    def wrap(self, data: bytes) -> bytes:
        if self._object is None or self.over or not data:
            return b""
        try:
            self._object.write(data)
        except ssl.SSLError:
            self.over = True
        return self._outgoing.read()

    def _shake_hands(self, conversation: ssl.SSLObject) -> None:
        try:
            conversation.do_handshake()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError:
            self._outgoing.read()  # what would explain it
            self.over = True
            return
        if self._welcome(conversation.getpeercert(binary_form=True)):
            self.ready = True
        else:
            self.over = True

    def _read(self, conversation: ssl.SSLObject) -> bytes:
        plain = bytearray()
        try:
            while piece := conversation.read(PIECE):
                plain += piece
            self.over = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self.over = True
        return bytes(plain)
