"""A state file as it lies on disk: plain, compressed, or in libvirt's save container.

libvirt's container is a header of 92 bytes in the host's byte order, the domain's XML with a cookie
behind it, and then the stream as the emulator wrote it, perhaps compressed (observed from libvirt's
qemu/qemu_saveimage.h and from files that `virsh save` wrote).
"""

from __future__ import annotations

import gzip
import io
import os
import re
import struct
import zlib
from bz2 import BZ2Decompressor
from lzma import LZMADecompressor, LZMAError
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from vmd.ctl.outside import Program

if TYPE_CHECKING:
    from collections.abc import Callable

LIBVIRT_MAGIC = b"LibvirtQemudSave"
LIBVIRT_PARTIAL = b"LibvirtQemudPart"  # it is renamed when the save is complete
_HEADER = "16s5I56x"
HEADER_SIZE = struct.calcsize(f"<{_HEADER}")
MOST_XML = 16 << 20
MOST_XZ_MEMORY = 256 << 20
PIECE = 64 << 10

# What a container may say of the stream in it, by number.
FORMATS = ("raw", "gzip", "bzip2", "xz", "lzop", "zstd", "sparse")
PLAIN = ("raw", "sparse")


class Unreadable(Exception):
    """The file cannot be read as what it claims to be; the text says why."""


class Container(NamedTuple):
    """libvirt's header. `xml` is the domain, `cookie` what libvirt keeps beside it."""

    version: int
    complete: bool
    was_running: bool
    format: str
    xml: str
    cookie: str

    @property
    def domain(self) -> str:
        """The domain's name."""
        match = re.search(r"<name>([^<]*)</name>", self.xml)
        return match[1] if match else ""


class _Bytes(Protocol):
    """Where the stream's bytes come from."""

    def readinto(self, buffer: memoryview, /) -> int | None: ...


class StateFile:
    """An open state file, at the first byte of its stream.

    `offset` is where that is: in the file, or in what is decompressed.
    """

    def __init__(self, path: str, offset: int = 0) -> None:
        """Open and look at what it is; OSError or Unreadable."""
        self._file = io.FileIO(path)
        self.seekable = self._file.seekable()
        self.container: Container | None = None
        self.compression: str | None = None
        self.offset = offset
        try:
            self.size = os.fstat(self._file.fileno()).st_size if self.seekable else None
            self._bytes: _Bytes = self._look()
        except BaseException:
            self._file.close()
            raise

    def _look(self) -> _Bytes:
        self._skip_raw(self.offset)
        head = _Ahead(self._file)
        if head.peek(len(LIBVIRT_MAGIC)) in (LIBVIRT_MAGIC, LIBVIRT_PARTIAL):
            self.container = _container(head)
            self.offset += head.taken
            kind = self.container.format
        else:
            kind = next(
                (k for k, magic in _MAGICS.items() if head.peek(6).startswith(magic)), "raw"
            )
        if kind in PLAIN:
            return head
        if kind not in _DECOMPRESSORS:
            raise Unreadable(f"{kind} is no compression that is known here")
        self.compression, self.offset = kind, 0
        try:
            return _DECOMPRESSORS[kind](head)
        except FileNotFoundError:
            text = f"compressed with {kind}, and there is no program {kind} to undo that"
            raise Unreadable(text) from None

    def _skip_raw(self, count: int) -> None:
        if self.seekable:
            self._file.seek(count)
            return
        while count and (piece := self._file.read(min(count, PIECE))):
            count -= len(piece)

    def read_into(self, buffer: memoryview) -> int:
        """Fill a part of `buffer`; 0 at the end. OSError or Unreadable."""
        try:
            return self._bytes.readinto(buffer) or 0
        except (EOFError, zlib.error, LZMAError, gzip.BadGzipFile) as error:
            raise Unreadable(f"damaged {self.compression} data: {error}") from None
        except OSError as error:
            if error.errno is None:  # bz2 says so of bad data
                raise Unreadable(f"damaged {self.compression} data: {error}") from None
            raise

    def skip(self, count: int) -> None:
        """Leave bytes out."""
        if self.compression is None and self.seekable:
            self._file.seek(count, os.SEEK_CUR)
            return
        buffer = memoryview(bytearray(PIECE))
        while count and (done := self.read_into(buffer[: min(count, PIECE)])):
            count -= done

    def look_at(self, offset: int, count: int) -> bytes | None:
        """Bytes at an offset of the stream, where they can be had again."""
        if self.compression is not None or not self.seekable:
            return None
        return os.pread(self._file.fileno(), count, offset)

    def close(self) -> None:
        if isinstance(self._bytes, Program):
            self._bytes.close()
        self._file.close()


