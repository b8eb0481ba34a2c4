"""The QMP desk: what each command does to the machine. One module a schema file.

Each module has a table HANDLERS (command name → function of the machine and the arguments) and, if
some of its commands must know who asks, MONITOR_HANDLERS (the asking monitor is the second
argument). A module is imported when one of its commands is first asked for: most starts need few.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from monitor.registry import Handler, QmpRegistry

if TYPE_CHECKING:
    from collections.abc import Callable

    from qapi.schema import Schema
    from vmd.qmp.misc import RunLine


class _Handlers(Mapping[str, Handler]):
    """The tables of one name in all modules, as one. `made` are handlers that must be made."""

    def __init__(
        self, schema: Schema, table: str, made: Mapping[str, Callable[[], Handler]]
    ) -> None:
        self._schema = schema
        self._table = table
        self._made = made

    def __getitem__(self, name: str) -> Handler:
        return self._made[name]() if name in self._made else self._of(name)[name]

    def __contains__(self, name: object) -> bool:
        return name in self._made or name in self._of(str(name))

    def __iter__(self) -> Iterator[str]:
        yield from self._made
        first = {entry.module: name for name, entry in self._schema.commands.items()}
        for name in first.values():
            yield from self._of(name)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _of(self, name: str) -> Mapping[str, Handler]:
        module = self._schema.commands[name].module.replace("-", "_")
        found: Mapping[str, Handler]
        found = getattr(importlib.import_module(f"vmd.qmp.{module}"), self._table, {})
        return found


def registry(
    schema: Schema, run_human_line: RunLine, *, check_returns: bool = False
) -> QmpRegistry:
    """All commands of the schema, joined with their handlers.

    `run_human_line(machine, line, cpu_index=…)` gives what the human monitor prints for a line.
    """

    def human_monitor_command() -> Handler:
        from vmd.qmp import misc

        return misc.human_monitor_command(run_human_line)

    handlers = _Handlers(schema, "HANDLERS", {})
    made = {"human-monitor-command": human_monitor_command}
    asking = _Handlers(schema, "MONITOR_HANDLERS", made)
    return QmpRegistry(schema, handlers, asking, check_returns=check_returns)
