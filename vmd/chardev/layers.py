"""What may stand between a connection's bytes and those of its chardev: TLS, a websocket, telnet.

A layer has no I/O: it is given what came from below, and says what goes up and what has to go down.
Observed from chardev/char-socket.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from qapi.error import QmpError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vmd.chardev.chardev import Host


class Layer(Protocol):
    """One of them. `ready`: its handshake is done. `over`: it will neither give nor take more."""

    ready: bool
    over: bool

    def receive(self, data: bytes) -> bytes:
        """Bytes from below; returns those for above."""
        ...

    def take_output(self) -> bytes:
        """What it has to send by itself: a handshake, an answer to a ping, a farewell."""
        ...

    def wrap(self, data: bytes) -> bytes:
        """Bytes from above, as they go down."""
        ...


@runtime_checkable
class Credentials(Protocol):
    """A user's object with which TLS is spoken; `endpoint` is "server" or "client"."""

    endpoint: str

    def new_session(self, hostname: str | None, may_come: Callable[[str], bool] | None) -> Layer:
        """One end of a connection.

        As a client, `hostname` is whom the peer must prove to be. `may_come` decides on a peer by
        the name in its certificate.
        """
        ...


@runtime_checkable
class Judge(Protocol):
    """A user's object that decides who may come."""

    def allows(self, identity: str) -> bool: ...


class Layers:
    """Layers above each other, the first at the bottom.

    `recode`: the bytes of the connection are others than those of the chardev.
    """

    __slots__ = ("_layers", "_send", "recode")

    def __init__(self, layers: list[Layer], *, recode: bool) -> None:
        self._layers = layers
        self._send: Callable[[bytes], None] = _nowhere
        self.recode = recode

    @property
    def ready(self) -> bool:
        return all(layer.ready for layer in self._layers)

    @property
    def over(self) -> bool:
        return any(layer.over for layer in self._layers)

    def start(self, send: Callable[[bytes], None]) -> None:
        """Say the first word, if it is ours to say; `send` takes what leaves the lowest layer."""
        self._send = send
        self._flush(0)

    def receive(self, data: bytes) -> bytes:
        """Bytes of the connection; returns what they mean, nothing before all are ready."""
        for place, layer in enumerate(self._layers):
            data = layer.receive(data)
            self._flush(place)
            if not layer.ready:
                return b""
        return data

    def wrap(self, data: bytes) -> bytes:
        return self._wrapped(data, len(self._layers))

    def _flush(self, place: int) -> None:
        output = self._layers[place].take_output()
        if output:
            self._send(self._wrapped(output, place))

    def _wrapped(self, data: bytes, place: int) -> bytes:
        for layer in reversed(self._layers[:place]):
            data = layer.wrap(data)
        return data


def _nowhere(data: bytes) -> None:
    pass


def make_layers(
    options: Mapping[str, Any],
    credentials: Credentials | None,
    host: Host,
    is_heard: Callable[[], bool],
) -> Layers:
    """The layers of one connection; `options` is the schema's ChardevSocket.

    `is_heard` tells whether the peer reads what it is sent.
    """
    layers: list[Layer] = []
    server = options.get("server", True)
    if credentials is not None:
        hostname = None if server else options["addr"]["data"]["host"]
        judge = _judge(options.get("tls-authz"), host) if server else None
        layers.append(credentials.new_session(hostname, judge))
    if server and options.get("websocket"):
        from vmd.chardev.websocket import WebSocket

        layers.append(WebSocket(host.clock.wall_ns, is_heard))
    recode = bool(layers)
    tn3270 = options.get("tn3270", False)
    if server and (tn3270 or options.get("telnet")):
        from vmd.chardev.telnet import Telnet

        layers.append(Telnet(tn3270=tn3270))
    return Layers(layers, recode=recode)


def _judge(name: str | None, host: Host) -> Callable[[str], bool] | None:
    """Who decides, looked up when there is somebody to decide on; nobody comes if it is gone."""
    if name is None:
        return None

    def may_come(identity: str) -> bool:
        judge = host.find_object(name)
        return isinstance(judge, Judge) and judge.allows(identity)

    return may_come


def check_credentials(options: Mapping[str, Any], host: Host) -> Credentials:
    """The credentials that a socket names; QmpError if they will not do."""
    name = options["tls-creds"]
    found = host.find_object(name)
    if found is None:
        raise QmpError(f"No TLS credentials with id '{name}'")
    if not isinstance(found, Credentials):
        raise QmpError(f"Object with id '{name}' is not TLS credentials")
    endpoint = "server" if options.get("server", True) else "client"
    if found.endpoint != endpoint:
        raise QmpError(f"Expected TLS credentials for a {endpoint} endpoint")
    return found


def check_tls_address(options: Mapping[str, Any]) -> None:
    """Refuse TLS on an address that has none."""
    kind = options["addr"]["type"]
    if kind == "fd" and not options.get("server"):
        # Also a server that does not say so.
        text = "'tls_creds' option is incompatible with 'fd' address type as client"
        raise QmpError(text)
    if kind in ("unix", "vsock"):
        raise QmpError(f"'tls_creds' option is incompatible with '{kind}' address type")
