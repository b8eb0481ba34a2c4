"""Every capability and every parameter: both ends of ranges, other types, pairs, modes."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

from tests.differential.scenes import NONE, leave, settle

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage

CAPABILITIES = (
    *(
        "xbzrle",
        "rdma-pin-all",
        "auto-converge",
        "zero-blocks",
        "events",
        "x-colo",
        "release-ram",
        "return-path",
    ),
    *("pause-before-switchover", "late-block-activate", "x-ignore-shared", "validate-uuid"),
    *("switchover-ack", "dirty-limit", "mapped-ram"),
)
PARAMETERS: dict[str, tuple[object, ...]] = {
    "announce-initial": (100_000, 100_001),
    "announce-max": (100_000, 100_001),
    "announce-rounds": (1000, 1001),
    "announce-step": (0, 10_000, 10_001),
    "throttle-trigger-threshold": (0, 100, 101),
    "cpu-throttle-initial": (0, 99, 100),
    "cpu-throttle-increment": (0, 99, 100),
    "cpu-throttle-tailslow": ("on", 1),
    "max-cpu-throttle": (19, 20, 99, 100),
    "max-bandwidth": (0, 1 << 63, (1 << 64) - 1),
    "avail-switchover-bandwidth": (0, 1 << 63, (1 << 64) - 1),
    "downtime-limit": (2_000_000, 2_000_001),
    "x-checkpoint-delay": (0, (1 << 32) - 1),
    "zero-page-detection": ("none", "legacy", "multifd", "both", ""),
    "xbzrle-cache-size": (0, 4095, 4096, 4097, 1 << 62, 1 << 63),
    "x-vcpu-dirty-limit-period": (0, 1000, 1001),
    "vcpu-dirty-limit": (0, 1 << 63, (1 << 64) - 1),
    "mode": ("normal", "cpr-reboot", "fast", ""),
    "direct-io": (False, "off"),
}
"""Values at the ends of what each takes, beside those of `OTHERS`."""

OTHERS = (1, -1, 256, 1 << 32, 1 << 64, -(1 << 63), -(1 << 63) - 1, 1.5, "1", True, None, [], {})
WRONG = {
    "announce-initial": 100_001,
    "announce-max": 100_001,
    "announce-rounds": 1001,
    "announce-step": 0,
    "throttle-trigger-threshold": 0,
    "cpu-throttle-initial": 0,
    "cpu-throttle-increment": 0,
    "max-cpu-throttle": 100,
    "downtime-limit": 2_000_001,
    "xbzrle-cache-size": 5000,
    "x-vcpu-dirty-limit-period": 0,
    "vcpu-dirty-limit": 0,
}


def _set(machine: Machine, states: dict[str, bool]) -> str:
    """What comes of it: an empty text, or why not."""
    told = [{"capability": name, "state": state} for name, state in states.items()]
    arguments = {"capabilities": told}
    answer = machine.qmp.execute("migrate-set-capabilities", arguments, quietly=True)
    return str(answer.get("desc", ""))


def _none(machine: Machine) -> None:
    assert _set(machine, dict.fromkeys(CAPABILITIES, False)) == ""


def every_pair_of_capabilities(stage: Stage) -> None:
    machine = stage.start(NONE)
    for one in CAPABILITIES:
        stage.note(f"{one}: {_set(machine, {one: True})}")
        _none(machine)
    for pair in combinations(CAPABILITIES, 2):
        together = _set(machine, dict.fromkeys(pair, True))
        _none(machine)
        for first, second in (pair, pair[::-1]):
            _set(machine, {first: True})
            after = _set(machine, {second: True})
            _none(machine)
            if together or after:
                stage.note(f"{first}, {second}: {together} / {after}")
    leave(machine)


def every_capability_typed(stage: Stage) -> None:
    machine = stage.start(NONE, human="pipe")
    for name in CAPABILITIES:
        machine.human.type(f"migrate_set_capability {name} on")
        machine.human.type(f"migrate_set_capability {name} off")
    machine.human.type("migrate_set_capability zero-blocks on")
    machine.human.type("migrate_set_capability dirty-limit on")
    machine.qmp.execute(
        "human-monitor-command", {"command-line": "migrate_set_capability events on"}
    )
    leave(machine)


def every_capability_in_every_mode(stage: Stage) -> None:
    for mode in ("normal", "cpr-reboot"):
        machine = stage.start(NONE)
        machine.qmp.execute("migrate-set-parameters", {"mode": mode})
        for name in CAPABILITIES:
            if name in ("dirty-limit", "pause-before-switchover", "switchover-ack"):
                continue  # cannot be, or somebody is waited for
            stage.note(f"# {name}")
            assert _set(machine, {"events": True, name: True}) == ""
            answer = machine.qmp.execute("migrate", {"uri": "file:vm.state"})
            if "desc" not in answer:
                settle(machine, "failed" if name == "return-path" else "completed")
                machine.qmp.execute("query-migrate", view=_outcome)
                machine.qmp.execute("cont")
            _none(machine)
        leave(machine)


def _outcome(told: dict[str, Any]) -> tuple[object, object]:
    return told["status"], told.get("error-desc")


def every_parameter_at_its_ends(stage: Stage) -> None:
    machine = stage.start(NONE)

    def attempt(name: str, value: object) -> None:
        answer = machine.qmp.execute("migrate-set-parameters", {name: value}, quietly=True)
        now = machine.qmp.execute("query-migrate-parameters", quietly=True)[name]
        stage.note(f"{name} {value!r}: {answer.get('desc', now)}")

    for name, values in PARAMETERS.items():
        default: Any = machine.qmp.execute("query-migrate-parameters", quietly=True)[name]
        for value in (*values, *OTHERS):
            attempt(name, value)
        attempt(name, default)
    leave(machine)


def which_of_two_wrong_parameters_is_named(stage: Stage) -> None:
    machine = stage.start(NONE)
    for one, other in combinations(WRONG, 2):
        both = {one: WRONG[one], other: WRONG[other]}
        answer = machine.qmp.execute("migrate-set-parameters", both, quietly=True)
        stage.note(f"{one}, {other}: {answer['desc']}")
    leave(machine)


def every_parameter_typed(stage: Stage) -> None:
    machine = stage.start(NONE, human="pipe")
    for name, values in PARAMETERS.items():
        shown = (f"{value:d}" if isinstance(value, bool) else value for value in values)
        for value in (*shown, "-1", "1k", "1.5", "0x10", "010", "x", "on", "1s"):
            if value != "":
                machine.human.type(f"migrate_set_parameter {name} {value}")
    machine.qmp.execute(
        "query-migrate-parameters",
        view=lambda told: {name: told[name] for name in sorted(PARAMETERS)},
    )
    leave(machine)


def capabilities_and_limits_given_as_globals(stage: Stage) -> None:
    for option in (
        "x-dirty-limit=on",
        "x-release-ram=maybe",
        "x-dirty-limit=on -global migration.x-auto-converge=on",
        "x-zero-blocks=on -global migration.x-dirty-limit=on",
        "x-vcpu-dirty-limit-period=0",
        "x-vcpu-dirty-limit-period=1001",
        "x-vcpu-dirty-limit-period=x",
        "x-vcpu-dirty-limit-period=-1",
        "x-downtime-limit=1k",
        "x-downtime-limit=",
        "vcpu-dirty-limit=0",
        "x-vcpu-dirty-limit=7",
        "zero-blocks=on",
        "release-ram=on",
        "colo=on",
        "x-colo=maybe",
        "checkpoint-delay=5",
        "x-checkpoint-delay=-1",
        "x-checkpoint-delay=1k",
        "x-checkpoint-delay=4294967296",
    ):
        stage.refused(f"{NONE} -global migration.{option}")
    options = (
        *("x-zero-blocks=on", "x-release-ram=on", "x-rdma-pin-all=on"),
        *("x-colo=on", "x-checkpoint-delay=7"),
        *("x-vcpu-dirty-limit-period=010", "vcpu-dirty-limit=-1", "x-downtime-limit=0x10"),
    )
    machine = stage.start(f"{NONE} {' '.join(f'-global migration.{o}' for o in options)}")
    machine.qmp.execute("query-migrate-capabilities", optional=True)
    machine.qmp.execute("query-migrate-parameters", optional=True)
    leave(machine)
