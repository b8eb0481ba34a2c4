"""Announcements: after a migration each network device tells the switches where it is now.

A round sends one RARP frame a device; the first at once, each further one a little later than the
one before it. Real time counts, also while the guest stands still. Observed from net/announce.c.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from vmd.clock import Timer
    from vmd.devices.network import Nic
    from vmd.machine import Machine

MS = 1_000_000
OWN = None  # the announcement of a migration, that no command can name
_BROADCAST = b"\xff" * 6
_RARP = b"\x80\x35"
_REVERSE_REQUEST = b"\x00\x01\x08\x00\x06\x04\x00\x03"  # of an Ethernet address for an IPv4 one
_FRAME = 60


class Pace(NamedTuple):
    """How many rounds, and how long (ms) between them: `step` more each time, at most `longest`."""

    initial: int
    longest: int
    rounds: int
    step: int

    def pause_ms(self, done: int) -> int:
        """How long it is until the next round after so many."""
        pause = self.initial + (done - 1) * self.step
        return pause if 0 <= pause <= self.longest else self.longest


class Announcements:
    """Those under way on one machine; a new one replaces another of the same name."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._timers: dict[str | None, Timer] = {}

    def begin(
        self, name: str | None, pace: Pace, interfaces: Collection[str] | None = None
    ) -> None:
        """Announce at this pace; `interfaces`: only these devices. No round at all ends it."""
        waiting = self._timers.pop(name, None)
        if waiting is not None:
            waiting.cancel()
        self._trace_end(name if waiting is not None else None, is_over=False)
        if pace.rounds:
            self._round(name, pace, interfaces, 1)
        else:
            self._trace_end(name, is_over=True)

    def abandon(self) -> None:
        """Nobody is told anything any more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _round(
        self, name: str | None, pace: Pace, interfaces: Collection[str] | None, number: int
    ) -> None:
        self._timers.pop(name, None)
        for nic in self._machine.networks.nics():
            skip = interfaces is not None and nic.name not in interfaces
            label = "_" if name is None else name
            self._machine.tracer.emit(
                "qemu_announce_self_iter", f"{label}:{nic.name}:{_address(nic)} skip: {skip:d}"
            )
            if not skip:
                _send(nic)
        if number == pace.rounds:
            self._trace_end(name, is_over=True)
            return
        self._timers[name] = self._machine.clock.call_later(
            pace.pause_ms(number) * MS, lambda: self._round(name, pace, interfaces, number + 1)
        )

    def _trace_end(self, name: str | None, *, is_over: bool) -> None:
        named = is_over and name is not None
        text = f"free named: {is_over:d} free timer: {named:d} id: "
        self._machine.tracer.emit(
            "qemu_announce_timer_del", text + ("(null)" if name is None else name)
        )


def of_migration(options: Mapping[str, object]) -> Pace:
    """The pace that the parameters of migration say."""
    names = ("announce-initial", "announce-max", "announce-rounds", "announce-step")
    return Pace(*(int(str(options[name])) for name in names))


def frame(mac: str) -> bytes:
    """The frame that says where `mac` is."""
    address = bytes.fromhex(mac.replace(":", ""))
    question = _REVERSE_REQUEST + (address + bytes(4)) * 2
    return (_BROADCAST + address + _RARP + question).ljust(_FRAME, b"\0")


def _send(nic: Nic) -> None:
    """Out of the device, into an interface of the host's if there is one behind it."""
    tap = nic.peer
    if tap is None or not tap.fds or not tap.link or not nic.device.place.get("link", True):
        return
    with contextlib.suppress(OSError):  # a full queue loses frames, as any network does
        os.write(tap.fds[0], tap.header + frame(_address(nic)))


def _address(nic: Nic) -> str:
    return nic.mac.lower().replace("-", ":")
