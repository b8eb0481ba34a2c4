"""Guest programs in RAM of their own, under a held clock."""

import pytest

from qapi.error import QmpError
from vmd.clock import HeldClock
from vmd.guest.guest import Guest, GuestOptions
from vmd.guest.program import PROGRAMS
from vmd.guest.ram import resident
from vmd.guest.time import GuestTime
from vmd.memory import RamBlock

MS = 1_000_000
MIB = 1 << 20


class Board:
    def __init__(self, clock: HeldClock) -> None:
        self.suspended = 0
        self.rtc_offsets: list[int] = []
        self.deeds: list[str] = []
        self.guest_time = GuestTime(clock)

    def suspends(self) -> None:
        self.suspended += 1

    def resets(self) -> None:
        self.deeds.append("reboot")

    def powers_off(self) -> None:
        self.deeds.append("poweroff")

    def panics(self) -> None:
        self.deeds.append("panic")

    def sets_rtc(self, offset: int) -> None:
        self.rtc_offsets.append(offset)

    def arms_watchdog(self, timeout_ns: int) -> None:
        pass


class Stage:
    """A guest with its RAM, clock and what it said."""

    def __init__(
        self, name: str | None = None, ram: RamBlock | None = None, **options: str
    ) -> None:
        self.clock = HeldClock()
        self.board = Board(self.clock)
        self.said = b""
        self.ram = ram if ram is not None else RamBlock.anonymous("ram", 4 * MIB)
        self.guest = Guest(self.ram, self.clock, self.board, self.hear, GuestOptions(name, options))

    def hear(self, data: bytes) -> None:
        self.said += data

    def boot(self) -> "Stage":
        self.guest.boot()
        self.go_on()
        return self

    def go_on(self) -> None:
        self.board.guest_time.start()
        self.guest.start()

    def hold(self) -> None:
        self.guest.stop()
        self.board.guest_time.stop()


def test_the_counter_speaks_each_number_it_has_counted() -> None:
    stage = Stage("counter").boot()
    stage.clock.advance(350 * MS)
    assert stage.said == b"count 1\r\ncount 2\r\ncount 3\r\n"


def test_the_counter_is_the_default() -> None:
    assert Stage().boot().guest.program is PROGRAMS["counter"]


def test_a_stopped_guest_stands_still() -> None:
    stage = Stage("counter").boot()
    stage.guest.stop()
    before = bytes(stage.ram.view)
    stage.clock.advance(1000 * MS)
    assert stage.said == b""
    assert bytes(stage.ram.view) == before


def test_a_guest_lives_on_in_another_machine_from_its_ram_alone() -> None:
    source = Stage("counter", interval="10").boot()
    source.clock.advance(70 * MS)
    ram = RamBlock.anonymous("ram", 4 * MIB)
    ram.write(0, bytes(source.ram.view))
    target = Stage(ram=ram)
    target.guest.adopt()
    target.guest.start()
    target.clock.advance(20 * MS)
    assert source.said.endswith(b"count 7\r\n")
    assert target.said == b"count 8\r\ncount 9\r\n"


def test_ram_without_a_signature_is_never_touched() -> None:
    ram = RamBlock.anonymous("ram", 4 * MIB)
    ram.write(0x7C00, b"a guest of real QEMU")
    before = bytes(ram.view)
    stage = Stage(ram=ram)
    stage.guest.adopt()
    stage.guest.start()
    stage.clock.advance(1000 * MS)
    stage.guest.reset()
    assert stage.guest.program is None
    assert bytes(ram.view) == before


def test_a_program_asked_for_by_name_moves_into_foreign_ram() -> None:
    stage = Stage("counter")
    stage.guest.adopt()
    stage.guest.start()
    stage.clock.advance(100 * MS)
    assert stage.said == b"count 1\r\n"


def test_a_signed_guest_goes_on_even_if_another_program_was_asked_for() -> None:
    source = Stage("counter").boot()
    target = Stage("idle", ram=source.ram)
    target.guest.adopt()
    assert target.guest.program is PROGRAMS["counter"]


