"""What a guest program is, and the ones there are.

A program is pure: given RAM and one tick it changes RAM and says what it wants done (bytes on the
serial line, suspend). When it ticks and who carries out its wishes is `vmd.guest.guest`'s affair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from qapi.error import QmpError
from qapi.size import parse_size
from vmd.guest import ram as state
from vmd.guest.ram import PAGE, add_one_to_pages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmd.guest.ram import GuestRam

MS = 1_000_000


class Wish(NamedTuple):
    """What a program wants of the machine after a tick."""

    serial: bytes = b""
    suspend: bool = False


NOTHING = Wish()


class Program(Protocol):
    """One kind of guest. `options` are what `-vmd guest=NAME,…` gave, as text."""

    name: str
    answers_powerdown: bool
    restarts_on_wakeup: bool

    def boot(self, ram: GuestRam, options: Mapping[str, str]) -> Wish:
        """Start from scratch in this RAM."""
        ...

    def interval_ns(self, ram: GuestRam) -> int | None:
        """Time between two ticks; None for a program that never ticks."""
        ...

    def tick(self, ram: GuestRam) -> Wish:
        """Live on for one interval."""
        ...


def take_number(options: Mapping[str, str], key: str, default: int) -> int:
    """An option's value as a size or count (suffixes allowed)."""
    if key not in options:
        return default
    value, error = parse_size(options[key])
    if error is not None:
        raise QmpError(f"Parameter '{key}' expects a size")
    return value


def check_options(program: str, options: Mapping[str, str], known: tuple[str, ...]) -> None:
    """Refuse an option that the program does not have."""
    for key in options:
        if key not in known:
            raise QmpError(f"Invalid parameter '{key}' for guest '{program}'")


class Idle:
    """A guest that does nothing, but is there: it answers the power button."""

    name = "idle"
    answers_powerdown = True
    restarts_on_wakeup = False
    options = ()

    def boot(self, ram: GuestRam, options: Mapping[str, str]) -> Wish:
        check_options(self.name, options, self.options)
        state.sign(ram, self.name, ())
        return NOTHING

    def interval_ns(self, ram: GuestRam) -> int | None:
        return None

    def tick(self, ram: GuestRam) -> Wish:
        return NOTHING


class Counter:
    """Counts in RAM and says each number on the serial line: `count 17`.

    Registers: count, interval in ns, the count at which it suspends itself (0: never).
    """

    name = "counter"
    answers_powerdown = True
    restarts_on_wakeup = False
    options = ("interval", "suspend-at")

    def boot(self, ram: GuestRam, options: Mapping[str, str]) -> Wish:
        check_options(self.name, options, self.options)
        interval = max(take_number(options, "interval", 100), 1) * MS
        state.sign(ram, self.name, (0, interval, take_number(options, "suspend-at", 0)))
        return NOTHING

    def interval_ns(self, ram: GuestRam) -> int | None:
        return max(state.load(ram)[1], MS)

    def tick(self, ram: GuestRam) -> Wish:
        words = state.load(ram)
        words[0] += 1
        state.store(ram, words)
        return Wish(b"count %d\r\n" % words[0], suspend=words[0] == words[2])


class Dirty:
    """Writes pages round and round over a range, so that live migration has work.

    Registers: next page, first page, end page, pages a tick. Each write adds one to the page's
    first byte.
    """

    name = "dirty"
    answers_powerdown = True
    restarts_on_wakeup = False
    options = ("rate", "start", "size")
    interval = 10 * MS

    def boot(self, ram: GuestRam, options: Mapping[str, str]) -> Wish:
        """`rate` is in bytes a second, `start` and `size` in bytes of RAM."""
        check_options(self.name, options, self.options)
        first = take_number(options, "start", 1 << 20) // PAGE
        last = ram.size // PAGE
        size = take_number(options, "size", ram.size) // PAGE
        end = min(last, first + size)
        if first < 1 or end <= first:
            raise QmpError("guest 'dirty' needs a range of pages inside RAM, above the first page")
        per_second = take_number(options, "rate", 16 << 20) // PAGE
        a_tick = max(per_second * self.interval // 1_000_000_000, 1)
        state.sign(ram, self.name, (first, first, end, a_tick))
        return NOTHING

    def interval_ns(self, ram: GuestRam) -> int | None:
        return self.interval

    def tick(self, ram: GuestRam) -> Wish:
        page, first, end, count = state.load(ram)[:4]
        # Registers are RAM, and RAM may hold anything: keep them inside their range.
        end = min(end, ram.size // PAGE)
        if not 1 <= first < end:
            return NOTHING
        page = page if first <= page < end else first
        count = min(count, end - first)
        head = min(count, end - page)
        add_one_to_pages(ram, page * PAGE, (page + head) * PAGE)
        add_one_to_pages(ram, first * PAGE, (first + count - head) * PAGE)
        page = page + head if count == head else first + count - head
        state.store(ram, (page, first, end, count))
        return NOTHING


class AB:
    """Behaves like the boot block of QEMU's migration tests.

    `A`, then for ever: one sweep over [1 MiB, 100 MiB) adding 1 to the first byte of each page; a
    `B` after every 64 sweeps. With `suspend=on` it suspends once, after the first `B`, and starts
    over when woken. Registers: sweeps since the last B.
    """

    name = "ab"
    answers_powerdown = False
    restarts_on_wakeup = True
    options = ("suspend",)
    start, end = 1 << 20, 100 << 20
    sweeps = 64
    sweeps_a_tick = 8
    suspend_flag = 0x7CBE
    suspended_mark = (1 << 20) + 4

    def boot(self, ram: GuestRam, options: Mapping[str, str]) -> Wish:
        check_options(self.name, options, self.options)
        if ram.size < self.start + PAGE:
            raise QmpError("guest 'ab' needs more than 1 MiB of RAM")
        state.sign(ram, self.name, (0,))
        if options:
            ram.write(self.suspend_flag, bytes([options["suspend"] == "on"]))
        end = min(self.end, ram.size // PAGE * PAGE)
        ram.view[self.start : end : PAGE] = bytes((end - self.start) // PAGE)
        ram.mark(self.start, end - self.start)
        return Wish(b"A")

    def interval_ns(self, ram: GuestRam) -> int | None:
        return 16 * MS

    def tick(self, ram: GuestRam) -> Wish:
        done = state.load(ram)[0]
        spoken = b""
        for _ in range(self.sweeps_a_tick):
            add_one_to_pages(ram, self.start, min(self.end, ram.size // PAGE * PAGE))
            done += 1
            if done >= self.sweeps:
                done, spoken = 0, b"B"
        state.store(ram, (done,))
        suspend = bool(spoken) and self._wants_suspend(ram)
        return Wish(spoken, suspend)

    def _wants_suspend(self, ram: GuestRam) -> bool:
        if ram.read(self.suspend_flag, 1) != b"\1":
            return False
        if ram.read(self.suspended_mark, 4) == b"\1\0\0\0":
            return False
        ram.write(self.suspended_mark, b"\1\0\0\0")
        return True


PROGRAMS: dict[str, Program] = {
    program.name: program for program in (Idle(), Counter(), Dirty(), AB())
}
"""By the name that `-vmd guest=NAME` takes. A new program is one entry here."""
