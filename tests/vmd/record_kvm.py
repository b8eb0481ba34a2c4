"""Ask real QEMU, on a host with KVM, what that makes of its CPU models and boards; keep the answers
in `vmd/devices/cpu_kvm.json` and `vmd/devices/trees_kvm.json`.

Run by hand (`python -m tests.vmd.record_kvm`) when there is a new QEMU to follow. What is kept is
described in vmd/devices/host_cpu.py and vmd/devices/trees.py; nothing of it is the host's own, but
that its KVM has no System Management Mode.
"""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

from tests.vmd import record_trees
from tests.vmd.record_cpus import CPU, QEMU, ask, expand, props
from vmd.devices import cpu

NONE = "-machine none -accel"
WITH_SVM = {"npt", "nrip-save", "svme-addr-chk", "vnmi"}  # they go with it
# As QEMU goes through them; components of XSAVE's state are no features of their own.
ORDER = (
    *("1.0.EDX", "1.0.ECX", "7.0.EBX", "7.0.ECX", "7.0.EDX", "7.1.EAX"),
    *("80000001.0.EDX", "80000001.0.ECX", "80000007.0.EBX", "80000007.0.EDX", "80000008.0.EBX"),
    *("80000021.0.EAX", "80000022.0.EAX", "C0000001.0.EDX", "40000001.0.EAX", "40000001.0.EDX"),
    *("8000000A.0.EDX", "D.1.EAX", "6.0.EAX", "MSR.10A", "MSR.CF", "MSR.345"),
    *("MSR.48E", "MSR.48B", "MSR.48D", "MSR.48F", "MSR.490", "MSR.485", "MSR.48C", "MSR.480"),
    *("MSR.491", "14.0.ECX", "12.0.EAX", "12.0.EBX", "12.1.EAX", "7.1.EDX", "7.2.EDX", "24.0.EBX"),
)


def bits(model: str) -> tuple[set[tuple[int, int, str, int]], str]:
    """The bits of CPUID that a CPU has or would like to have, and what is said of it."""
    command = [
        QEMU,
        *["-machine", "pc", "-accel", "kvm", "-m", "16", "-S", "-nodefaults", "-display", "none"],
    ]
    questions = [{"execute": "qmp_capabilities"}]
    for name in ("feature-words", "filtered-features"):
        arguments: Any = {"path": CPU, "property": name}
        questions.append({"execute": "qom-get", "arguments": arguments})
    text = "".join(json.dumps(each) + "\n" for each in (*questions, {"execute": "quit"}))
    done = subprocess.run(
        [*command, "-qmp", "stdio", "-cpu", model], input=text, capture_output=True, text=True
    )
    found = set()
    for row in done.stdout.splitlines():
        words = json.loads(row).get("return")
        for word in words if isinstance(words, list) else ():
            place = (
                word["cpuid-input-eax"],
                word.get("cpuid-input-ecx", 0),
                word["cpuid-register"],
            )
            found |= {(*place, bit) for bit in range(32) if word["features"] >> bit & 1}
    return found, done.stderr


def words() -> dict[str, dict[str, list[int]]]:
    """Where each feature is: `FUNCTION.INDEX.REGISTER` or `MSR.NUMBER` → name → bits."""
    base, _ = bits("base")
    found: dict[str, dict[str, list[int]]] = {}
    for name in cpu.named()["flags"]:
        there, said = bits(f"base,+{name}")
        for function, index, register, bit in sorted(there - base):
            found.setdefault(f"{function:X}.{index}.{register}", {}).setdefault(name, []).append(
                bit
            )
        for number, bit in re.findall(rf"MSR\((\w+)H\)\.{re.escape(name)} \[bit (\d+)\]", said):
            found.setdefault(f"MSR.{number}", {}).setdefault(name, []).append(int(bit))
    return {word: dict(sorted(found[word].items(), key=lambda row: row[1])) for word in ORDER}


def models() -> dict[str, Any]:
    """What is on and off in all models but the base, and of whom that is not true."""
    rows = ask(f"{NONE} kvm", [("query-cpu-definitions", {})])[0]
    names = sorted(r["name"] for r in rows if "alias-of" not in r)
    asked = [expand(n, "full") for n in names if n not in ("base", "host", "max")]
    deltas: dict[str, dict[str, Any]] = {}
    both = (ask(f"{NONE} {accel}", asked) for accel in ("tcg", "kvm"))
    for tcg, kvm in zip(*both, strict=True):
        before = props(tcg)
        different = {n: v for n, v in props(kvm).items() if before[n] != v}
        deltas[kvm["model"]["name"]] = {
            n: v for n, v in different.items() if n not in cpu.aliases() and n != "vendor"
        }
    on = {n for row in deltas.values() for n, v in row.items() if v is True}
    off = {n for row in deltas.values() for n, v in row.items() if v is False} - WITH_SVM
    others = {}
    for name, row in deltas.items():
        there = cpu.model_values(name)
        other = {n: v for n, v in row.items() if not isinstance(v, bool)}
        other |= {n: False for n in on if n not in row and not there.get(n)}
        if other:
            others[name] = other
    return {"on": sorted(on), "off": sorted(off), "others": others}


def main() -> None:
    answers = models() | {"words": words()}
    rows = (f" {json.dumps(key)}: {json.dumps(value)}" for key, value in answers.items())
    record_trees.DATA.with_name("cpu_kvm.json").write_text("{\n" + ",\n".join(rows) + "\n}\n")
    boards = {}
    base = record_trees.BASE
    for irqchip in ("on", "split"):
        record_trees.BASE = f"{base} -accel kvm,kernel-irqchip={irqchip}"
        for name in ("pc", "q35"):
            boards[f"{name} {irqchip}"] = record_trees.board(name)
    with (record_trees.DATA.with_name("trees_kvm.json")).open("w", encoding="ascii") as stream:
        rows = (f" {json.dumps(name)}: {record_trees.dump(row)}" for name, row in boards.items())
        stream.write("{\n" + ",\n".join(rows) + "\n}\n")


if __name__ == "__main__":
    main()
