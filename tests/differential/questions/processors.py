"""CPUs that are plugged in while the machine runs. Without a guest none can be taken out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.differential.scenes import PC, Q35, leave

if TYPE_CHECKING:
    from tests.differential.stage import Stage

SMP = "-S -smp 2,maxcpus=4,sockets=2,cores=2,threads=1"
THIRD = {"socket-id": 1, "core-id": 0, "thread-id": 0}
FOURTH = {"socket-id": 1, "core-id": 1, "thread-id": 0}


def _threadless(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in e.items() if key != "thread-id"} for e in entries]


def cpus_that_are_plugged_in(stage: Stage) -> None:
    for board in (Q35, PC):
        machine = stage.start(f"{board} {SMP}")
        machine.qmp.execute("query-hotpluggable-cpus")
        cpu = {"driver": "qemu64-x86_64-cpu", "id": "c2"}
        machine.qmp.execute("device_add", cpu | THIRD)
        machine.qmp.execute("device_add", cpu | FOURTH)
        cpu = {"driver": "qemu64-x86_64-cpu", "id": "c3"}
        for wrong in (
            *({}, THIRD, {"socket-id": 1}, {"core-id": 1}, {"apic-id": 9}, {"apic-id": 0}),
            *(FOURTH | {"driver": "max-x86_64-cpu"}, FOURTH | {"driver": "x86_64-cpu"}),
            *(FOURTH | {"socket-id": 9}, FOURTH | {"core-id": 9}, FOURTH | {"thread-id": 1}),
            *(FOURTH | {"die-id": 1}, FOURTH | {"node-id": 1}, FOURTH | {"apic-id": 7}),
            *(FOURTH | {"zz": 1}, FOURTH | {"socket-id": "1"}, FOURTH | {"bus": "pcie.0"}),
            {"apic-id": 3, "core-id": 0},
        ):
            machine.qmp.execute("device_add", cpu | wrong)
        last = {"driver": "qemu64-x86_64-cpu", "lm": False}
        machine.qmp.execute("device_add", last | FOURTH)
        machine.qmp.execute("query-hotpluggable-cpus")
        machine.qmp.execute("query-cpus-fast", view=_threadless)
        for path in ("/machine/peripheral", "/machine/peripheral-anon"):
            machine.qmp.execute("qom-list", {"path": path})
        for path in ("/machine/peripheral/c2", "/machine/peripheral-anon/device[0]"):
            for name in ("apic-id", "core-id", "hotplugged", "hotpluggable", "lm", "parent_bus"):
                machine.qmp.execute("qom-get", {"path": path, "property": name})
        own = "/machine/unattached/device"
        for name in ("c2", "zz", f"{own}[0]", f"{own}[2]", "/machine/peripheral-anon/device[0]"):
            machine.qmp.execute("device_del", {"id": name})
        machine.qmp.execute("query-hotpluggable-cpus")
        leave(machine)


def cpus_on_the_command_line(stage: Stage) -> None:
    third = "qemu64-x86_64-cpu,id=c2,socket-id=1,core-id=0,thread-id=0"
    machine = stage.start(f"{Q35} {SMP} -device {third}")
    machine.qmp.execute("query-cpus-fast", view=_threadless)
    machine.qmp.execute("qom-get", {"path": "c2", "property": "hotplugged"})
    leave(machine)
    stage.refused(f"{Q35} {SMP} -device {third} -device {third.replace('c2', 'c3')}")
    stage.refused(f"{Q35} {SMP} -device qemu64-x86_64-cpu")


def who_listens(stage: Stage) -> None:
    """A guest has to open the port of a virtio console that is none."""
    lines = " ".join(f"-chardev null,id={name}" for name in "abcd")
    devices = "-device virtserialport,chardev=a,id=p -device virtconsole,chardev=b"
    machine = stage.start(f"{Q35} -S {lines} -device virtio-serial-pci {devices}")
    machine.qmp.execute("query-chardev", view=_open_ones)
    leave(machine)


def _open_ones(entries: list[dict[str, Any]]) -> list[str]:
    return sorted(e["label"] for e in entries if e["frontend-open"])
