"""Who may run a command now: one at a time in the whole process, monitors in turn.

Imitates monitor/qmp.c's dispatcher, for human monitors too. A command that needs no waiting runs
within the call that brought its bytes: no task, no future. A long pipeline is cut into turns of the
event loop, measured by what was done and not by a clock.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from monitor.trace import Trace

Work = Coroutine[Any, Any, None]

# What one turn of the event loop may cost: a command costs 1, and 1 more for each 4 KiB that it
# answers. About 2 ms of cheap commands.
TURN = 128
BYTES_PER_UNIT = 4096


class Client(Protocol):
    """A monitor, as the dispatcher sees it."""

    def ready(self) -> bool:
        """Whether a command waits to be run."""

    def step(self) -> Work | None:
        """Run one command. What cannot end at once is returned; nothing else runs until it ends.

        Neither this nor the coroutine raises: the monitor tells its user.
        """

    def flush(self) -> None:
        """The turn is over: send what was held back."""


class Dispatcher:
    """Runs the commands of all monitors of a process.

    `preconfig`: set while the machine does not exist yet (QEMU's -preconfig); monitors then refuse
    most commands. `busy`: a command is running that waits for something. `stopped`: see stop().
    `trace`: the log that hears of what the monitors do. `held`: commands wait for release().
    """

    def __init__(
        self, *, preconfig: bool = False, held: bool = False, trace: Trace | None = None
    ) -> None:
        self.preconfig = preconfig
        self.held = held
        self._at_release: list[Callable[[], None]] = []
        self.trace = trace
        self.stopped = False
        self._waiting: deque[Client] = deque()
        self._queued: set[Client] = set()  # the same clients
        self._unflushed: dict[Client, None] = {}
        self._in_turn = False
        self._turn_scheduled = False
        self._cost = 0
        self._running: asyncio.Task[None] | None = None
        self._aside: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> bool:
        return self._running is not None

    def wake(self, client: Client) -> None:
        """A client has become ready. Its command is run before this returns, if none is ahead."""
        if self.stopped:
            return
        self._enqueue(client)
        if not (self._in_turn or self._turn_scheduled or self._running or self.held):
            self._turn()

    def release(self) -> None:
        """Begin with what waits."""
        self.held = False
        for call in self._at_release:
            call()
        self._at_release.clear()
        self._turn()

    def at_release(self, call: Callable[[], None]) -> None:
        """Have something called when the commands are let go."""
        self._at_release.append(call)

    def _enqueue(self, client: Client) -> None:
        if client not in self._queued:
            self._queued.add(client)
            self._waiting.append(client)

    def stop(self) -> None:
        """The process ends: what is running is finished and answered, nothing else is begun."""
        self.stopped = True
        self._waiting.clear()
        self._queued.clear()

    def charge(self, size: int) -> None:
        """A client has answered with so many bytes."""
        self._cost += size // BYTES_PER_UNIT

    def flush_later(self, client: Client) -> None:
        """Have the client flushed at the end of the turn; at once if there is none."""
        if self._in_turn:
            self._unflushed[client] = None
        else:
            client.flush()

    def spawn(self, work: Work) -> None:
        """Run something beside the commands (out-of-band execution, a prompt held)."""
        task = asyncio.get_running_loop().create_task(work)
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    def _turn(self) -> None:
        self._in_turn = True
        self._cost = 0
        try:
            while self._waiting and self._running is None:
                if self._cost >= TURN:
                    self._turn_scheduled = True
                    asyncio.get_running_loop().call_soon(self._next_turn)
                    break
                client = self._waiting.popleft()
                self._queued.discard(client)
                self._step(client)
        finally:
            self._in_turn = False
            self._flush()

    def _next_turn(self) -> None:
        self._turn_scheduled = False
        if self._running is None:
            self._turn()

    def _step(self, client: Client) -> None:
        if not client.ready():
            return
        self._cost += 1
        self._unflushed[client] = None
        work = client.step()
        if work is not None:
            self._running = asyncio.get_running_loop().create_task(self._wait(client, work))
        if client not in self._queued and client.ready():
            self.wake(client)

    async def _wait(self, client: Client, work: Work) -> None:
        try:
            await work
        finally:
            self._running = None
        self._unflushed[client] = None
        self._turn()

    def _flush(self) -> None:
        clients, self._unflushed = self._unflushed, {}
        for client in clients:
            client.flush()


def report_exception(where: str) -> None:
    """Show the exception being handled on stderr: a bug must not end the process."""
    import traceback

    print(f"unexpected error in {where}:", file=sys.stderr)
    traceback.print_exc()
