"""`migrate` without -d: the prompt is held until the migration has ended.

Elsewhere than on the user's own terminal nothing is shown meanwhile, as in migration-hmp-cmds.c of
QEMU 10.0, which looks once a second. On that terminal a line tells how it goes, and Ctrl-C cancels
the migration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vmd.migration.state import MigrationStatus
from vmd.qmp import migration

if TYPE_CHECKING:
    from monitor.hmp import Hmp
    from vmd.machine import Machine

POLL_NS = 1_000_000_000
FRAME_NS = 200_000_000
HOLDS_PROMPT = (MigrationStatus.NONE, MigrationStatus.SETUP, MigrationStatus.ACTIVE)
# For somebody who looks it goes on to the very end. One that waits for migrate_continue does not.
UNDER_WAY = (*HOLDS_PROMPT, MigrationStatus.CANCELLING, MigrationStatus.DEVICE)


def hold_prompt(machine: Machine, hmp: Hmp) -> None:
    """Keep the prompt back while the migration that has just begun goes on."""
    if not hmp.watched:
        hmp.hold(_wait(machine))
        return

    def cancel() -> None:
        if machine.migration.status in UNDER_WAY:
            migration.migrate_cancel(machine)

    hmp.hold(_watch(machine, hmp), interrupt=cancel)


async def _wait(machine: Machine) -> None:
    """QEMU looks at once and then every second."""
    while machine.migration.status in HOLDS_PROMPT:
        await machine.clock.sleep(POLL_NS)
    _report(machine)


async def _watch(machine: Machine, hmp: Hmp) -> None:
    while machine.migration.status in UNDER_WAY:
        hmp.status(progress(migration.query_migrate(machine)))
        await machine.clock.sleep(FRAME_NS)
    hmp.status("")
    if machine.migration.status is MigrationStatus.CANCELLED:
        hmp.print("migration cancelled\n")
    _report(machine)


def _report(machine: Machine) -> None:
    info = migration.query_migrate(machine)
    if "error-desc" in info:
        machine.report(str(info["error-desc"]))


def progress(info: dict[str, Any]) -> str:
    """How it goes, in one line: what is done and left, how fast, and what it would cost to stop."""
    ram = info.get("ram")
    if not ram:
        return ""  # it has not begun, or is over
    total = ram["total"] or 1
    done = min(100 - 100 * ram["remaining"] // total, 100)
    parts = [
        f"{done}%",
        f"{size(ram['transferred'])} sent",
        f"{size(ram['remaining'])} left",
        f"{size(ram['mbps'] * 1e6 / 8)}/s",
        f"dirty {size(ram['dirty-pages-rate'] * ram['page-size'])}/s",
    ]
    if "expected-downtime" in info:
        parts.append(f"downtime {info['expected-downtime']} ms")
    return "  ".join(parts)


def size(count: float) -> str:
    """Bytes for a person: three digits and a unit."""
    units = ["B", "KiB", "MiB", "GiB", "TiB"]
    while count >= 1000 and len(units) > 1:
        count /= 1024
        units.pop(0)
    digits = 1 if count < 10 and units[0] != "B" else 0
    return f"{count:.{digits}f} {units[0]}"
