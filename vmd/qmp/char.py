"""Commands of char.json: the character devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qapi.error import QmpError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from monitor.server import QmpMonitor
    from vmd.chardev import Chardev
    from vmd.chardev.registry import Chardevs
    from vmd.machine import Machine

BACKENDS = (
    *("serial", "file", "udp", "memory", "vc", "socket", "null", "hub", "pty", "pipe", "mux"),
    *("ringbuf", "stdio"),
)
BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def query_chardev(machine: Machine) -> list[dict[str, object]]:
    return [
        {
            "label": chardev.label,
            "filename": chardev.filename,
            "frontend-open": chardev.frontend_open,
        }
        for chardev in _as_walked(machine)
    ]


def _as_walked(machine: Machine) -> list[Chardev]:
    """The devices as QEMU meets them: each is put in front of those before it."""
    from qapi.order import table_order

    by_label = {chardev.label: chardev for chardev in _chardevs(machine).values()}
    return [by_label[label] for label in reversed(table_order(by_label))]


def query_chardev_backends(machine: Machine) -> list[dict[str, object]]:
    return [{"name": name} for name in BACKENDS]


async def chardev_add(
    machine: Machine, monitor: QmpMonitor, id: str, backend: Mapping[str, Any]
) -> dict[str, object]:
    return await _chardevs(machine).plug(id, backend, monitor.fds)


async def chardev_change(
    machine: Machine, monitor: QmpMonitor, id: str, backend: Mapping[str, Any]
) -> dict[str, object]:
    return await _chardevs(machine).change(id, backend, monitor.fds)


def chardev_remove(machine: Machine, id: str) -> None:
    _chardevs(machine).unplug(id)


def chardev_send_break(machine: Machine, id: str) -> None:
    _chardevs(machine).send_break(id)


def ringbuf_write(machine: Machine, device: str, data: str, format: str = "utf8") -> None:
    ring = _chardevs(machine).ring(device)
    if format == "base64":
        ring.write(_from_base64(data))
    else:
        # The zero character came as two bytes, which are none of UTF-8.
        ring.write(data.encode(errors="surrogateescape"))


def ringbuf_read(machine: Machine, device: str, size: int, format: str = "utf8") -> str:
    from monitor.json_lexer import decode_leniently

    ring = _chardevs(machine).ring(device)
    if size <= 0:
        raise QmpError("size must be greater than zero")
    taken = ring.take(size)
    if format == "base64":
        from base64 import b64encode

        return b64encode(taken).decode()
    return decode_leniently(taken.partition(b"\0")[0])


def _from_base64(text: str) -> bytes:
    """As g_base64_decode does it: newlines are skipped, what is no group of four is dropped."""
    digits = text.replace("\n", "")
    if not set(digits) <= {*BASE64, "="}:
        raise QmpError("Base64 data contains invalid characters")
    result = bytearray()
    for start in range(0, len(digits) - len(digits) % 4, 4):
        group = digits[start : start + 4]
        bits = 0
        for digit in group:
            bits = bits << 6 | max(BASE64.find(digit), 0)
        three = bits.to_bytes(3, "big")
        result += three[:1]
        result += three[1:2] if group[2] != "=" else b""
        result += three[2:] if group[3] != "=" else b""
    return bytes(result)


def _chardevs(machine: Machine) -> Chardevs:
    assert machine.chardevs is not None, "the wiring gives every machine its devices"
    return machine.chardevs


HANDLERS = {
    "chardev-remove": chardev_remove,
    "chardev-send-break": chardev_send_break,
    "query-chardev": query_chardev,
    "query-chardev-backends": query_chardev_backends,
    "ringbuf-read": ringbuf_read,
    "ringbuf-write": ringbuf_write,
}
MONITOR_HANDLERS = {"chardev-add": chardev_add, "chardev-change": chardev_change}
