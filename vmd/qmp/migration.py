"""Commands of migration.json."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from vmd.migration.controller import Asker

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from monitor.server import QmpMonitor
    from vmd.machine import Machine


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
    return dict(machine.migration.options.parameters)


def query_migrate(machine: Machine) -> dict[str, object]:
    return machine.migration.query()


HANDLERS = {
    "migrate-continue": migrate_continue,
    "migrate-set-capabilities": migrate_set_capabilities,
    "migrate-set-parameters": migrate_set_parameters,
    "migrate_cancel": migrate_cancel,
    "query-migrate": query_migrate,
    "query-migrate-capabilities": query_migrate_capabilities,
    "query-migrate-parameters": query_migrate_parameters,
}
MONITOR_HANDLERS = {
    "migrate": migrate,
    "migrate-incoming": migrate_incoming,
}
