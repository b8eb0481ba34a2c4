"""Objects that a user creates and that are no memory: I/O threads and secrets.

Observed from iothread.c, event-loop-base.c, crypto/secret*.c and util/base64.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qapi.error import QmpError
from vmd.devices.qom import Property, choice, integer, text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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
SECRET_FORMATS = ("raw", "base64")
_BASE64 = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\n")


class IOThread:
    """A host thread to which devices' work can be given; a management layer may pin it.

    `parameters` are those of event loops; a value out of its range is refused, but limits of the
    pool that do not fit each other are kept, as QEMU keeps them.
    """

    __slots__ = ("_end", "id", "parameters", "thread_id")
    qom_type = "iothread"

    def __init__(self, options: Mapping[str, object]) -> None:
        import threading

        self.id = str(options["id"])
        self.parameters = dict(IOTHREAD_DEFAULTS)
        for name in IOTHREAD_DEFAULTS:
            if name in options:
                self._judge(name, options[name])
        self._check_pool()
        self._end = threading.Event()
        thread = threading.Thread(target=self._end.wait, name=f"IO {self.id}", daemon=True)
        thread.start()
        self.thread_id = thread.native_id or 0

    def set(self, name: str, value: object) -> None:
        self._judge(name, value)
        if name.startswith("thread-pool-"):
            self._check_pool()

    def _judge(self, name: str, value: object) -> None:
        number = integer(name, value)
        if number < 0:
            raise QmpError(f"{name} value must be in range [0, {MAX_INT64}]")
        self.parameters[name] = number

    def _check_pool(self) -> None:
        low, high = self.parameters["thread-pool-min"], self.parameters["thread-pool-max"]
        if not 0 < high <= MAX_INT32 or low > high:
            raise QmpError("bad thread-pool-min/thread-pool-max values")

    def properties(self) -> dict[str, Property]:
        def made(name: str) -> Property:
            def write(value: object) -> None:
                self.set(name, value)

            return Property("int", lambda: self.parameters[name], write)

        return {name: made(name) for name in IOTHREAD_DEFAULTS}

    def close(self) -> None:
        self._end.set()


class Secret:
    """A password or key, given as data or as a file that holds it; `content` is what it says."""

    __slots__ = ("_values", "content", "id")
    qom_type = "secret"

    def __init__(self, options: Mapping[str, object]) -> None:
        self.id = str(options["id"])
        self._values = {name: str(options.get(name, "")) for name in ("data", "file")}
        self._values["format"] = str(options.get("format", "raw"))
        if "file" in options and "data" in options:
            raise QmpError("'file' and 'data' are mutually exclusive")
        if "file" in options:
            content = _read(self._values["file"])
        elif "data" in options:
            content = self._values["data"].encode()
        else:
            raise QmpError("Either 'file' or 'data' must be provided")
        self.content = _from_base64(content) if self._values["format"] == "base64" else content

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
            "data": made("data"),
            "file": made("file"),
            "format": Property(kind, lambda: self._values["format"], write_format),
        }

    def close(self) -> None:
        self.content = b""


UserObject = IOThread | Secret

_KINDS: dict[str, Callable[[Mapping[str, object]], UserObject]] = {
    "iothread": IOThread,
    "secret": Secret,
}


def create_object(options: Mapping[str, object]) -> UserObject:
    """The object that checked ObjectOptions describe; QmpError with QEMU's text."""
    return _KINDS[str(options["qom-type"])](options)


def _read(path: str) -> bytes:
    import os

    try:
        with open(path, "rb") as file:
            return file.read()
    except IsADirectoryError:
        raise QmpError(
            f"Unable to read {path}: Error reading file “{path}”: Is a directory"
        ) from None
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise QmpError(f"Unable to read {path}: Failed to open file “{path}”: {reason}") from None


def _from_base64(encoded: bytes) -> bytes:
    """Decode leniently: incomplete groups at the end are dropped."""
    import binascii

    if not _BASE64.issuperset(encoded):
        raise QmpError("Base64 data contains invalid characters")
    plain = bytes(byte for byte in encoded if byte not in b"\n=")
    if len(plain) % 4 == 1:
        plain = plain[:-1]
    return binascii.a2b_base64(plain + b"=" * (-len(plain) % 4))