class _Ahead:
    """A file whose first bytes can be looked at before they are read."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self._first = b""
        self.taken = 0

    def peek(self, count: int) -> bytes:
        while len(self._first) < count and (data := self._file.read(count - len(self._first))):
            self._first += data
        return self._first[:count]

    def take(self, count: int) -> bytes:
        data = self.peek(count)
        self._first = self._first[len(data) :]
        self.taken += len(data)
        return data

    def read(self, count: int = -1) -> bytes:
        if self._first:
            data, self._first = self._first[:count], self._first[max(count, 0) :]
            return data
        return self._file.read(count) or b""

    def readinto(self, buffer: memoryview) -> int:
        if self._first:
            data = self.read(len(buffer))
            buffer[: len(data)] = data
            return len(data)
        return self._file.readinto(buffer) or 0


def _container(head: _Ahead) -> Container:
    data = head.take(HEADER_SIZE)
    if len(data) < HEADER_SIZE:
        raise Unreadable("libvirt's header is cut short")
    order = "<" if int.from_bytes(data[16:20], "little") < 1 << 16 else ">"
    magic, version, length, was_running, kind, cookie_at = struct.unpack(order + _HEADER, data)
    if version != 2:
        raise Unreadable(f"libvirt's save container has version {version}, not 2")
    if length > MOST_XML:
        raise Unreadable(f"libvirt's header tells of {length} bytes of XML")
    text = head.take(length)
    if len(text) < length:
        raise Unreadable("libvirt's XML is cut short")
    xml, cookie = (text[:cookie_at], text[cookie_at:]) if cookie_at else (text, b"")
    name = FORMATS[kind] if kind < len(FORMATS) else f"unknown format {kind}"
    texts = (part.split(b"\0", 1)[0].decode("utf-8", "replace") for part in (xml, cookie))
    return Container(version, magic == LIBVIRT_MAGIC, bool(was_running), name, *texts)


class _Decompressed:
    """A compressed stream, or several one behind the other; NULs may follow."""

    def __init__(
        self, file: _Ahead, make: Callable[[], BZ2Decompressor | LZMADecompressor]
    ) -> None:
        self._file = file
        self._make = make
        self._decompressor = make()

    def readinto(self, buffer: memoryview) -> int:
        while True:
            data = b""
            if self._decompressor.eof:
                data = self._decompressor.unused_data or self._file.read(PIECE)
                if not data.strip(b"\0"):
                    return 0
                self._decompressor = self._make()
            elif self._decompressor.needs_input and not (data := self._file.read(PIECE)):
                raise EOFError("it ends too early")
            data = self._decompressor.decompress(data, len(buffer))
            if data:
                buffer[: len(data)] = data
                return len(data)


_MAGICS = {"gzip": b"\x1f\x8b", "bzip2": b"BZh", "xz": b"\xfd7zXZ\0"}
_MAGICS |= {"zstd": b"\x28\xb5\x2f\xfd", "lzop": b"\x89LZO\0"}


def _xz() -> LZMADecompressor:
    return LZMADecompressor(memlimit=MOST_XZ_MEMORY)


_DECOMPRESSORS: dict[str, Callable[[_Ahead], _Bytes]] = {
    "gzip": lambda file: gzip.GzipFile(fileobj=cast(Any, file), mode="rb"),
    "bzip2": lambda file: _Decompressed(file, BZ2Decompressor),
    "xz": lambda file: _Decompressed(file, _xz),
    "zstd": lambda file: Program("zstd", file),
    "lzop": lambda file: Program("lzop", file),
}
