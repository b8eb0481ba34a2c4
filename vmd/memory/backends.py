"""The memory backends: memory-backend-ram, -file, -memfd and -shm, with QEMU's properties.

`create` turns checked object options into a mapped block. The order of the checks and the texts
were observed from QEMU's backends/hostmem*.c and system/physmem.c. Where QEMU asks the host for
shared anonymous memory, vmd uses a memfd: a hole in it can be told from data.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from qapi.error import QmpError
from vmd.memory.dirty import PAGE_SIZE
from vmd.memory.ramblock import RamBlock, page_align

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MADV_REMOVE = 9
MADV_MERGEABLE = 12
MADV_UNMERGEABLE = 13
MADV_DONTDUMP = 16
MADV_DODUMP = 17
MADV_POPULATE_WRITE = 23
MFD_HUGETLB = 4
MFD_HUGE_SHIFT = 26
F_ADD_SEALS = 1033
F_SEAL_SHRINK_GROW = 2 | 4
MAX_NODES = 128  # QEMU's limit on the number of a host node
DEFAULT_HUGE_PAGE = 2 << 20

Options = dict[str, object]

_COMMON: Options = {
    "dump": True,
    "host-nodes": [],
    "merge": True,
    "policy": "default",
    "prealloc": False,
    "prealloc-threads": 1,
    "reserve": True,
    "share": False,
    "x-use-canonical-path-for-ramblock-id": False,
}
_FILE: Options = {
    "align": 0,
    "discard-data": False,
    "offset": 0,
    "pmem": False,
    "readonly": False,
    "rom": "auto",
}
_MEMFD: Options = {"hugetlb": False, "hugetlbsize": 0, "seal": True}

# What each type's properties are when they are not given.
DEFAULTS: dict[str, Options] = {
    "memory-backend-ram": _COMMON,
    "memory-backend-file": _COMMON | _FILE,
    "memory-backend-memfd": _COMMON | _MEMFD | {"share": True},
    "memory-backend-shm": _COMMON | {"share": True},
}


class MemoryBackend:
    """One memory backend object.

    `properties` holds every property by its QEMU name, as qom-get tells it (`size` as asked for,
    while `block.size` is in whole pages).
    """

    __slots__ = ("block", "id", "properties", "qom_type")

    def __init__(self, qom_type: str, id_: str, properties: Options, block: RamBlock) -> None:
        self.qom_type = qom_type
        self.id = id_
        self.properties = properties
        self.block = block

    @property
    def size(self) -> int:
        return _int(self.properties, "size")

    def change(self, name: str, value: object) -> None:
        """Set a property that may change while the memory is in use, and tell the host."""
        advice = {
            ("merge", True): MADV_MERGEABLE,
            ("merge", False): MADV_UNMERGEABLE,
            ("dump", True): MADV_DODUMP,
            ("dump", False): MADV_DONTDUMP,
        }.get((name, bool(value)))
        if advice is not None and value != self.properties[name]:
            with suppress(OSError):  # a host without KSM
                self.block.madvise(advice)
        self.properties[name] = value
        if name == "prealloc" and value:
            _preallocate(self.block)

    def close(self) -> None:
        """Let the memory go; with discard-data the file's pages are dropped as well."""
        if self.properties.get("discard-data") and self.block.fd >= 0:
            with suppress(OSError):  # a private or read-only mapping keeps the file's data
                self.block.madvise(MADV_REMOVE)
        self.block.close()


def create(options: Mapping[str, object], fds: Mapping[str, int] | None = None) -> MemoryBackend:
    """Create the backend that checked ObjectOptions describe; QmpError with QEMU's text.

    `options` has "qom-type", "id", "size" and what else was given, with values of their QAPI
    types. `fds` maps a block name to a descriptor received from an old process (cpr-transfer);
    a descriptor that is used is taken over.
    """
    qom_type = str(options["qom-type"])
    given = {name: value for name, value in options.items() if name not in ("qom-type", "id")}
    properties = DEFAULTS[qom_type] | given
    id_ = str(options["id"])
    canonical = properties["x-use-canonical-path-for-ramblock-id"]
    name = f"/objects/{id_}" if canonical else id_
    judge({"qom-type": qom_type, **properties})
    received = (fds or {}).get(name)
    if received is not None and properties["share"] and qom_type != "memory-backend-file":
        block = _map(name, received, properties)
    else:
        block = _CREATE[qom_type](id_, name, properties)
    try:
        if qom_type == "memory-backend-file" and _int(properties, "size") % PAGE_SIZE:
            raise QmpError(f"backend '{qom_type}' memory size must be multiple of 4 KiB")
        _advise(block, properties)
    except BaseException:
        block.close()
        raise
    return MemoryBackend(qom_type, id_, properties, block)


def _why(error: OSError) -> str:
    return os.strerror(error.errno or errno.EINVAL)


