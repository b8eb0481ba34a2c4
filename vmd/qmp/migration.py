"""Commands of migration.json."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from qapi.error import QmpError
from vmd.migration.controller import Asker

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from monitor.server import QmpMonitor
    from vmd.machine import Machine


MS_IN = {"second": 1000, "millisecond": 1}
NO_DIRTY_RING = (
    "dirty page limit feature requires KVM with accelerator property 'dirty-ring-size' set'"
)


def migrate(
    machine: Machine,
    monitor: QmpMonitor,
    uri: str | None = None,
    channels: Sequence[Mapping[str, object]] | None = None,
    detach: bool = False,
    resume: bool = False,
) -> None:
    machine.migration.migrate(uri, channels, resume=resume, asker=_asker(machine, monitor))


def migrate_incoming(
    machine: Machine,
    monitor: QmpMonitor,
    uri: str | None = None,
    channels: Sequence[Mapping[str, object]] | None = None,
    exit_on_error: bool = True,
) -> Coroutine[Any, Any, None] | None:
    return machine.migration.migrate_incoming(
        uri, channels, exit_on_error=exit_on_error, asker=_asker(machine, monitor)
    )


def _asker(machine: Machine, monitor: QmpMonitor) -> Asker:
    return Asker(lambda name: monitor.fds.pop(name, None), machine.tell)


def migrate_cancel(machine: Machine) -> None:
    machine.migration.cancel()


def migrate_continue(machine: Machine, state: str) -> None:
    machine.migration.go_on(state)


def migrate_set_capabilities(
    machine: Machine, capabilities: Sequence[Mapping[str, object]]
) -> None:
    machine.migration.set_capabilities(
        [(cast("str", entry["capability"]), entry["state"] is True) for entry in capabilities],
        machine.tell,
    )


def query_migrate_capabilities(machine: Machine) -> list[dict[str, object]]:
    return [
        {"capability": name, "state": state}
        for name, state in machine.migration.options.capabilities.items()
    ]


def migrate_set_parameters(machine: Machine, **parameters: object) -> None:
    machine.migration.set_parameters(
        {name.replace("_", "-"): value for name, value in parameters.items()}
    )


def query_migrate_parameters(machine: Machine) -> dict[str, object]:
    parameters = machine.migration.options.parameters
    return {name: value for name, value in parameters.items() if value is not None}


def query_migrate(machine: Machine) -> dict[str, object]:
    return machine.migration.query()


def calc_dirty_rate(
    machine: Machine,
    calc_time: int,
    calc_time_unit: str = "second",
    sample_pages: int | None = None,
    mode: str = "page-sampling",
) -> None:
    machine.migration.dirty_rate.begin(calc_time * MS_IN[calc_time_unit], mode, sample_pages)


def query_dirty_rate(machine: Machine, calc_time_unit: str = "second") -> dict[str, object]:
    rate = machine.migration.dirty_rate
    measured = rate.status.value == "measured"
    told: dict[str, object] = {
        "status": rate.status.value,
        "start-time": rate.started_s,
        "calc-time": rate.period_ms // MS_IN[calc_time_unit],
        "calc-time-unit": calc_time_unit,
        "sample-pages": 0 if measured and rate.mode != "page-sampling" else rate.samples,
        "mode": rate.mode,
    }
    if measured:
        told["dirty-rate"] = rate.rate
        if rate.mode == "dirty-ring":
            told["vcpu-dirty-rate"] = [
                {"id": cpu, "dirty-rate": 0 if cpu else rate.rate}  # of ours only the first writes
                for cpu in range(machine.topology.cpus)
            ]
    return told


def set_vcpu_dirty_limit(machine: Machine, dirty_rate: int, cpu_index: int | None = None) -> None:
    if machine.dirty_limits is None:
        raise QmpError(NO_DIRTY_RING)
    machine.dirty_limits.check(cpu_index, migrating=machine.migration.under_way, deed="set")
    if dirty_rate:
        machine.dirty_limits.set(dirty_rate, cpu_index)
    else:
        machine.dirty_limits.cancel(cpu_index)


def cancel_vcpu_dirty_limit(machine: Machine, cpu_index: int | None = None) -> None:
    if machine.dirty_limits is not None:
        migrating = machine.migration.under_way
        machine.dirty_limits.check(cpu_index, migrating=migrating, deed="cancel")
        machine.dirty_limits.cancel(cpu_index)


def query_vcpu_dirty_limit(machine: Machine) -> list[dict[str, object]]:
    limits = machine.dirty_limits.query() if machine.dirty_limits is not None else []
    return [
        {"cpu-index": each.cpu, "limit-rate": each.limit, "current-rate": each.rate}
        for each in limits
    ]


def query_colo_status(machine: Machine) -> dict[str, object]:
    return machine.migration.colo_status()


def x_colo_lost_heartbeat(machine: Machine) -> Coroutine[Any, Any, None] | None:
    return machine.migration.lost_heartbeat()


def query_migrationthreads(machine: Machine) -> list[dict[str, object]]:
    return [{"name": name, "thread-id": number} for name, number in machine.migration.threads()]


HANDLERS = {
    "calc-dirty-rate": calc_dirty_rate,
    "cancel-vcpu-dirty-limit": cancel_vcpu_dirty_limit,
    "migrate-continue": migrate_continue,
    "migrate-set-capabilities": migrate_set_capabilities,
    "migrate-set-parameters": migrate_set_parameters,
    "migrate_cancel": migrate_cancel,
    "query-colo-status": query_colo_status,
    "query-dirty-rate": query_dirty_rate,
    "query-migrate": query_migrate,
    "query-migrate-capabilities": query_migrate_capabilities,
    "query-migrate-parameters": query_migrate_parameters,
    "query-migrationthreads": query_migrationthreads,
    "query-vcpu-dirty-limit": query_vcpu_dirty_limit,
    "set-vcpu-dirty-limit": set_vcpu_dirty_limit,
    "x-colo-lost-heartbeat": x_colo_lost_heartbeat,
}
MONITOR_HANDLERS = {
    "migrate": migrate,
    "migrate-incoming": migrate_incoming,
}
