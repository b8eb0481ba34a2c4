"""A live update of the host's software, with a domain whose memory stays where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.clients.libvirt.conftest import CONSOLE

if TYPE_CHECKING:
    from tests.clients.libvirt.conftest import MakeDomain
    from tests.clients.libvirt.host import Host

MEMFD = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"
FILE = "<memoryBacking><source type='file'/><access mode='shared'/></memoryBacking>"
CPR_REBOOT = {"mode": "cpr-reboot"}
IGNORE_SHARED = [{"capability": "x-ignore-shared", "state": True}]


@pytest.mark.parametrize("backing", [MEMFD, FILE], ids=["memfd", "file"])
def test_a_domain_with_shared_memory_is_saved_and_restored(
    host: Host, domain: MakeDomain, backing: str
) -> None:
    subject = domain(elements=backing)
    subject.does("start")
    path = host.directory / f"{subject.name}.saved"
    subject.does("save", str(path))
    assert subject.state == "shut off (saved)"
    host.virsh("restore", str(path))
    assert subject.state == "running (restored)"
    subject.does("managedsave")
    subject.does("start")
    assert subject.state == "running (restored)"
    assert subject.asks("query-memdev")[0]["share"] is True


def test_a_host_is_updated_under_a_domain(host: Host, domain: MakeDomain) -> None:
    """The session of QEMU's live update, played through libvirt's way to the monitor."""
    memory, state = (host.directory / f"update.{end}" for end in ("ram", "state"))
    memory.unlink(missing_ok=True)
    backend = f"memory-backend-file,id=ram0,size=64M,mem-path={memory},share=on"
    own = ("-object", backend, "-machine", "memory-backend=ram0")
    subject = domain(arguments=own)
    subject.does("start")
    before = subject.asks("query-uuid")
    subject.asks("migrate-set-capabilities", capabilities=IGNORE_SHARED)
    subject.asks("migrate-set-parameters", **CPR_REBOOT)
    subject.asks("migrate", uri=f"file:{state}")
    while subject.asks("query-migrate").get("status") != "completed":
        pass
    assert subject.asks("query-status")["status"] == "postmigrate"
    assert state.stat().st_size < 1 << 20, "the memory was left where it is"
    subject.does("destroy")

    # The host has been updated; its domain comes back.
    subject.define(arguments=(*own, "-incoming", "defer"))
    subject.does("start")
    assert subject.asks("query-status")["status"] == "inmigrate"
    subject.asks("migrate-set-capabilities", capabilities=IGNORE_SHARED)
    subject.asks("migrate-set-parameters", **CPR_REBOOT)
    subject.asks("migrate-incoming", uri=f"file:{state}")
    host.until(lambda: subject.state.startswith("running"), "it goes on")
    assert subject.asks("query-uuid") == before


def test_its_guest_goes_on_where_it_was(host: Host, on_vmd: MakeDomain) -> None:
    said = host.directory / "guest.log"
    subject = on_vmd(
        f"<serial type='file'><source path='{said}' append='on'/></serial>{CONSOLE}",
        elements=FILE,
        arguments=("-vmd", "guest=counter,interval=1"),
    )
    subject.does("start")
    subject.does("managedsave")
    last = int(said.read_text().split()[-1])
    subject.does("start", "--paused")
    subject.does("resume")
    subject.does("suspend")
    numbers = [int(line.split()[1]) for line in said.read_text().splitlines()]
    assert last in numbers
    assert numbers == list(range(1, len(numbers) + 1)), "no number is left out, none comes twice"