def _int(properties: Options, name: str) -> int:
    value = properties[name]
    assert isinstance(value, int)
    return value


def judge(options: Mapping[str, object]) -> None:
    """What QEMU says of values of ObjectOptions before there is an object (backends/hostmem.c)."""
    for name in ("size", "prealloc-threads"):
        if options.get(name) == 0:
            raise QmpError(f"property '{name}' of {options['qom-type']} doesn't take value '0'")
    if options.get("prealloc") and options.get("reserve") is False:
        raise QmpError("'prealloc=on' and 'reserve=off' are incompatible")
    nodes = options.get("host-nodes", ())
    assert isinstance(nodes, (list, tuple))
    for node in nodes:
        if node >= MAX_NODES:
            raise QmpError(f"Invalid host-nodes value: {node}")


# One function a type: get the file, map it


def _map(
    name: str,
    fd: int,
    properties: Options,
    *,
    failure: str = "unable to map backing store for guest RAM",
    offset: int = 0,
    **kind: bool,
) -> RamBlock:
    try:
        return RamBlock(
            name,
            page_align(_int(properties, "size")),
            fd,
            file_offset=offset,
            shared=bool(properties["share"]),
            page_size=_page_size(properties),
            **kind,
        )
    except OSError as error:
        raise QmpError(f"{failure}: {_why(error)}") from None
    except (ValueError, OverflowError):  # longer than the file, or than the address space
        raise QmpError(f"{failure}: {os.strerror(errno.ENOMEM)}") from None


def _page_size(properties: Options) -> int:
    if properties.get("hugetlb"):
        return _int(properties, "hugetlbsize") or DEFAULT_HUGE_PAGE
    return PAGE_SIZE


def _memfd(name: str, size: int, flags: int) -> int:
    try:
        fd = os.memfd_create(name, flags)
    except OSError as error:
        raise QmpError(f"failed to create memfd with flags 0x{flags:x}: {_why(error)}") from None
    try:
        os.ftruncate(fd, size)
    except (OSError, OverflowError) as error:
        os.close(fd)
        why = _why(error) if isinstance(error, OSError) else os.strerror(errno.EINVAL)
        raise QmpError(f"failed to resize memfd to {size}: {why}") from None
    return fd


def _create_ram(id_: str, name: str, properties: Options) -> RamBlock:
    failure = f"cannot set up guest memory '{id_}'"
    if not properties["share"]:
        return _map(name, -1, properties, failure=failure)
    try:
        fd = _memfd("vmd-ram", page_align(_int(properties, "size")), os.MFD_CLOEXEC)
    except QmpError:
        raise QmpError(f"{failure}: {os.strerror(errno.ENOMEM)}") from None
    return _map(name, fd, properties, failure=failure)


def _create_shm(id_: str, name: str, properties: Options) -> RamBlock:
    if not properties["share"]:
        raise QmpError("can't create shm backend with `share=off`")
    return _create_ram(id_, name, properties)


def _create_memfd(id_: str, name: str, properties: Options) -> RamBlock:
    import fcntl

    size = _int(properties, "size")
    flags = os.MFD_CLOEXEC | (os.MFD_ALLOW_SEALING if properties["seal"] else 0)
    if properties["hugetlb"]:
        huge = _int(properties, "hugetlbsize")
        if huge & (huge - 1):
            raise QmpError("Hugepage size must be a power of 2")
        flags |= MFD_HUGETLB | (huge.bit_length() - 1 if huge else 0) << MFD_HUGE_SHIFT
    fd = _memfd("memory-backend-memfd", size, flags)
    if properties["seal"]:
        fcntl.fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK_GROW)
    if size % PAGE_SIZE:
        os.close(fd)
        raise _too_small(id_, size, page_align(size), 0)
    return _map(name, fd, properties)


def _too_small(id_: str, have: int, size: int, offset: int) -> QmpError:
    return QmpError(
        f"{id_} backing store size 0x{have:x} is too small for 'size' option 0x{size:x}"
        f" plus 'offset' option 0x{offset:x}"
    )


def _create_file(id_: str, name: str, properties: Options) -> RamBlock:
    readonly = bool(properties["readonly"])
    rom = properties["rom"]
    if rom == "on" and not readonly:
        raise QmpError("property 'rom' = 'on' is not supported with 'readonly' = 'off'")
    if rom == "off" and readonly and properties["share"]:
        raise QmpError(
            "property 'rom' = 'off' is incompatible with 'readonly' = 'on' and 'share' = 'on'"
        )
    if rom == "auto":
        properties["rom"] = "on" if readonly else "off"
    path = str(properties["mem-path"])
    fd, created = _open_backing(path, readonly)
    try:
        _fit_file(id_, fd, properties)
    except BaseException:
        os.close(fd)
        _unlink(created)
        raise
    try:
        return _map(
            name,
            fd,
            properties,
            offset=_int(properties, "offset"),
            private_mapping=not properties["share"],
            named_file=True,
            readonly=properties["rom"] == "on",
        )
    except BaseException:
        _unlink(created)
        raise


