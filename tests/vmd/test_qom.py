"""The object tree by itself: where paths lead, and what setters refuse. QEMU is asked elsewhere."""

from __future__ import annotations

import pytest

from qapi.error import QmpError
from vmd.devices import qom, types
from vmd.devices.objects import IOThread, Secret
from vmd.devices.qom import Object, Property
from vmd.devices.topology import Topology


@pytest.fixture
def root() -> Object:
    """/a/x, /b/x, /b/y, and a link from /a to /b/y."""
    root = Object("container", "/")
    first, second = root.add("a", "container"), root.add("b", "container")
    first.add("x", "thing")
    second.add("x", "thing")
    first.link("friend", "thing", second.add("y", "thing"))
    first.link("nobody", "thing", None)
    return root


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/", "/"),
        ("/b/y", "/b/y"),
        ("//b//y/", "/b/y"),
        ("y", "/b/y"),
        ("b/x", "/b/x"),
        ("/a/friend", "/b/y"),
        ("friend", "/b/y"),
    ],
)
def test_a_path_leads_to_the_one_object_it_fits(root: Object, path: str, found: str) -> None:
    assert qom.find(root, path).path == found


@pytest.mark.parametrize("path", ["/y", "z", "/a/nobody", "/a/x/type", "a/y"])
def test_a_path_that_fits_nowhere_finds_no_device(root: Object, path: str) -> None:
    assert qom.resolve(root, path) is None
    with pytest.raises(QmpError, match=f"Device '{path}' not found") as caught:
        qom.find(root, path)
    assert caught.value.error_class == "DeviceNotFound"


@pytest.mark.parametrize("path", ["x", ""])
def test_a_partial_path_that_fits_twice_is_ambiguous(root: Object, path: str) -> None:
    with pytest.raises(qom.Ambiguous):
        qom.resolve(root, path)


def test_children_and_links_are_properties_that_tell_a_path(root: Object) -> None:
    listed = dict(qom.find(root, "/a").listed())
    assert listed == {
        "type": "string",
        "friend": "link<thing>",
        "nobody": "link<thing>",
        "x": "child<thing>",
    }
    values = [qom.find(root, "/a").get(name) for name in ("type", "friend", "nobody", "x")]
    assert values == ["container", "/b/y", "", "/a/x"]


def test_what_has_no_setter_cannot_be_set(root: Object) -> None:
    stored: list[object] = []
    root.properties["free"] = Property("any", lambda: None, stored.append)
    root.set("free", 5)
    assert stored == [5]
    for name in ("type", "a"):
        with pytest.raises(QmpError, match=f"Property 'container.{name}' is not writable"):
            root.set(name, "x")
    with pytest.raises(QmpError, match=r"Property 'container\.zz' not found"):
        root.set("zz", "x")


def test_a_type_is_all_that_its_ancestors_are_and_implement() -> None:
    assert [kind.name for kind in types.ancestors("chardev-memory")] == [
        *("chardev-memory", "chardev-ringbuf", "chardev", "object")
    ]
    assert types.is_a("memory-backend-file", "user-creatable")
    assert not types.is_a("memory-region", "user-creatable")


def test_every_parent_and_interface_is_a_type() -> None:
    named = {kind.parent for kind in types.TYPES.values() if kind.parent is not None}
    named.update(name for kind in types.TYPES.values() for name in kind.interfaces)
    assert named <= types.TYPES.keys()


def test_cpus_fill_a_socket_before_the_next() -> None:
    topology = Topology(8, 12, sockets=2, dies=2, cores=3)
    assert topology.told(4) == {"socket-id": 0, "die-id": 1, "core-id": 1, "thread-id": 0}
    # Three cores need two bits, so the numbers have gaps.
    assert [topology.apic_id(index) for index in range(8)] == [0, 1, 2, 4, 5, 6, 8, 9]


def test_an_io_thread_is_a_thread_of_the_host_until_it_is_closed() -> None:
    thread = IOThread({"id": "t"}, named=False)
    assert thread.thread_id > 0
    thread.close()


def test_pool_limits_that_do_not_fit_are_refused_and_kept() -> None:
    """As QEMU does: the wish is noted before the pool is changed."""
    thread = IOThread({"id": "t"}, named=False)
    with pytest.raises(QmpError, match="bad thread-pool-min/thread-pool-max values"):
        thread.set("thread-pool-min", 70)
    assert thread.parameters["thread-pool-min"] == 70
    thread.close()


@pytest.mark.parametrize(
    ("encoded", "plain"),
    [("YWJj", b"abc"), ("YWI=", b"ab"), ("YW\nI", b"ab"), ("", b""), ("Y", b""), ("====", b"")],
)
def test_a_secret_in_base64_is_decoded_leniently(encoded: str, plain: bytes) -> None:
    assert Secret({"id": "s", "data": encoded, "format": "base64"}, {}).content == plain
