"""The guest of one machine: which program lives in RAM, and when it lives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from qapi.error import QmpError
from vmd.guest import ram as state
from vmd.guest.program import PROGRAMS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vmd.clock import Clock, Timer
    from vmd.guest.console import Console
    from vmd.guest.life import Life
    from vmd.guest.program import Program, Wish
    from vmd.guest.ram import GuestRam
    from vmd.guest.time import GuestTime

DEFAULT_PROGRAM = "counter"


class GuestOptions:
    """What `-vmd guest=NAME[,…]` asked for; `named` is False when nothing was asked."""

    __slots__ = ("name", "named", "options")

    def __init__(self, name: str | None = None, options: Mapping[str, str] | None = None) -> None:
        self.name = name or DEFAULT_PROGRAM
        self.named = name is not None
        self.options = dict(options or {})
        if self.name not in PROGRAMS:
            raise QmpError(f"unknown guest program: {self.name}")


class Board(Protocol):
    """What a guest can do to the machine that it runs on."""

    @property
    def guest_time(self) -> GuestTime: ...
    def suspends(self) -> None: ...
    def resets(self) -> None: ...
    def powers_off(self) -> None: ...
    def panics(self) -> None: ...
    def sets_rtc(self, offset: int) -> None: ...
    def arms_watchdog(self, timeout_ns: int) -> None: ...


class Guest:
    """Runs at most one program in one RAM block; time passes for it only while it is started."""

    def __init__(
        self,
        ram: GuestRam | None,
        clock: Clock,
        board: Board,
        serial: Callable[[bytes], None],
        options: GuestOptions,
    ) -> None:
        self._ram = ram
        self._clock = clock
        self._board = board
        self._serial = serial
        self._options = options
        self._timer: Timer | None = None
        self._end_timer: Timer | None = None
        self._console: Console | None = None
        self._started = False
        self._halted = False
        self.throttle_percentage = self.brake_percentage = 0
        self.program: Program | None = None
        self._life: Life | None = None  # what was asked for beside the program's own
        self._words = self._judge(options)

    def _judge(self, options: GuestOptions) -> tuple[int, ...]:
        """The registers that the options ask for: what is wrong is said before anything runs."""
        program = PROGRAMS[options.name]
        for key in options.options:
            if key not in program.options:
                from vmd.guest import life

                if key not in life.OPTIONS:
                    raise QmpError(f"Invalid parameter '{key}'")
                self._life = life.judge(options.options)
        if not self._has_room:
            return ()
        assert self._ram is not None
        return program.words(options.options, self._ram.size)

    @property
    def _has_room(self) -> bool:
        return self._ram is not None and self._ram.size >= state.STATE_OFFSET + state.STATE_SIZE

    def boot(self) -> None:
        """Power on or reset: the chosen program starts from scratch."""
        if self._ram is None or not self._has_room:
            return
        self._halted = False
        self.program = PROGRAMS[self._options.name]
        self._obey(self.program.boot(self._ram, self._words))
        registers = bytes(state.LIFE_SIZE)
        if self._life is not None:
            registers = self._life._replace(booted=self._board.guest_time.now_ns()).pack()
        state.store_life(self._ram, registers)
        state.store_given_back(self._ram, 0)
        state.store_wish(self._ram, None)
        state.store_asked(self._ram, ())
        state.store_trays(self._ram, 0)
        self._console = None
        self._arrange()

    def halt(self) -> None:
        """Do nothing more, until a reset."""
        self._halted = True
        self.program = None
        self._arrange()

    def adopt(self) -> None:
        """RAM has arrived from elsewhere: go on with whoever lives in it.

        RAM without our signature belongs to a guest of real QEMU and is never touched, unless a
        program was asked for by name.
        """
        self.program = None
        if self._ram is None:
            return
        name = state.resident(self._ram)
        if name in PROGRAMS:
            self.program = PROGRAMS[name]
        elif self._options.named:
            self.boot()
        self._arrange()

    def reset(self) -> None:
        """The machine was reset: a guest of ours boots again, a foreign one stays untouched."""
        if self.program is not None or self._options.named or self._halted:
            given_back, wish = self.given_back, self.wish
            self.boot()
            self.gives_back(given_back)
            self.is_asked(wish)

    @property
    def given_back(self) -> int:
        """How many bytes it has given back; this travels with its RAM."""
        if self._ram is None or self.program is None:
            return 0
        return state.load_given_back(self._ram)

    def gives_back(self, count: int) -> None:
        """It has so many bytes less than there are."""
        if self._ram is not None and self.program is not None:
            state.store_given_back(self._ram, count)

    @property
    def wish(self) -> int | None:
        """How many bytes its balloon asks it to have given back, if it has not yet done so."""
        if self._ram is None or self.program is None:
            return None
        return state.load_wish(self._ram)

    def is_asked(self, count: int | None) -> None:
        """Its balloon asks for that; None: for nothing any more."""
        if self._ram is not None and self.program is not None and count != self.wish:
            state.store_wish(self._ram, count)

    @property
    def asked_for(self) -> list[bytes]:
        """The slots that it is asked to give up, and has not yet given up."""
        if self._ram is None or self.program is None:
            return []
        return state.load_asked(self._ram)

    def is_asked_for(self, slots: Sequence[bytes]) -> None:
        """These, and no others."""
        if self._ram is not None and self.program is not None and slots != self.asked_for:
            state.store_asked(self._ram, slots)

    @property
    def open_trays(self) -> int:
        """Which of its machine's trays it knows to be open, a bit for each."""
        if self._ram is None or self.program is None:
            return 0
        return state.load_trays(self._ram)

    def sees_trays(self, bits: int) -> None:
        """These are open, and no others."""
        if self._ram is not None and self.program is not None and bits != self.open_trays:
            state.store_trays(self._ram, bits)

    def start(self) -> None:
        """Let time pass for the guest."""
        self._started = True
        self._arrange()

    def stop(self) -> None:
        """Stand still. Nothing in RAM changes until `start`."""
        self._started = False
        self._arrange()

    def throttle(self, percentage: int) -> None:
        """Take so much of its time away (0 to 99): it does less, and each thing whole."""
        if percentage != self.throttle_percentage:
            self.throttle_percentage = percentage
            self._arrange()

    def brake(self, percentage: int) -> None:
        """Likewise, besides, for filling a dirty ring too fast."""
        if percentage != self.brake_percentage:
            self.brake_percentage = percentage
            self._arrange()

    @property
    def restarts_on_wakeup(self) -> bool:
        """Whether waking from suspend makes this guest begin anew."""
        return self.program is not None and self.program.restarts_on_wakeup

    def restart(self) -> None:
        """Begin anew, with RAM kept as it is."""
        if self.program is not None and self._ram is not None:
            self._obey(self.program.boot(self._ram, state.load(self._ram)))

    @property
    def listens(self) -> bool:
        """Whether it runs, and has drivers for what its machine may ask of it."""
        return self._started and self.program is not None and self.program.has_drivers

    @property
    def memory_in_use(self) -> int:
        """Bytes that the guest would tell it has taken for itself."""
        if self.program is None or self._ram is None:
            return 0
        return self.program.memory_in_use(self._ram)

    def press_power_button(self) -> None:
        """A guest that listens shuts down, and takes its time for it."""
        if self.listens and self._ram is not None:
            own = self._registers(self._ram)
            if own.answers_powerdown and not own.pressed:
                pressed = self._board.guest_time.now_ns() + 1
                state.store_life(self._ram, own._replace(pressed=pressed).pack())
                self._arrange_end()

    def _registers(self, ram: GuestRam) -> Life:
        from vmd.guest import life

        return life.unpack(state.load_life(ram))

    def hear(self, data: bytes) -> None:
        """Something is typed on the serial line."""
        if not self.listens:
            return
        if self._console is None:
            from vmd.guest.console import Console

            self._console = Console()
        shown, words = self._console.hear(data)
        if shown:
            self._serial(shown)
        for word in words:
            self._do(word)

    def _do(self, deed: str) -> None:
        """What the guest does to its machine of its own accord."""
        if deed == "panic":
            self._board.panics()
        elif deed == "reboot":
            self._board.resets()
        elif deed == "suspend":
            self._board.suspends()
        else:
            self._board.powers_off()

    def _arrange(self) -> None:
        self._arrange_tick()
        self._arrange_end()

    def _arrange_tick(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._started and self.program is not None and self._ram is not None:
            interval = self.program.interval_ns(self._ram)
            if interval is not None:
                runs = (100 - self.throttle_percentage) * (100 - self.brake_percentage)
                stretched = interval * 10_000 // runs
                self._timer = self._clock.call_later(stretched, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self.program is not None and self._ram is not None:
            wish = self.program.tick(self._ram)
            self._arrange_tick()
            self._obey(wish)

    def _arrange_end(self) -> None:
        """What the guest will do to its machine next is due at a moment of its time."""
        if self._end_timer is not None:
            self._end_timer.cancel()
            self._end_timer = None
        if self._started and self.program is not None and self._ram is not None:
            due = self._registers(self._ram).next() if any(state.load_life(self._ram)) else None
            if due is not None:
                moment, deed = due
                delay = max(moment - self._board.guest_time.now_ns(), 0)
                self._end_timer = self._clock.call_later(delay, lambda: self._comes_due(deed))

    def _comes_due(self, deed: str) -> None:
        """Once: the register is cleared, unless a boot fills it again."""
        self._end_timer = None
        if self.program is not None and self._ram is not None:
            own = self._registers(self._ram)
            done = {f"{deed}_after": 0} | ({"pressed": 0} if deed == "poweroff" else {})
            state.store_life(self._ram, own._replace(**done).pack())
            self._arrange_end()
            self._do(deed)

    def _obey(self, wish: Wish) -> None:
        if wish.serial:
            self._serial(wish.serial)
        if wish.rtc_offset is not None:
            self._board.sets_rtc(wish.rtc_offset)
        if wish.watchdog_ns is not None:
            self._board.arms_watchdog(wish.watchdog_ns)
        if wish.suspend:
            self._board.suspends()
