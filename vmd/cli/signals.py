"""SIGTERM, SIGINT and SIGHUP as requests to end, with who sent them.

QEMU names the sender on stderr; only a thread in sigwaitinfo learns it. Observed from os-posix.c.
"""

from __future__ import annotations

import _thread
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

WATCHED = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


class SignalWatch:
    """Blocks the signals in the process and waits for them in a thread of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._old = signal.pthread_sigmask(signal.SIG_SETMASK, ())
        signal.pthread_sigmask(signal.SIG_SETMASK, self._old)

    def start(self, tell: Callable[[str], None]) -> None:
        """Call `tell` on the loop with what QEMU prints, once for each signal."""
        self._old = signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)

        def wait() -> None:
            while True:
                info = signal.sigwaitinfo(WATCHED)
                self._loop.call_soon_threadsafe(tell, describe(info.si_signo, info.si_pid))

        # threading.Thread.start would wait until the thread has had its first turn.
        _thread.start_new_thread(wait, ())

    def stop(self) -> None:
        """The process ends: a further signal may end it at once."""
        signal.pthread_sigmask(signal.SIG_SETMASK, self._old)


def describe(number: int, pid: int) -> str:
    """`terminating on signal 15 from pid 123 (name)`; a tty's Ctrl-C has no sender."""
    text = f"terminating on signal {number}"
    if not pid:
        return text
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            name = file.read().split(b"\0")[0].decode(errors="replace")
    except OSError:
        name = ""
    return f"{text} from pid {pid} ({name or '<unknown process>'})"
