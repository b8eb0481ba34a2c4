"""What a guest program is, and the ones there are.

A program is pure: given RAM and one tick it changes RAM and says what it wants done (bytes on the
serial line, suspend). When it ticks and who carries out its wishes is `vmd.guest.guest`'s affair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from qapi.error import QmpError
from vmd.guest import ram as state
from vmd.guest.ram import PAGE, add_one_to_pages
from vmd.options import parse_boolean, parse_number, parse_option_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vmd.guest.ram import GuestRam

MS = 1_000_000
SECOND = 1_000_000_000


class Wish(NamedTuple):
    """What a program wants of the machine after a tick.

    `rtc_offset`: seconds by which its real-time clock, as it has set it, is ahead of the host's.
    `watchdog_ns`: what it tells its watchdog, the time that it may be silent from now on.
    """

    serial: bytes = b""
    suspend: bool = False
    rtc_offset: int | None = None
    watchdog_ns: int | None = None


NOTHING = Wish()


class Program(Protocol):
    """One kind of guest. `options` name what `-vmd guest=NAME,…` may set, with a word on each.

    One that `has_drivers` listens to its machine: to the power button, its balloon, its console.
    """

    name: str
    options: Mapping[str, str]
    has_drivers: bool
    restarts_on_wakeup: bool

    def words(self, options: Mapping[str, str], ram_size: int) -> tuple[int, ...]:
        """The registers to begin with; QmpError if an option or the RAM does not fit."""
        ...

    def boot(self, ram: GuestRam, words: Sequence[int]) -> Wish:
        """Start from scratch in this RAM, with these registers."""
        ...

    def interval_ns(self, ram: GuestRam) -> int | None:
        """Time between two ticks; None for a program that never ticks."""
        ...

    def tick(self, ram: GuestRam) -> Wish:
        """Live on for one interval."""
        ...

    def memory_in_use(self, ram: GuestRam) -> int:
        """Bytes that it works with, its own page included."""
        ...


def _number(options: Mapping[str, str], key: str, default: int) -> int:
    return parse_number(key, options[key]) if key in options else default


def _size(options: Mapping[str, str], key: str, default: int) -> int:
    return parse_option_size(key, options[key]) if key in options else default


class Idle:
    """A guest that does nothing, but is there and listens."""

    name = "idle"
    options: Mapping[str, str] = {}
    has_drivers = True
    restarts_on_wakeup = False

    def words(self, options: Mapping[str, str], ram_size: int) -> tuple[int, ...]:
        return ()

    def boot(self, ram: GuestRam, words: Sequence[int]) -> Wish:
        state.sign(ram, self.name, words)
        return NOTHING

    def interval_ns(self, ram: GuestRam) -> int | None:
        return None

    def tick(self, ram: GuestRam) -> Wish:
        return NOTHING

    def memory_in_use(self, ram: GuestRam) -> int:
        return PAGE


class Counter:
    """Counts in RAM and says each number on the serial line: `count 17`.

    Registers: count, interval in ns, the count at which it suspends itself (0: never), seconds by
    which it sets its clock ahead each time (0: it does not), seconds that it gives its watchdog at
    the start and with each number (0: none), the count at which it hangs (0: never).
    """

    name = "counter"
    options: Mapping[str, str] = {
        "interval": "milliseconds between two numbers (100)",
        "suspend-at": "the number at which it goes to sleep, on pc and q35 (0: never)",
        "rtc-step": "seconds by which it sets its clock ahead with each number, on pc and q35 (0)",
        "watchdog": "seconds that it gives the watchdog device with each number (0: none)",
        "hang-at": "the number at which it hangs and says no more (0: never)",
    }
    has_drivers = True
    restarts_on_wakeup = False

    def words(self, options: Mapping[str, str], ram_size: int) -> tuple[int, ...]:
        interval = max(_number(options, "interval", 100), 1) * MS
        others = ("suspend-at", "rtc-step", "watchdog", "hang-at")
        return 0, interval, *(_number(options, name, 0) for name in others)

    def boot(self, ram: GuestRam, words: Sequence[int]) -> Wish:
        state.sign(ram, self.name, words)
        return Wish(watchdog_ns=_watchdog(words))

    def interval_ns(self, ram: GuestRam) -> int | None:
        words = state.load(ram)
        hangs = words[5] and words[0] >= words[5]
        return None if hangs else max(words[1], MS)

    def tick(self, ram: GuestRam) -> Wish:
        words = state.load(ram)
        words[0] += 1
        state.store(ram, words)
        offset = words[0] * words[3] if words[3] else None
        said = b"count %d\r\n" % words[0]
        return Wish(said, words[0] == words[2], offset, _watchdog(words))

    def memory_in_use(self, ram: GuestRam) -> int:
        return PAGE


def _watchdog(words: Sequence[int]) -> int | None:
    return words[4] * SECOND or None


class Dirty:
    """Writes pages round and round over a range, so that live migration has work.

    Registers: next page, first page, end page, pages a second, and what is left of a page's time
    in ns·pages. Each write adds one to the page's first byte.
    """

    name = "dirty"
    options: Mapping[str, str] = {
        "rate": "bytes a second, a whole page for each 4 KiB (16M)",
        "start": "first byte of the range (1M)",
        "size": "bytes in the range (all RAM behind start)",
    }
    has_drivers = True
    restarts_on_wakeup = False
    interval = 10 * MS

    def words(self, options: Mapping[str, str], ram_size: int) -> tuple[int, ...]:
        first = _size(options, "start", 1 << 20) // PAGE
        end = min(ram_size // PAGE, first + _size(options, "size", ram_size) // PAGE)
        if first < 1 or end <= first:
            raise QmpError("guest 'dirty' needs a range of pages inside RAM, above the first page")
        return first, first, end, _size(options, "rate", 16 << 20) // PAGE, 0

    def boot(self, ram: GuestRam, words: Sequence[int]) -> Wish:
        state.sign(ram, self.name, words)
        return NOTHING

    def interval_ns(self, ram: GuestRam) -> int | None:
        return self.interval

    def tick(self, ram: GuestRam) -> Wish:
        page, first, end, rate, rest = state.load(ram)[:5]
        # Registers are RAM, and RAM may hold anything: keep them inside their range.
        end = min(end, ram.size // PAGE)
        if not 1 <= first < end:
            return NOTHING
        page = page if first <= page < end else first
        due, rest = divmod(rate * self.interval + rest % SECOND, SECOND)
        count = min(due, end - first)
        head = min(count, end - page)
        add_one_to_pages(ram, page * PAGE, (page + head) * PAGE)
        add_one_to_pages(ram, first * PAGE, (first + count - head) * PAGE)
        page = page + head if count == head else first + count - head
        state.store(ram, (page, first, end, rate, rest))
        return NOTHING

    def memory_in_use(self, ram: GuestRam) -> int:
        _, first, end = state.load(ram)[:3]
        return PAGE + max(min(end, ram.size // PAGE) - first, 0) * PAGE


class AB:
    """Behaves like the boot block of QEMU's migration tests.

    `A`, then for ever: one sweep over [1 MiB, 100 MiB) adding 1 to the first byte of each page; a
    `B` after every 64 sweeps. With `suspend=on` it suspends once, after the first `B`, and starts
    over when woken. Registers: sweeps since the last B, whether to suspend.
    """

    name = "ab"
    options: Mapping[str, str] = {
        "suspend": "on: sleep once after the first B, on pc and q35 (off)"
    }
    has_drivers = False
    restarts_on_wakeup = True
    start, end = 1 << 20, 100 << 20
    sweeps = 64
    sweeps_a_tick = 8
    suspend_flag = 0x7CBE
    suspended_mark = (1 << 20) + 4

    def words(self, options: Mapping[str, str], ram_size: int) -> tuple[int, ...]:
        if ram_size < self.start + PAGE:
            raise QmpError("guest 'ab' needs more than 1 MiB of RAM")
        return 0, parse_boolean("suspend", options.get("suspend", "off"))

    def boot(self, ram: GuestRam, words: Sequence[int]) -> Wish:
        wants_suspend = words[1] & 1
        state.sign(ram, self.name, (0, wants_suspend))
        ram.write(self.suspend_flag, bytes((wants_suspend,)))
        end = min(self.end, ram.size // PAGE * PAGE)
        ram.view[self.start : end : PAGE] = bytes((end - self.start) // PAGE)
        ram.mark(self.start, end - self.start)
        return Wish(b"A")

    def interval_ns(self, ram: GuestRam) -> int | None:
        return 16 * MS

    def tick(self, ram: GuestRam) -> Wish:
        done, wants_suspend = state.load(ram)[:2]
        spoken = b""
        for _ in range(self.sweeps_a_tick):
            add_one_to_pages(ram, self.start, min(self.end, ram.size // PAGE * PAGE))
            done += 1
            if done >= self.sweeps:
                done, spoken = 0, b"B"
        state.store(ram, (done, wants_suspend))
        suspend = bool(spoken) and self._wants_suspend(ram)
        return Wish(spoken, suspend)

    def memory_in_use(self, ram: GuestRam) -> int:
        return min(self.end, ram.size)

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