def test_a_reset_lets_the_guest_boot_again() -> None:
    stage = Stage("counter").boot()
    stage.clock.advance(300 * MS)
    stage.guest.reset()
    stage.said = b""
    stage.clock.advance(100 * MS)
    assert stage.said == b"count 1\r\n"


def test_the_counter_suspends_itself_when_told_to() -> None:
    stage = Stage("counter", **{"suspend-at": "3"}).boot()
    stage.clock.advance(250 * MS)
    assert stage.board.suspended == 0
    stage.clock.advance(50 * MS)
    assert stage.board.suspended == 1


def test_the_counter_sets_its_clock_ahead_when_told_to() -> None:
    stage = Stage("counter", **{"rtc-step": "60"}).boot()
    stage.clock.advance(350 * MS)
    assert stage.board.rtc_offsets == [60, 120, 180]
    without = Stage("counter").boot()
    without.clock.advance(350 * MS)
    assert without.board.rtc_offsets == []


def test_dirty_writes_so_many_pages_and_goes_round() -> None:
    stage = Stage("dirty", start="1M", size="40k", rate="400k").boot()
    stage.clock.advance(130 * MS)
    firsts = [stage.ram.read(MIB + page * 4096, 1)[0] for page in range(11)]
    assert firsts == [2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 0]


def test_dirty_keeps_to_low_rates_and_to_none_at_all() -> None:
    slow, none = Stage("dirty", rate="8k").boot(), Stage("dirty", rate="0").boot()
    for stage in (slow, none):
        stage.clock.advance(1000 * MS)
    written = [
        sum(stage.ram.read(page, 1)[0] for page in range(MIB, 4 * MIB, 4096))
        for stage in (slow, none)
    ]
    assert written == [2, 0]


def test_dirty_marks_what_it_wrote_and_its_own_page() -> None:
    stage = Stage("dirty", start="1M", size="40k", rate="400k").boot()
    stage.ram.start_dirty_log()
    assert stage.ram.pending is not None
    stage.ram.pending.take(1 << 20)
    stage.clock.advance(30 * MS)
    assert stage.ram.sync_dirty() == 3 + 1


def test_ab_says_a_then_b_after_64_sweeps_that_leave_all_pages_equal() -> None:
    stage = Stage("ab", ram=RamBlock.anonymous("ram", 2 * MIB)).boot()
    assert stage.said == b"A"
    stage.clock.advance(8 * 16 * MS)
    assert stage.said == b"AB"
    assert {stage.ram.read(page, 1)[0] for page in range(MIB, 2 * MIB, 4096)} == {64}
    assert stage.ram.read(MIB + 1, 3) == b"\0\0\0"


def test_ab_suspends_once_and_starts_over_when_woken() -> None:
    stage = Stage("ab", suspend="on").boot()
    stage.clock.advance(8 * 16 * MS)
    assert (stage.said, stage.board.suspended) == (b"AB", 1)
    assert stage.guest.restarts_on_wakeup
    stage.guest.restart()
    stage.clock.advance(8 * 16 * MS)
    assert (stage.said, stage.board.suspended) == (b"ABAB", 1)


def test_ram_too_small_for_a_signature_has_no_guest() -> None:
    stage = Stage(ram=RamBlock.anonymous("ram", 4096))
    stage.guest.boot()
    assert resident(stage.ram) == "counter"
    nothing = Guest(None, stage.clock, stage.board, stage.hear, GuestOptions())
    nothing.boot()
    nothing.adopt()
    assert nothing.program is None


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("nobody", {}, "unknown guest program: nobody"),
        ("counter", {"speed": "1"}, "Invalid parameter 'speed'"),
        ("counter", {"interval": "x"}, "Parameter 'interval' expects a number"),
        ("dirty", {"rate": "fast"}, "Parameter 'rate' expects a non-negative number below 2\\^64"),
        ("ab", {"suspend": "yes!"}, "Parameter 'suspend' expects 'on' or 'off'"),
        ("dirty", {"start": "0"}, "needs a range of pages inside RAM"),
    ],
)
def test_a_bad_guest_option_is_told(name: str, options: dict[str, str], text: str) -> None:
    with pytest.raises(QmpError, match=text):
        Stage(name, **options)


