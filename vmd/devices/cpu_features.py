"""What a command line asks of its CPU: a model and what shall be different in it.

Observed from target/i386/cpu.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qapi.error import QmpError
from vmd.devices import cpu
from vmd.options import BOOLEANS, scan_unsigned

if TYPE_CHECKING:
    from vmd.devices.host_cpu import HostCpu

_SIGNED = ("int32", "tsc-frequency")
_LEAST_BITS, _MOST_BITS = 32, 52
_HELP = {
    "base": "nothing but the base that all others add to",
    "host": "what the processor of the host can do (with KVM)",
    "max": "everything that the accelerator can do",
}
_WIDTH = 76


def feature(model: str, name: str, text: str) -> tuple[str, Any]:
    """A property of the model's CPUs as it is written: its own name, and its value.

    QmpError if there is no such property, or the text is no value of it.
    """
    kind_of_cpu = f"{model}{cpu.SUFFIX}"
    if name not in cpu.kinds(kind_of_cpu):
        raise QmpError(f"Property '{kind_of_cpu}.{name}' not found")
    if name in cpu.READ_ONLY:
        raise QmpError(f"Property '{kind_of_cpu}.{name}' is not writable")
    if name == "memory":
        raise QmpError(f"Device '{text}' not found", "DeviceNotFound")
    if name == "realized" and BOOLEANS.get(text):
        raise QmpError("CPU socket-id is not set")
    kind = cpu.kinds(kind_of_cpu)[name]
    return cpu.original(name), cpu.fit(name, name, kind, _value(name, kind, text))


def _value(name: str, kind: str, text: str) -> object:
    if kind == "bool":
        if text not in BOOLEANS:
            raise QmpError(f"Parameter '{name}' expects 'on' or 'off'")
        return BOOLEANS[text]
    if kind == "int" or kind.startswith(("int", "uint")):
        number = scan_unsigned(text)
        if number is None or number >= 1 << 64:
            wanted = "int64" if kind in _SIGNED or name in _SIGNED else "uint64"
            raise QmpError(f"Parameter '{name}' expects {wanted}")
        negative = text.lstrip().startswith("-") and number
        return number - (1 << 64) if negative else number
    return text


def check(features: tuple[tuple[str, Any], ...]) -> None:
    """QmpError where a CPU cannot be made with these values."""
    bits = dict(features).get("phys-bits")
    if bits and not _LEAST_BITS <= bits <= _MOST_BITS:
        raise QmpError(
            f"phys-bits should be between {_LEAST_BITS} and {_MOST_BITS}  (but is {bits})"
        )


def complaints(
    model: str, features: tuple[tuple[str, Any], ...], host: HostCpu | None = None
) -> list[str]:
    """What is said of the features that TCG, or the host, has not, if anything is to be said."""
    if host is not None:
        from vmd.devices.host_cpu import place

        names = cpu.what_is_lacking(model, features, host)
        return [f"host doesn't support requested feature: {place(name)}" for name in names]
    places = cpu.named()["lacking"]
    return [
        f"TCG doesn't support requested feature: {places[name]}"
        for name in cpu.what_is_lacking(model, features)
    ]


def cpu_help() -> str:
    """What `-cpu help` prints: the models, and the features that can be switched."""
    rows = [f"  {name:<20}  {_described(name)}" for name in cpu.names()]
    lines, line = [], " "
    for word in cpu.named()["flags"]:
        if len(line) + len(word) + 1 >= _WIDTH:
            lines.append(line)
            line = " "
        line += f" {word}"
    flags = "\n".join([*lines, line])
    return "Available CPUs:\n" + "\n".join(rows) + f"\n\nRecognized CPUID flags:\n{flags}\n"


def _described(name: str) -> str:
    if name in _HELP:
        return _HELP[name]
    known = cpu.named()
    original = known["alias-of"].get(name)
    if original is not None:
        own = original == f"{name}-v1"
        return "(alias configured by machine type)" if own else f"(alias of {original})"
    values = cpu.model_values(name)
    return f"{values.get('model-id', '')} {known['notes'].get(name, '')}".strip()
