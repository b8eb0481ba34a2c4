"""The values that users give to properties of devices: from text or JSON, judged by their type.

Observed from hw/core/qdev-properties*.c and the visitors of qapi/.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qapi.error import QmpError
from qapi.size import parse_size
from vmd.options import BOOLEANS, scan_unsigned

if TYPE_CHECKING:
    from vmd.devices.catalog import DeviceType
    from vmd.devices.cpu import PropertyInfo

ENUMS: dict[str, tuple[str, ...]] = {
    "OnOffAuto": ("auto", "on", "off"),
    "BlockdevOnError": ("report", "ignore", "enospc", "stop", "auto"),
    "BiosAtaTranslation": ("auto", "none", "lba", "large", "rechs"),
    "LostTickPolicy": ("discard", "delay", "slew"),
    "PCIELinkSpeed": ("2_5", "5", "8", "16", "32", "64"),
    "PCIELinkWidth": ("1", "2", "4", "8", "12", "16", "32"),
}
_BITS = {"uint8": 8, "uint16": 16, "uint32": 32, "uint64": 64}
AUTO = "auto"
_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_MAC = r"[0-9a-fA-F]{2}(?:[:-][0-9a-fA-F]{2}){5}"
_ADDRESS = r"(?:0[xX])?([0-9a-fA-F]+)(?:\.(?:0[xX])?([0-9a-fA-F]+))?"


def judge(kind: DeviceType, info: PropertyInfo, value: object) -> object:
    """The value that a property takes; text where it came from a keyval. QmpError if unfit.

    Links, drives and other names of things are only checked to be text here.
    """
    name, type_ = info.name, info.type
    if name == "addr" and kind.bus == "PCI":
        return _pci_address(kind, value)
    if type_ == "bool":
        return _boolean(name, value)
    if type_ in _BITS:
        return _unsigned(name, value, _BITS[type_])
    if type_ in ("int32", "int", "int64"):
        return _signed(name, value, 32 if type_ == "int32" else 64)
    if type_ == "size":
        return _size(name, value)
    if type_ in ENUMS:
        word = _text(name, value)
        if word not in ENUMS[type_]:
            raise QmpError(f"Parameter '{name}' does not accept value '{word}'")
        return word
    if type_ in ("IOThreadVirtQueueMappingList", "list") and not isinstance(value, str):
        return _listed(name, value)
    word = _text(name, value)
    if kind.name == "vfio-pci" and name == "host":
        return _host_address(kind, word)
    if kind.name == "vmgenid" and name == "guid":
        if word != AUTO and re.fullmatch(_UUID, word) is None:
            raise unfit(kind, name, word)
        return word.lower()
    if name == "mac" and re.fullmatch(_MAC, word) is None:
        raise unfit(kind, name, word)
    return word


def unfit(kind: DeviceType, name: str, value: object) -> QmpError:
    return QmpError(f"Property '{kind.owner(name)}.{name}' doesn't take value '{value}'")


def not_there(kind: DeviceType, name: str, value: object) -> QmpError:
    return QmpError(f"Property '{kind.owner(name)}.{name}' can't find value '{value}'")


def taken(kind: DeviceType, name: str, value: object) -> QmpError:
    owner = f"{kind.owner(name)}.{name}"
    return QmpError(f"Property '{owner}' can't take value '{value}', it's in use")


def _listed(name: str, value: object) -> object:
    if not isinstance(value, list):
        raise QmpError(f"Invalid parameter type for '{name}', expected: array")
    return value


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise QmpError(f"Invalid parameter type for '{name}', expected: string")
    return value


class Written(str):
    """A value from a command line: its text says what JSON would say with types."""

    __slots__ = ()


class Preset(Written):
    """A default of the user's (-global): numbers are refused in other words."""

    __slots__ = ()


def _boolean(name: str, value: object) -> bool:
    if isinstance(value, Written):
        if value not in BOOLEANS:
            raise QmpError(f"Parameter '{name}' expects 'on' or 'off'")
        return BOOLEANS[value]
    if not isinstance(value, bool):
        raise QmpError(f"Invalid parameter type for '{name}', expected: boolean")
    return value


def _number(name: str, value: object, refusal: str) -> int:
    if isinstance(value, Written):
        number = scan_unsigned(value)
        if number is None or number >= 1 << 64:
            is_default = isinstance(value, Preset)
            raise QmpError(refusal if is_default else f"Parameter '{name}' expects integer")
        negative = value.lstrip().startswith("-") and number
        return number - (1 << 64) if negative else number
    if not isinstance(value, int) or isinstance(value, bool):
        raise QmpError(refusal)
    return value


def _unsigned(name: str, value: object, bits: int) -> int:
    refusal = f"Parameter '{name}' expects uint64"
    number = _number(name, value, refusal)
    if not -1 << 63 <= number < 1 << 64:
        raise QmpError(refusal)
    if bits < 64 and not 0 <= number < 1 << bits:
        raise QmpError(f"Parameter '{name}' expects uint{bits}_t")
    return number % (1 << 64)


def _signed(name: str, value: object, bits: int) -> int:
    refusal = f"Invalid parameter type for '{name}', expected: integer"
    number = _number(name, value, refusal)
    if not -1 << 63 <= number < 1 << 63:
        raise QmpError(refusal)
    if not -1 << (bits - 1) <= number < 1 << (bits - 1):
        raise QmpError(f"Parameter '{name}' expects int{bits}_t")
    return number


def _size(name: str, value: object) -> int:
    if isinstance(value, Written):
        size, error = parse_size(value)
        if error is not None:
            raise QmpError(f"Parameter '{name}' expects size")
        return size
    return _unsigned(name, value, 64)


def _host_address(kind: DeviceType, word: str) -> str:
    from vmd.devices.hurdles import host_address

    address = host_address(word)
    if address is None:
        raise unfit(kind, "host", word)
    return address


def _pci_address(kind: DeviceType, value: object) -> int:
    """Slot and function as one number; -1 leaves the choice to the bus."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not -1 <= value < 256:
            raise unfit(kind, "addr", value)
        return value
    word = _text("addr", value)
    match = re.fullmatch(_ADDRESS, word)
    if match is None:
        raise unfit(kind, "addr", word)
    slot, function = int(match[1], 16), int(match[2] or "0", 16)
    if slot > 31 or function > 7:
        raise unfit(kind, "addr", word)
    return slot << 3 | function
