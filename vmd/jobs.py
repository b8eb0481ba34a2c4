"""Background jobs: the table of them, and where each stands.

Theory: a job is created, runs, and ends in one of two ways. Well: it waits for its transaction
(each of ours is alone in it), is pending until it is finalized, and concluded. Badly, or cancelled:
it aborts, and is concluded. A concluded job stays in the table with its outcome until somebody
dismisses it. TRANSITIONS says which steps exist, VERBS which of a client's wishes each state
accepts; both are QEMU's whole tables (observed from job.c), with the states of jobs that can be
halted or completed early.
"""

from __future__ import annotations

import asyncio
import re
from enum import Enum
from typing import TYPE_CHECKING

from qapi.error import QmpError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from vmd.events import EventBus

    Work = Callable[[], Awaitable[None]]
    """What a job does; QmpError if it fails."""


class JobStatus(Enum):
    """QEMU's JobStatus, in the order of its enum."""

    UNDEFINED = "undefined"
    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    READY = "ready"
    STANDBY = "standby"
    WAITING = "waiting"
    PENDING = "pending"
    ABORTING = "aborting"
    CONCLUDED = "concluded"
    NULL = "null"


def _row(names: str) -> frozenset[JobStatus]:
    return frozenset(JobStatus(name) for name in names.split())


TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.UNDEFINED: _row("created"),
    JobStatus.CREATED: _row("running aborting null"),
    JobStatus.RUNNING: _row("paused ready waiting aborting"),
    JobStatus.PAUSED: _row("running"),
    JobStatus.READY: _row("standby waiting aborting"),
    JobStatus.STANDBY: _row("ready"),
    JobStatus.WAITING: _row("pending aborting"),
    JobStatus.PENDING: _row("aborting concluded"),
    JobStatus.ABORTING: _row("aborting concluded"),
    JobStatus.CONCLUDED: _row("null"),
    JobStatus.NULL: _row(""),
}

_GOING = "created running paused ready standby"
VERBS: dict[str, frozenset[JobStatus]] = {
    "cancel": _row(f"{_GOING} waiting pending"),
    "pause": _row(_GOING),
    "resume": _row(_GOING),
    "complete": _row("ready standby"),
    "finalize": _row("pending"),
    "dismiss": _row("concluded"),
}


class Job:
    """One job. `kind` is one of the schema's JobType; progress is counted in steps."""

    def __init__(self, name: str, kind: str, events: EventBus) -> None:
        self.id = name
        self.kind = kind
        self.status = JobStatus.UNDEFINED
        self.error: str | None = None
        self.done = 0
        self.total = 1
        self._events = events
        self._paused_by_user = False
        self._cancelled = False
        self._task: asyncio.Task[None] | None = None
        self._become(JobStatus.CREATED)

    def describe(self) -> dict[str, object]:
        """The schema's JobInfo."""
        told: dict[str, object] = {
            "id": self.id,
            "type": self.kind,
            "status": self.status.value,
            "current-progress": self.done,
            "total-progress": self.total,
        }
        return told if self.error is None else {**told, "error": self.error}

    def start(self, begin: Callable[[], Work]) -> None:
        """Run it: `begin` at once, then the work that it gives. QmpError from either ends it."""
        self._become(JobStatus.RUNNING)
        try:
            work = begin()
        except QmpError as error:
            self._complete(error.desc)
            return
        self._task = asyncio.get_running_loop().create_task(self._run(work))

    async def _run(self, work: Work) -> None:
        error: str | None = None
        try:
            await work()
        except QmpError as failure:
            error = failure.desc
        except Exception as failure:  # a bug must not leave a job that never ends
            error = f"Internal error: {type(failure).__name__}: {failure}"
        if self.status is JobStatus.RUNNING:
            self._complete(error)

    # What clients wish.

    def pause(self) -> None:
        """Halt at the next opportunity. None of ours has one: like QEMU's they run to their end."""
        self._permit("pause")
        if self._paused_by_user:
            raise QmpError("Job is already paused")
        self._paused_by_user = True

    def resume(self) -> None:
        if not self._paused_by_user:
            raise QmpError("Can't resume a job that was not paused")
        self._permit("resume")
        self._paused_by_user = False

    def cancel(self) -> None:
        """What is under way is done; its outcome is that it was cancelled."""
        self._permit("cancel")
        self._paused_by_user = False
        self._cancelled = True

    def complete(self) -> None:
        """End a job that could go on for ever. None of ours could, so none is ever ready."""
        self._permit("complete")

    def finalize(self) -> None:
        self._permit("finalize")
        self._become(JobStatus.CONCLUDED)

    def dismiss(self) -> None:
        self._permit("dismiss")
        self._become(JobStatus.NULL)

    def abandon(self) -> None:
        """The process ends: nobody waits for what is under way, nobody will dismiss it."""
        if self.status is JobStatus.RUNNING:
            self._cancelled = True
            self._complete(None)
        self._become(JobStatus.NULL)

    # How it ends.

    def _complete(self, error: str | None) -> None:
        self.done = self.total
        if error is None and self._cancelled:
            error = "Operation canceled"
        self.error = error
        if error is None:
            self._become(JobStatus.WAITING)
            self._become(JobStatus.PENDING)
        else:
            self._become(JobStatus.ABORTING)
        self._become(JobStatus.CONCLUDED)

    def _permit(self, verb: str) -> None:
        if self.status not in VERBS[verb]:
            state = self.status.value
            text = f"Job '{self.id}' in state '{state}' cannot accept command verb '{verb}'"
            raise QmpError(text)

    def _become(self, new: JobStatus) -> None:
        assert new in TRANSITIONS[self.status], f"job {self.status.value} -> {new.value}"
        self.status = new
        self._events.emit("JOB_STATUS_CHANGE", {"id": self.id, "status": new.value})


class Jobs:
    """The jobs of a machine, the latest first."""

    def __init__(self, events: EventBus) -> None:
        self._events = events
        self._by_id: dict[str, Job] = {}

    def create(self, name: str, kind: str) -> Job:
        """A job that has not started; QmpError if it cannot have that name."""
        if re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*", name) is None:
            raise QmpError(f"Invalid job ID '{name}'")
        if name in self._by_id:
            raise QmpError(f"Job ID '{name}' already in use")
        job = Job(name, kind, self._events)
        self._by_id = {name: job, **self._by_id}
        return job

    def find(self, name: str) -> Job:
        """The job of that name; QmpError if there is none."""
        job = self._by_id.get(name)
        if job is None:
            raise QmpError("Job not found")
        return job

    def dismiss(self, name: str) -> None:
        self.find(name).dismiss()
        del self._by_id[name]

    def describe(self) -> list[dict[str, object]]:
        """The schema's JobInfo of each."""
        return [job.describe() for job in self._by_id.values()]

    def abandon(self) -> None:
        """The process ends, and they with it."""
        for job in self._by_id.values():
            job.abandon()
        self._by_id.clear()
