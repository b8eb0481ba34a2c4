"""The memory backends: what they refuse, in QEMU's words, and what they do to files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from qapi.error import QmpError
from vmd.memory.backends import MemoryBackend, create

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KIB, MIB, EIB = 1 << 10, 1 << 20, 1 << 60


@pytest.fixture
def backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., MemoryBackend]]:
    """Creates a backend called m0, in an empty directory; members are written with _ for -."""
    monkeypatch.chdir(tmp_path)
    made: list[MemoryBackend] = []

    def new(kind: str, *, fds: dict[str, int] | None = None, **options: object) -> MemoryBackend:
        given = {name.replace("_", "-"): value for name, value in options.items()}
        made.append(create({"qom-type": f"memory-backend-{kind}", "id": "m0", **given}, fds))
        return made[-1]

    yield new
    for each in made:
        each.close()


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


FILE = {"size": 64 * KIB, "mem_path": "odd"}  # `odd` is a file of 100000 bytes
# As qemu-system-x86_64 says it for `-object memory-backend-KIND,id=m0,...`
REFUSED: list[tuple[str, dict[str, object], str]] = [
    ("ram", {"size": 0}, "property 'size' of memory-backend-ram doesn't take value '0'"),
    ("ram", {"size": EIB}, "cannot set up guest memory 'm0': Cannot allocate memory"),
    (
        "ram",
        {"size": MIB, "prealloc_threads": 0},
        "property 'prealloc-threads' of memory-backend-ram doesn't take value '0'",
    ),
    (
        "ram",
        {"size": MIB, "prealloc": True, "reserve": False, "host_nodes": [200]},
        "'prealloc=on' and 'reserve=off' are incompatible",
    ),
    ("ram", {"size": MIB, "policy": "bind"}, "host-nodes must be set for policy bind"),
    (
        "ram",
        {"size": MIB, "host_nodes": [0]},
        "host-nodes must be empty for policy default,"
        " or you should explicitly specify a policy other than default",
    ),
    (
        "ram",
        {"size": MIB, "policy": "bind", "host_nodes": [0, 128]},
        "Invalid host-nodes value: 128",
    ),
    ("memfd", {"size": 0}, "property 'size' of memory-backend-memfd doesn't take value '0'"),
    (
        "memfd",
        {"size": 100},
        "m0 backing store size 0x64 is too small for 'size' option 0x1000 plus 'offset' option 0x0",
    ),
    (
        "memfd",
        {"size": 9 * EIB},
        "failed to resize memfd to 10376293541461622784: Invalid argument",
    ),
    (
        "memfd",
        {"size": 64 * KIB, "hugetlb": True},
        "failed to resize memfd to 65536: Invalid argument",
    ),
    (
        "memfd",
        {"size": 2 * MIB, "hugetlb": True, "hugetlbsize": 3 * MIB},
        "Hugepage size must be a power of 2",
    ),
    (
        "memfd",
        {"size": 2 * MIB, "hugetlb": True, "hugetlbsize": 4 * MIB},
        "failed to create memfd with flags 0x58000007: No such device",
    ),
    ("shm", {"size": MIB, "share": False}, "can't create shm backend with `share=off`"),
    (
        "file",
        {"size": 0, "mem_path": "/x/y"},
        "property 'size' of memory-backend-file doesn't take value '0'",
    ),
    (
        "file",
        {**FILE, "mem_path": ""},
        "can't open backing store  for guest RAM: No such file or directory",
    ),
    (
        "file",
        {**FILE, "mem_path": "/x/y"},
        "can't open backing store /x/y for guest RAM: No such file or directory",
    ),
    (
        "file",
        {**FILE, "mem_path": "odd/"},
        "can't open backing store odd/ for guest RAM: Not a directory",
    ),
    (
        "file",
        {**FILE, "mem_path": "new", "readonly": True},
        "can't open backing store new for guest RAM: No such file or directory",
    ),
    (
        "file",
        {**FILE, "mem_path": ".", "readonly": True},
        "can't open backing store . for guest RAM: Is a directory",
    ),
    (
        "file",
        {**FILE, "mem_path": "/dev/null"},
        "unable to map backing store for guest RAM: No such device",
    ),
    (
        "file",
        {**FILE, "size": MIB},
        "m0 backing store size 0x186a0 is too small"
        " for 'size' option 0x100000 plus 'offset' option 0x0",
    ),
    (
        "file",
        {**FILE, "size": 100000},
        "m0 backing store size 0x186a0 is too small"
        " for 'size' option 0x19000 plus 'offset' option 0x0",
    ),
    (
        "file",
        {**FILE, "offset": MIB, "align": 3},
        "m0 backing store size 0x186a0 is too small"
        " for 'size' option 0x10000 plus 'offset' option 0x100000",
    ),
    ("file", {**FILE, "align": 3}, "alignment 0x3 must be multiples of page size 0x1000"),
    (
        "file",
        {**FILE, "align": 12 * KIB, "offset": 3},
        "alignment 0x3000 must be a power of two",
    ),
    ("file", {**FILE, "offset": 100}, "offset 0x64 must be multiples of page size 0x1000"),
    (
        "file",
        {**FILE, "size": 100, "mem_path": "new"},
        "backend 'memory-backend-file' memory size must be multiple of 4 KiB",
    ),
    (
        "file",
        {**FILE, "rom": "on"},
        "property 'rom' = 'on' is not supported with 'readonly' = 'off'",
    ),
    (
        "file",
        {**FILE, "rom": "off", "readonly": True, "share": True},
        "property 'rom' = 'off' is incompatible with 'readonly' = 'on' and 'share' = 'on'",
    ),
]


@pytest.mark.parametrize(("kind", "options", "text"), REFUSED)
def test_a_backend_is_refused_in_qemus_words_and_leaves_nothing_open(
    backend: Callable[..., MemoryBackend], kind: str, options: dict[str, object], text: str
) -> None:
    with open("odd", "wb") as file:
        file.write(b"x" * 100000)
    before = descriptors()
    with pytest.raises(QmpError) as refused:
        backend(kind, **options)
    assert refused.value.desc == text
    assert descriptors() == before


def test_properties_are_told_with_their_defaults(backend: Callable[..., MemoryBackend]) -> None:
    made = backend("ram", size=100)
    assert made.size == 100
    assert made.block.size == 4096
    assert made.properties["policy"] == "default"
    assert made.properties["merge"] is True
    assert (made.block.idstr, made.block.shared, made.block.named_file) == ("m0", False, False)


def test_sharing_is_the_default_of_memfd_alone(backend: Callable[..., MemoryBackend]) -> None:
    kinds = {kind: backend(kind, size=4096).block.shared for kind in ("ram", "memfd")}
    assert kinds == {"ram": False, "memfd": True}


def test_a_block_may_be_named_by_its_path(backend: Callable[..., MemoryBackend]) -> None:
    made = backend("ram", size=4096, x_use_canonical_path_for_ramblock_id=True)
    assert made.block.idstr == "/objects/m0"


def test_a_new_file_is_made_as_large_as_asked_and_stays(
    backend: Callable[..., MemoryBackend],
) -> None:
    backend("file", size=MIB, mem_path="new", share=True, offset=4096).block.write(0, b"kept")
    with open("new", "rb") as file:
        data = file.read()
    assert len(data) == MIB + 4096
    assert data[4096:4100] == b"kept"


def test_an_empty_file_grows(backend: Callable[..., MemoryBackend]) -> None:
    open("empty", "wb").close()
    backend("file", size=MIB, mem_path="empty")
    assert os.path.getsize("empty") == MIB


def test_an_existing_file_is_guest_memory_as_it_is(backend: Callable[..., MemoryBackend]) -> None:
    with open("old", "wb") as file:
        file.write(b"old" + bytes(MIB))
    made = backend("file", size=64 * KIB, mem_path="old", share=True)
    assert made.block.read(0, 4) == b"old\0"
    assert (made.block.shared, made.block.named_file) == (True, True)
    assert os.path.getsize("old") == MIB + 3


def test_a_private_file_keeps_its_content(backend: Callable[..., MemoryBackend]) -> None:
    backend("file", size=64 * KIB, mem_path="ram").block.write(0, b"mine")
    with open("ram", "rb") as file:
        assert not any(file.read())


def test_in_a_directory_the_file_has_no_name(backend: Callable[..., MemoryBackend]) -> None:
    backend("file", size=MIB, mem_path=".", share=True).block.write(0, b"x")
    assert os.listdir(".") == []


def test_a_file_that_could_not_be_mapped_is_not_left_behind(
    backend: Callable[..., MemoryBackend],
) -> None:
    with pytest.raises(QmpError, match="unable to map backing store for guest RAM"):
        backend("file", size=1 << 50, mem_path="new")
    assert os.listdir(".") == []


@pytest.mark.parametrize(("share", "left"), [(True, 0), (False, 64 * KIB)])
def test_discard_data_frees_a_shared_file_at_the_end(
    backend: Callable[..., MemoryBackend], share: bool, left: int
) -> None:
    with open("ram", "wb") as file:
        file.write(b"x" * 64 * KIB)
    backend("file", size=64 * KIB, mem_path="ram", share=share, discard_data=True).close()
    assert os.stat("ram").st_blocks * 512 == left
    assert os.path.getsize("ram") == 64 * KIB


def test_a_read_only_file_is_rom(backend: Callable[..., MemoryBackend]) -> None:
    with open("rom", "wb") as file:
        file.write(b"r" * 64 * KIB)
    made = backend("file", size=64 * KIB, mem_path="rom", readonly=True, share=True)
    made.block.write(0, b"x")
    assert made.block.read(0, 2) == b"rr"
    assert made.properties["rom"] == "on"


def test_a_private_copy_of_a_read_only_file_may_be_written(
    backend: Callable[..., MemoryBackend],
) -> None:
    with open("rom", "wb") as file:
        file.write(b"r" * 64 * KIB)
    made = backend("file", size=64 * KIB, mem_path="rom", readonly=True, rom="off")
    made.block.write(0, b"x")
    assert made.block.read(0, 2) == b"xr"


def test_memory_that_was_handed_over_is_taken_as_it_is(
    backend: Callable[..., MemoryBackend],
) -> None:
    old = backend("memfd", size=64 * KIB)
    old.block.write(0, b"alive")
    new = backend("memfd", size=64 * KIB, fds={"m0": os.dup(old.block.fd)})
    assert new.block.read(0, 5) == b"alive"
    new.block.write(0, b"A")
    assert old.block.read(0, 5) == b"Alive"


def test_a_sealed_memfd_keeps_its_size(backend: Callable[..., MemoryBackend]) -> None:
    with pytest.raises(PermissionError):
        os.ftruncate(backend("memfd", size=64 * KIB).block.fd, 0)
    os.ftruncate(backend("memfd", size=64 * KIB, seal=False).block.fd, 128 * KIB)


def test_preallocated_memory_is_there(backend: Callable[..., MemoryBackend]) -> None:
    made = backend("memfd", size=64 * KIB, prealloc=True)
    assert os.fstat(made.block.fd).st_blocks * 512 == 64 * KIB


def bound(backend: Callable[..., MemoryBackend], policy: str, node: int) -> None:
    try:
        backend("ram", size=64 * KIB, policy=policy, host_nodes=[node])
    except QmpError as error:
        if error.desc.endswith("Operation not permitted"):
            pytest.skip("this host lets nobody bind memory")
        raise


@pytest.mark.parametrize("policy", ["preferred", "bind", "interleave"])
def test_memory_is_bound_to_the_hosts_nodes(
    backend: Callable[..., MemoryBackend], policy: str
) -> None:
    bound(backend, policy, 0)


def test_memory_is_not_bound_to_a_node_that_the_host_lacks(
    backend: Callable[..., MemoryBackend],
) -> None:
    with pytest.raises(QmpError, match="cannot bind memory to host NUMA nodes: Invalid argument"):
        bound(backend, "bind", 100)
