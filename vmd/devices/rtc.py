"""The real-time clock of a PC: what it shows, and the object that it is.

Observed from system/rtc.c and hw/rtc/mc146818rtc.c. It goes with the host's clock, or with the
guest's time (`-rtc clock=vm`), and begins at `-rtc base=`; a guest may set it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmd.devices import catalog
from vmd.devices.bus import Device
from vmd.devices.qom import Property

if TYPE_CHECKING:
    from vmd.devices.plugging import Devices
    from vmd.machine import Machine

TYPE = "mc146818rtc"
_NS = 1_000_000_000
_LAST = 253402300799  # seconds: the end of the year 9999
_MAX_INT64 = (1 << 63) - 1


def bridge_path(machine: Machine) -> str:
    """Where the bridge is that it belongs to."""
    clock = machine.kvm is not None  # KVM's own is in front
    return f"/machine/unattached/device[{machine.cpus + clock + machine.board.rtc_place}]"


def set_ahead(machine: Machine, seconds: int) -> None:
    """The guest sets it to so many seconds ahead of the host's."""
    machine.rtc_offset = seconds
    path = f"{bridge_path(machine)}/rtc"
    machine.events.emit("RTC_CHANGE", {"offset": min(seconds, _MAX_INT64), "qom-path": path})


def date(machine: Machine) -> dict[str, int]:
    """What it shows, as C's struct tm: months from 0, years from 1900."""
    from datetime import UTC, datetime, timedelta

    now = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=_seconds(machine))
    return {
        "tm_year": now.year - 1900,
        "tm_mon": now.month - 1,
        "tm_mday": now.day,
        "tm_hour": now.hour,
        "tm_min": now.minute,
        "tm_sec": now.second,
    }


def _seconds(machine: Machine) -> int:
    """Seconds since the epoch, by this clock."""
    base, clock, _ = machine.rtc
    wall = machine.clock.wall_ns()
    if machine.rtc_offset is not None:
        return min(wall // _NS + machine.rtc_offset, _LAST)
    start = machine.born_ns
    passed = machine.guest_time.now_ns() if clock == "vm" else wall - start
    return (_base_ns(base, start) + passed) // _NS


def _base_ns(base: str, start: int) -> int:
    """What it showed at the start."""
    if base == "utc":
        return start
    if base == "localtime":
        from vmd.clock import local_offset_s

        return start + local_offset_s(start) * _NS
    from datetime import UTC, datetime

    return int(datetime.fromisoformat(base).replace(tzinfo=UTC).timestamp()) * _NS


def plug(devices: Devices, bridge: Device) -> None:
    """Put it on the bus of its bridge."""
    kind = catalog.find(TYPE)
    assert kind is not None
    clock = Device(kind, None, f"{bridge.path}/rtc", bridge.buses[0])
    machine = devices.machine
    devices.set_defaults(clock)
    clock.values["base_year"] = 0  # the board's wish
    if machine.rtc[2] == "slew":
        clock.values["lost_tick_policy"] = "slew"
    clock.own = {"date": Property("struct tm", lambda: date(machine))}
    bridge.buses[0].devices.append(clock)
