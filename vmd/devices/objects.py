"""Objects that a user creates and that are no memory: I/O threads, secrets, sources of chance.

Observed from iothread.c, event-loop-base.c, crypto/secret*.c and util/base64.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qapi.error import QmpError
from vmd.devices.qom import Property, choice, integer, text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from io import RawIOBase

MAX_INT64 = (1 << 63) - 1
MAX_INT32 = (1 << 31) - 1
IOTHREAD_DEFAULTS = {
    "poll-max-ns": 32768,
    "poll-grow": 0,
    "poll-shrink": 0,
    "aio-max-batch": 0,
    "thread-pool-min": 0,
    "thread-pool-max": 64,
}
MAIN_LOOP = ("aio-max-batch", "thread-pool-min", "thread-pool-max")
KEY_SIZE = 32
BLOCK = 16
MOST_SECRET = 1 << 20
SLOWEST_WRITER_MS = 1000  # of a pipe that a secret comes through; the event loop waits meanwhile
SECRET_FORMATS = ("raw", "base64")
_BASE64 = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\n")


class EventLoop:
    """The numbers that an event loop is told; `parameters` are as they are now.

    A value out of its range is refused, but limits of the pool that do not fit each other are
    kept, as QEMU keeps them.
    """

    __slots__ = ("_checks", "parameters")

    def __init__(
        self, defaults: Mapping[str, int], options: Mapping[str, object], checks: tuple[str, ...]
    ) -> None:
        self.parameters = {**defaults, **judge_event_loop(defaults, options)}
        self._checks = checks  # what lets it look at the pool again
        self._check_pool()

    def set(self, name: str, value: object) -> None:
        self.parameters |= judge_event_loop(self.parameters, {name: value})
        if name in self._checks:
            self._check_pool()

    def _check_pool(self) -> None:
        low, high = self.parameters["thread-pool-min"], self.parameters["thread-pool-max"]
        if not 0 < high <= MAX_INT32 or low > high:
            raise QmpError("bad thread-pool-min/thread-pool-max values")

    def properties(self) -> dict[str, Property]:
        def made(name: str) -> Property:
            def write(value: object) -> None:
                self.set(name, value)

            return Property("int", lambda: self.parameters[name], write)

        return {name: made(name) for name in self.parameters}


class IOThread:
    """A host thread to which devices' work can be given; a management layer may pin it."""

    __slots__ = ("_loop", "_thread", "id")
    qom_type = "iothread"

    def __init__(self, options: Mapping[str, object], *, named: bool) -> None:
        from vmd.sleeper import Sleeper

        self.id = str(options["id"])
        pool = ("thread-pool-min", "thread-pool-max")
        self._loop = EventLoop(IOTHREAD_DEFAULTS, options, pool)
        self._thread = Sleeper(f"IO {self.id}" if named else None)

    @property
    def parameters(self) -> Mapping[str, int]:
        return self._loop.parameters

    @property
    def thread_id(self) -> int:
        return self._thread.number

    def set(self, name: str, value: object) -> None:
        self._loop.set(name, value)

    def properties(self) -> dict[str, Property]:
        return self._loop.properties()

    def close(self) -> None:
        self._thread.close()


class MainLoop:
    """What the process' own event loop is told; there is one, and it stays (util/main-loop.c)."""

    __slots__ = ("_loop", "id")
    qom_type = "main-loop"

    def __init__(self, options: Mapping[str, object], others: Mapping[str, UserObject]) -> None:
        self.id = str(options["id"])
        if any(other.qom_type == self.qom_type for other in others.values()):
            raise QmpError("only one main-loop instance allowed")
        defaults = {name: IOTHREAD_DEFAULTS[name] for name in MAIN_LOOP}
        self._loop = EventLoop(defaults, options, MAIN_LOOP)

    def properties(self) -> dict[str, Property]:
        return self._loop.properties()

    def close(self) -> None:
        """It goes with the process."""


