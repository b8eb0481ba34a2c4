"""KVM of this very host: vmd says of it what real QEMU says, and each loads the other's machine."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.differential.scenes import capabilities, leave, load, save
from tests.differential.stage import DEVICE, Program, find_vmd
from tests.differential.test_interop_devices import sections

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage

CPU = "/machine/unattached/device[0]"
NONE = "-machine none -nodefaults -accel kvm -m 16"
# `host` and `max` crash QEMU where KVM is itself in a guest and tells of what cannot be set.
MAX = "max,arch-capabilities=off"
BOARD = "-nodefaults -m 16 -S -accel kvm -cpu qemu64,check=off"
OWN = ("timer", "globalstate")
# What a processor measures, and what is written in another way by each program.
APART = ("tsc-frequency", "memory", "crash-information", "filtered-features", "feature-words")
APART += ("legacy-memory",)


@pytest.fixture(autouse=True)
def _kvm() -> None:
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        pytest.skip("this host has no KVM")


def asked(scene: Stage, line: str, command: str, *arguments: dict[str, Any] | None) -> list[Any]:
    """What each question is answered by a machine of its own."""
    machine = scene.start(line, guest="none")
    answers = [machine.qmp.execute(command, each) for each in arguments or (None,)]
    leave(machine)
    return answers


def test_what_each_model_lacks_is_what_the_host_lacks(vmd: Stage, real: Stage) -> None:
    ours, theirs = (asked(scene, NONE, "query-cpu-definitions") for scene in (vmd, real))
    assert ours == theirs


@pytest.mark.parametrize("name", ["host", "max", "EPYC-Milan", "Icelake-Server-v7", "qemu64"])
def test_a_model_expands_to_what_the_host_can_do(name: str, vmd: Stage, real: Stage) -> None:
    props = ({}, {"migratable": False}, {"topoext": True, "clwb": False}, {"fzrm": True})
    several = props if name in ("host", "max") else ({}, {"svm": True}, {"vmx": False})
    questions = [
        {"type": kind, "model": {"name": name, "props": given}}
        for kind in ("full", "static")
        for given in several
    ]
    ours, theirs = (
        asked(scene, NONE, "query-cpu-model-expansion", *questions) for scene in (vmd, real)
    )
    assert ours == theirs


@pytest.mark.parametrize("model", ["qemu64", "EPYC,+topoext", "Skylake-Client,-avx", MAX, "486"])
def test_a_cpu_of_a_machine_is_what_the_host_allows(model: str, vmd: Stage, real: Stage) -> None:
    line = f"-machine q35 {BOARD} -cpu {model}"
    (rows,) = asked(real, line, "qom-list", {"path": CPU})
    names = [row["name"] for row in rows if not row["type"].startswith("child<")]
    names = [name for name in names if name not in APART]
    questions = [{"path": CPU, "property": name} for name in names]
    answers = [asked(scene, line, "qom-get", *questions) for scene in (vmd, real)]
    ours, theirs = (dict(zip(names, each, strict=True)) for each in answers)
    assert ours == theirs


def said(program: Program, *words: str) -> tuple[int, str]:
    """The end of a program that quits as soon as it is up, and what is on its stderr."""
    line = [*program.argv, "-nodefaults", "-display", "none", "-S", "-monitor", "stdio", *words]
    done = subprocess.run(line, input="quit\n", capture_output=True, text=True, timeout=30)
    return done.returncode, done.stderr.replace(f"{program.argv[0].rpartition('/')[2]}:", "")


@pytest.mark.parametrize(
    "words",
    [
        "-machine pc -accel kvm",
        "-machine q35 -accel kvm -smp 2 -cpu EPYC",
        "-machine pc -accel kvm -cpu Skylake-Server,enforce",
        f"-machine pc -accel kvm -cpu {MAX},enforce",
        f"-machine pc -accel kvm -cpu {MAX},phys-bits=40",
        "-machine q35 -accel kvm -smp 1,maxcpus=4097",
        "-machine q35 -accel kvm -smp 4096",
        "-machine pc -accel kvm -smp 200 -cpu base",
    ],
)
def test_what_the_host_cannot_do_is_said_in_the_same_words(words: str, qemu: Program) -> None:
    assert said(find_vmd(), *words.split()) == said(qemu, *words.split())


def saved(machine: Machine, name: str) -> None:
    capabilities(machine, "events")
    save(machine, f"file:{name}")
    leave(machine)


def loaded(machine: Machine, name: str) -> str:
    capabilities(machine, "events")
    load(machine, f"file:{name}")
    found = str(machine.qmp.execute("query-status")["status"])
    leave(machine)
    return found


@pytest.mark.parametrize(
    "line", [f"{NONE} -S", f"-machine q35 {BOARD}", f"-machine pc {BOARD},+x2apic -smp 2"]
)
def test_a_machine_of_vmd_is_loaded_by_qemu(line: str, vmd: Stage, real: Stage) -> None:
    saved(vmd.start(line, guest="none"), "born")
    for scene in (real, vmd):
        assert loaded(scene.start(f"{line} -incoming defer", guest="none"), "born") == "prelaunch"


@pytest.mark.parametrize(
    "line",
    [
        f"{NONE} -S",
        f"-machine q35 {BOARD} -smp 2",
        f"-machine pc {BOARD}",
        f"-machine q35,kernel-irqchip=split {BOARD} -device qemu-xhci -device virtio-rng-pci",
    ],
)
def test_a_machine_of_qemu_visits_vmd_unread(line: str, vmd: Stage, real: Stage) -> None:
    saved(real.start(line, guest="none"), "first")
    host = vmd.start(f"{line} -incoming defer", guest="none")
    capabilities(host, "events")
    load(host, "file:first")
    saved(host, "second")
    first, second = sections(real.file("first")), sections(vmd.file("second"))
    assert [one for one in second if one[0] not in OWN] == [
        one for one in first if one[0] not in OWN
    ]
    assert loaded(real.start(f"{line} -incoming defer", guest="none"), "second") == "prelaunch"
