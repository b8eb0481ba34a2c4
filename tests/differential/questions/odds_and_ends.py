"""What else a management layer asks, and mostly gets an empty answer to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.differential.scenes import NONE, leave

if TYPE_CHECKING:
    from tests.differential.stage import Stage


def jobs(stage: Stage) -> None:
    machine = stage.start(NONE)
    machine.qmp.execute("query-jobs")
    leave(machine)


def statistics(stage: Stage) -> None:
    machine = stage.start("-machine pc -nodefaults -accel tcg -S")
    providers = [{"provider": "kvm", "names": ["x"]}]
    for target in ("vm", "vcpu", "cryptodev", "zz"):
        machine.qmp.execute("query-stats", {"target": target})
        machine.qmp.execute("query-stats", {"target": target, "providers": providers})
    machine.qmp.execute("query-stats", {"target": "vcpu", "vcpus": ["/x"]})
    machine.qmp.execute("query-stats", {"target": "vm", "vcpus": ["/x"]})
    machine.qmp.execute("query-stats-schemas", {"provider": "kvm"})
    machine.qmp.execute("query-stats-schemas", optional=True)
    leave(machine)


def the_watchdogs_action(stage: Stage) -> None:
    machine = stage.start(NONE)
    for action in ("none", "inject-nmi", "bogus"):
        machine.qmp.execute("watchdog-set-action", {"action": action})
    leave(machine)
