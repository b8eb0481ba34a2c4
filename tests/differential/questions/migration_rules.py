"""What migration allows: capabilities, parameters, modes, blockers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.differential.scenes import PRIVATE, capabilities, leave, ram_full_of_data, settle

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage

SLOW = {"max-bandwidth": 4096, "downtime-limit": 0}


def _slowly(stage: Stage, *names: str) -> Machine:
    """A machine in the middle of a migration that does not end by itself."""
    ram_full_of_data(stage)
    machine = stage.start(PRIVATE)
    capabilities(machine, "events", *names)
    machine.qmp.execute("migrate-set-parameters", SLOW)
    machine.qmp.execute("migrate", {"uri": "file:vm.state"})
    machine.qmp.wait("MIGRATION", status="active")
    return machine


def a_dump_cannot_begin_during_a_migration(stage: Stage) -> None:
    machine = _slowly(stage)
    machine.qmp.execute("dump-guest-memory", {"paging": False, "protocol": "file:core"})
    machine.qmp.execute("query-dump")
    stage.note(f"# a core file: {stage.file('core').exists()}")
    machine.qmp.execute("migrate_cancel")
    settle(machine, "cancelled")
    machine.qmp.execute("dump-guest-memory", {"paging": False, "protocol": "file:core"})
    machine.qmp.execute("query-migrate")
    leave(machine)