@pytest.mark.parametrize("name", PROGRAMS)
def test_registers_full_of_garbage_harm_nobody(name: str) -> None:
    stage = Stage(name).boot()
    stage.ram.write(0x620, b"\xff" * 64)
    stage.guest.stop()
    stage.guest.adopt()
    stage.guest.start()
    stage.clock.advance(50 * MS)


# How its life goes on and ends


def test_the_power_button_is_answered_at_once() -> None:
    stage = Stage("idle").boot()
    stage.guest.press_power_button()
    stage.clock.advance(0)
    assert stage.board.deeds == ["poweroff"]


def test_a_guest_takes_its_time_to_shut_down() -> None:
    stage = Stage("idle", powerdown="500").boot()
    stage.guest.press_power_button()
    stage.clock.advance(300 * MS)
    stage.guest.press_power_button()
    stage.clock.advance(199 * MS)
    assert stage.board.deeds == []
    stage.clock.advance(1 * MS)
    assert stage.board.deeds == ["poweroff"]


def test_a_guest_that_is_held_meanwhile_shuts_down_later() -> None:
    stage = Stage("idle", powerdown="500").boot()
    stage.guest.press_power_button()
    stage.clock.advance(300 * MS)
    stage.hold()
    stage.clock.advance(1000 * MS)
    stage.go_on()
    stage.clock.advance(199 * MS)
    assert stage.board.deeds == []
    stage.clock.advance(1 * MS)
    assert stage.board.deeds == ["poweroff"]


def test_a_guest_may_ignore_the_power_button_and_still_listens() -> None:
    stage = Stage("idle", powerdown="ignore").boot()
    stage.guest.press_power_button()
    stage.clock.advance(10_000 * MS)
    assert stage.board.deeds == []
    assert stage.guest.listens


def test_a_shutdown_under_way_travels_with_ram() -> None:
    source = Stage("idle", powerdown="500").boot()
    source.guest.press_power_button()
    source.clock.advance(300 * MS)
    source.hold()
    target = Stage(ram=source.ram)
    target.board.guest_time.set_ns(source.board.guest_time.now_ns())
    target.guest.adopt()
    target.go_on()
    target.clock.advance(200 * MS)
    assert target.board.deeds == ["poweroff"]


@pytest.mark.parametrize("deed", ["panic", "reboot", "poweroff"])
def test_a_guest_does_what_was_asked_for_after_so_many_milliseconds(deed: str) -> None:
    stage = Stage("counter", **{f"{deed}-after": "250"}).boot()
    stage.clock.advance(249 * MS)
    assert stage.board.deeds == []
    stage.clock.advance(1000 * MS)
    assert stage.board.deeds == [deed]


def test_a_guest_that_boots_anew_does_it_again() -> None:
    stage = Stage("idle", **{"reboot-after": "100"}).boot()
    for times in (1, 2, 3):
        stage.clock.advance(100 * MS)
        assert stage.board.deeds == ["reboot"] * times
        stage.guest.reset()


@pytest.mark.parametrize("text", ["x", "-1", "0", "99999999999999999999"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(QmpError):
        Stage("idle", **{"panic-after": text})


def test_what_is_typed_is_shown_and_a_word_is_obeyed() -> None:
    stage = Stage("idle").boot()
    stage.guest.hear(b"pan")
    stage.guest.hear(b"x\x7fic\r")
    assert stage.said == b"panx\b \bic\r\n"
    assert stage.board.deeds == ["panic"]


def test_other_words_are_answered_with_those_that_it_knows() -> None:
    stage = Stage("idle").boot()
    stage.guest.hear(b"hello\n")
    assert stage.said == b"hello\r\nwords: panic poweroff reboot suspend\r\n"
    assert stage.board.deeds == []


def test_a_guest_that_has_panicked_hears_nothing_until_it_is_reset() -> None:
    stage = Stage("counter").boot()
    stage.guest.halt()
    stage.guest.hear(b"poweroff\n")
    stage.clock.advance(1000 * MS)
    assert (stage.said, stage.board.deeds) == (b"", [])
    stage.guest.reset()
    stage.clock.advance(100 * MS)
    assert stage.said == b"count 1\r\n"
