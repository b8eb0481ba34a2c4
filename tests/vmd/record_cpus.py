"""Ask real QEMU what its CPU models are, and keep the answers in `vmd/devices/cpu_models.json`
and, of all models but the two that most machines have, in `cpu_named.json` beside it.

Run by hand (`python tests/vmd/record_cpus.py [qemu-system-x86_64]`) when there is a new QEMU to
follow. What is kept is described in vmd/devices/cpu.py.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any

QEMU = sys.argv[1] if len(sys.argv) > 1 else "qemu-system-x86_64"
PLACE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "vmd", "devices")
MODELS = ("base", "max", "qemu64")
CPU = "/machine/unattached/device[0]"
UNTOLD = ("crash-information", "feature-words", "filtered-features", "legacy-memory")
OF_INSTANCES = ("apic-id", "core-id", "die-id", "module-id", "socket-id", "thread-id", "node-id")


def ask(arguments: str, commands: list[tuple[str, dict[str, Any]]]) -> list[Any]:
    """What a QEMU started with `arguments` returns to each command; None for an error."""
    with subprocess.Popen(
        [QEMU, *arguments.split(), "-S", "-nodefaults", "-display", "none", "-qmp", "stdio"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdout.readline()
        answers = []
        for command, given in [("qmp_capabilities", {}), *commands, ("quit", {})]:
            process.stdin.write(json.dumps({"execute": command, "arguments": given}) + "\n")
            process.stdin.flush()
            reply: dict[str, Any] = {"event": 0}
            while "event" in reply:
                reply = json.loads(process.stdout.readline())
            answers.append(reply.get("return"))
    return answers[1:-1]


def expand(model: str, kind: str, **props: object) -> tuple[str, dict[str, Any]]:
    described = {"name": model, "props": props}
    return "query-cpu-model-expansion", {"type": kind, "model": described}


def props(answer: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = answer["model"]["props"]
    return found


def listed(typename: str) -> dict[str, dict[str, Any]]:
    (rows,) = ask("-machine none", [("qom-list-properties", {"typename": typename})])
    return {row["name"]: row for row in rows if row["name"] not in UNTOLD}


def record() -> dict[str, Any]:
    full = {m: props(ask("-machine none", [expand(m, "full")])[0]) for m in MODELS}
    static = props(ask("-machine none", [expand("max", "static")])[0])
    abstract, plain, largest = (
        listed(f"{name}x86_64-cpu") for name in ("", f"{MODELS[2]}-", f"{MODELS[1]}-")
    )
    devices = ask("-machine none", [("device-list-properties", {"typename": "max-x86_64-cpu"})])[0]
    aliases, inert, raises = effects(full["qemu64"], static)
    types: dict[str, list[str]] = {}
    for row in sorted(largest.values(), key=lambda row: str(row["name"])):
        types.setdefault(row["type"], []).append(row["name"])
    return {
        "types": types,
        "defaults": {n: r["default-value"] for n, r in largest.items() if "default-value" in r},
        "concrete": sorted(set(plain) - set(abstract)),
        "max": sorted(set(largest) - set(plain)),
        "device": sorted(set(largest) - {row["name"] for row in devices}),
        "full": sorted(set(full["qemu64"]) - set(static)),
        "aliases": aliases,
        "inert": inert,
        "raises": raises,
        "models": {
            name: {n: value for n, value in full[name].items() if value is not False}
            for name in MODELS
        },
        "realized": {name: realized(name, largest, full) for name in MODELS},
    }


def effects(
    full: dict[str, Any], static: dict[str, Any]
) -> tuple[dict[str, str], list[str], dict[str, dict[str, int]]]:
    """What switching a property does to others: aliases, nothing at all, numbers that go up."""
    names = [name for name, value in full.items() if value is False and name != "realized"]
    names += [name for name, value in full.items() if value is True]
    answers = ask("-machine none", [expand("qemu64", "full", **{n: not full[n]}) for n in names])
    aliases: dict[str, str] = {}
    inert, raises = [], {}
    for name, answer in zip(names, answers, strict=True):
        got = props(answer)
        changed = {n: got[n] for n in got if got[n] != full[n]}
        if not changed:
            inert.append(name)
        twins = [n for n, value in changed.items() if isinstance(value, bool)]
        # The one that a static expansion tells, or that is spelt like the others' original
        own = [n for n in twins if n in static] or sorted(twins, reverse=True)
        if own and own[0] != name:
            aliases[name] = own[0]
        numbers = {n: value for n, value in changed.items() if not isinstance(value, bool)}
        if numbers and full[name] is False:
            raises[name] = numbers
    for name in full:
        dashed = name.replace("_", "-")
        if dashed != name and dashed in full:
            aliases.setdefault(name, dashed)
    return aliases, sorted(inert), raises


def realized(model: str, names: dict[str, Any], full: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What a CPU in a machine says, where that is not what the expansion says."""
    asked = [("qom-get", {"path": CPU, "property": name}) for name in names]
    answers = ask(f"-machine pc -m 16 -cpu {model}", asked)
    values = dict(zip(names, answers, strict=True))
    return {
        name: value
        for name, value in values.items()
        if value is not None
        and value != full[model].get(name)
        and name not in (*OF_INSTANCES, "type", "memory")
    }


