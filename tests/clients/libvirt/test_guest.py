"""What guests do of their own accord, and what libvirt makes of it.

On real QEMU nobody lives who would; there as here the human monitor writes to the guest's ports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.clients.libvirt.conftest import CONSOLE
from tests.clients.libvirt.host import VirshError

if TYPE_CHECKING:
    from tests.clients.libvirt.conftest import MakeDomain
    from tests.clients.libvirt.host import Host

PANIC = f"{CONSOLE}<panic model='isa'/>"
REBOOT, PANICS = "o /b 0xcf9 6", "o /b 0x505 1"
POWER_OFF, SLEEP = "o /h 0x604 0x2000", "o /h 0x604 0x2400"


def test_a_guest_that_reboots_goes_on(domain: MakeDomain) -> None:
    subject = domain()
    subject.does("start")
    number = subject.does("domid")
    subject.types(REBOOT)
    assert subject.state == "running (booted)"
    assert subject.does("domid") == number


def test_a_guest_whose_reboot_ends_it_is_destroyed(domain: MakeDomain) -> None:
    subject = domain(elements="<on_reboot>destroy</on_reboot>")
    subject.does("start")
    subject.ends_by(REBOOT)
    subject.becomes("shut off (shutdown)")


def test_a_guest_powers_off(domain: MakeDomain) -> None:
    subject = domain()
    subject.does("start")
    subject.has_booted()
    subject.ends_by(POWER_OFF)
    subject.becomes("shut off (shutdown)")


def test_a_guest_that_shall_begin_anew_does(domain: MakeDomain) -> None:
    subject = domain(elements="<on_poweroff>restart</on_poweroff>")
    subject.does("start")
    subject.has_booted()
    subject.ends_by(POWER_OFF)
    subject.becomes("running (booted)")
    assert subject.asks("query-status")["running"]


def test_a_guest_sleeps_and_is_woken(domain: MakeDomain) -> None:
    subject = domain()
    subject.does("start")
    subject.has_booted()
    subject.types(SLEEP)
    subject.becomes("pmsuspended (unknown)")
    with pytest.raises(VirshError):
        subject.does("resume")
    subject.does("dompmwakeup")
    subject.becomes("running (event wakeup)")


@pytest.mark.parametrize(
    ("action", "state"),
    [
        ("destroy", "shut off (crashed)"),
        ("preserve", "crashed (panicked)"),
        ("restart", "running (crashed)"),
        ("coredump-destroy", "shut off (crashed)"),
        ("coredump-restart", "running (crashed)"),
    ],
)
def test_a_guest_panics(host: Host, domain: MakeDomain, action: str, state: str) -> None:
    subject = domain(PANIC, elements=f"<on_crash>{action}</on_crash>")
    subject.does("start")
    subject.ends_by(PANICS)
    subject.becomes(state)
    dumps = [*(host.directory / "lib" / "qemu" / "dump").glob(f"*{subject.name}*")]
    assert bool(dumps) == action.startswith("coredump")


# Where somebody lives


def test_it_shuts_down_and_reboots_when_it_is_asked(on_vmd: MakeDomain) -> None:
    subject = on_vmd()
    subject.does("start")
    subject.does("reboot")
    subject.becomes("running (booted)")
    subject.does("shutdown")
    subject.becomes("shut off (shutdown)")


def test_it_takes_its_time_to_shut_down(on_vmd: MakeDomain) -> None:
    hour, moment = (
        on_vmd(arguments=("-vmd", f"guest=idle,powerdown={time}")) for time in (3_600_000, 1)
    )
    for subject in (hour, moment):
        subject.does("start")
        subject.does("shutdown")
    moment.becomes("shut off (shutdown)")
    assert hour.state == "running (booted)"


def test_a_libvirtd_that_is_killed_meanwhile_learns_how_it_ended(
    host: Host, on_vmd: MakeDomain
) -> None:
    subject = on_vmd(arguments=("-vmd", "guest=idle,powerdown=3000"))
    subject.does("start")
    subject.does("shutdown")
    host.restart_libvirtd()
    subject.becomes("shut off (shutdown)")


def test_it_may_ignore_the_power_button(on_vmd: MakeDomain) -> None:
    subject = on_vmd(arguments=("-vmd", "guest=counter,powerdown=ignore"))
    subject.does("start")
    subject.does("shutdown")
    subject.does("setmem", "32M", "--live")
    smaller = "actual 32768"
    subject.host.until(lambda: smaller in subject.does("dommemstat"), "the guest listens")
    assert subject.state == "running (booted)"


def test_it_panics_after_a_while(on_vmd: MakeDomain) -> None:
    subject = on_vmd(
        PANIC,
        elements="<on_crash>preserve</on_crash>",
        arguments=("-vmd", "guest=counter,panic-after=100"),
    )
    subject.does("start")
    subject.becomes("crashed (panicked)")
    subject.does("reset")
    subject.does("destroy")


def test_the_guest_gives_memory_back(on_vmd: MakeDomain) -> None:
    subject = on_vmd()
    subject.does("start")
    subject.does("setmem", "32M", "--live")
    smaller = "actual 32768"
    subject.host.until(lambda: smaller in subject.does("dommemstat"), "the guest follows")


def test_the_guest_tells_how_its_memory_is_used(on_vmd: MakeDomain) -> None:
    subject = on_vmd(f"{CONSOLE}<memballoon model='virtio'><stats period='1'/></memballoon>")
    subject.does("start")
    told = dict(line.split() for line in subject.does("dommemstat").splitlines())
    assert told["available"] == "65536" and told["unused"] == "65532"
    assert told["swap_in"] == told["major_fault"] == "0"
