"""CPU models by their names, what TCG lacks of them, and what a command line changes in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.differential.scenes import NONE, PC, leave

if TYPE_CHECKING:
    from tests.differential.stage import Stage

CPU = "/machine/unattached/device[0]"
SEEN = ("vendor", "family", "model", "level", "xlevel", "phys-bits", "ucode-rev", "avx", "pcid")


def _in_a_line(models: list[dict[str, Any]]) -> list[str]:
    return [
        f"{each['name']} ({each.get('alias-of')}) {' '.join(each['unavailable-features'])}"
        for each in models
    ]


def _what_is_on(expansion: dict[str, Any]) -> dict[str, Any]:
    props = expansion["model"]["props"]
    values = {n: v for n, v in sorted(props.items()) if not isinstance(v, bool)}
    on = sorted(n for n, value in props.items() if value is True)
    return {"name": expansion["model"]["name"], "on": " ".join(on), "values": values}


def models_of_processors(stage: Stage) -> None:
    machine = stage.start(f"{NONE} -accel tcg")
    machine.qmp.execute("query-cpu-definitions", view=_in_a_line)
    for name in ("486", "Nehalem", "EPYC-Rome", "Skylake-Client-v4", "kvm64", "host", "base"):
        for kind in ("full", "static"):
            arguments = {"type": kind, "model": {"name": name}}
            machine.qmp.execute("query-cpu-model-expansion", arguments, view=_what_is_on)
    more = {"name": "EPYC", "props": {"avx": False, "pcid": True}}
    arguments = {"type": "full", "model": more}
    machine.qmp.execute("query-cpu-model-expansion", arguments, view=_what_is_on)
    machine.qmp.execute("query-cpu-model-baseline", {"modela": more, "modelb": more})
    machine.qmp.execute("query-cpu-model-comparison", {"modela": more, "modelb": more})
    leave(machine)


def _asked_of_cpus(stage: Stage, *asked: str) -> None:
    for words in asked:
        machine = stage.start(f"{PC} -S -cpu {words}")
        for name in ("unavailable-features", *SEEN):
            machine.qmp.execute("qom-get", {"path": CPU, "property": name})
        leave(machine)


def cpus_that_can_be_had(stage: Stage) -> None:
    _asked_of_cpus(
        stage,
        "coreduo",
        "EPYC,avx=off,vendor=GenuineIntel",
        "qemu64,family=6,model=0x1f,level=7,phys-bits=46,ucode-rev=3",
        "Nehalem,enforce,+aes,-svm,-x2apic",
        "kvm64,enforce,+sep,+lahf_lm,+kvm_pv_eoi,+kvm_pv_unhalt",
        "qemu64,hv-relaxed,hv-vapic,hv-spinlocks=0x1fff",
        "max,migratable=off,host-phys-bits=on",
    )


def cpus_of_which_something_is_lacking(stage: Stage) -> None:
    _asked_of_cpus(
        stage,
        "Skylake-Client -smp 2",
        "qemu64,+pcid,+avx",
        "phenom,pcid=on,check=off",
    )


def cpus_that_cannot_be_had(stage: Stage) -> None:
    for words in (
        *("host", "host,migratable=on", "Skylake-Client-v9", "qemu64,pcid=on,enforce"),
        *("Haswell,enforce", "qemu64,family=x", "qemu64,family=300", "qemu64,vendor=abc"),
        *("qemu64,stepping=17", "qemu64,xlevel=-1", "qemu64,core-id=0x", "qemu64,phys-bits=8"),
        *("qemu64,migratable=on", "qemu64,tsc-frequency=1G", "qemu64,+family", "qemu64,type=x"),
        *("qemu64,memory=foo", "qemu64,realized=on", "max,-foo", "qemu64,hotplugged=on"),
        *("qemu64,hv-no-nonarch-coresharing=foo", "qemu64,lbr-fmt=0x40", "qemu64,check=foo"),
    ):
        stage.refused(f"{PC} -S -cpu {words}")
