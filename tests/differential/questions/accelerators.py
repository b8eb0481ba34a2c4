"""Which accelerator a machine has, and what can be seen of KVM. Nothing here depends on the host's
processor, or on whether its KVM has System Management Mode; for a host without KVM stands one whose
device is another file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.differential.scenes import NONE, leave, load, save

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage

BARE = "-nodefaults -S -m 16 -cpu qemu64,check=off -accel kvm"
MODELS = ("486", "Nehalem", "EPYC-Rome", "Skylake-Client-v4", "kvm64", "qemu64", "base")
TREES = ("qtree", "roms", "pci")
UNKNOWN = ("rapl", "rapl-helper-socket", "xen-version", "xen-gnttab-max-frames")
UNKNOWN += ("xen-evtchn-max-pirq",)
NO_KVM = "-accel kvm,device=/dev/no-kvm"


def what_is_there_with_kvm(stage: Stage) -> None:
    for options in ("-accel kvm", "-enable-kvm", "-machine accel=kvm:tcg", "-accel foo -accel kvm"):
        machine = stage.start(f"{NONE} {options}", human="pipe", kvm=True)
        machine.qmp.execute("query-kvm")
        machine.human.type("info kvm")
        leave(machine)


def what_is_there_without_kvm(stage: Stage) -> None:
    for options in ("", "-accel tcg -accel kvm", f"{NO_KVM} -accel tcg"):
        machine = stage.start(f"{NONE} {options}", human="pipe")
        machine.qmp.execute("query-kvm")
        machine.human.type("info kvm")
        leave(machine)
    for options in (
        *(NO_KVM, "-accel kvm,device=/dev/null", f"{NO_KVM} -accel foo", f"{NO_KVM},foo=1"),
        *("-accel kvm,kernel-irqchip=foo -accel tcg", "-accel kvm,notify-vmexit="),
        *("-accel kvm,dirty-ring-size=3", "-accel kvm,dirty-ring-size=1k"),
        *("-accel kvm,notify-window=4294967296", "-accel kvm,kvm-shadow-mem=1G"),
        *("-accel kvm,thread=multi", "-accel tcg,kernel-irqchip=on", "-accel tcg,tb-size=-1"),
        *("-machine kernel-irqchip=foo,accel=kvm:tcg", "-machine accel=kvm -accel tcg"),
        *("-machine kvm-shadow-mem=foo -accel kvm", "-machine accel="),
    ):
        stage.refused(f"{NONE} {options}")


def kvm_that_cannot_be_had_like_this(stage: Stage) -> None:
    for options in (
        *("-accel kvm,kvm-shadow-mem=262143", "-accel kvm,dirty-ring-size=131072"),
        *("-accel kvm,dirty-ring-size=2,kvm-shadow-mem=1", "-machine kvm-shadow-mem=0,accel=kvm"),
    ):
        stage.refused(f"{NONE} {options}", kvm=True)
    for options in (
        *("-machine pc -accel kvm,kernel-irqchip=off -cpu qemu64,check=off",),
        "-machine pc -enable-kvm -cpu x",
        *("-machine pc -enable-kvm -cpu host,foo=on", "-machine none -enable-kvm -cpu host"),
    ):
        stage.refused(f"-nodefaults {options}", kvm=True)


def models_of_processors_under_kvm(stage: Stage) -> None:
    """But for the maker, which is the host's."""

    def seen(expansion: dict[str, dict[str, dict[str, object]]]) -> dict[str, object]:
        props = expansion["model"]["props"]
        on = " ".join(sorted(name for name, value in props.items() if value is True))
        numbers = {n: v for n, v in sorted(props.items()) if isinstance(v, int) and v is not True}
        return {"on": on, "numbers": {n: v for n, v in numbers.items() if v is not False}}

    machine = stage.start(f"{NONE} -accel kvm", kvm=True)
    for name in MODELS:
        for kind in ("full", "static"):
            arguments = {"type": kind, "model": {"name": name}}
            machine.qmp.execute("query-cpu-model-expansion", arguments, view=seen)
    for props in ({"svm": True}, {"kvm-pv-unhalt": True}, {"arch-capabilities": True}):
        model = {"name": "EPYC", "props": props}
        arguments = {"type": "full", "model": model}
        machine.qmp.execute("query-cpu-model-expansion", arguments, view=seen)
    leave(machine)


def types_of_accelerators(stage: Stage) -> None:
    machine = stage.start(NONE)
    for name in ("kvm-accel", "tcg-accel"):
        machine.qmp.execute("qom-list-types", {"implements": name})
        machine.qmp.execute("qom-list-properties", {"typename": name}, view=_known)
    leave(machine)


def _known(properties: list[dict[str, object]]) -> list[object]:
    """Of an accelerator's properties those that vmd has."""
    return sorted(str(each["name"]) for each in properties if each["name"] not in UNKNOWN)


def _pieces(text: str) -> list[str]:
    """The rows of flat views, which QEMU takes out of a hash table."""
    return sorted(row for row in text.split("\r\n") if row and not row.startswith("FlatView"))


def _sorted(types: list[dict[str, object]]) -> list[dict[str, object]]:
    return sorted(types, key=lambda each: str(each["name"]))


def boards_under_kvm(stage: Stage) -> None:
    for options in (
        f"-machine pc,smm=off {BARE}",
        f"-machine q35,smm=off {BARE}",
        f"-machine q35,smm=off {BARE},kernel-irqchip=split",
        f"-machine pc,smm=off,pit=off,hpet=off,vmport=off {BARE},kernel-irqchip=split",
        f"-machine q35,smm=off,i8042=off,sata=off,smbus=off {BARE}",
    ):
        machine = stage.start(options, human="pipe", kvm=True)
        for tree in TREES:
            machine.human.type(f"info {tree}")
        _where_things_are(machine)
        leave(machine)


def _where_things_are(machine: Machine) -> None:
    for name in ("lapic", "kvm-pit[0]"):
        machine.qmp.execute("qom-list", {"path": name}, view=_sorted)
    line = {"command-line": "info mtree -f"}
    machine.qmp.execute("human-monitor-command", line, view=_pieces)


def lost_ticks_of_the_kernels_timer(stage: Stage) -> None:
    rule = "-global kvm-pit.lost_tick_policy="
    line = f"-machine q35 {BARE} {rule}"
    for policy in ("slew", "catchup"):
        stage.refused(f"{line}{policy}", kvm=True)
    stage.refused(f"-machine q35 {BARE} -global kvm-pit.foo=x", kvm=True)
    for words in (f"{line}discard", f"-machine none {rule}foo -global PIIX4_PM.disable_s3=1"):
        machine = stage.start(words, kvm=True)
        row = {"command-line": "info qtree"}
        machine.qmp.execute("human-monitor-command", row, view=_about_ticks)
        leave(machine)


def _about_ticks(text: str) -> list[str]:
    return [row.strip() for row in text.split("\r\n") if "lost_tick" in row]


def a_state_file_under_kvm(stage: Stage) -> None:
    line = f"{NONE} -accel kvm -S"
    machine = stage.start(line, kvm=True)
    capabilities = [{"capability": "events", "state": True}]
    machine.qmp.execute("migrate-set-capabilities", {"capabilities": capabilities})
    save(machine)
    leave(machine)
    machine = stage.start(f"{line} -incoming defer", kvm=True)
    machine.qmp.execute("migrate-set-capabilities", {"capabilities": capabilities})
    load(machine)
    machine.qmp.execute("query-status")
    leave(machine)