def record_named(common: dict[str, Any]) -> dict[str, Any]:
    """What tells one model from another: the features that are on, and numbers and texts."""
    (rows,) = ask("-machine none", [("query-cpu-definitions", {})])
    names = sorted(row["name"] for row in rows)
    full = dict(zip(names, ask("-machine none", [expand(n, "full") for n in names]), strict=True))
    base = props(full["base"])
    lacking = what_tcg_lacks(common["aliases"], props(full["max"]))
    models = {}
    for row in sorted(rows, key=lambda row: str(row["name"])):
        if "alias-of" in row or row["name"] in ("base", "host", "max"):
            continue
        told = props(full[row["name"]])
        on = [n for n in told if told[n] is True and n not in common["aliases"]]
        assert {n for n in on if n in lacking} == set(row["unavailable-features"])
        models[row["name"]] = {
            "on": " ".join(sorted(n for n in on if not base[n])),
            "off": " ".join(sorted(n for n in base if base[n] is True and not told[n])),
            "values": {
                n: value
                for n, value in told.items()
                if not isinstance(value, bool) and value != base[n]
            },
        }
    return {
        "alias-of": {row["name"]: row["alias-of"] for row in rows if "alias-of" in row},
        "lacking": lacking,
        "notes": notes(),
        "flags": flags(),
        "models": models,
    }


def what_tcg_lacks(aliases: dict[str, str], largest: dict[str, Any]) -> dict[str, str]:
    """The features that TCG has not, in the order in which it complains, and where each stands."""
    unfit = ("realized", "enforce", "kvm", *OF_INSTANCES)
    wanted = [n for n, v in largest.items() if v is False and n not in aliases and n not in unfit]
    every = "max" + "".join(f",+{name}" for name in wanted)
    words = f"-machine pc -m 16 -nodefaults -display none -S -monitor stdio -cpu {every}"
    command = [QEMU, *words.split()]
    done = subprocess.run(command, input="quit\n", capture_output=True, text=True, check=True)
    found = re.findall(r"requested feature: (\S+?[:)]\w*\.)(\S+) (\[bit \d+\])", done.stderr)
    return {name: f"{where}{name} {bit}" for where, name, bit in found}


def flags() -> list[str]:
    """The features of a processor that have a bit in it, as `-cpu help` lists them."""
    done = subprocess.run([QEMU, "-cpu", "help"], capture_output=True, text=True, check=True)
    return done.stdout.partition("CPUID flags:")[2].split()


def notes() -> dict[str, str]:
    """What `-cpu help` says of the models in brackets, behind the name that the CPU bears."""
    done = subprocess.run([QEMU, "-cpu", "help"], capture_output=True, text=True, check=True)
    found = re.findall(r"^  (\S+-v\d+) .*?(\[.*\])$", done.stdout, re.MULTILINE)
    return dict(found)


def keep(name: str, answers: dict[str, Any]) -> None:
    """One row a key; models have one each."""
    with open(os.path.join(PLACE, name), "w", encoding="ascii") as stream:
        rows = []
        for key, value in answers.items():
            text = json.dumps(value, sort_keys=key != "lacking")
            if key == "models" and "on" in next(iter(value.values())):
                inner = [f"  {json.dumps(n)}: {json.dumps(v)}" for n, v in value.items()]
                text = "{\n" + ",\n".join(inner) + "\n}"
            rows.append(f"{json.dumps(key)}: {text}")
        stream.write("{\n" + ",\n".join(rows) + "\n}\n")


def main() -> None:
    common = record()
    named = record_named(common)
    common["names"] = [*sorted([*named["alias-of"], *named["models"]]), "base", "host", "max"]
    keep("cpu_models.json", common)
    keep("cpu_named.json", named)


if __name__ == "__main__":
    main()
