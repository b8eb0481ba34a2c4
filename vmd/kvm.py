"""The host's KVM, as far as a program sees it that runs nothing on it.

Numbers are those of the kernel's <linux/kvm.h>. A simulated guest needs no KVM; who manages it
may need a machine that has it, wherever one could be had.
"""

from __future__ import annotations

import fcntl
import os
import struct
from typing import NamedTuple

DEVICE = "/dev/kvm"
API_VERSION = 12
_API_VERSION, _CHECK_EXTENSION = 0xAE00, 0xAE03
_SUPPORTED_CPUID, _GET_MSRS = 0xC008AE05, 0xC008AE88
_RECOMMENDED_CPUS, _MOST_CPUS = 9, 66
_MANY_ENTRIES = 512
_HEAD, _LEAF = "=II", "=7I12x"  # count, padding; function, index, flags, four registers

Leaves = dict[tuple[int, int], tuple[int, int, int, int]]
"""What CPUID answers: (function, index) → EAX, EBX, ECX, EDX."""


class TooOldError(OSError):
    """What was opened is no KVM of today."""


class Limits(NamedTuple):
    """How many CPUs a machine should have, and may have."""

    recommended: int
    most: int


class Kvm(NamedTuple):
    """The accelerator of a machine: who has the interrupt controllers ("on", "off" or "split": the
    kernel, nobody there, or the CPUs' own alone), and the device, None where it is only said to be.
    `ring`: pages of each CPU's dirty ring, 0 where there is none.
    """

    irqchip: str
    device: str | None
    ring: int = 0


def look(device: str) -> Limits:
    """Whether there is a KVM behind the device, as QEMU finds out; OSError if not."""
    opened = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    try:
        try:
            version = fcntl.ioctl(opened, _API_VERSION)
        except OSError as error:
            raise TooOldError(error.errno, error.strerror) from None
        if version != API_VERSION:
            raise TooOldError(version, "Invalid argument")
        recommended = fcntl.ioctl(opened, _CHECK_EXTENSION, _RECOMMENDED_CPUS)
        most = fcntl.ioctl(opened, _CHECK_EXTENSION, _MOST_CPUS)
        return Limits(recommended, max(recommended, most))
    finally:
        os.close(opened)


def supported_cpuid(device: str) -> Leaves:
    """What a CPU of a guest may say of itself; OSError if there is no KVM."""
    head, leaf = struct.calcsize(_HEAD), struct.calcsize(_LEAF)
    buffer = bytearray(head + leaf * _MANY_ENTRIES)
    struct.pack_into(_HEAD, buffer, 0, _MANY_ENTRIES, 0)
    opened = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(opened, _SUPPORTED_CPUID, buffer)
    finally:
        os.close(opened)
    (count, _) = struct.unpack_from(_HEAD, buffer)
    found: Leaves = {}
    for place in range(count):
        function, index, _, *registers = struct.unpack_from(_LEAF, buffer, head + leaf * place)
        found[function, index] = (registers[0], registers[1], registers[2], registers[3])
    return found


def feature_msr(device: str, number: int) -> int:
    """A register that tells of features; 0 if this KVM does not have it."""
    layout = "=IIIIQ"  # count, padding, number, padding, value
    buffer = bytearray(struct.pack(layout, 1, 0, number, 0, 0))
    opened = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    try:
        there = fcntl.ioctl(opened, _GET_MSRS, buffer)
    except OSError:
        return 0
    finally:
        os.close(opened)
    return int(struct.unpack(layout, buffer)[4]) if there else 0