def judge_event_loop(known: Mapping[str, object], options: Mapping[str, object]) -> dict[str, int]:
    """The known numbers that are given, each judged by itself; QmpError if one is out of range."""
    found = {}
    for name in known:
        if name in options:
            found[name] = integer(name, options[name])
            if found[name] < 0:
                raise QmpError(f"{name} value must be in range [0, {MAX_INT64}]")
    return found


class Secret:
    """A password or key, given as data or as a file that holds it; `content` is what it says.

    With `keyid` what is given is encrypted with another secret, one of `others`.
    """

    __slots__ = ("_values", "content", "id")
    qom_type = "secret"

    def __init__(self, options: Mapping[str, object], others: Mapping[str, UserObject]) -> None:
        self.id = str(options["id"])
        names = ("data", "file", "keyid", "iv")
        self._values = {name: str(options.get(name, "")) for name in names}
        self._values["format"] = str(options.get("format", "raw"))
        if "file" in options and "data" in options:
            raise QmpError("'file' and 'data' are mutually exclusive")
        if "file" in options:
            content = _read(self._values["file"])
        elif "data" in options:
            content = self._values["data"].encode()
        else:
            raise QmpError("Either 'file' or 'data' must be provided")
        if "keyid" in options:
            key = _wrapping_key(self._values["keyid"], others)
            iv = _initial_vector(self._values["iv"] if "iv" in options else None)
            self.content = _unwrap(key, iv, self._plain(content))
        else:
            self.content = self._plain(content)

    def _plain(self, content: bytes) -> bytes:
        return _from_base64(content) if self._values["format"] == "base64" else content

    def properties(self) -> dict[str, Property]:
        """What was asked for. To set it later changes what is told, and not the content."""

        def made(name: str) -> Property:
            def write(value: object) -> None:
                self._values[name] = text(name, value)

            return Property("string", lambda: self._values[name], write)

        def write_format(value: object) -> None:
            self._values["format"] = choice("format", value, SECRET_FORMATS)

        kind = "QCryptoSecretFormat"
        return {
            "iv": made("iv"),
            "keyid": made("keyid"),
            "data": made("data"),
            "file": made("file"),
            "format": Property(kind, lambda: self._values["format"], write_format),
        }

    def close(self) -> None:
        self.content = b""


class Rng:
    """A source of chance for a guest; `rng-random` is a file that can be read."""

    __slots__ = ("_fd", "_filename", "id", "qom_type")

    def __init__(self, options: Mapping[str, object]) -> None:
        self.id = str(options["id"])
        self.qom_type = str(options["qom-type"])
        self._filename = str(options.get("filename", "/dev/urandom"))
        self._fd = -1
        if self.qom_type == "rng-random":
            self._fd = _open_source(self._filename)

    def properties(self) -> dict[str, Property]:
        def refuse(value: object) -> None:
            text("filename", value)
            raise QmpError("Property 'filename' can no longer be set")

        opened = Property("bool", lambda: True)
        if self._fd < 0:
            return {"opened": opened}
        return {"opened": opened, "filename": Property("string", lambda: self._filename, refuse)}

    def close(self) -> None:
        if self._fd >= 0:
            import os

            os.close(self._fd)
            self._fd = -1


if TYPE_CHECKING:
    from vmd.devices.credentials import OneIdentity, Rules, TlsCredentials
    from vmd.devices.throttle_object import ThrottleGroup

    UserObject = (
        IOThread | MainLoop | Secret | Rng | TlsCredentials | OneIdentity | Rules | ThrottleGroup
    )