def _unlink(path: str | None) -> None:
    if path is not None:
        with suppress(OSError):
            os.unlink(path)


def _open_backing(path: str, readonly: bool) -> tuple[int, str | None]:
    """Open or create the file; in a directory, an unlinked one (system/physmem.c).

    Returns the descriptor and the path of a file that did not exist before.
    """
    try:
        try:
            # A FIFO is refused below; its other end is not waited for.
            flags = os.O_CLOEXEC | os.O_NONBLOCK | (os.O_RDONLY if readonly else os.O_RDWR)
            fd = os.open(path, flags)
        except FileNotFoundError:
            if readonly:
                raise
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            return os.open(path, flags, 0o644), path
        except IsADirectoryError:
            return _unnamed_file(path), None
        if stat.S_ISDIR(os.fstat(fd).st_mode):  # open for reading does not mind a directory
            os.close(fd)
            raise OSError(errno.EISDIR, "")
        return fd, None
    except OSError as error:
        raise QmpError(f"can't open backing store {path} for guest RAM: {_why(error)}") from None


def _unnamed_file(directory: str) -> int:
    import tempfile

    fd, path = tempfile.mkstemp(prefix="vmd_back_mem.", dir=directory)
    os.unlink(path)
    return fd


def _fit_file(id_: str, fd: int, properties: Options) -> None:
    """Compare the file with what is asked of it, in QEMU's order; an empty file grows."""
    size = page_align(_int(properties, "size"))
    offset, align = _int(properties, "offset"), _int(properties, "align")
    have = os.fstat(fd).st_size if stat.S_ISREG(os.fstat(fd).st_mode) else 0
    if 0 < have < size + offset:
        raise _too_small(id_, have, size, offset)
    if align % PAGE_SIZE:
        raise QmpError(f"alignment 0x{align:x} must be multiples of page size 0x{PAGE_SIZE:x}")
    if align & (align - 1):
        raise QmpError(f"alignment 0x{align:x} must be a power of two")
    if offset % PAGE_SIZE:
        raise QmpError(f"offset 0x{offset:x} must be multiples of page size 0x{PAGE_SIZE:x}")
    if not have:
        # QEMU says why on stderr and goes on; the mapping then decides.
        with suppress(OSError, OverflowError):
            os.ftruncate(fd, size + offset)


_CREATE: dict[str, Callable[[str, str, Options], RamBlock]] = {
    "memory-backend-ram": _create_ram,
    "memory-backend-file": _create_file,
    "memory-backend-memfd": _create_memfd,
    "memory-backend-shm": _create_shm,
}


# What the host is told about the memory


def _advise(block: RamBlock, properties: Options) -> None:
    with suppress(OSError):  # a host without KSM
        if properties["merge"]:
            block.madvise(MADV_MERGEABLE)
    if not properties["dump"]:
        block.madvise(MADV_DONTDUMP)
    _bind(block, properties)
    if properties["prealloc"]:
        _preallocate(block)


def _preallocate(block: RamBlock) -> None:
    if block.readonly:
        return
    try:
        block.madvise(MADV_POPULATE_WRITE)
    except OSError as error:
        raise QmpError(f"qemu_prealloc_mem: preallocating memory failed: {_why(error)}") from None


_POLICIES = {"preferred": 1, "bind": 2, "interleave": 3}  # <linux/mempolicy.h>
_MBIND = {"x86_64": 237, "aarch64": 235}  # the system call; libc has no wrapper


def _bind(block: RamBlock, properties: Options) -> None:
    policy, nodes = properties["policy"], properties["host-nodes"]
    assert isinstance(nodes, list)
    if policy == "default":
        if nodes:
            raise QmpError(
                "host-nodes must be empty for policy default,"
                " or you should explicitly specify a policy other than default"
            )
        return
    if not nodes:
        raise QmpError(f"host-nodes must be set for policy {policy}")
    import ctypes

    mask = (ctypes.c_ulong * (MAX_NODES // 64))()
    for node in nodes:
        mask[node // 64] |= 1 << node % 64
    libc = ctypes.CDLL(None, use_errno=True)
    number = _MBIND.get(os.uname().machine)
    if number is None:
        raise QmpError(f"cannot bind memory to host NUMA nodes: {os.strerror(errno.ENOSYS)}")
    address = ctypes.c_void_p(block.address())
    arguments = (address, ctypes.c_ulong(block.size), _POLICIES[str(policy)], mask)
    # As many bits as needed and one: the kernel's count is one more than the highest bit.
    bits = ctypes.c_ulong(max(nodes) + 2)
    if libc.syscall(number, *arguments, bits, ctypes.c_uint(0)):
        reason = os.strerror(ctypes.get_errno())
        raise QmpError(f"cannot bind memory to host NUMA nodes: {reason}")
