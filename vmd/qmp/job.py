"""Commands of job.json: background jobs, whatever made them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmd.machine import Machine


def query_jobs(machine: Machine) -> list[dict[str, object]]:
    return machine.jobs.describe()


def job_pause(machine: Machine, id: str) -> None:
    machine.jobs.find(id).pause()


def job_resume(machine: Machine, id: str) -> None:
    machine.jobs.find(id).resume()


def job_cancel(machine: Machine, id: str) -> None:
    machine.jobs.find(id).cancel()


def job_complete(machine: Machine, id: str) -> None:
    machine.jobs.find(id).complete()


def job_dismiss(machine: Machine, id: str) -> None:
    machine.jobs.dismiss(id)


def job_finalize(machine: Machine, id: str) -> None:
    machine.jobs.find(id).finalize()


HANDLERS = {
    "job-cancel": job_cancel,
    "job-complete": job_complete,
    "job-dismiss": job_dismiss,
    "job-finalize": job_finalize,
    "job-pause": job_pause,
    "job-resume": job_resume,
    "query-jobs": query_jobs,
}
