"""What a primary and a secondary say to each other once the stream is through.

Messages are 32-bit numbers. A checkpoint is: the primary requests it, the secondary stops its guest
and replies; RAM comes as sections of the stream, then the devices in a buffer of a told size; the
secondary says that it has received, and then that it has loaded them. Order, numbers and texts
observed from migration/colo.c. Nothing here does I/O.
"""

from __future__ import annotations

from enum import IntEnum

from vmd.migration.source import LoadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmd.migration.reader import StreamReader
    from vmd.migration.source import Parse, Source

MOST_DEVICES = 256 << 20
"""Bytes of device state. Real QEMU asks its host for whatever it is told, and dies of that."""


class Message(IntEnum):
    """COLOMessage, by its number on the wire."""

    CHECKPOINT_READY = 0
    CHECKPOINT_REQUEST = 1
    CHECKPOINT_REPLY = 2
    VMSTATE_SEND = 3
    VMSTATE_SIZE = 4
    VMSTATE_RECEIVED = 5
    VMSTATE_LOADED = 6

    def encode(self) -> bytes:
        return self.to_bytes(4, "big")


class ColoError(Exception):
    """The two do not understand each other any more: QEMU's lines for stderr."""

    def __init__(self, *lines: str) -> None:
        super().__init__(*lines)
        self.lines = lines


def take_request(source: Source) -> Parse[None]:
    """Wait for the next checkpoint to be requested."""
    number = yield from _message(source)
    if number is not Message.CHECKPOINT_REQUEST:
        raise ColoError(f"Got unknown COLO message: {number:d}")


def take(source: Source, expected: Message) -> Parse[None]:
    """The message that must come now."""
    number = yield from _message(source)
    if number is not expected:
        raise ColoError(f"Unexpected COLO message {number:d}, expected {expected:d}")


def _message(source: Source) -> Parse[Message]:
    number = yield from source.be32()
    if source.failed:
        raise ColoError("Can't receive COLO message: Input/output error")
    if number >= len(Message):
        raise ColoError("colo_receive_message: Invalid message")
    return Message(number)


def take_live_state(source: Source, reader: StreamReader) -> Parse[None]:
    """RAM, which goes where the reader's loader puts it."""
    try:
        yield from reader.live_state(source)
    except LoadError as error:
        raise ColoError(*error.lines, "Load VM's live state (ram) error") from None


def take_devices(source: Source) -> Parse[bytes]:
    """The buffer of device state, not looked at."""
    yield from take(source, Message.VMSTATE_SIZE)
    size = yield from source.be64()
    if source.failed:
        raise ColoError("Failed to get value for COLO message: vmstate-size: Input/output error")
    if size > MOST_DEVICES:
        raise ColoError(f"More than {MOST_DEVICES} bytes of VMState data are announced: {size}")
    data = yield from source.skip(size, keep=size)
    if len(data) < size:
        raise ColoError(f"Got {len(data)} VMState data, less than expected {size}")
    return data


def load_devices(data: bytes, reader: StreamReader) -> Parse[None]:
    """What the devices are; the reader tells it."""
    try:
        yield from reader.device_state(data)
    except LoadError as error:
        raise ColoError(
            *error.lines,
            f"Failed to load device state: {-error.errno}",
            "COLO: load device state failed",
        ) from None