def create_object(
    options: Mapping[str, object], others: Mapping[str, UserObject], *, named_threads: bool = False
) -> UserObject:
    """The object that checked ObjectOptions describe, beside `others`; QmpError as QEMU says it.

    `named_threads`: its thread, if it has one, is called after it.
    """
    kind = options["qom-type"]
    if kind == "secret":
        return Secret(options, others)
    if kind in ("tls-creds-anon", "tls-creds-x509"):
        from vmd.devices.credentials import TlsCredentials

        name = options.get("passwordid")
        password = None if name is None else find_secret(str(name), others).content
        return TlsCredentials(options, password)
    if kind == "main-loop":
        return MainLoop(options, others)
    if kind == "throttle-group":
        from vmd.devices.throttle_object import ThrottleGroup

        return ThrottleGroup(options)
    if kind == "authz-simple":
        from vmd.devices.credentials import OneIdentity

        return OneIdentity(options)
    if kind == "authz-list":
        from vmd.devices.credentials import Rules

        return Rules(options)
    return IOThread(options, named=named_threads) if kind == "iothread" else Rng(options)


def find_secret(name: str, others: Mapping[str, UserObject]) -> Secret:
    """The secret with this id; QmpError if there is none, or if it is something else."""
    found = others.get(name)
    if found is None:
        raise QmpError(f"No secret with id '{name}'")
    if not isinstance(found, Secret):
        raise QmpError(f"Object with id '{name}' is not a secret")
    return found


def _wrapping_key(name: str, others: Mapping[str, UserObject]) -> bytes:
    found = find_secret(name, others)
    if len(found.content) != KEY_SIZE:
        raise QmpError(f"Key should be {KEY_SIZE} bytes in length")
    return found.content


def _initial_vector(encoded: str | None) -> bytes:
    if encoded is None:
        raise QmpError("IV is required to decrypt secret")
    iv = _from_base64(encoded.encode())
    if len(iv) != BLOCK:
        raise QmpError(f"IV should be {BLOCK} bytes in length not {len(iv)}")
    return iv


def _unwrap(key: bytes, iv: bytes, data: bytes) -> bytes:
    from vmd.devices.aes import decrypt

    if len(data) % BLOCK:
        raise QmpError(f"Length {len(data)} must be a multiple of block size {BLOCK}")
    padded = decrypt(key, iv, data)
    padding = padded[-1] if padded else 0
    if padding > BLOCK:
        raise QmpError(f"Incorrect number of padding bytes ({padding}) found on decrypted data")
    return padded[: len(padded) - padding]


def _open_source(path: str) -> int:
    import os

    try:
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise QmpError(f"Could not open '{path}': {reason}") from None


def _read(path: str) -> bytes:
    """The content of a file, or what comes through a pipe in good time.

    QEMU waits for ever, and takes memory without limit.
    """
    import os

    try:
        with open(path, "rb", buffering=0, opener=_open_now) as file:
            return _read_all(file)
    except IsADirectoryError:
        raise QmpError(
            f"Unable to read {path}: Error reading file “{path}”: Is a directory"
        ) from None
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise QmpError(f"Unable to read {path}: Failed to open file “{path}”: {reason}") from None


def _open_now(path: str, flags: int) -> int:
    import os

    return os.open(path, flags | os.O_NONBLOCK)


def _read_all(file: RawIOBase) -> bytes:
    import errno
    import select

    data, ready = b"", select.poll()
    ready.register(file, select.POLLIN)
    while len(data) <= MOST_SECRET:
        if not ready.poll(SLOWEST_WRITER_MS):
            raise OSError(errno.ETIMEDOUT, "")
        piece = file.read(MOST_SECRET)
        if not piece:
            return data
        data += piece
    raise OSError(errno.EFBIG, "")


def _from_base64(encoded: bytes) -> bytes:
    """Decode leniently: incomplete groups at the end are dropped."""
    import binascii

    if not _BASE64.issuperset(encoded):
        raise QmpError("Base64 data contains invalid characters")
    plain = bytes(byte for byte in encoded if byte not in b"\n=")
    if len(plain) % 4 == 1:
        plain = plain[:-1]
    return binascii.a2b_base64(plain + b"=" * (-len(plain) % 4))
