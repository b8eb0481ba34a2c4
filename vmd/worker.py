"""One thread that does what would make the event loop wait: disk, and scanning RAM."""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import queue
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Worker:
    """Runs calls in order, one at a time. The thread starts with the first call.

    It is a daemon thread: a disk that never answers must not keep the process from ending.
    `thread_id` is the host's number for it, 0 while it does not run.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._runs = False
        self.thread_id = 0

    async def run(self, call: Callable[[], T]) -> T:
        """The result of `call()`, made in the thread; its exception is raised here."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def tell(result: T | None, error: BaseException | None) -> None:
            if done.cancelled():
                return
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(result)  # type: ignore[arg-type]

        def job() -> None:
            try:
                outcome: tuple[T | None, BaseException | None] = (call(), None)
            except BaseException as error:
                outcome = (None, error)
            # A loop that has closed meanwhile has nobody who waits.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(tell, *outcome)

        if not self._runs:
            # threading.Thread.start would wait until the thread has had its first turn.
            self._runs = True
            _thread.start_new_thread(self._serve, ())
        self._jobs.put(job)
        return await done

    def _serve(self) -> None:
        self.thread_id = _thread.get_native_id()
        while (job := self._jobs.get()) is not None:
            job()
        self.thread_id = 0

    def stop(self, last: Callable[[], None] | None = None) -> None:
        """Let the thread do what it was given, then `last`, and end. Nobody waits for that."""
        if self._runs:
            if last is not None:
                self._jobs.put(last)
            self._jobs.put(None)
            self._runs = False


async def in_a_thread(call: Callable[[], T]) -> T:
    """The result of one call, made in a thread of its own."""
    worker = Worker()
    try:
        return await worker.run(call)
    finally:
        worker.stop()
