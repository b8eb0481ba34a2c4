"""The types of objects: what is a kind of what, and which properties each has. Constant data.

Only types that a vmd can have an object of, and the abstract ones they are made from. Names and
types of properties observed from qom-list-types and qom-list-properties of QEMU 10.0.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vmd.devices import catalog, cpu
from vmd.devices.board import BOARDS
from vmd.devices.cpu import PropertyInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

MACHINE_SUFFIX = "-machine"


class Type(NamedTuple):
    """A type: `own` maps the properties that its parent does not have to their types."""

    name: str
    parent: str | None
    own: Mapping[str, str]
    abstract: bool = False
    interfaces: tuple[str, ...] = ()
    is_interface: bool = False


_MACHINE = {
    "aux-ram-share": "bool",
    "boot": "BootConfiguration",
    "dump-guest-core": "bool",
    "graphics": "bool",
    "mem-merge": "bool",
    "memory": "MemorySizeConfiguration",
    "memory-backend": "link<memory-backend>",
    "smp": "SMPConfiguration",
    "suppress-vmdesc": "bool",
    "usb": "bool",
}
_X86_MACHINE = {
    "acpi": "OnOffAuto",
    "pic": "OnOffAuto",
    "pit": "OnOffAuto",
    "smm": "OnOffAuto",
    "x-oem-id": "string",
    "x-oem-table-id": "string",
}
_GENERIC_PC_MACHINE = {
    "default-bus-bypass-iommu": "bool",
    "fd-bootchk": "bool",
    "hpet": "bool",
    "i8042": "bool",
    "max-fw-size": "size",
    "max-ram-below-4g": "size",
    "sata": "bool",
    "smbus": "bool",
    "vmport": "OnOffAuto",
}
_PC_MACHINE = {"hmat": "bool", "nvdimm": "bool"}
_MEMORY_BACKEND = {
    "dump": "bool",
    "host-nodes": "int",
    "merge": "bool",
    "policy": "HostMemPolicy",
    "prealloc": "bool",
    "prealloc-threads": "int",
    "reserve": "bool",
    "share": "bool",
    "size": "int",
    "x-use-canonical-path-for-ramblock-id": "bool",
}
_MEMORY_BACKEND_FILE = {
    "align": "int",
    "discard-data": "bool",
    "mem-path": "string",
    "offset": "int",
    "pmem": "bool",
    "readonly": "bool",
    "rom": "OnOffAuto",
}
_MEMORY_BACKEND_MEMFD = {"hugetlb": "bool", "hugetlbsize": "int", "seal": "bool"}
_EVENT_LOOP = {"aio-max-batch": "int", "thread-pool-max": "int", "thread-pool-min": "int"}
_IOTHREAD = {"poll-grow": "int", "poll-max-ns": "int", "poll-shrink": "int"}
_SECRET_COMMON = {"format": "QCryptoSecretFormat", "iv": "string", "keyid": "string"}
_SECRET = {"data": "string", "file": "string"}
_TLS_CREDS = {
    "endpoint": "QCryptoTLSCredsEndpoint",
    "dir": "string",
    "verify-peer": "bool",
    "priority": "string",
}
_TLS_CREDS_X509 = {"sanity-check": "bool", "passwordid": "string"}
_AUTHZ_LIST = {"policy": "QAuthZListPolicy", "rules": "QAuthZListRule"}
_DEVICE = {
    "hotpluggable": "bool",
    "hotplugged": "bool",
    "parent_bus": "link<bus>",
    "realized": "bool",
}
_CPU = {"memory": "link<memory-region>", "start-powered-off": "bool"}
_MEMORY_REGION = {
    "addr": "uint64",
    "container": "link<memory-region>",
    "priority": "uint32",
    "size": "uint64",
}
_TCG = {"one-insn-per-tb": "bool", "split-wx": "bool", "tb-size": "int", "thread": "string"}
_KVM = {
    "device": "string",
    "dirty-ring-size": "uint32",
    "kernel-irqchip": "on|off|split",
    "kvm-shadow-mem": "int",
    "notify-vmexit": "NotifyVMexitOption",
    "notify-window": "uint32",
}
# What a user may create, and what may be removed again
_USER = ("user-creatable",)
_THROTTLE = {
    f"x-{what}-{which}{end}": "int"
    for what in ("iops", "bps")
    for which in ("total", "read", "write")
    for end in ("", "-max", "-max-length")
}
_THROTTLE |= {"x-iops-size": "int", "limits": "ThrottleLimits"}

_LIST = (
    Type("interface", None, {}, abstract=True, is_interface=True),
    Type("user-creatable", "interface", {}, abstract=True, is_interface=True),
    Type("object", None, {"type": "string"}, abstract=True),
    Type("container", "object", {}),
    Type("memory-region", "object", _MEMORY_REGION),
    Type("accel", "object", {}, abstract=True),
    Type("tcg-accel", "accel", _TCG),
    Type("kvm-accel", "accel", _KVM),
    Type("qtest-accel", "accel", {}),
    Type("qtest", "object", {"chardev": "string", "log": "string"}),
    Type("machine", "object", _MACHINE, abstract=True),
    Type("x86-machine", "machine", _X86_MACHINE, abstract=True),
    Type("generic-pc-machine", "x86-machine", _GENERIC_PC_MACHINE, abstract=True),
    *(
        Type(board.name + MACHINE_SUFFIX, "generic-pc-machine", _PC_MACHINE)
        if board.has_cpus
        else Type(board.name + MACHINE_SUFFIX, "machine", {})
        for board in BOARDS
    ),
    Type("memory-backend", "object", _MEMORY_BACKEND, abstract=True, interfaces=_USER),
    Type("memory-backend-ram", "memory-backend", {}),
    Type("memory-backend-file", "memory-backend", _MEMORY_BACKEND_FILE),
    Type("memory-backend-memfd", "memory-backend", _MEMORY_BACKEND_MEMFD),
    Type("event-loop-base", "object", _EVENT_LOOP, abstract=True, interfaces=_USER),
    Type("iothread", "event-loop-base", _IOTHREAD),
    Type("main-loop", "event-loop-base", {}),
    Type("secret_common", "object", _SECRET_COMMON, abstract=True),
    Type("secret", "secret_common", _SECRET, interfaces=_USER),
    Type("tls-creds", "object", _TLS_CREDS, abstract=True),
    Type("tls-creds-anon", "tls-creds", {}, interfaces=_USER),
    Type("tls-creds-x509", "tls-creds", _TLS_CREDS_X509, interfaces=_USER),
    Type("authz", "object", {}, abstract=True),
    Type("authz-list", "authz", _AUTHZ_LIST, interfaces=_USER),
    Type("authz-simple", "authz", {"identity": "string"}, interfaces=_USER),
    Type("throttle-group", "object", _THROTTLE, interfaces=_USER),
    Type("rng-backend", "object", {"opened": "bool"}, abstract=True, interfaces=_USER),
    Type("rng-builtin", "rng-backend", {}),
    Type("rng-random", "rng-backend", {"filename": "string"}),
    Type("device", "object", _DEVICE, abstract=True),
    Type("cpu", "device", _CPU, abstract=True),
    Type(cpu.ABSTRACT, "cpu", {}, abstract=True),
    *(
        Type(model + cpu.SUFFIX, f"max{cpu.SUFFIX}" if model == "host" else cpu.ABSTRACT, {})
        for model in cpu.names()
    ),
    Type("chardev", "object", {}, abstract=True),
    Type("chardev-fd", "chardev", {}, abstract=True),
    Type("chardev-file", "chardev-fd", {}),
    Type("chardev-memory", "chardev-ringbuf", {}),
    Type("chardev-mux", "chardev", {}),
    Type("chardev-null", "chardev", {}),
    Type("chardev-pipe", "chardev-fd", {}),
    Type("chardev-pty", "chardev", {}),
    Type("chardev-ringbuf", "chardev", {}),
    Type("chardev-socket", "chardev", {}),
    Type("chardev-stdio", "chardev-fd", {}),
    Type("chardev-vc", "chardev", {}),
)
# The devices themselves, and what they are kinds of; their properties stay in the catalog.
_DEVICES = (Type(*row[:2], {}, row[2]) for row in catalog.lineage())
TYPES = {kind.name: kind for kind in (*_DEVICES, *_LIST)}


def ancestors(name: str) -> list[Type]:
    """The type and those that it is a kind of, itself first."""
    found = []
    kind: Type | None = TYPES[name]
    while kind is not None:
        found.append(kind)
        kind = TYPES[kind.parent] if kind.parent is not None else None
    return found


def is_a(name: str, other: str) -> bool:
    """Whether objects of the type are objects of the other one, or implement it."""
    return any(kind.name == other or other in kind.interfaces for kind in ancestors(name))


def properties(name: str, *, device: bool = False) -> list[PropertyInfo]:
    """All properties of a type; with `device` only those that device-list-properties tells."""
    if is_a(name, cpu.ABSTRACT):
        return cpu.properties(name, device=device)
    if catalog.has_type(name) and name not in ("object", "device"):
        return [
            info
            for info in catalog.type_properties(name).values()
            if not device or catalog.is_told_of_devices(info.name)
        ]
    return [
        PropertyInfo(own, type_)
        for kind in reversed(ancestors(name))
        for own, type_ in kind.own.items()
    ]
