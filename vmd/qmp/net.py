"""Commands of net.json: network backends and cables."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.server import QmpMonitor
    from vmd.machine import Machine


def netdev_add(machine: Machine, monitor: QmpMonitor, **options: object) -> None:
    machine.networks.add(options, monitor.fds)


def netdev_del(machine: Machine, id: str) -> None:
    machine.networks.remove(id)


def set_link(machine: Machine, name: str, up: bool) -> None:
    from vmd.devices import network

    network.set_link(machine, name, up=up)


def announce_self(
    machine: Machine,
    initial: int,
    max: int,
    rounds: int,
    step: int,
    interfaces: Sequence[str] | None = None,
    id: str = "",
) -> None:
    from vmd.announce import Pace

    machine.announcements.begin(id, Pace(initial, max, rounds, step), interfaces)


HANDLERS = {"announce-self": announce_self, "netdev_del": netdev_del, "set_link": set_link}
MONITOR_HANDLERS = {"netdev_add": netdev_add}
