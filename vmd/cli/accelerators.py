"""Which accelerator a machine has, and with which properties.

Observed from system/vl.c, accel/kvm/kvm-all.c, target/i386/kvm/kvm.c and accel/tcg/tcg-all.c.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qapi.error import QmpError
from vmd.cli.report import Quit
from vmd.kvm import DEVICE, Kvm, Limits, TooOldError, look
from vmd.options import BOOLEANS, scan_unsigned

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmd.cli.config import Config
    from vmd.cli.report import Report

# With qtest a guest lives only while a test moves its time.
NAMES = {"tcg": "tcg", "kvm": "KVM", "qtest": "QTest"}  # as they call themselves
OF_MACHINES = ("kernel-irqchip", "kvm-shadow-mem")  # for KVM; QEMU does not look at them otherwise
_IRQCHIPS = ("on", "off", "split")
_NOTIFY = ("run", "internal-error", "disable")
PROPERTIES = {
    "tcg": {"one-insn-per-tb": "bool", "split-wx": "bool", "tb-size": "uint32", "thread": "thread"},
    "kvm": {
        "device": "string",
        "dirty-ring-size": "uint32",
        "kernel-irqchip": "on|off|split",
        "kvm-shadow-mem": "int64",
        "notify-vmexit": "notify",
        "notify-window": "uint32",
    },
}
_CHOICES = {"on|off|split": _IRQCHIPS, "notify": _NOTIFY}
_LARGEST_RING, _SMALLEST_RING = 65536, 256  # of entries
_LEAST_SHADOW = 64 << 12
_SIMULATED_MOST = 1024


def settle_accelerator(config: Config, report: Report) -> None:
    """The first accelerator that is there; others are complained about as QEMU does."""
    named = config.machine_tree.get("accel")
    if named is not None and config.accels:
        text = 'The -accel and "-machine accel=" options are incompatible'
        raise report.refuse(QmpError(text))
    failed = False
    wanted: list[tuple[str, str, tuple[tuple[str, str], ...]]] = []  # where, name, properties
    if named is None and config.accels:
        wanted = [(r.where, str(r.options.get("accel")), r.options.pairs) for r in config.accels]
    else:
        usual = "kvm:tcg" if config.program.endswith("kvm") else "tcg"
        for name in str(usual if named is None else named).split(":") if named != "" else ():
            if name in NAMES:
                wanted.append(("", name, ()))
            else:
                failed = True
                report.error(f"invalid accelerator {name}")
    for where, name, pairs in wanted:
        if name not in NAMES:
            report.error(f"invalid accelerator {name}", where)
        elif _start(config, report, where, name, pairs):
            config.accel = name
            break
        failed = True
    if not config.accel:
        raise Quit(1) if failed else report.refuse(QmpError("no accelerator found"))
    if failed:
        report.error(f"falling back to {NAMES[config.accel]}")


def _start(
    config: Config, report: Report, where: str, name: str, pairs: Iterable[tuple[str, str]]
) -> bool:
    """Have this one; False, after a complaint, if it is not there. Quit if it is asked wrongly."""
    found: dict[str, object] = {}
    with report.at(where):
        for key in OF_MACHINES if name == "kvm" else ():
            value = config.machine_tree.get(key)
            if value is not None:
                found[key] = _preset(key, str(value))
        for key, value in pairs:
            if key != "accel":
                found[key] = _property(name, key, value)
    if name == "kvm" and not _has_kvm(config, report, where, found):
        return False
    config.accel_properties = found
    return True


def _preset(name: str, value: str) -> object:
    try:
        return _property("kvm", name, value)
    except QmpError as error:
        text = f"can't apply global kvm-accel.{name}={value}: {error.desc}"
        raise QmpError(text) from None


def _property(accel: str, name: str, value: str) -> object:
    kind = PROPERTIES.get(accel, {}).get(name)
    if kind is None:
        raise QmpError(f"Property '{accel}-accel.{name}' not found")
    if kind == "bool":
        if value not in BOOLEANS:
            raise QmpError(f"Parameter '{name}' expects 'on' or 'off'")
        return BOOLEANS[value]
    if kind == "thread":
        if value not in ("single", "multi"):
            raise QmpError(f"Invalid 'thread' setting {value}")
        return value
    if kind in _CHOICES:
        if value not in _CHOICES[kind]:
            raise QmpError(f"Parameter '{name}' does not accept value '{value}'")
        return value
    return value if kind == "string" else _number(name, kind, value)


def _number(name: str, kind: str, value: str) -> int:
    number = scan_unsigned(value)
    if kind == "int64":
        negative = value.lstrip().startswith("-")
        if number is not None and negative and number:
            number -= 1 << 64
        if number is None or not -1 << 63 <= number < 1 << 63:
            raise QmpError(f"Parameter '{name}' expects int64")
        return number
    if number is None or number >= 1 << 64:
        raise QmpError(f"Parameter '{name}' expects uint64")
    if kind == "uint32" and number >= 1 << 32:
        raise QmpError(f"Parameter '{name}' expects uint32_t")
    if name == "dirty-ring-size" and number & (number - 1):
        raise QmpError("dirty-ring-size must be a power of two.")
    return number


def _has_kvm(config: Config, report: Report, where: str, asked: dict[str, object]) -> bool:
    device = str(asked.get("device", DEVICE))
    try:
        limits = _limits(config.kvm, device)
    except TooOldError as error:
        report.error("kvm version too old", where)
        report.error(f"failed to initialize kvm: {error.strerror}", where)
        return False
    except (OSError, ValueError) as error:
        why = os.strerror(getattr(error, "errno", 0) or 2)
        report.error(f"Could not access KVM kernel module: {why}", where)
        report.error(f"failed to initialize kvm: {why}", where)
        return False
    _count_cpus(config, report, where, limits)
    ring, shadow = asked.get("dirty-ring-size", 0), asked.get("kvm-shadow-mem", -1)
    assert isinstance(ring, int) and isinstance(shadow, int)
    text = ""
    if ring > _LARGEST_RING:
        report.error(
            f"KVM dirty ring size {ring} too big (maximum is {_LARGEST_RING}).  "
            "Please use a smaller value.",
            where,
        )
        text = "Invalid argument"
    elif 0 < ring < _SMALLEST_RING:
        report.error(
            "Enabling of KVM dirty ring failed: Invalid argument. Suggested minimum value is 1024.",
            where,
        )
        text = "Input/output error"
    elif 0 <= shadow < _LEAST_SHADOW:
        text = "Invalid argument"
    if text:
        report.error(f"failed to initialize kvm: {text}", where)
        return False
    irqchip = str(asked.get("kernel-irqchip", "on"))
    simulated = config.kvm == "on"
    config.kvm_accel = Kvm(irqchip, None if simulated else device, ring)
    return True


def _limits(wish: str, device: str) -> Limits:
    """`wish` is that of -vmd: "auto" asks the host. OSError if there is no KVM."""
    if wish == "auto":
        return look(device)
    if wish == "off":
        raise FileNotFoundError(2, "No such file or directory")
    return Limits(min(os.cpu_count() or 1, _SIMULATED_MOST), _SIMULATED_MOST)


def _count_cpus(config: Config, report: Report, where: str, limits: Limits) -> None:
    for kind, count in (("SMP", config.smp.cpus), ("hotpluggable", config.smp.maxcpus)):
        if count <= limits.recommended:
            continue
        text = f"Number of {kind} cpus requested ({count}) exceeds the"
        report.warning(f"{text} recommended cpus supported by KVM ({limits.recommended})", where)
        if count > limits.most:
            error = QmpError(f"{text} maximum cpus supported by KVM ({limits.most})")
            raise report.refuse(error, where)
