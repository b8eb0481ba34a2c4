"""Commands of control.json: versions, what there is, and the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmd.version import version_info

if TYPE_CHECKING:
    from monitor.server import QmpMonitor
    from vmd.machine import Machine


def query_version(machine: Machine) -> dict[str, object]:
    return version_info()


def query_commands(machine: Machine, monitor: QmpMonitor) -> list[dict[str, object]]:
    # QEMU lists the last one registered first: those without generated code come after the others.
    commands = monitor.registry.schema.commands
    special = [name for name in reversed(list(commands)) if not commands[name].gen]
    others = [name for name in reversed(list(commands)) if commands[name].gen]
    return [{"name": name} for name in [*special, *others]]


def quit_(machine: Machine) -> None:
    machine.quit()


HANDLERS = {"query-version": query_version, "quit": quit_}
MONITOR_HANDLERS = {"query-commands": query_commands}
